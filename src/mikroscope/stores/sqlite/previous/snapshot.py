"""Answers questions from an index of format 5: its entries as segments made when they are read."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mikroscope.records.attributes import find_time
from mikroscope.records.parsing import parse_line
from mikroscope.records.timestamps import canonical_ms
from mikroscope.stores.sqlite.columns import AnyColumn
from mikroscope.stores.sqlite.compression import strip_text
from mikroscope.stores.sqlite.pieces import make_piece
from mikroscope.stores.sqlite.previous.rows import OLD_KEY_BITS, Row, new_key, rows_between
from mikroscope.stores.sqlite.read.directory import Directory
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.schema import MAX_KEY, MAX_MS
from mikroscope.stores.sqlite.sealing import Posted
from mikroscope.stores.sqlite.segment import MemorySegment, Segment
from mikroscope.stores.sqlite.stored import SegmentFile
from mikroscope.stores.sqlite.write.reading import LineRange, Read, nothing, read_plain

CHUNK = 1_024  # entries that are read together
KEPT = 8  # chunks that a question keeps in memory
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 and 9999

_OLDER = """
SELECT flags & 1, min(key), max(key), count(*) FROM
    (SELECT key, flags FROM entries WHERE key < ? ORDER BY key DESC LIMIT ?) GROUP BY 1
"""
_STATE = """
SELECT (SELECT value FROM meta WHERE name = 'changes'),
    (SELECT value FROM meta WHERE name = 'spill_ms')
"""


class Chunk(NamedTuple):
    """Neighbouring entries of one kind; the keys are those of format 5."""

    is_audit: int
    first_key: int
    last_key: int
    entries: int


class Chunks:
    """The chunks that were found so far, newest first. Any thread may use it.

    The old index does not change any more, but a process of the earlier version may write to it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: object = None
        self._found: list[Chunk] = []
        self._is_complete = False

    def of(self, file: SegmentFile, changes: object) -> Iterator[Chunk]:
        """Yield the chunks in the snapshot of a connection, the newest first."""
        with self._lock:
            if changes != self._changes:
                self._changes, self._found, self._is_complete = changes, [], False
            found = self._found
        place = 0
        while True:
            with self._lock:
                if place == len(found):
                    if found is self._found and self._is_complete:
                        return
                    older = _older(file, min(_last_two(found), default=MAX_KEY))
                    found.extend(older)
                    if not older:
                        self._is_complete = found is self._found
                        return
            yield found[place]
            place += 1


def _last_two(found: Sequence[Chunk]) -> list[int]:
    """Return the first keys of the last chunks: those of the two kinds overlap."""
    return [chunk.first_key for chunk in found[-2:]]


def _older(file: SegmentFile, before: int) -> list[Chunk]:
    rows: Any = file.sql.execute(_OLDER, (before, CHUNK))
    return sorted((Chunk(*row) for row in rows), key=_last_key, reverse=True)


def _last_key(chunk: Chunk) -> int:
    return chunk.last_key


class PreviousSnapshot(Snapshot):
    """What a query sees of an index of format 5: the same as of any other index."""

    def __init__(
        self, file: SegmentFile, directory: Directory, chunks: Chunks, check: Callable[[], None]
    ) -> None:
        super().__init__(file, directory, check)
        self._chunks = chunks
        self._loaded: OrderedDict[Chunk, MemorySegment] = OrderedDict()

    def segments(self, accepts: Callable[[Any], bool] = lambda _: True) -> Iterator[Segment]:
        """Yield the entries, some at a time, by their last key, the greatest first."""
        state: Any = self.file.sql.execute(_STATE).fetchone()
        changes, spill_ms = state
        for chunk in self._chunks.of(self.file, changes):
            segment = _LazySegment(chunk, spill_ms or 0, self._load)
            if accepts(segment):
                yield segment

    def _load(self, chunk: Chunk) -> MemorySegment:
        """Return the entries of a chunk; the last ones that were asked for are kept."""
        segment = self._loaded.pop(chunk, None)
        if segment is None:
            self.check()
            segment = _read(self.file, chunk)
            while len(self._loaded) >= KEPT:
                self._loaded.popitem(last=False)
        self._loaded[chunk] = segment
        return segment


class _LazySegment:
    """A chunk as a segment, read when more than its bounds is asked for."""

    is_posted = False
    alive: bytes | None = None
    posted: Mapping[str, Posted] | None = {}
    worded: Iterable[str] = ()

    def __init__(self, chunk: Chunk, spill_ms: int, load: Callable[[Chunk], MemorySegment]) -> None:
        self._chunk = chunk
        self._load = load
        self.entries = chunk.entries
        self.is_audit = bool(chunk.is_audit)
        self.first_key, self.last_key = new_key(chunk.first_key), new_key(chunk.last_key)
        # A key may be later than the time of its entry, and those at the ends may mean any time.
        first_ms = (chunk.first_key >> OLD_KEY_BITS) - spill_ms
        last_ms = chunk.last_key >> OLD_KEY_BITS
        self.first_ms = first_ms if first_ms > 0 else _EARLIEST_MS
        self.last_ms = last_ms if last_ms < MAX_MS else _LATEST_MS

    @property
    def is_exact(self) -> bool:
        """Whether the keys give the times."""
        return self._segment.is_exact

    @property
    def keys(self) -> Sequence[int]:
        """The keys, in rising order."""
        return self._segment.keys

    @property
    def times(self) -> Sequence[int]:
        """The times in epoch milliseconds."""
        return self._segment.times

    @property
    def names(self) -> Iterable[str]:
        """The names of all columns."""
        return self._segment.names

    @property
    def aliases(self) -> Mapping[str, str]:
        """Attributes that are the value of a field, and that field."""
        return self._segment.aliases

    def column(self, name: str) -> AnyColumn | None:
        """Return the column of a field or an attribute."""
        return self._segment.column(name)

    def word_mask(self, token: bytes) -> bytes:
        """Return the entries that have a word or a token."""
        return self._segment.word_mask(token)

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """Return the lines of the entries at some places, in their order."""
        return self._segment.lines(places)

    def keys_at(self, places: Sequence[int]) -> list[int]:
        """Return the keys of the entries at some places."""
        return self._segment.keys_at(places)

    def sources_at(self, places: Sequence[int]) -> list[int]:
        """Return the number of an entry's source."""
        return self._segment.sources_at(places)

    def line_numbers_at(self, places: Sequence[int]) -> list[int]:
        """Return the number and the part of an entry's line."""
        return self._segment.line_numbers_at(places)

    @property
    def _segment(self) -> MemorySegment:
        return self._load(self._chunk)


def _read(file: SegmentFile, chunk: Chunk) -> MemorySegment:
    is_audit = bool(chunk.is_audit)
    rows = [
        row
        for row in rows_between(file, chunk.first_key, chunk.last_key)
        if row.is_audit == is_audit
    ]
    raw = [row.raw(file) for row in rows]
    read = read_plain(LineRange(0, is_audit, 1, b"\n".join(raw)))
    if read is not None and len(read.times) == len(rows):
        read = read._replace(
            keys=[new_key(row.key) for row in rows],
            sources=[row.source for row in rows],
            lines=[row.line for row in rows],
        )
    else:
        read = nothing()
        for row, line in zip(rows, raw, strict=True):
            _add(read, row, line)
    piece, _ = make_piece(read, is_audit)
    return MemorySegment(piece)


def _add(read: Read, row: Row, raw: bytes) -> None:
    fields, _ = parse_line(raw)
    found, time_name, own, _ = find_time(fields)
    if found is not None and type(own) is str and canonical_ms(own) == found:
        raw = strip_text(raw, own)
    read.times.append(row.time_ms if found is None else found)
    read.keys.append(new_key(row.key))
    read.time_names.append(time_name)
    read.sources.append(row.source)
    read.lines.append(row.line)
    read.audits.append(row.is_audit)
    read.records.append(fields)
    read.shapes.append(tuple(fields))
    read.raw.append(raw)
