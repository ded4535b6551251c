"""A batch of changes, made ready in memory so that the transaction that writes it is short."""

from collections.abc import Callable, Iterable
from itertools import chain, islice
from time import time_ns

import msgspec

from mikroscope.records import audit_of, is_audit_path, level_of, time_of
from mikroscope.stores.base import Checkpoint, Line, Source
from mikroscope.stores.sqlite.packing import (
    SAMPLE_EVERY,
    SAMPLE_LINES,
    Dictionary,
    Packer,
    take_time,
)
from mikroscope.stores.sqlite.schema import MAX_MS, clamp
from mikroscope.stores.sqlite.terms import Documents

ACTIVE, GONE, DISCARDED = range(3)  # states of a source
MINUTE_MS = 60_000


WasPruned = Callable[[int, int, int, bool], bool]
"""Whether a line of a source, with its time and audit, was pruned from the index before."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An entry without its key."""

    time_ms: int
    source: int
    line: int
    audit: bool
    dictionary: int
    data: bytes
    document: bytes


class Preparation:
    """What batches of one store share: the dictionary in use, known names, the next source."""

    def __init__(
        self, packer: Packer, next_source: int, was_pruned: WasPruned | None = None
    ) -> None:
        self.was_pruned = was_pruned
        self.packer = packer
        self.documents = Documents()
        self.next_source = next_source
        self.new_dictionaries: list[Dictionary] = []
        """Trained and not committed yet; a batch that is given up may have packed with them."""


class SqliteBatch:
    """Rows, counts and sources; written by `Writer.commit`."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.rows: list[Row] = []
        self.minutes: dict[tuple[int, str, bool], int] = {}
        self.sources: dict[int, tuple[Source, int]] = {}
        self.audit_sources: set[int] = set()
        self.field_values = 0

    @property
    def records(self) -> int:
        """How many entries were added so far."""
        return len(self.rows)

    def add(self, source: Source, lines: Iterable[Line], checkpoint: Checkpoint) -> int:
        """Entries of one source, and how far that brings it; returns how many were taken."""
        before, lines = len(self.rows), iter(lines)
        wants_sample = self.preparation.packer.wants_sample
        waiting = list(islice(lines, SAMPLE_LINES)) if wants_sample else []
        self._train(waiting)
        self._add_rows(source, chain(waiting, lines))
        self.update_source(msgspec.structs.replace(source, checkpoint=checkpoint))
        return len(self.rows) - before

    def open_source(self, path: str) -> Source:
        """A source that has nothing indexed yet."""
        source = Source(self.preparation.next_source, path, Checkpoint())
        self.preparation.next_source += 1
        self.update_source(source)
        return source

    def update_source(self, source: Source) -> None:
        """Another path, checkpoint or `gone` for a source."""
        self.sources[source.id] = source, GONE if source.gone else ACTIVE

    def discard_source(self, source: Source) -> None:
        """Forget a source; its entries leave with `Store.purge`."""
        self.sources[source.id] = source, DISCARDED

    def move_count(self, row: Row, time_ms: int, level: str) -> None:
        """Count an entry in the minute of another time."""
        before = row.time_ms // MINUTE_MS, level, row.audit
        after = time_ms // MINUTE_MS, level, row.audit
        self.minutes[before] -= 1
        self.minutes[after] = self.minutes.get(after, 0) + 1

    def _train(self, lines: list[Line]) -> None:
        packer = self.preparation.packer
        packer.observe([_without_time(line) for line in lines])
        dictionary = packer.train()
        if dictionary is not None:
            self.preparation.new_dictionaries.append(dictionary)

    def _add_rows(self, source: Source, lines: Iterable[Line]) -> None:
        """The hot loop: everything a record costs before SQLite happens here."""
        packer, make_document = self.preparation.packer, self.preparation.documents.make
        pack, dictionary = packer.current.pack, packer.current.number
        rows, minutes, number = self.rows, self.minutes, source.id
        path_is_audit, now_ms = is_audit_path(source.path), time_ns() // 1_000_000
        was_pruned = self.preparation.was_pruned
        first, raw_bytes, packed_bytes, field_values, any_audit = len(rows), 0, 0, 0, False
        for line in lines:
            fields, raw = line.fields, line.raw
            time_ms, time_field = time_of(fields) or (now_ms, None)
            level = level_of(fields)
            audit = audit_of(fields, path_is_audit)
            any_audit |= audit
            if was_pruned is not None and was_pruned(number, line.number, time_ms, audit):
                continue
            field_values += len(fields)
            if not 0 <= time_ms <= MAX_MS:
                time_ms = clamp(time_ms)
            elif time_field is not None:
                raw = take_time(raw, fields[time_field])
            data = pack(raw)
            document = make_document(fields, level, audit, time_field)
            rows.append(Row(time_ms, number, line.number, audit, dictionary, data, document))
            minute = time_ms // MINUTE_MS, level, audit
            minutes[minute] = minutes.get(minute, 0) + 1
            raw_bytes += len(raw)
            packed_bytes += len(data)
            if not len(rows) % SAMPLE_EVERY:
                packer.observe([raw])
        packer.count(len(rows) - first, raw_bytes, packed_bytes)
        self.field_values += field_values
        if any_audit:
            self.audit_sources.add(number)


def _without_time(line: Line) -> bytes:
    found = time_of(line.fields)
    return line.raw if found is None else take_time(line.raw, line.fields[found[1]])
