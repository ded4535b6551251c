"""Seals pieces, and puts small segments together: what is done beside writing or when idle."""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any

import apsw

from mikroscope.records.attributes import find_time
from mikroscope.records.parsing import parse_line
from mikroscope.stores.sqlite.compression import Dictionary, restore_time
from mikroscope.stores.sqlite.piece import Piece, choose_entries, join_pieces
from mikroscope.stores.sqlite.schema import clamp
from mikroscope.stores.sqlite.sealing import seal
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentInfo, StoredSegment
from mikroscope.stores.sqlite.write.deletion import drop_segment, mark_changed
from mikroscope.stores.sqlite.write.encoding import LEAST_ENTRIES, divide
from mikroscope.stores.sqlite.write.pieces import make_piece
from mikroscope.stores.sqlite.write.reading import Read
from mikroscope.stores.sqlite.write.storing import Placed, put_segment

_MANY_LOOSE = 8  # segments without documents in one partition are put together
_REWRITE_SHARE = 0.3  # of deleted entries in a segment
_WASTED_SHARE = 1.0  # documents without entry, for each entry of a partition that is given up
_WASTED_ORDINALS = 20_000
_MERGE_PAGES = 100
_VACUUM_PAGES = 250

_LOOSE = """
SELECT part FROM segments WHERE NOT is_posted GROUP BY part
HAVING count(*) >= ? OR (count(*) > 1 AND sum(entries) >= ?) LIMIT 1
"""
_IN_PART = f"SELECT {INFO_COLUMNS} FROM segments WHERE part = ?"  # noqa: S608
_HOLED = f"SELECT {INFO_COLUMNS} FROM segments WHERE deleted > ? * entries LIMIT 1"  # noqa: S608
_WASTED = """
SELECT id, documents, used FROM (
    SELECT id, entries, next_ordinal - 1 AS documents, (
        SELECT total(entries + 1) FROM segments WHERE part = partitions.id AND is_posted
    ) AS used FROM partitions
) WHERE documents - used > ? * entries + ? AND id NOT IN (
    SELECT part FROM (SELECT part FROM segments WHERE NOT is_audit ORDER BY last_ms, id LIMIT 1)
    UNION ALL
    SELECT part FROM (SELECT part FROM segments WHERE is_audit ORDER BY last_ms, id LIMIT 1)
)
"""


def seal_whole(piece: Piece, dictionary: Dictionary) -> list[Placed]:
    """Return the segments of a piece that has its keys."""
    times = list(map(clamp, piece.times))
    placed = []
    for start, end in divide(times) if _rises(times) else [(0, len(times))]:
        whole = start == 0 and end == len(piece)
        part = piece if whole else choose_entries(piece, range(start, end))
        placed.append(place(part, dictionary))
    return placed


def place(piece: Piece, dictionary: Dictionary) -> Placed:
    """Return the segment of a piece that has its keys."""
    sealed = seal(piece, dictionary, post=len(piece) >= LEAST_ENTRIES)
    return Placed(sealed, piece.commits)


def _rises(numbers: Sequence[int]) -> bool:
    return all(map(int.__le__, numbers, numbers[1:]))


class Merger:
    """Does one bounded step of what is left to do, within the caller's transaction."""

    def __init__(
        self,
        connection: apsw.Connection,
        opened: Callable[[SegmentInfo], StoredSegment],
        dictionary: Dictionary,
    ) -> None:
        self._connection = connection
        self._open = opened
        self._dictionary = dictionary

    def step(self) -> bool:
        """Do something; return False if nothing was left to do."""
        return (
            self._merge_loose()
            or self._rewrite_holed()
            or self._move_from_wasted()
            or self._merge_terms()
            or self._vacuum()
        )

    def _merge_loose(self) -> bool:
        part: Any = self._connection.execute(_LOOSE, (_MANY_LOOSE, 2 * LEAST_ENTRIES)).get
        if part is None:
            return False
        rows: Any = self._connection.execute(f"{_IN_PART} AND NOT is_posted", (part,))
        self._rewrite([SegmentInfo(*row) for row in rows])
        return True

    def _rewrite_holed(self) -> bool:
        row: Any = self._connection.execute(_HOLED, (_REWRITE_SHARE,)).fetchone()
        if row is None:
            return False
        self._rewrite([SegmentInfo(*row)])
        return True

    def _move_from_wasted(self) -> bool:
        """Move a segment out of a partition whose inverted index is mostly of deleted entries."""
        for part, _, _ in wasted_partitions(self._connection):
            row: Any = self._connection.execute(f"{_IN_PART} LIMIT 1", (part,)).fetchone()
            if row is not None:
                self._rewrite([SegmentInfo(*row)], avoid=(part,))
                return True
        return False

    def _rewrite(self, infos: Sequence[SegmentInfo], avoid: Iterable[int] = ()) -> None:
        """Make one segment of what is left of several."""
        pieces = [piece_of(self._open(info)) for info in infos]
        piece = join_pieces(pieces)
        for placed in seal_whole(piece, self._dictionary):
            put_segment(self._connection, placed, avoid)
        for info in infos:
            drop_segment(self._connection, info)
        mark_changed(self._connection)

    def _merge_terms(self) -> bool:
        """Merge some parts of an inverted index, since a term is looked up in each.

        FTS5 has merged nothing if hardly a row changed. A positive number of pages makes it merge
        parts of one size (two of them: `usermerge`), or continue.
        """
        part: Any = self._connection.execute(
            "SELECT id FROM partitions WHERE NOT is_merged LIMIT 1"
        ).get
        if part is None:
            return False
        before = self._connection.total_changes()
        self._connection.execute(
            f"INSERT INTO terms_{part}(terms_{part}, rank) VALUES('merge', ?)",
            (_MERGE_PAGES,),
        )
        if self._connection.total_changes() - before < 2:
            self._connection.execute("UPDATE partitions SET is_merged = 1 WHERE id = ?", (part,))
        return True

    def _vacuum(self) -> bool:
        free = self._connection.pragma("freelist_count")
        if not free:
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return bool(self._connection.pragma("freelist_count") < free)


def wasted_partitions(connection: apsw.Connection) -> list[tuple[int, int, int]]:
    """Return the partitions whose inverted index is mostly of deleted entries.

    Each comes with the number of its documents, and how many of them are still needed. Compacting
    moves the rest of their segments elsewhere and drops these indexes. It leaves out those of the
    oldest segments, which are the next to expire.
    """
    rows: Any = connection.execute(_WASTED, (_WASTED_SHARE, _WASTED_ORDINALS))
    return [(part, documents, int(used)) for part, documents, used in rows]


def piece_of(segment: StoredSegment) -> Piece:
    """Return what is left of a segment as a piece, made of its lines once more."""
    size, alive = segment.entries, segment.alive
    stripped, times = segment.stripped_lines(), segment.times
    lines = list(map(restore_time, stripped, times))
    records = [parse_line(line)[0] for line in lines]
    read = Read(
        times=list(times),
        keys=list(segment.keys),
        time_names=[find_time(fields).name for fields in records],
        sources=segment.sources,
        lines=list(segment.line_numbers),
        audits=[segment.is_audit] * size,
        records=records,
        shapes=list(map(tuple, records)),
        raw=stripped,
    )
    piece, _ = make_piece(read, segment.is_audit)
    piece.commits = list(segment.commits)
    if alive is None:
        return piece
    return choose_entries(piece, list(compress(range(size), alive)))
