"""Deletes entries: whole segments where all of their entries go, else by a mask of the segment."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from math import inf
from typing import Any

import apsw

from mikroscope.records.attributes import level_of
from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import Cutoffs, Deleted
from mikroscope.stores.sqlite.compression import restore_time
from mikroscope.stores.sqlite.frames import pack
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.masks import any_of, both, mask_between, others
from mikroscope.stores.sqlite.piece import FIELD_COUNT, LEVEL
from mikroscope.stores.sqlite.schema import LINE_MASK, MINUTE_MS, first_row
from mikroscope.stores.sqlite.segment import Segment, between
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentInfo, StoredSegment
from mikroscope.stores.sqlite.write.batch import DISCARDED, GONE
from mikroscope.stores.sqlite.write.fresh import FreshRows
from mikroscope.stores.sqlite.write.storing import count_down

_OF_SOURCE = f"""
SELECT {INFO_COLUMNS} FROM segment_sources JOIN segments ON id = segment
WHERE source = ? LIMIT ?
"""  # noqa: S608
_OF_LINE = f"""
SELECT {INFO_COLUMNS} FROM segment_sources JOIN segments ON id = segment
WHERE source = ? AND ? BETWEEN first_line AND last_line
"""  # noqa: S608
_EXPIRED = f"""
SELECT {INFO_COLUMNS} FROM segments WHERE id > ?
AND first_ms < CASE is_audit WHEN 0 THEN ? ELSE ? END ORDER BY id LIMIT ?
"""  # noqa: S608
_SEGMENTS_AT_ONCE = 1  # in one step; requests wait no longer than that takes
_FRESH_AT_ONCE = 1_000  # entries, likewise
_EVER = -(1 << 62)


class Deleter:
    """Deletes entries within the caller's transaction.

    `opened` gives access to a segment, and `fresh` to what is not sealed yet.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        opened: Callable[[SegmentInfo], StoredSegment],
        fresh: FreshRows,
    ) -> None:
        self._connection = connection
        self._open = opened
        self._fresh = fresh

    def collect(self) -> Deleted | None:
        """Delete some entries of a discarded source, and at last the source; None without one."""
        source: Any = self._connection.execute(
            "SELECT id FROM sources WHERE state = ? LIMIT 1", (DISCARDED,)
        ).get
        if source is None:
            return None
        rows: Any = self._connection.execute(_OF_SOURCE, (source, _SEGMENTS_AT_ONCE)).fetchall()
        deleted = Deleted(field_values=0)
        for row in rows:
            segment = self._open(SegmentInfo(*row))
            deleted.add(self.delete(segment, segment.source_mask(source)))
            self._connection.execute(
                "DELETE FROM segment_sources WHERE source = ? AND segment = ?",
                (source, segment.info.id),
            )
        if len(rows) < _SEGMENTS_AT_ONCE:
            fresh, is_all = self._delete_fresh(
                lambda lines: _of_source(lines, source), _FRESH_AT_ONCE
            )
            deleted.add(fresh)
            if is_all:
                self._connection.execute("DELETE FROM sources WHERE id = ?", (source,))
        return deleted

    def expire(self, cutoffs: Cutoffs, position: int) -> tuple[Deleted, int | None]:
        """Delete some expired entries from a segment on; return the counts and the next one.

        The next one is None at the end; sources that are gone and have no entry left are deleted
        then.
        """
        ends = [_EVER if one is None else one for one in (cutoffs.normal_ms, cutoffs.audit_ms)]
        deleted = Deleted(field_values=0)
        if not position:
            self.remember(cutoffs)
            fresh, is_all = self._delete_fresh(
                lambda lines: _before(lines, ends[lines.is_audit]), _FRESH_AT_ONCE
            )
            if not is_all:
                return fresh, 0
            deleted.add(fresh)
        rows: Any = self._connection.execute(
            _EXPIRED, (position, *ends, _SEGMENTS_AT_ONCE)
        ).fetchall()
        for row in rows:
            segment = self._open(SegmentInfo(*row))
            expired = between(segment, None, ends[segment.is_audit] - 1)
            deleted.add(self.delete(segment, expired))
            position = segment.info.id
        if len(rows) == _SEGMENTS_AT_ONCE:
            return deleted, position
        if max(ends) > 0:
            self.delete_gone_sources()
        return deleted, None

    def remember(self, cutoffs: Cutoffs) -> None:
        """Remember the cutoffs: a rebuilt index leaves out older lines that this one has pruned."""
        self._connection.executemany(
            "UPDATE meta SET value = max(value, ?) WHERE name = ?",
            [
                (cutoffs.normal_ms or 0, "pruned_normal_ms"),
                (cutoffs.audit_ms or 0, "pruned_audit_ms"),
            ],
        )

    def remove_lines(self, lines: Iterable[tuple[int, int]]) -> None:
        """Delete the entries of some lines; each is a source and a line number."""
        wanted = set(lines)
        for source, line in wanted:
            rows: Any = self._connection.execute(_OF_LINE, (source, line)).fetchall()
            for row in rows:
                segment = self._open(SegmentInfo(*row))
                numbers, sources = segment.line_numbers, segment.sources
                self.delete(segment, _at_line(sources, numbers, {(source, line)}))
        if wanted:
            self._delete_fresh(lambda lines: _at_line(lines.sources, lines.lines, wanted))

    def delete(self, segment: StoredSegment, chosen: bytes | None) -> Deleted:
        """Delete the entries of a mask (None: all) that are there still."""
        size, alive = segment.entries, segment.alive
        if chosen is None:
            chosen = mask_between(0, size, size)
        gone = chosen if alive is None else both(chosen, alive)
        entries = gone.count(1)
        if not entries:
            return Deleted(field_values=0)
        info = segment.info
        deleted = self._count(segment, gone, entries)
        if info.deleted + entries == size:
            drop_segment(self._connection, info)
        else:
            mask = gone if alive is None else any_of((gone, others(alive)), size)
            self._connection.execute(
                "INSERT OR REPLACE INTO masks VALUES(?, ?)", (info.id, pack(mask))
            )
            self._connection.execute(
                "UPDATE segments SET deleted = deleted + ? WHERE id = ?", (entries, info.id)
            )
            self._connection.execute(
                "UPDATE partitions SET entries = entries - ? WHERE id = ?", (entries, info.part)
            )
            self._forget_sources(segment, others(mask))
        mark_changed(self._connection)
        return deleted

    def _forget_sources(self, segment: StoredSegment, alive: bytes) -> None:
        """Forget sources that have no entry left in a segment."""
        left = set(compress(segment.sources, alive))
        rows: Any = self._connection.execute(
            "SELECT source FROM segment_sources WHERE segment = ?", (segment.info.id,)
        ).fetchall()
        self._connection.executemany(
            "DELETE FROM segment_sources WHERE source = ? AND segment = ?",
            [(source, segment.info.id) for (source,) in rows if source not in left],
        )

    def _delete_fresh(
        self, chosen: Callable[[FreshLines], bytes], most: float = inf
    ) -> tuple[Deleted, bool]:
        """Delete chosen entries of the pieces that are not sealed yet.

        Stops when `most` entries or more are deleted; the second result is True at the end.
        """
        deleted = Deleted(field_values=0)
        is_all = True
        for row, lines in self._fresh.lines():
            if deleted.entries >= most:
                is_all = False
                break
            gone = chosen(lines)
            if 1 not in gone:
                continue
            places = list(compress(range(len(lines)), gone))
            deleted.add(self._count_out(lines.chosen(places)))
            kept = list(compress(range(len(lines)), others(gone)))
            self._fresh.replace(row, lines.chosen(kept) if kept else None)
        return deleted, is_all

    def _count(self, segment: StoredSegment, gone: bytes, entries: int) -> Deleted:
        """Take the entries of a mask out of the counts."""
        count_down(self._connection, _minutes(segment, gone), segment.is_audit)
        deleted = _counted(segment, gone, entries)
        self._take_field_values(deleted)
        return deleted

    def _count_out(self, lines: FreshLines) -> Deleted:
        """Take lines that are being deleted out of the counts."""
        minutes: Counter[tuple[int, str]] = Counter()
        field_values = 0
        for raw, time in zip(lines.raw, lines.times, strict=True):
            fields, _ = parse_line(restore_time(raw, time))
            minutes[time // MINUTE_MS, level_of(fields)] += 1
            field_values += len(fields)
        count_down(self._connection, minutes, lines.is_audit)
        deleted = _deleted(lines.is_audit, len(lines), field_values)
        self._take_field_values(deleted)
        return deleted

    def _take_field_values(self, deleted: Deleted) -> None:
        self._connection.execute(
            "UPDATE meta SET value = value - ? WHERE name = 'field_values'",
            (deleted.field_values,),
        )

    def delete_whole(self, info: SegmentInfo) -> Deleted:
        """Delete a segment."""
        deleted = self.delete(self._open(info), None)
        if not deleted.entries:  # it has none, which no segment should have
            drop_segment(self._connection, info)
        return deleted

    def delete_fresh(self, row: int, lines: FreshLines) -> Deleted:
        """Delete the lines of a row that are not sealed yet."""
        deleted = self._count_out(lines)
        self._fresh.replace(row, None)
        return deleted

    def delete_gone_sources(self) -> None:
        """Delete sources that are gone and have no entry left."""
        rows: Any = self._connection.execute(
            "SELECT id FROM sources WHERE state = ? "
            "AND NOT EXISTS (SELECT 1 FROM segment_sources WHERE source = sources.id)",
            (GONE,),
        ).fetchall()
        if not rows:
            return
        fresh = set().union(*(lines.sources for _, lines in self._fresh.lines()))
        self._connection.executemany(
            "DELETE FROM sources WHERE id = ?", [row for row in rows if row[0] not in fresh]
        )


def drop_segment(connection: apsw.Connection, info: SegmentInfo) -> None:
    """Delete a segment, and its partition if it was the last one there."""
    row = first_row(info.id)
    after = first_row(info.id + 1)
    for table in ("columns", "blocks"):
        connection.execute(f"DELETE FROM {table} WHERE id >= ? AND id < ?", (row, after))  # noqa: S608
    connection.execute("DELETE FROM masks WHERE segment = ?", (info.id,))
    connection.execute("DELETE FROM segment_sources WHERE segment = ?", (info.id,))
    connection.execute("DELETE FROM segments WHERE id = ?", (info.id,))
    connection.execute(
        "UPDATE partitions SET entries = entries - ? WHERE id = ?",
        (info.entries - info.deleted, info.part),
    )
    if not connection.execute(
        "SELECT EXISTS (SELECT 1 FROM segments WHERE part = ?)", (info.part,)
    ).get:
        connection.execute("DELETE FROM partitions WHERE id = ?", (info.part,))
        connection.execute(f"DROP TABLE IF EXISTS terms_{info.part}")
    mark_changed(connection)


def mark_changed(connection: apsw.Connection) -> None:
    """Record that sealed segments, or pieces before the last one, are others than before."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'changes'")


def _minutes(segment: Segment, gone: bytes) -> dict[tuple[int, str], int]:
    """Count the entries of a mask by minute and level."""
    levels = segment.column(LEVEL)
    times = compress(segment.times, gone)
    if levels is None:  # too many different ones
        names = list(map(_level_of, segment.lines(list(compress(range(segment.entries), gone)))))
        return dict(
            Counter((time // MINUTE_MS, name) for time, name in zip(times, names, strict=True))
        )
    values = ["", *levels.values]
    minutes = (time // MINUTE_MS for time in times)
    counted = Counter(zip(minutes, compress(levels.codes, gone), strict=True))
    return {(minute, values[code]): entries for (minute, code), entries in counted.items()}


def _level_of(line: bytes) -> str:
    return level_of(parse_line(line)[0])


def _counted(segment: Segment, gone: bytes, entries: int) -> Deleted:
    column = segment.column(FIELD_COUNT)
    field_values = 0
    if column is not None:
        numbers = [0, *map(int, column.values)]
        counts = column.count_in(gone)
        field_values = sum(numbers[code] * count for code, count in counts.items())
    return _deleted(segment.is_audit, entries, field_values)


def _deleted(is_audit: bool, entries: int, field_values: int) -> Deleted:
    of_kind = {"audit_entries" if is_audit else "normal_entries": entries}
    return Deleted(field_values=field_values, **of_kind)


def _of_source(lines: FreshLines, source: int) -> bytes:
    return bytes(one == source for one in lines.sources)


def _before(lines: FreshLines, end: int) -> bytes:
    return bytes(time < end for time in lines.times)


def _at_line(sources: Sequence[int], lines: Sequence[int], wanted: set[tuple[int, int]]) -> bytes:
    return bytes(
        (source, line & LINE_MASK) in wanted for source, line in zip(sources, lines, strict=True)
    )
