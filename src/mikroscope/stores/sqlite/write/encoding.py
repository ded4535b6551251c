"""Encodes lines as segments, if they are enough: all the work before SQLite, in any process."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from mikroscope.records.attributes import level_of
from mikroscope.records.zones import default_zone_name, set_default_zone
from mikroscope.stores.sqlite.compression import SAMPLE_EVERY, Dictionary
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.piece import MAX_PIECE, pick
from mikroscope.stores.sqlite.pieces import make_piece
from mikroscope.stores.sqlite.schema import DAY_MS, MAX_MS, MINUTE_MS, clamp
from mikroscope.stores.sqlite.sealing import MAX_ENTRIES, Sealed, seal
from mikroscope.stores.sqlite.shaping import names_of
from mikroscope.stores.sqlite.write.placing import keys_alone
from mikroscope.stores.sqlite.write.reading import (
    LineRange,
    MaybePruned,
    PruneRules,
    Read,
    RecordReader,
    nothing,
)

LEAST_ENTRIES = 2_000
"""Fewer entries do not make a segment: they are put with others first."""
MOST_DAYS = 31  # that one segment of sparse entries spans


class Fresh(NamedTuple):
    """Lines that are not sealed yet, and their numbers by minute and level."""

    lines: FreshLines
    minutes: dict[tuple[int, str], int]


class EncodedBatch(msgspec.Struct):
    """The entries of some lines, as segments, and those that are too few to be one."""

    sealed: list[Sealed] = []
    fresh: list[Fresh] = []
    audit_sources: set[int] = set()
    problems: list[tuple[int, int, str]] = []
    """Source, line number and reason of each line that is not a record."""
    maybe_pruned: list[MaybePruned] = []
    lines: int = 0
    """Lines that are not blank."""
    records: int = 0
    unreadable: list[tuple[int, int, str]] = []
    """Source, line number and reason of some records whose time cannot be read."""
    unreadable_times: int = 0
    """The number of these records."""
    field_values: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    sample: list[bytes] = []
    names: set[str] = set()
    has_keys: bool = True
    """Whether the keys of the entries are different ones, as they are in an empty index."""


class Task:
    """Encodes some ranges of lines; call it once, in any process (it can be pickled)."""

    def __init__(
        self, ranges: list[LineRange], dictionary: Dictionary, rules: PruneRules | None
    ) -> None:
        self._ranges = ranges
        self._dictionary = dictionary
        self._rules = rules

    def __getstate__(self) -> tuple[Any, ...]:
        dictionary, zone = self._dictionary, default_zone_name()
        return self._ranges, dictionary.number, dictionary.content, self._rules, zone

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ranges, number, content, self._rules, zone = state
        set_default_zone(zone)
        self._dictionary = _dictionary(number, content)

    def __call__(self) -> EncodedBatch:
        """Parse, sort, encode and compress the lines."""
        encoder = BatchEncoder(self._dictionary, self._rules)
        for one in self._ranges:
            encoder.add(one)
        return encoder.finish()


def encode_kept(kept: Iterable[tuple[MaybePruned, int]], dictionary: Dictionary) -> EncodedBatch:
    """Encode entries that were not pruned; each comes with the time to use if it has none."""
    encoder = BatchEncoder(dictionary, None)
    for entry, time_ms in kept:
        encoder.reader.now_ms = time_ms
        encoder.add(LineRange(entry.source, entry.is_audit_path, entry.line, entry.raw))
    return encoder.finish()


_known: dict[int, Dictionary] = {}


def _dictionary(number: int, content: bytes) -> Dictionary:
    """Return a dictionary ready for use; the previous task's one where it is the same."""
    known = _known.get(number)
    if known is None or known.content != content:
        _known.clear()
        known = _known[number] = Dictionary(number, content)
    return known


class BatchEncoder:
    """Encodes the ranges of one task."""

    def __init__(self, dictionary: Dictionary, rules: PruneRules | None) -> None:
        self._dictionary = dictionary
        self.reader = RecordReader(rules)
        self._read = nothing()
        self._encoded = EncodedBatch()

    def add(self, lines: LineRange) -> None:
        """Read a range of lines."""
        read = self.reader.read(lines)
        if self._read.times:
            self._read.extend(read)
        else:
            self._read = read

    def finish(self) -> EncodedBatch:
        """Return all that was added, in the order of times; of arrival where times are equal."""
        encoded, read, reader = self._encoded, self._read, self.reader
        encoded.lines, encoded.problems = reader.lines, reader.problems
        encoded.maybe_pruned, encoded.audit_sources = reader.maybe_pruned, reader.audit_sources
        encoded.unreadable_times = reader.unreadable_times
        encoded.unreadable = reader.unreadable
        encoded.records = len(read.times)
        encoded.field_values = sum(map(len, read.shapes))
        encoded.raw_bytes = sum(map(len, read.raw))
        encoded.sample = read.raw[SAMPLE_EVERY - 1 :: SAMPLE_EVERY]
        if not read.times:
            return encoded
        times = [clamp(one) for one in read.times] if _is_far(read.times) else read.times
        if any(map(int.__gt__, times, times[1:])):
            order = sorted(range(len(times)), key=times.__getitem__)
            read, times = read.chosen(order), pick(times, order)
        read.keys.extend(keys_alone(times))
        self._read = nothing()
        for is_audit in (False, True) if True in read.audits else (False,):
            places = [place for place, one in enumerate(read.audits) if one == is_audit]
            if places:
                whole = len(places) == len(times)
                self._encode(read if whole else read.chosen(places), is_audit)
        return encoded

    def _encode(self, read: Read, is_audit: bool) -> None:
        """Encode records of one kind: whole segments where they are many, and pieces."""
        times = [clamp(one) for one in read.times] if _is_far(read.times) else read.times
        small: list[int] = []
        for start, end in divide(times):
            if end - start < LEAST_ENTRIES:
                small += range(start, end)
                continue
            piece, names = make_piece(read.part(start, end), is_audit)
            self._encoded.names |= names
            if end - start == len(times):  # the records are not needed any more
                read.records.clear()
                read.shapes.clear()
            sealed = seal(piece, self._dictionary, post=True)
            self._encoded.packed_bytes += sum(map(len, sealed.blocks))
            self._encoded.sealed.append(sealed)
        for first in range(0, len(small), MAX_PIECE):
            some = small[first : first + MAX_PIECE]
            rest = read if len(some) == len(times) else read.chosen(some)
            self._encoded.names |= names_of(rest.records, rest.shapes)
            self._encoded.fresh.append(_fresh(rest, is_audit))


def _fresh(read: Read, is_audit: bool) -> Fresh:
    minutes: dict[tuple[int, str], int] = {}
    for time, fields in zip(read.times, read.records, strict=True):
        minute = time // MINUTE_MS, level_of(fields)
        minutes[minute] = minutes.get(minute, 0) + 1
    columns = read.keys, read.times, read.sources, read.lines, read.raw
    return Fresh(FreshLines(is_audit, 0, *columns), minutes)


def _is_far(times: Sequence[int]) -> bool:
    return min(times) < 0 or max(times) > MAX_MS


def divide(times: Sequence[int]) -> list[tuple[int, int]]:
    """Divide ascending times into runs that become a segment each, if they are not too few.

    A day with enough entries is apart from other days; sparse days are put together.
    """
    runs: list[tuple[int, int]] = []
    start, size = 0, len(times)
    gathered = 0  # where the sparse days begin that come before `start`
    while start < size:
        end = bisect_left(times, (times[start] // DAY_MS + 1) * DAY_MS, start)
        spans = times[start] - times[gathered] >= MOST_DAYS * DAY_MS
        if end - start >= LEAST_ENTRIES or spans or start - gathered >= 2 * LEAST_ENTRIES:
            runs.append((gathered, start))
            gathered = start
        if end - start >= LEAST_ENTRIES:
            runs += _even(start, end)
            gathered = end
        start = end
    runs.append((gathered, size))
    return [run for run in runs if run[0] < run[1]]


def _even(start: int, end: int) -> list[tuple[int, int]]:
    """Divide a run into as few as possible with at most MAX_ENTRIES each."""
    number = -(-(end - start) // MAX_ENTRIES)
    edges = [start + (end - start) * one // number for one in range(number + 1)]
    return list(pairwise(edges))


def merged(encoded: EncodedBatch, more: EncodedBatch) -> EncodedBatch:
    """Put two batches together; the entries of `more` count as arrived later."""
    return msgspec.structs.replace(
        encoded,
        sealed=encoded.sealed + more.sealed,
        fresh=encoded.fresh + more.fresh,
        records=encoded.records + more.records,
        field_values=encoded.field_values + more.field_values,
        names=encoded.names | more.names,
        has_keys=False,
    )
