"""Counts matching entries by value: by codes where a field is a column, else by tokens or lines."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice

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
from mikroscope.stores.sqlite.read.tally import Tally
from mikroscope.stores.sqlite.read.vocabulary import Posting, count_tokens
from mikroscope.stores.sqlite.segment import Segment
from mikroscope.stores.sqlite.shaping import column_name, field_of
from mikroscope.stores.sqlite.stored import StoredSegment
from mikroscope.stores.sqlite.tokens import CORRELATION_PREFIX, LEVEL_PREFIX, field_prefix

_VALUE_BYTES = 150  # about, that a value and its number take
_LINES_AT_ONCE = 1_000
_VALUES_AT_ONCE = 10_000
_FEW_LINES = 500  # are read rather than all tokens of a field

Postings = dict[tuple[int, str], list[Posting]]
"""Segments whose values are tokens, by partition and column."""


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

    def count(self, matches: Iterable[Match], tally: Tally) -> Tally:
        """Count the values of matching entries."""
        postings: Postings = {}
        for match in matches:
            with self._snapshot.tolerating(match.segment):
                self._count_one(match, tally, postings)
        for (part, name), of_part in postings.items():
            with self._snapshot.tolerating(*(posting.segment for posting in of_part)):
                self._count_posted(part, name, of_part, tally)
        return tally

    def _count_one(self, match: Match, tally: Tally, postings: Postings) -> None:
        segment = match.segment
        column = segment.column(self.column)
        if column is None:
            self._count_without_column(match, tally, postings)
            return
        if match.mask is None:
            counted = dict(column.counts())
            missing = segment.entries - sum(counted.values())
            tally.add(counted.items())
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

    def _count_without_column(self, match: Match, tally: Tally, postings: Postings) -> None:
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

    def _read(self, segment: Segment, places: Iterable[int], tally: Tally) -> None:
        """Count values by the lines."""
        rising = sorted(places)
        for start in range(0, len(rising), _LINES_AT_ONCE):
            self._snapshot.check()
            records = self._snapshot.records(segment, rising[start : start + _LINES_AT_ONCE])
            texts = [self.text_of(fields) for _, _, fields in records]
            tally.missing += texts.count(None)
            tally.add(Counter(text for text in texts if text is not None).items())

    def _count_posted(self, part: int, name: str, postings: list[Posting], tally: Tally) -> None:
        prefix = {LEVEL: LEVEL_PREFIX, CORRELATION: CORRELATION_PREFIX}.get(name)
        if prefix is None:
            prefix = field_prefix(field_of(name) or "")
        partition = self._snapshot.content.partitions[part]
        entries = sum(posting.entries for posting in postings)
        infos = [one for one in self._snapshot.content.segments if one.part == part]
        found = count_tokens(self._snapshot, partition, infos, prefix, postings)
        counted = 0
        while some := dict(islice(found, _VALUES_AT_ONCE)):
            tally.add(some.items())
            counted += sum(some.values())
        tally.missing += max(0, entries - counted)
        if all(posting.mask is None for posting in postings):
            _check_number(counted, name, postings)


def _check_number(counted: int, name: str, postings: Iterable[Posting]) -> None:
    """Raise ZstdError if an inverted index has lost values: what SQLite does not notice."""
    heads = [posting.segment.head.posted or {} for posting in postings]
    known = sum(posted[name].entries for posted in heads)
    if counted != known:
        raise ZstdError(f"an inverted index has {counted} values of {name!r}, expected {known}")


def count_values(snapshot: Snapshot, query: Query, grouping: Grouping) -> Tally:
    """Count the matching entries by value.

    Partitions that match as a whole are counted once, as long as they do not change.
    """
    grouped, tally = Grouped(snapshot, grouping), Tally()
    matcher = Matcher(snapshot, query)
    if matcher.conditions:
        return grouped.count(matcher.all(), tally)
    by_part: dict[int, list[Match]] = {}
    rest: list[Match] = []
    for match in matcher.all():
        if isinstance(match.segment, StoredSegment):
            by_part.setdefault(match.segment.info.part, []).append(match)
        else:
            rest.append(match)
    for part, matches in by_part.items():
        is_whole = all(match.is_whole for match in matches)
        if is_whole and len(matches) == len(snapshot.content.ordinals[part]):
            tally.add_tally(_count_partition(snapshot, part, grouped, matches))
        else:
            rest += matches
    return grouped.count(rest, tally)


def _count_partition(
    snapshot: Snapshot, part: int, grouped: Grouped, matches: Sequence[Match]
) -> Tally:
    """Return the counts of a whole partition, those of the last time if nothing has changed."""

    def make() -> tuple[Tally, int]:
        tally = grouped.count(matches, Tally())
        return tally, _VALUE_BYTES * len(tally) + 100

    partition = snapshot.content.partitions[part]
    state = partition.next_ordinal, partition.entries, len(matches)
    noted = len(snapshot.notes)
    tally: Tally = snapshot.file.cached(("counts", part, *state, grouped.column), make)
    if len(snapshot.notes) > noted or not tally.is_small:
        return grouped.count(matches, Tally())
    return tally


def _places(match: Match) -> Iterator[int]:
    if match.mask is None:
        return iter(range(match.segment.entries))
    return compress(range(match.segment.entries), match.mask)


def aggregate(snapshot: Snapshot, query: Query, grouping: Grouping, limit: int) -> Aggregate:
    """Count the matching entries by value; the `limit` most frequent values are returned."""
    values = count_values(snapshot, query, grouping).best(limit + 1, MISSING)
    buckets = [Bucket(key, count) for key, count in values]
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
    tally = count_values(snapshot, query, Grouping("field", field))
    return Facet(field, [Bucket(*one) for one in tally.best(limit, None)], tally.missing)
