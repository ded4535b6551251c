"""Counts entries over time: by the table of minutes where it can, else by masks."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import compress
from typing import Any

import msgspec

from mikroscope.errors import QueryError
from mikroscope.query.model import Grouping, Query
from mikroscope.records.attributes import MISSING
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import MAX_HISTOGRAM_BUCKETS, HistogramBucket
from mikroscope.stores.sqlite.columns import AnyColumn, count_codes
from mikroscope.stores.sqlite.integers import first_place
from mikroscope.stores.sqlite.read.groups import Grouped
from mikroscope.stores.sqlite.read.matching import Match, Matcher
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.schema import MINUTE_MS

Counts = defaultdict[int, Counter[str]]
"""By the start of a bucket, and by group; without groups all count under one empty text."""

_MINUTES = """
SELECT minute * 60000 / ?, level, sum(entries) FROM minutes WHERE minute BETWEEN ? AND ?
AND audit = coalesce(?, audit) GROUP BY 1, 2
"""
_EVER_MS = 1 << 62  # an interval that makes two buckets: before and after 1970
_FIRST_MINUTE, _LAST_MINUTE = -(1 << 60), 1 << 60


def histogram(
    snapshot: Snapshot, query: Query, interval_ms: int, split: Grouping | None
) -> list[HistogramBucket]:
    """Count the matching entries in buckets of time, in order and without gaps."""
    if interval_ms < 1:
        raise QueryError(f"'interval' is {interval_ms} ms, expected at least 1 ms")
    _bucket_starts(query.from_ms, query.to_ms, interval_ms)  # refuse before the work
    counts: Counts = defaultdict(Counter)
    by_level = split is None or split.by == "level"
    if query.field is None and query.text is None and by_level and interval_ms % MINUTE_MS == 0:
        _count_minutes(snapshot, query, interval_ms, split, counts)
    else:
        _count_entries(snapshot, query, interval_ms, split, counts)
    low = min(counts, default=None) if query.from_ms is None else query.from_ms
    high = max(counts, default=None) if query.to_ms is None else query.to_ms
    return [
        HistogramBucket(start, counts[start].total(), dict(counts[start]) if split else {})
        for start in _bucket_starts(low, high, interval_ms)
    ]


def count(snapshot: Snapshot, query: Query) -> int:
    """Count the matching entries."""
    if query.field is None and query.text is None:
        counts: Counts = defaultdict(Counter)
        _count_minutes(snapshot, query, _EVER_MS, None, counts)
        return sum(one.total() for one in counts.values())
    return sum(match.entries for match in Matcher(snapshot, query).all())


def _bucket_starts(low: int | None, high: int | None, interval_ms: int) -> range:
    if low is None or high is None:
        return range(0)
    starts = range(low // interval_ms * interval_ms, high + 1, interval_ms)
    if len(starts) > MAX_HISTOGRAM_BUCKETS:
        raise QueryError(
            f"'interval' is {interval_ms} ms, which makes {len(starts)} buckets, expected at most "
            f"{MAX_HISTOGRAM_BUCKETS}: choose a longer interval or a shorter time range"
        )
    return starts


def _count_minutes(
    snapshot: Snapshot, query: Query, interval_ms: int, split: Grouping | None, counts: Counts
) -> None:
    """Add up whole minutes; the rest of the range at both ends is counted entry by entry."""
    first = _FIRST_MINUTE if query.from_ms is None else -(-query.from_ms // MINUTE_MS)
    end = _LAST_MINUTE if query.to_ms is None else (query.to_ms + 1) // MINUTE_MS
    if first >= end:
        _count_entries(snapshot, query, interval_ms, split, counts)
        return
    rows: Any = snapshot.file.sql.execute(_MINUTES, (interval_ms, first, end - 1, query.audit))
    wanted = None if query.level is None else severities_in(query.level)
    for number, level, entries in rows:
        if wanted is None or severity_of(level) in wanted:
            counts[number * interval_ms][level if split else ""] += entries
    if query.from_ms is not None and query.from_ms < first * MINUTE_MS:
        rest = _replaced(query, query.from_ms, first * MINUTE_MS - 1)
        _count_entries(snapshot, rest, interval_ms, split, counts)
    if query.to_ms is not None and query.to_ms >= end * MINUTE_MS:
        rest = _replaced(query, end * MINUTE_MS, query.to_ms)
        _count_entries(snapshot, rest, interval_ms, split, counts)


def _replaced(query: Query, from_ms: int, to_ms: int) -> Query:
    return msgspec.structs.replace(query, from_ms=from_ms, to_ms=to_ms)


def _count_entries(
    snapshot: Snapshot, query: Query, interval_ms: int, split: Grouping | None, counts: Counts
) -> None:
    grouped = None if split is None else Grouped(snapshot, split)
    for match in Matcher(snapshot, query).all():
        if grouped is not None:
            _count_groups(match, grouped, interval_ms, counts)
        elif match.segment.is_exact:
            _count_between(match, interval_ms, counts)
        else:
            for time in _times(match):
                counts[time // interval_ms * interval_ms][""] += 1


def _buckets(match: Match, interval_ms: int) -> Iterator[tuple[int, int, int]]:
    """Yield the start of each bucket with its first place and the place behind its last one.

    The times of the segment rise; only places in the mask count.
    """
    times, mask = match.segment.times, match.mask
    start, size = 0, match.segment.entries
    while start < size:
        start = start if mask is None else mask.find(1, start)
        if start < 0:
            return
        bucket = times[start] // interval_ms * interval_ms
        end = max(start + 1, first_place(times, bucket + interval_ms))
        yield bucket, start, end
        start = end


def _count_between(match: Match, interval_ms: int, counts: Counts) -> None:
    """Count the entries between the edges of buckets."""
    mask = match.mask
    for bucket, start, end in _buckets(match, interval_ms):
        counts[bucket][""] += end - start if mask is None else mask.count(1, start, end)


def _count_codes(match: Match, column: AnyColumn, interval_ms: int, counts: Counts) -> None:
    """Count the values of a column between the edges of buckets."""
    codes, mask, values = column.codes, match.mask, [MISSING, *column.values]
    for bucket, start, end in _buckets(match, interval_ms):
        part = None if mask is None else mask[start:end]
        counted = count_codes(codes[start:end], part, len(values) - 1)
        for code, entries in counted.items():
            if entries:
                counts[bucket][values[code]] += entries


def _times(match: Match) -> list[int]:
    times = match.segment.times
    return list(times) if match.mask is None else list(compress(times, match.mask))


def _count_groups(match: Match, grouped: Grouped, interval_ms: int, counts: Counts) -> None:
    column = match.segment.column(grouped.column)
    if column is not None and match.segment.is_exact and not grouped.is_time:
        _count_codes(match, column, interval_ms, counts)
        return
    times = _times(match)
    for time, text in zip(times, _texts(match, grouped), strict=True):
        counts[time // interval_ms * interval_ms][MISSING if text is None else text] += 1


def _texts(match: Match, grouped: Grouped) -> list[str | None]:
    """Return the value of each matching entry."""
    segment, mask = match.segment, match.mask
    column = segment.column(grouped.column)
    if column is not None and not grouped.is_time:
        texts: list[str | None] = [None, *column.values]
        codes = column.codes if mask is None else compress(column.codes, mask)
        return list(map(texts.__getitem__, codes))
    places = list(range(segment.entries))
    if mask is not None:
        places = list(compress(places, mask))
    return [grouped.text_of(parse_line(line)[0]) for line in segment.lines(places)]
