"""The list of all segments, kept as long as it holds, and what is not sealed yet, in memory."""

import threading
from typing import Any, NamedTuple

from mikroscope.stores.sqlite.fresh_lines import FreshLines, unpack_lines
from mikroscope.stores.sqlite.piece import join_pieces
from mikroscope.stores.sqlite.pieces import piece_of_fresh
from mikroscope.stores.sqlite.segment import MemorySegment
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo

_SEGMENTS = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY last_key DESC"  # noqa: S608
_LINES = "SELECT id, dictionary, data FROM fresh WHERE id > ? ORDER BY id"
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


class Directory:
    """What the last query found, for the next one to go on from. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Content | None = None
        self._runs: list[MemorySegment] = []
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
                    _add_all(self._runs, _read_lines(file, self._last_row))
                    self._last_row = last_row
                return list(self._runs)
        runs: list[MemorySegment] = []  # another query has seen a later state already
        _add_all(runs, _read_lines(file, 0))
        return runs


def _add_all(runs: list[MemorySegment], lines: list[FreshLines]) -> None:
    """Add fresh lines; they are put together with runs of their kind that are not much larger.

    So each entry is moved a few times, and there are few runs.
    """
    for is_audit in (False, True):
        new = [one for one in lines if one.is_audit == is_audit]
        if not new:
            continue
        pieces = [piece_of_fresh(new)]
        while True:
            same = [run for run in runs if run.is_audit == is_audit]
            if not same or same[-1].entries > 2 * sum(map(len, pieces)):
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


def _read_lines(file: SegmentFile, after: int) -> list[FreshLines]:
    rows: Any = file.sql.execute(_LINES, (after,)).fetchall()
    return [unpack_lines(file.dictionary(dictionary).unpack(data)) for _, dictionary, data in rows]
