"""Counts over time: from the minutes where these suffice, else entry by entry."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from mikroscope.errors import QueryError
from mikroscope.query.model import Grouping, Query
from mikroscope.records.attributes import time_of
from mikroscope.stores.base import MAX_HISTOGRAM_BUCKETS, HistogramBucket
from mikroscope.stores.sqlite.read.connections import Connection
from mikroscope.stores.sqlite.read.counting import has_level, outside, whole_units
from mikroscope.stores.sqlite.read.extraction import reader_of
from mikroscope.stores.sqlite.read.planner import MAX_DAYS, Plan
from mikroscope.stores.sqlite.rows import MINUTE_MS
from mikroscope.stores.sqlite.schema import KEY_BITS

Counts = defaultdict[int, Counter[str]]
"""By the start of a bucket, and by group; without groups all count under one empty text."""

_MINUTES = """
SELECT minute * 60000 / ?, level, sum(entries) FROM minutes WHERE minute BETWEEN ? AND ?
AND audit = coalesce(?, audit) GROUP BY 1, 2
"""
_ENTRIES = f"""
SELECT (key >> {KEY_BITS}) / ?, count(*) FROM entries WHERE key BETWEEN ? AND ? GROUP BY 1
"""  # noqa: S608
_MATCHES = f"""
SELECT (rowid >> {KEY_BITS}) / ?, count(*) FROM terms
WHERE rowid BETWEEN ? AND ? AND terms MATCH ? GROUP BY 1
"""  # noqa: S608


def histogram(
    connection: Connection, query: Query, interval_ms: int, split: Grouping | None
) -> list[HistogramBucket]:
    """Count the matching entries in buckets of time, in order and without gaps."""
    if interval_ms < 1:
        raise QueryError(f"'interval' is {interval_ms} ms, expected at least 1 ms")
    _bucket_starts(query.from_ms, query.to_ms, interval_ms)  # refuse before the work
    counts: Counts = defaultdict(Counter)
    if query.field is None and query.text is None and _by_level(split) and _whole(interval_ms):
        _count_minutes(connection, query, interval_ms, split, counts)
    else:
        _count_entries(connection, query, interval_ms, split, counts)
    low = min(counts, default=None) if query.from_ms is None else query.from_ms
    high = max(counts, default=None) if query.to_ms is None else query.to_ms
    return [
        HistogramBucket(start, counts[start].total(), dict(counts[start]) if split else {})
        for start in _bucket_starts(low, high, interval_ms)
    ]


def _by_level(split: Grouping | None) -> bool:
    return split is None or split.by == "level"


def _whole(interval_ms: int) -> bool:
    return interval_ms % MINUTE_MS == 0


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
    connection: Connection, query: Query, interval_ms: int, split: Grouping | None, counts: Counts
) -> None:
    """Add up whole minutes; the rest of the range at both ends is counted entry by entry."""
    first, end = whole_units(query, MINUTE_MS)
    if first >= end:
        _count_entries(connection, query, interval_ms, split, counts)
        return
    bindings = (interval_ms, first, end - 1, query.audit)
    rows: Any = connection.sql.execute(_MINUTES, bindings)
    for number, level, entries in rows:
        if has_level(query, level):
            counts[number * interval_ms][level if split else ""] += entries
    for rest in outside(query, first * MINUTE_MS, end * MINUTE_MS):
        _count_entries(connection, rest, interval_ms, split, counts)


def _count_entries(
    connection: Connection, query: Query, interval_ms: int, split: Grouping | None, counts: Counts
) -> None:
    plans = connection.plans(query, MAX_DAYS)
    if split is None and not plans.exact_times and not connection.has_inexact_keys():
        for plan in plans.parts:
            for number, entries in _count_keys(connection, query, plan, interval_ms):
                counts[number * interval_ms][""] += entries
        return
    group_of = reader_of(split) if split else lambda _raw: ""
    for row in connection.merged_rows(query, plans):
        found = time_of(row.fields())
        time_ms = row.key >> KEY_BITS if found is None else found[0]
        counts[time_ms // interval_ms * interval_ms][group_of(row.raw)] += 1


def _count_keys(
    connection: Connection, query: Query, plan: Plan, interval_ms: int
) -> Iterator[tuple[int, int]]:
    """Yield the number of each bucket and its entries, from the keys, which give the times."""
    if plan.check or plan.keys is not None:
        for row in connection.rows(query, plan):
            yield (row.key >> KEY_BITS) // interval_ms, 1
        return
    bounds = interval_ms, plan.low, plan.high
    rows: Any = (
        connection.sql.execute(_ENTRIES, bounds)
        if plan.match is None
        else connection.sql.execute(_MATCHES, (*bounds, plan.match))
    )
    yield from rows
