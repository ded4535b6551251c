"""The list of all segments, kept as long as it holds, and the pieces that are not sealed yet."""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from zstandard import ZstdError

from mikroscope.stores.sqlite.piece import MAX_PIECE, Piece, join_pieces, unpack_piece
from mikroscope.stores.sqlite.schema import KEY_BITS
from mikroscope.stores.sqlite.segment import MemorySegment
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo

_SEGMENTS = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY last_key DESC"  # noqa: S608
_PIECES = """
SELECT id, dictionary, data, entries, first_key, last_key FROM fresh WHERE id > ? ORDER BY id
"""
_STATE = """
SELECT value, coalesce((SELECT max(id) FROM fresh), 0) FROM meta WHERE name = 'changes'
"""


class Partition(NamedTuple):
    """A partition: its inverted index, and the fields that have tokens there."""

    id: int
    next_ordinal: int
    names: bytes


class Content(NamedTuple):
    """What an index holds, in one snapshot."""

    changes: int
    segments: list[SegmentInfo]
    """By their last key, the greatest first."""
    partitions: dict[int, Partition]
    fresh: list[MemorySegment]
    lost: list["LostPiece"]
    """Pieces that cannot be read."""


class LostPiece(NamedTuple):
    """A row of `fresh` that cannot be read."""

    entries: int
    first_ms: int
    last_ms: int
    error: Exception


class _Run(NamedTuple):
    """Pieces of one kind that were put together, up to a row of `fresh`."""

    segment: MemorySegment
    last_row: int


class _Fresh(NamedTuple):
    """What is not sealed yet, up to a row of `fresh`."""

    changes: int = -1
    last_row: int = 0
    runs: Sequence[_Run] = ()
    lost: Sequence[LostPiece] = ()


class Directory:
    """What the last query found, for the next one to go on from. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Content | None = None
        self._fresh_known = _Fresh()

    def content(self, file: SegmentFile) -> Content:
        """Return what the index holds in the snapshot of a connection."""
        state: Any = file.sql.execute(_STATE).fetchone()
        changes, last_row = state
        with self._lock:
            known = self._known
        if known is None or known.changes != changes:
            known = Content(changes, _read_segments(file), _read_partitions(file), [], [])
            with self._lock:
                if self._known is None or self._known.changes < changes:
                    self._known = known
        fresh = self._fresh(file, changes, last_row)
        return known._replace(fresh=[run.segment for run in fresh.runs], lost=list(fresh.lost))

    def _fresh(self, file: SegmentFile, changes: int, last_row: int) -> "_Fresh":
        with self._lock:
            known = self._fresh_known
            if (known.changes, known.last_row) <= (changes, last_row):
                if changes != known.changes:
                    known = _Fresh(changes, 0, [], [])
                if last_row > known.last_row:
                    known = _with_more(known, file, last_row)
                self._fresh_known = known
                return known
        # Another query has seen a later state already.
        return _with_more(_Fresh(changes, 0, [], []), file, last_row)


def _with_more(known: "_Fresh", file: SegmentFile, last_row: int) -> "_Fresh":
    """Read the further rows of `fresh`."""
    runs, lost = list(known.runs), list(known.lost)
    rows: Any = file.sql.execute(_PIECES, (known.last_row,)).fetchall()
    for row, dictionary, data, entries, first_key, last_key in rows:
        try:
            piece = unpack_piece(file.dictionary(dictionary).unpack(data))
        except ZstdError as error:
            lost.append(LostPiece(entries, first_key >> KEY_BITS, last_key >> KEY_BITS, error))
        else:
            _add(runs, row, piece)
    return _Fresh(known.changes, last_row, runs, lost)


def _add(runs: list[_Run], row: int, piece: Piece) -> None:
    """Add a piece; it is put together with runs of its kind that are not much larger.

    So each entry is moved a few times, and there are few runs.
    """
    pieces = [piece]
    while True:
        same = [run for run in runs if run.segment.is_audit == piece.is_audit]
        size = sum(map(len, pieces))
        last = len(same[-1].segment.piece) if same else 0
        if not last or last > 2 * size or last + size > MAX_PIECE:
            break
        runs.remove(same[-1])
        pieces.insert(0, same[-1].segment.piece)
    runs.append(_Run(MemorySegment(join_pieces(pieces)), row))


def _read_segments(file: SegmentFile) -> list[SegmentInfo]:
    rows: Any = file.sql.execute(_SEGMENTS)
    return [SegmentInfo(*row) for row in rows]


def _read_partitions(file: SegmentFile) -> dict[int, Partition]:
    rows: Any = file.sql.execute("SELECT id, next_ordinal, names FROM partitions")
    return {row[0]: Partition(*row) for row in rows}
