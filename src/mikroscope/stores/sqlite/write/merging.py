"""Seals pieces, and puts small segments together: what is done beside writing or when idle."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, compress
from typing import Any

import apsw

from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.sealing import MAX_ENTRIES
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentInfo, StoredSegment
from mikroscope.stores.sqlite.write.deletion import drop_segment, mark_changed
from mikroscope.stores.sqlite.write.encoding import LEAST_ENTRIES
from mikroscope.stores.sqlite.write.resealing import seal_as_one
from mikroscope.stores.sqlite.write.storing import put_segment
from mikroscope.stores.sqlite.write.templates import limit_templates

_MANY_LOOSE = 8  # segments without documents in one partition are put together
_REWRITE_SHARE = 0.3  # of deleted entries in a segment
_WASTED_SHARE = 1.0  # documents without entry, for each entry of a partition that is given up
_WASTED_ORDINALS = 20_000
_LARGE_SHARE = 0.125  # likewise, for each entry of all partitions
_MERGE_PAGES = 100
_VACUUM_PAGES = 250

_LOOSE = """
SELECT part FROM segments WHERE NOT is_posted GROUP BY part
HAVING count(*) >= ? OR (count(*) > 1 AND sum(entries) >= ?) LIMIT 1
"""
_IN_PART = f"SELECT {INFO_COLUMNS} FROM segments WHERE part = ?"  # noqa: S608
_LOOSE_IN_PART = f"{_IN_PART} AND NOT is_posted ORDER BY first_key"
_HOLED = f"SELECT {INFO_COLUMNS} FROM segments WHERE deleted > ? * entries LIMIT 1"  # noqa: S608
_WASTED = """
SELECT id, documents, used FROM (
    SELECT id, entries, next_ordinal - 1 AS documents, (
        SELECT total(entries + 1) FROM segments WHERE part = partitions.id AND is_posted
    ) AS used FROM partitions
) WHERE documents - used > :share * entries + :some AND (
    documents - used > :large_share * (SELECT total(entries) FROM partitions) + :some
    OR id NOT IN (
        SELECT part FROM (SELECT part FROM segments WHERE NOT is_audit ORDER BY last_ms LIMIT 1)
        UNION ALL
        SELECT part FROM (SELECT part FROM segments WHERE is_audit ORDER BY last_ms LIMIT 1)
    )
)
"""


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
        rows: Any = self._connection.execute(_LOOSE_IN_PART, (part,))
        infos = [SegmentInfo(*row) for row in rows]
        sizes = accumulate(info.entries for info in infos)
        self._rewrite(infos[: max(2, sum(size <= MAX_ENTRIES for size in sizes))])
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
        lines = [one for info in infos for one in lines_of(self._open(info))]
        if lines:
            placed = seal_as_one(lines, self._dictionary)
            limit_templates(self._connection, placed.sealed)
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
    moves the rest of their segments elsewhere and drops these indexes. Those of the oldest
    segments, which are the next to expire, are left out unless they are a large share of all.
    """
    limits = {"share": _WASTED_SHARE, "large_share": _LARGE_SHARE, "some": _WASTED_ORDINALS}
    rows: Any = connection.execute(_WASTED, limits)
    return [(part, documents, int(used)) for part, documents, used in rows]


def lines_of(segment: StoredSegment) -> list[FreshLines]:
    """Return what is left of a segment as lines, those of each commit by themselves."""
    alive = segment.alive or b"\1" * segment.entries
    columns = segment.keys, segment.times, segment.sources, segment.line_numbers
    entries = zip(segment.commits, *columns, segment.stripped_lines(), strict=True)
    by_commit: dict[int, list[tuple[int, int, int, int, bytes]]] = {}
    for commit, *entry in compress(entries, alive):
        by_commit.setdefault(commit, []).append(tuple(entry))
    return [
        FreshLines(segment.is_audit, commit, *map(list, zip(*of_commit, strict=True)))
        for commit, of_commit in by_commit.items()
    ]
