"""Deletes the oldest entries until the index takes no more than a number of bytes."""

from typing import Any

import apsw

from mikroscope.stores.base import Cutoffs, Deleted
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentInfo
from mikroscope.stores.sqlite.write.deletion import Deleter
from mikroscope.stores.sqlite.write.fresh import FreshRows
from mikroscope.stores.sqlite.write.merging import wasted_partitions

_OLDEST = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY is_audit, last_ms, id LIMIT 1"  # noqa: S608
_OLDEST_FRESH = """
SELECT id, entries, length(data) FROM fresh ORDER BY is_audit, last_key, id LIMIT ?
"""
_ROWS_AT_ONCE = 200
_ENTRIES_AT_ONCE = 500

TermsBytes = dict[tuple[int, int], float]
"""Bytes of one document, by partition and its number of documents: they take time to count."""


class Shrinker:
    """Does one step within the caller's transaction; `known` lasts for all steps."""

    def __init__(
        self, connection: apsw.Connection, deleter: Deleter, fresh: FreshRows, known: TermsBytes
    ) -> None:
        self._connection = connection
        self._deleter = deleter
        self._fresh = fresh
        self._known = known

    def step(self, max_bytes: int) -> tuple[Deleted | None, int]:
        """Delete the oldest segment, or some fresh lines where there is none.

        Returns what was deleted, None if the index is small enough or empty; and how much the
        index took before that.
        """
        size = self._size_bytes()
        if size <= max_bytes:
            return None, size
        self._connection.execute("UPDATE meta SET value = 1 WHERE name = 'is_limited'")
        row: Any = self._connection.execute(_OLDEST).fetchone()
        if row is not None:
            return self._delete_segment(SegmentInfo(*row)), size
        return self._delete_fresh(size - max_bytes), size

    def _size_bytes(self) -> int:
        """Return the size of the file without what compacting gives back."""
        pages = self._connection.pragma("page_count") - self._connection.pragma("freelist_count")
        wasted = sum(
            (documents - used) * self._document_bytes(part, documents)
            for part, documents, used in wasted_partitions(self._connection)
        )
        return int(pages * self._connection.pragma("page_size") - wasted)

    def _document_bytes(self, part: int, documents: int) -> float:
        known = self._known.get((part, documents))
        if known is None:
            select = f"SELECT total(length(block)) FROM terms_{part}_data"  # noqa: S608
            known = self._known[part, documents] = self._connection.execute(select).get / documents
        return known

    def _delete_segment(self, info: SegmentInfo) -> Deleted:
        ended = info.last_ms + 1
        self._deleter.remember(Cutoffs(0, ended) if info.is_audit else Cutoffs(ended, 0))
        deleted = self._deleter.delete_whole(info)
        self._deleter.delete_gone_sources()
        return deleted

    def _delete_fresh(self, too_much: int) -> Deleted | None:
        """Delete the oldest lines that take as many bytes together; None without any."""
        rows: Any = self._connection.execute(_OLDEST_FRESH, (_ROWS_AT_ONCE,)).fetchall()
        self._connection.execute("DELETE FROM templates")  # those of segments
        if self._connection.changes():
            return Deleted(field_values=0)
        deleted = Deleted(field_values=0)
        for row, entries, size in rows:
            if too_much <= 0 or 0 < deleted.entries > _ENTRIES_AT_ONCE - entries:
                break
            lines = self._fresh.lines_in(row)
            ended = max(lines.times) + 1
            self._deleter.remember(Cutoffs(0, ended) if lines.is_audit else Cutoffs(ended, 0))
            deleted.add(self._deleter.delete_fresh(row, lines))
            too_much -= size
        if not rows:
            return None
        self._deleter.delete_gone_sources()
        return deleted
