"""Finds the entries that match a query, segment by segment."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec

from mikroscope.query.matching import matches
from mikroscope.query.model import Query
from mikroscope.records.attributes import time_of
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.masks import any_of, both, places_in
from mikroscope.stores.sqlite.read.conditions import (
    MAX_SEARCHED_FIELDS,
    Condition,
    conditions_of,
)
from mikroscope.stores.sqlite.read.lookup import Hits
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.segment import MemorySegment, Segment, between
from mikroscope.stores.sqlite.stored import SegmentInfo, StoredSegment

_decode_names = msgspec.msgpack.Decoder(list[str]).decode
_CHECKED_AT_ONCE = 64  # lines that are read to compare them with the query


class Match(NamedTuple):
    """A segment, and its entries that match; None for all entries."""

    segment: Segment
    mask: bytes | None

    @property
    def entries(self) -> int:
        """The number of matching entries."""
        return self.segment.entries if self.mask is None else self.mask.count(1)

    @property
    def is_whole(self) -> bool:
        """Whether all entries that were not deleted match."""
        return self.mask is None or self.mask == self.segment.alive


class _PartitionPlan(NamedTuple):
    """How the conditions of a query are looked up in one partition."""

    common: Hits | None
    """What meets all conditions that no column of the partition can meet."""
    alone: list["_Looked"]
    """The other conditions."""
    candidates: set[int] | None
    """The first ordinals of the segments that may have matching entries; None for all."""


class _Looked(NamedTuple):
    """A condition that was looked up in one partition."""

    condition: Condition
    entries: Hits
    segments: Hits
    """The segments with a column in which entries may meet it."""


class Matcher:
    """One query in one snapshot."""

    def __init__(self, snapshot: Snapshot, query: Query) -> None:
        self.query = query
        self._snapshot = snapshot
        self._plans: dict[int, _PartitionPlan] = {}

    @cached_property
    def conditions(self) -> list[Condition]:
        """The conditions but for time and audit."""
        levels = self._snapshot.levels() if self.query.level is not None else []
        return conditions_of(self.query, levels)

    def segments(self) -> Iterator[Segment]:
        """Yield the segments that may have matching entries, by last key, the greatest first."""
        yield from self._snapshot.segments(self._may_match)

    def _may_match(self, segment: SegmentInfo | MemorySegment) -> bool:
        """Return whether a segment is of the kind and time that the query wants, and was found."""
        query = self.query
        if (
            (query.audit is not None and query.audit != segment.is_audit)
            or (query.from_ms is not None and segment.last_ms < query.from_ms)
            or (query.to_ms is not None and segment.first_ms > query.to_ms)
        ):
            return False
        if not self.conditions or not isinstance(segment, SegmentInfo) or not segment.is_posted:
            return True
        try:
            candidates = self._plan(segment.part).candidates
        except files.DAMAGE:  # it is noted where the segment is searched
            return True
        return candidates is None or segment.first_ordinal in candidates

    def find(self, segment: Segment, newest: int | None = None) -> Match | None:
        """Return the matching entries of a segment; None if there is none.

        With `newest`, so many of the last ones are enough.
        """
        self._snapshot.check()
        masks: list[bytes] = []
        checks = False
        of_time = between(segment, self.query.from_ms, self.query.to_ms)
        for mask in (of_time, segment.alive):
            if mask is not None:
                masks.append(mask)
        if self.conditions:
            checks = any(condition.needs_check(segment) for condition in self.conditions)
            found = self._meet(segment, None if masks or checks else newest)
            if found is None:
                return None
            masks += found
        if not masks:
            return Match(segment, None)
        joint = masks[0]
        for mask in masks[1:]:
            joint = both(joint, mask)
        if checks:
            joint = self._check(segment, joint)
        return Match(segment, joint) if 1 in joint else None

    def all(self) -> Iterator[Match]:
        """Yield all matching entries; segments that cannot be read are noted and left out."""
        for segment in self.segments():
            with self._snapshot.tolerating(segment):
                found = self.find(segment)
                if found is not None:
                    yield found

    def checked_places(self, match: Match) -> Iterator[int]:
        """Yield the places of the matching entries, the last one first."""
        if match.mask is None:
            return iter(range(match.segment.entries - 1, -1, -1))
        return places_in(match.mask)

    def _meet(self, segment: Segment, newest: int | None) -> list[bytes] | None:
        """Return masks of the entries that meet the conditions; None if no entry meets one."""
        if isinstance(segment, StoredSegment) and segment.is_posted:
            return self._meet_posted(segment, newest)
        masks = []
        for condition in self.conditions:
            found = [
                mask
                for mask in (
                    condition.column_mask(segment),
                    condition.word_mask(segment),
                    condition.extra_mask(segment),
                )
                if mask is not None
            ]
            if not found:
                return None
            masks.append(found[0] if len(found) == 1 else any_of(found, segment.entries))
        return masks

    def _meet_posted(self, segment: StoredSegment, newest: int | None) -> list[bytes] | None:
        plan = self._plan(segment.info.part)
        masks: list[bytes] = []
        if plan.common is not None:
            only = newest if len(self.conditions) == 1 else None
            common = plan.common.mask(segment.info, only)
            if any(one.extra_mask(segment) is not None for one in self._pure(plan)):
                return self._meet_each(segment)
            if 1 not in common:
                return None
            masks.append(common)
        for looked in plan.alone:
            mask = _meet_one(segment, looked, newest if len(self.conditions) == 1 else None)
            if mask is None:
                return None
            masks.append(mask)
        return masks

    def _meet_each(self, segment: StoredSegment) -> list[bytes] | None:
        """Return a mask for each condition by itself."""
        masks = []
        for condition in self.conditions:
            mask = _meet_one(segment, self._look_up(segment.info.part, condition), None)
            if mask is None:
                return None
            masks.append(mask)
        return masks

    def _pure(self, plan: _PartitionPlan) -> list[Condition]:
        mixed = [looked.condition for looked in plan.alone]
        return [one for one in self.conditions if one not in mixed]

    def _plan(self, part: int) -> _PartitionPlan:
        plan = self._plans.get(part)
        if plan is None:
            plan = self._plans[part] = self._make_plan(part)
        return plan

    def _make_plan(self, part: int) -> _PartitionPlan:
        lookup = self._snapshot.lookup(part)
        if len(self.conditions) == 1:  # one look-up is enough where nothing is found
            [condition] = self.conditions
            anything = condition.entry_query(self._names(part)), condition.segment_query()
            nothing = lookup.find(b" OR ".join(anything))
            if nothing.is_empty:
                return _PartitionPlan(nothing, [], set() if condition.is_indexed else None)
        pure: list[bytes] = []
        alone: list[_Looked] = []
        for condition in self.conditions:
            if lookup.find(condition.segment_query()).is_empty:
                pure.append(condition.entry_query(self._names(part)))
            else:
                alone.append(self._look_up(part, condition))
        common = lookup.find(*pure) if pure else None
        return _PartitionPlan(common, alone, self._candidates(part, common, alone))

    def _candidates(
        self, part: int, common: Hits | None, alone: Sequence[_Looked]
    ) -> set[int] | None:
        if not all(condition.is_indexed for condition in self.conditions):
            return None
        starts = self._snapshot.content.ordinals[part]
        found = [common.segments(starts)] if common is not None else []
        for looked in alone:
            entries, columns = looked.entries.segments(starts), looked.segments.segments(starts)
            found.append(None if entries is None or columns is None else entries | columns)
        known = [one for one in found if one is not None]
        return set.intersection(*known) if known else None

    def _look_up(self, part: int, condition: Condition) -> _Looked:
        lookup = self._snapshot.lookup(part)
        entries = lookup.find(condition.entry_query(self._names(part)))
        return _Looked(condition, entries, lookup.find(condition.segment_query()))

    def _names(self, part: int) -> Sequence[str]:
        partition = self._snapshot.content.partitions[part]
        return _decode_names(partition.names)[:MAX_SEARCHED_FIELDS]

    def _check(self, segment: Segment, mask: bytes) -> bytes:
        """Return those of the entries of a mask whose lines match the query."""
        places = [place for place in range(segment.entries) if mask[place]]
        kept = bytearray(segment.entries)
        for start in range(0, len(places), _CHECKED_AT_ONCE):
            self._snapshot.check()
            some = places[start : start + _CHECKED_AT_ONCE]
            for place, _, fields in self._snapshot.records(segment, some):
                found = time_of(fields)
                time_ms = segment.times[place] if found is None else found[0]
                if matches(self.query, fields, time_ms, segment.is_audit):
                    kept[place] = 1
        return bytes(kept)


def _meet_one(segment: StoredSegment, looked: _Looked, newest: int | None) -> bytes | None:
    """Return the entries of a segment that meet a condition; None if none does."""
    condition, found = looked.condition, []
    if looked.segments.has_segment(segment.info):
        newest = None
        mask = condition.column_mask(segment)
        if mask is not None:
            found.append(mask)
    entries = looked.entries.mask(segment.info, newest)
    if 1 in entries:
        found.append(entries)
    extra = condition.extra_mask(segment)
    if extra is not None:
        found.append(extra)
    if not found:
        return None
    return found[0] if len(found) == 1 else any_of(found, segment.entries)
