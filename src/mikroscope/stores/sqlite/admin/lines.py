"""Reads all entries of a source, or of a whole index, by their lines."""

from collections.abc import Iterator
from typing import Any

import apsw

from mikroscope.stores.sqlite.cache import PartCache
from mikroscope.stores.sqlite.fresh_lines import FreshLines, unpack_lines
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo, StoredSegment

_OF_SOURCE = f"""
SELECT {INFO_COLUMNS} FROM segment_sources JOIN segments ON id = segment WHERE source = ?
"""  # noqa: S608
_ALL = f"SELECT {INFO_COLUMNS} FROM segments ORDER BY id"  # noqa: S608


def open_file(sql: apsw.Connection) -> SegmentFile:
    """Give access to segments that are read once."""
    return SegmentFile(sql, None, PartCache(1))


def times_by_line(sql: apsw.Connection, source: int) -> dict[int, int]:
    """Return the times of a source's entries in epoch milliseconds, by number and part of line."""
    found: dict[int, int] = {}
    file = open_file(sql)
    rows: Any = sql.execute(_OF_SOURCE, (source,)).fetchall()
    for row in rows:
        segment = StoredSegment(SegmentInfo(*row), file)
        columns = (segment.sources, segment.line_numbers, segment.times)
        alive = segment.alive or b"\1" * segment.entries
        for of, line, time, is_there in zip(*columns, alive, strict=True):
            if is_there and of == source:
                found[line] = time
    for fresh in fresh_lines(file):
        for of, line, time in zip(fresh.sources, fresh.lines, fresh.times, strict=True):
            if of == source:
                found[line] = time
    return found


def segments(sql: apsw.Connection) -> Iterator[StoredSegment]:
    """Yield every segment."""
    file = open_file(sql)
    rows: Any = sql.execute(_ALL).fetchall()
    for row in rows:
        yield StoredSegment(SegmentInfo(*row), file)


def fresh_lines(file: SegmentFile) -> Iterator[FreshLines]:
    """Yield the lines of every commit that are not sealed."""
    rows: Any = file.sql.execute("SELECT dictionary, data FROM fresh ORDER BY id").fetchall()
    for dictionary, data in rows:
        yield unpack_lines(file.dictionary(dictionary).unpack(data))
