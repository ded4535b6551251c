"""Finds damage in an index that nothing else would notice, and says what is lost by it."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import apsw
from zstandard import ZstdError

from mikroscope.errors.wording import in_words
from mikroscope.records.parsing import parse_line
from mikroscope.records.timestamps import format_time
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.lines import open_file, segments
from mikroscope.stores.sqlite.columns import PackedColumn
from mikroscope.stores.sqlite.compression import restore_time
from mikroscope.stores.sqlite.fresh_lines import unpack_lines
from mikroscope.stores.sqlite.schema import KEY_BITS
from mikroscope.stores.sqlite.stored import SegmentFile, StoredSegment

_FRESH = "SELECT id, entries, first_key, last_key, dictionary, data FROM fresh ORDER BY id"
_WITHOUT_TERMS = """
SELECT id FROM partitions WHERE id IN (SELECT part FROM segments WHERE is_posted)
AND 'terms_' || id NOT IN (SELECT name FROM sqlite_schema) LIMIT 1
"""
_TIMES_OF_PART = "SELECT min(first_ms), max(last_ms) FROM segments WHERE part = ?"
_TERMS = re.compile(r"\bterms_(\d+)")


class _Lost:
    """Counts the entries that cannot be read, and keeps the first reason."""

    def __init__(self) -> None:
        self._entries = 0
        self._parts = 0
        self._first_ms = self._last_ms = 0
        self._reason = ""

    def add(self, entries: int, first_ms: int, last_ms: int, reason: str) -> None:
        """Add the entries of a damaged part."""
        known = self._parts > 0
        self._first_ms = min(self._first_ms, first_ms) if known else first_ms
        self._last_ms = max(self._last_ms, last_ms) if known else last_ms
        self._reason = self._reason or reason
        self._entries += entries
        self._parts += 1

    def text(self) -> str | None:
        """Return what is lost, in one sentence; None if nothing is."""
        if not self._parts:
            return None
        first, last = format_time(self._first_ms), format_time(self._last_ms)
        more = f", and {self._parts - 1:,} more like this" if self._parts > 1 else ""
        return (
            f"up to {in_words(self._entries, 'entry')} from {first} to {last} cannot be read "
            f"({self._reason}{more})"
        )


def find_damage(connection: apsw.Connection) -> str | None:
    """Return what is wrong in the tables, the inverted indexes or an entry; None if nothing is."""
    connection.execute("BEGIN")  # one state for all queries
    try:
        found = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != [("ok",)]:
            return _in_words(connection, "; ".join(str(text) for (text,) in found))
        part = connection.execute(_WITHOUT_TERMS).get
        if part is not None:
            return _in_words(connection, f"terms_{part} is missing")
        return _find_lost(connection)
    except (*files.DAMAGE, apsw.SQLError) as error:
        return str(error)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _in_words(connection: apsw.Connection, found: str) -> str:
    """Return what SQLite says, and what follows if it is about an inverted index."""
    part = _TERMS.search(found)
    if part is None:
        return found
    times: Any = connection.execute(_TIMES_OF_PART, (int(part[1]),)).fetchone()
    if None in times:
        return found
    first, last = map(format_time, times)
    return f"searches may miss entries from {first} to {last} ({found})"


def _find_lost(connection: apsw.Connection) -> str | None:
    """SQLite cannot check what is in segments and fresh lines: unpack all, parse each line."""
    lost, entries = _Lost(), 0
    for segment in segments(connection):
        info = segment.info
        try:
            entries += _check(segment)
        except files.DAMAGE as error:
            number = info.entries - info.deleted
            lost.add(number, info.first_ms, info.last_ms, f"segment {info.id}: {error}")
    rows: Any = connection.execute(_FRESH).fetchall()
    file = open_file(connection)
    for row, number, first_key, last_key, *packed in rows:
        try:
            entries += _check_fresh(file, number, *packed)
        except files.DAMAGE as error:
            first, last = first_key >> KEY_BITS, last_key >> KEY_BITS
            lost.add(number, first, last, f"row {row} of what is not sealed yet: {error}")
    counted = int(connection.execute("SELECT total(entries) FROM minutes").get)
    if lost.text() or entries == counted:
        return lost.text()
    return f"it has {in_words(entries, 'entry')}, but counts {counted:,}"


def _check(segment: StoredSegment) -> int:
    """Read all of a segment; return the number of entries that were not deleted."""
    for what, read in _readings(segment):
        try:
            read()
        except files.DAMAGE as error:
            raise ZstdError(f"{what}: {error}") from error
    alive = segment.alive
    return segment.entries if alive is None else alive.count(1)


def _readings(segment: StoredSegment) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what reads each part of a segment, and a name for it."""
    yield "its head", lambda: segment.head
    yield "its times", lambda: _require_range(segment.times, segment.first_ms, segment.last_ms)
    yield "its keys", lambda: _require_range(segment.keys, segment.first_key, segment.last_key)
    yield "its commits", lambda: _require_range(segment.commits, None, segment.info.last_commit)
    yield "its line numbers", lambda: segment.line_numbers
    yield "its sources", lambda: segment.sources
    for name in segment.names:
        yield f"the column of {name.strip()!r}", partial(_check_column, segment, name)
    if not segment.is_posted:
        yield "its words", lambda: segment.word_mask(b"")
    yield "its lines", lambda: _check_lines(segment.lines(range(segment.entries)))
    yield "the mask of deleted entries", lambda: _check_mask(segment)


def _require_range(numbers: Iterable[int], first: int | None, last: int) -> None:
    """Raise ZstdError unless the numbers have this minimum (None: any) and this maximum."""
    present = list(numbers)
    if max(present) != last or (first is not None and min(present) != first):
        raise ZstdError("they are others than the segment's row says")


def _check_column(segment: StoredSegment, name: str) -> None:
    column = segment.column(name)
    if isinstance(column, PackedColumn):
        column.check()


def _check_lines(lines: Iterable[bytes]) -> None:
    for line in lines:
        parse_line(line)


def _check_mask(segment: StoredSegment) -> None:
    alive = segment.alive
    if alive is not None and alive.count(0) != segment.info.deleted:
        raise ZstdError("it has another number of entries than the segment's row")


def _check_fresh(file: SegmentFile, entries: int, dictionary: int, data: bytes) -> int:
    """Read lines that are not sealed; return its number of entries."""
    lines = unpack_lines(file.dictionary(dictionary).unpack(data))
    if len(lines) != entries:
        raise ZstdError(f"it has {in_words(len(lines), 'entry')} instead of {entries:,}")
    _check_lines(map(restore_time, lines.raw, lines.times))
    return entries
