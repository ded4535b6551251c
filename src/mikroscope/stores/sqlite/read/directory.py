"""The list of all segments, kept as long as it holds, and the pieces that are not sealed yet."""

import threading
from typing import Any, NamedTuple

from mikroscope.stores.sqlite.piece import Piece, join_pieces, unpack_piece
from mikroscope.stores.sqlite.segment import MemorySegment
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo

_SEGMENTS = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY last_key DESC"  # noqa: S608
_PIECES = "SELECT id, dictionary, data FROM fresh WHERE id > ? ORDER BY id"
_STATE = """
SELECT value, coalesce((SELECT max(id) FROM fresh), 0) FROM meta WHERE name = 'changes'
"""


class Partition(NamedTuple):
    """A partition: its inverted index, and the fields that have tokens there."""

    id: int
    next_ordinal: int
    entries: int
    names: bytes


class Content(NamedTuple):
    """What an index holds, in one snapshot."""

    changes: int
    segments: list[SegmentInfo]
    """By their last key, the greatest first."""
    partitions: dict[int, Partition]
    ordinals: dict[int, list[int]]
    """The first ordinal of each segment of a partition, in rising order."""
    fresh: list[MemorySegment]


class _Run(NamedTuple):
    """Pieces of one kind that were put together, up to a row of `fresh`."""

    segment: MemorySegment
    last_row: int


class Directory:
    """What the last query found, for the next one to go on from. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Content | None = None
        self._runs: list[_Run] = []
        self._last_row = 0
        self._fresh_of = -1  # the change that the runs belong to

    def content(self, file: SegmentFile) -> Content:
        """Return what the index holds in the snapshot of a connection."""
        state: Any = file.sql.execute(_STATE).fetchone()
        changes, last_row = state
        with self._lock:
            known = self._known
        if known is None or known.changes != changes:
            segments = _read_segments(file)
            ordinals: dict[int, list[int]] = {}
            for info in segments:
                ordinals.setdefault(info.part, []).append(info.first_ordinal)
            for of_part in ordinals.values():
                of_part.sort()
            known = Content(changes, segments, _read_partitions(file), ordinals, [])
            with self._lock:
                if self._known is None or self._known.changes < changes:
                    self._known = known
        return known._replace(fresh=self._fresh(file, changes, last_row))

    def _fresh(self, file: SegmentFile, changes: int, last_row: int) -> list[MemorySegment]:
        with self._lock:
            is_older = changes < self._fresh_of or (
                changes == self._fresh_of and last_row < self._last_row
            )
            if not is_older:
                if changes != self._fresh_of:
                    self._runs, self._last_row, self._fresh_of = [], 0, changes
                if last_row > self._last_row:
                    for row, piece in _read_pieces(file, self._last_row):
                        _add(self._runs, row, piece)
                    self._last_row = last_row
                return [run.segment for run in self._runs]
        runs: list[_Run] = []  # another query has seen a later state already
        for row, piece in _read_pieces(file, 0):
            _add(runs, row, piece)
        return [run.segment for run in runs]


def _add(runs: list[_Run], row: int, piece: Piece) -> None:
    """Add a piece; it is put together with runs of its kind that are not much larger.

    So each entry is moved a few times, and there are few runs.
    """
    pieces = [piece]
    while True:
        same = [run for run in runs if run.segment.is_audit == piece.is_audit]
        if not same or len(same[-1].segment.piece) > 2 * sum(map(len, pieces)):
            break
        runs.remove(same[-1])
        pieces.insert(0, same[-1].segment.piece)
    runs.append(_Run(MemorySegment(join_pieces(pieces)), row))


def _read_segments(file: SegmentFile) -> list[SegmentInfo]:
    rows: Any = file.sql.execute(_SEGMENTS)
    return [SegmentInfo(*row) for row in rows]


def _read_partitions(file: SegmentFile) -> dict[int, Partition]:
    rows: Any = file.sql.execute("SELECT id, next_ordinal, entries, names FROM partitions")
    return {row[0]: Partition(*row) for row in rows}


def _read_pieces(file: SegmentFile, after: int) -> list[tuple[int, Piece]]:
    rows: Any = file.sql.execute(_PIECES, (after,)).fetchall()
    return [
        (row, unpack_piece(file.dictionary(dictionary).unpack(data)))
        for row, dictionary, data in rows
    ]
