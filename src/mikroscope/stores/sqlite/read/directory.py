"""The list of all segments, kept as long as it holds, and what is not sealed yet, in memory."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.fresh_lines import FreshLines, unpack_lines
from mikroscope.stores.sqlite.piece import MAX_PIECE, Piece, join_pieces
from mikroscope.stores.sqlite.pieces import piece_of_fresh
from mikroscope.stores.sqlite.schema import KEY_BITS
from mikroscope.stores.sqlite.segment import MemorySegment
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo

_SEGMENTS = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY last_key DESC"  # noqa: S608
_LINES = """
SELECT dictionary, data, entries, first_key, last_key FROM fresh WHERE id > ? ORDER BY id
"""
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
    lost: list["LostLines"]
    """Rows of `fresh` that cannot be read."""


class LostLines(NamedTuple):
    """A row of `fresh` that cannot be read."""

    entries: int
    first_ms: int
    last_ms: int
    error: Exception


class _Fresh(NamedTuple):
    """What is not sealed yet, up to a row of `fresh`."""

    changes: int = -1
    last_row: int = 0
    runs: Sequence[MemorySegment] = ()
    lost: Sequence[LostLines] = ()


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
            segments = _read_segments(file)
            ordinals: dict[int, list[int]] = {}
            for info in segments:
                ordinals.setdefault(info.part, []).append(info.first_ordinal)
            for of_part in ordinals.values():
                of_part.sort()
            known = Content(changes, segments, _read_partitions(file), ordinals, [], [])
            with self._lock:
                if self._known is None or self._known.changes < changes:
                    self._known = known
        fresh = self._fresh(file, changes, last_row)
        return known._replace(fresh=list(fresh.runs), lost=list(fresh.lost))

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
    lines: list[FreshLines] = []
    rows: Any = file.sql.execute(_LINES, (known.last_row,)).fetchall()
    for dictionary, data, entries, first_key, last_key in rows:
        try:
            lines.append(unpack_lines(file.dictionary(dictionary).unpack(data)))
        except files.DAMAGE as error:
            lost.append(LostLines(entries, first_key >> KEY_BITS, last_key >> KEY_BITS, error))
    for is_audit in (False, True):
        of_kind = [one for one in lines if one.is_audit == is_audit]
        for piece in _pieces(of_kind, lost):
            _add(runs, piece)
    return _Fresh(known.changes, last_row, runs, lost)


def _pieces(lines: list[FreshLines], lost: list[LostLines]) -> Iterator[Piece]:
    """Yield pieces of all lines; rows with a line that is no record are lost."""
    start = size = 0
    for place, one in enumerate(lines):
        if size + len(one) > MAX_PIECE and place > start:
            yield from _piece(lines[start:place], lost)
            start, size = place, 0
        size += len(one)
    if start < len(lines):
        yield from _piece(lines[start:], lost)


def _piece(lines: list[FreshLines], lost: list[LostLines]) -> Iterator[Piece]:
    try:
        yield piece_of_fresh(lines)
    except files.DAMAGE as error:
        if len(lines) > 1:
            for one in lines:
                yield from _piece([one], lost)
            return
        [one] = lines
        lost.append(LostLines(len(one), min(one.times), max(one.times), error))


def _add(runs: list[MemorySegment], piece: Piece) -> None:
    """Add a piece; it is put together with runs of its kind that are not much larger.

    So each entry is moved a few times, and there are few runs.
    """
    pieces = [piece]
    while True:
        same = [run for run in runs if run.is_audit == piece.is_audit]
        size = sum(map(len, pieces))
        last = same[-1].entries if same else 0
        if not last or last > 2 * size or last + size > MAX_PIECE:
            break
        runs.remove(same[-1])
        pieces.insert(0, same[-1].piece)
    runs.append(MemorySegment(join_pieces(pieces)))


def _read_segments(file: SegmentFile) -> list[SegmentInfo]:
    rows: Any = file.sql.execute(_SEGMENTS)
    return [SegmentInfo(*row) for row in rows]


def _read_partitions(file: SegmentFile) -> dict[int, Partition]:
    rows: Any = file.sql.execute("SELECT id, next_ordinal, entries, names FROM partitions")
    return {row[0]: Partition(*row) for row in rows}
