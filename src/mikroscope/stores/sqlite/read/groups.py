"""Counts matching entries by value: by codes where a field is a column, else by tokens or lines."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from typing import NamedTuple

from zstandard import ZstdError

from mikroscope.query.model import Aggregate, Bucket, Grouping, Query
from mikroscope.records.attributes import (
    MISSING,
    TEMPLATE_FIELD,
    correlation_of,
    entry_template,
    event_of,
    level_of,
)
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.fields import field_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.base import Facet
from mikroscope.stores.sqlite.piece import CORRELATION, EVENT, LEVEL, TEMPLATE
from mikroscope.stores.sqlite.read.matching import Match, Matcher
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.read.vocabulary import Posting, count_tokens
from mikroscope.stores.sqlite.segment import Segment
from mikroscope.stores.sqlite.stored import StoredSegment
from mikroscope.stores.sqlite.tokens import CORRELATION_PREFIX, LEVEL_PREFIX, field_prefix
from mikroscope.stores.sqlite.write.shaping import column_name, field_of

_MOST_VALUES = 300_000  # that are counted at once
_LINES_AT_ONCE = 1_000
_FEW_LINES = 500  # are read rather than all tokens of a field

Postings = dict[tuple[int, str], list[Posting]]
"""Segments whose values are tokens, by partition and column."""


class Counts(NamedTuple):
    """The most frequent values with their numbers of entries, and entries without the field."""

    values: list[tuple[str, int]]
    missing: int


class Grouped:
    """The values of one grouping, of the entries that match a query."""

    def __init__(self, snapshot: Snapshot, grouping: Grouping) -> None:
        self._snapshot = snapshot
        self._field = grouping.field or ""
        self._by = grouping.by
        names = {"level": LEVEL, "event": EVENT, "correlation": CORRELATION}
        is_template = grouping.by == "field" and self._field == TEMPLATE_FIELD
        self.column = TEMPLATE if is_template else names.get(grouping.by, column_name(self._field))
        self.is_time = grouping.by == "field" and self._field in TIME_FIELDS

    def text_of(self, fields: Fields) -> str | None:
        """Return the value of a record; None if it is missing."""
        if self._by == "level":
            return level_of(fields)
        if self._by == "event":
            return event_of(fields)
        if self._by == "correlation":
            return correlation_of(fields)
        if self.column == TEMPLATE:
            return entry_template(fields)
        return field_text(fields, self._field)

    def count(self, matches: Iterable[Match], keep: Callable[[str], bool] | None) -> "_Tally":
        """Count the values that are to be kept (None: all) of matching entries."""
        tally = _Tally(keep)
        postings: Postings = {}
        for match in matches:
            with self._snapshot.tolerating(match.segment):
                self._count_one(match, tally, postings)
        for (part, name), of_part in postings.items():
            with self._snapshot.tolerating(*(posting.segment for posting in of_part)):
                self._count_posted(part, name, of_part, tally)
        return tally

    def _count_one(self, match: Match, tally: "_Tally", postings: Postings) -> None:
        segment = match.segment
        column = segment.column(self.column)
        if column is None:
            self._count_without_column(match, tally, postings)
            return
        if match.mask is None:
            counted = list(column.counts())
            tally.add(counted)
            missing = segment.entries - sum(count for _, count in counted)
        else:
            codes = column.count_in(match.mask)
            missing = codes.pop(0, 0)
            values = column.values
            tally.add((values[code - 1], count) for code, count in codes.items() if count)
        if missing and self.is_time:
            mask = column.mask((0,))
            places = [place for place in _places(match) if mask[place]]
            self._read(segment, places, tally)
        else:
            tally.missing += missing

    def _count_without_column(self, match: Match, tally: "_Tally", postings: Postings) -> None:
        segment = match.segment
        if isinstance(segment, StoredSegment):
            head = segment.head
            if self.column in head.unknown or self.is_time:
                self._read(segment, _places(match), tally)
                return
            posted = head.posted
            name = head.aliases.get(self.column, self.column)
            if segment.is_posted and (posted is None or name in posted):
                known = posted[name] if posted else None
                if known is None or not known.is_readable or match.entries <= _FEW_LINES:
                    self._read(segment, _places(match), tally)
                else:
                    part = postings.setdefault((segment.info.part, name), [])
                    part.append(Posting(segment, match.mask))
                return
        elif self.is_time:
            self._read(segment, _places(match), tally)
            return
        tally.missing += match.entries

    def _read(self, segment: Segment, places: Iterable[int], tally: "_Tally") -> None:
        """Count values by the lines."""
        rising = sorted(places)
        for start in range(0, len(rising), _LINES_AT_ONCE):
            self._snapshot.check()
            records = self._snapshot.records(segment, rising[start : start + _LINES_AT_ONCE])
            texts = [self.text_of(fields) for _, _, fields in records]
            tally.missing += texts.count(None)
            tally.add(Counter(text for text in texts if text is not None).items())

    def _count_posted(self, part: int, name: str, postings: list[Posting], tally: "_Tally") -> None:
        prefix = {LEVEL: LEVEL_PREFIX, CORRELATION: CORRELATION_PREFIX}.get(name)
        if prefix is None:
            prefix = field_prefix(field_of(name) or "")
        partition = self._snapshot.content.partitions[part]
        entries = sum(posting.entries for posting in postings)
        infos = [one for one in self._snapshot.content.segments if one.part == part]
        counted = 0
        for value, count in count_tokens(self._snapshot, partition, infos, prefix, postings):
            tally.add(((value, count),))
            counted += count
        tally.missing += max(0, entries - counted)
        if all(posting.mask is None for posting in postings):
            _check_number(counted, name, postings)


def _check_number(counted: int, name: str, postings: Iterable[Posting]) -> None:
    """Raise ZstdError if an inverted index has lost values: what SQLite does not notice."""
    heads = [posting.segment.head.posted or {} for posting in postings]
    known = sum(posted[name].entries for posted in heads)
    if counted != known:
        raise ZstdError(f"an inverted index has {counted} values of {name!r}, expected {known}")


class _Tally:
    """Numbers of entries by value; values that `keep` refuses are not counted.

    `is_full` is True if there were more values than can be counted at once: some were dropped.
    """

    def __init__(self, keep: Callable[[str], bool] | None) -> None:
        self.counts: dict[str, int] = {}
        self.missing = 0
        self.divisor = 1
        self._keep = keep

    def add(self, counted: Iterable[tuple[str, int]]) -> None:
        """Add numbers of entries."""
        counts, keep = self.counts, self._keep
        get = counts.get
        if keep is None and self.divisor == 1:
            for value, count in counted:
                counts[value] = get(value, 0) + count
        else:
            for value, count in counted:
                if hash(value) % self.divisor == 0 and (keep is None or keep(value)):
                    counts[value] = get(value, 0) + count
        while keep is None and len(counts) > _MOST_VALUES:
            self.divisor *= 4
            kept = [value for value in counts if hash(value) % self.divisor == 0]
            self.counts = counts = {value: counts[value] for value in kept}


def count_values(
    snapshot: Snapshot, query: Query, grouping: Grouping, wanted: int, *, with_missing: bool
) -> Counts:
    """Return the `wanted` most frequent values of the matching entries.

    Values beyond _MOST_VALUES are counted in several passes, each for a part of them.
    """
    grouped = Grouped(snapshot, grouping)
    found = list(Matcher(snapshot, query).all())
    tally = grouped.count(found, None)
    missing = tally.missing
    own = tally.counts.get(MISSING, 0)  # entries whose value has that text
    best = _best(tally.counts, wanted)
    for rest in range(1, tally.divisor):
        divisor = tally.divisor
        part = grouped.count(found, _in_part(divisor, rest))
        own += part.counts.get(MISSING, 0)
        best = _best(dict([*best, *part.counts.items()]), wanted)
    if with_missing and missing:
        rest_of_best = [one for one in best if one[0] != MISSING]
        best = _best(dict([*rest_of_best, (MISSING, missing + own)]), wanted)
    return Counts(best, missing)


def _in_part(divisor: int, rest: int) -> Callable[[str], bool]:
    return lambda value: hash(value) % divisor == rest


def _best(counts: dict[str, int], wanted: int) -> list[tuple[str, int]]:
    """Return the most frequent values: highest count first, then by value."""
    return heapq.nsmallest(wanted, counts.items(), key=lambda one: (-one[1], one[0]))


def _places(match: Match) -> Iterator[int]:
    if match.mask is None:
        return iter(range(match.segment.entries))
    return compress(range(match.segment.entries), match.mask)


def aggregate(snapshot: Snapshot, query: Query, grouping: Grouping, limit: int) -> Aggregate:
    """Count the matching entries by value; the `limit` most frequent values are returned."""
    counts = count_values(snapshot, query, grouping, limit + 1, with_missing=True)
    buckets = [Bucket(key, count) for key, count in counts.values]
    return Aggregate(
        buckets[:limit],
        grouping.by,
        grouping.field,
        len(buckets) > limit,
        complete=not snapshot.notes,
        notes=tuple(snapshot.notes),
    )


def facet(snapshot: Snapshot, query: Query, field: str, limit: int) -> Facet:
    """Count the matching entries by the value of a field."""
    counts = count_values(snapshot, query, Grouping("field", field), limit, with_missing=False)
    return Facet(field, [Bucket(key, count) for key, count in counts.values], counts.missing)
