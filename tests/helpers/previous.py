"""Indexes of format 5, which the versions before this one wrote."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import zstandard

from mikroscope.records.attributes import level_of, time_of
from mikroscope.records.parsing import parse_line
from mikroscope.stores.sqlite.admin import lines
from mikroscope.stores.sqlite.compression import restore_time, strip_time
from mikroscope.stores.sqlite.previous.rows import OLD_KEY_BITS
from mikroscope.stores.sqlite.schema import APPLICATION_ID, clamp

_SCHEMA = f"""
CREATE TABLE entries(
    key INTEGER PRIMARY KEY, source INTEGER NOT NULL, line INTEGER NOT NULL,
    flags INTEGER NOT NULL, dictionary INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE minutes(
    minute INTEGER NOT NULL, level TEXT NOT NULL, audit INTEGER NOT NULL, entries INTEGER NOT NULL,
    PRIMARY KEY(minute, level, audit)) WITHOUT ROWID;
CREATE TABLE levels(level TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fields(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sources(
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, state INTEGER NOT NULL,
    checkpoint BLOB NOT NULL, last_line INTEGER NOT NULL, holds_audit INTEGER NOT NULL,
    first_key INTEGER NOT NULL, last_key INTEGER NOT NULL);
CREATE TABLE dictionaries(id INTEGER PRIMARY KEY, dictionary BLOB NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 5;
"""
_AUDIT, _FULL_FRAME = 1, 2
_PLACES = 1 << OLD_KEY_BITS


class _Entry(NamedTuple):
    key: int  # of format 6
    time_ms: int
    source: int
    line: int
    is_audit: bool
    raw: bytes


def downgrade(database: Path) -> None:
    """Replace an index, which no other connection uses, by one of format 5 with the same content.

    The inverted index is left out: nothing reads it.
    """
    with closing(apsw.Connection(str(database))) as now:
        entries = sorted(_entries(now))
        copied: dict[str, list[Any]] = {
            table: now.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608
            for table, columns in _COPIED.items()
        }
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    with closing(apsw.Connection(str(database))) as old:
        old.pragma("journal_mode", "wal")
        old.execute(_SCHEMA)
        rows, spill_ms = _rows(entries)
        old.executemany("INSERT INTO entries VALUES(?, ?, ?, ?, 0, ?)", rows)
        old.executemany("INSERT INTO minutes VALUES(?, ?, ?, ?)", _minutes(entries))
        for table, found in copied.items():
            marks = ", ".join("?" * len(found[0])) if found else ""
            if table == "sources":
                marks += f", 0, {(1 << 63) - 1}"
            old.executemany(f"INSERT INTO {table} VALUES({marks})", found)
        old.execute("INSERT INTO meta VALUES('spill_ms', ?)", (spill_ms,))


_COPIED = {
    "sources": "id, path, state, checkpoint, last_line, holds_audit",
    "levels": "level",
    "fields": "name",
    "meta": "name, value",
}


def _entries(now: apsw.Connection) -> Iterator[_Entry]:
    for segment in lines.segments(now):
        alive = segment.alive or b"\1" * segment.entries
        raw = segment.lines(range(segment.entries))
        columns = segment.keys, segment.times, segment.sources, segment.line_numbers
        for *found, line, is_there in zip(*columns, raw, alive, strict=True):
            if is_there:
                key, time_ms, source, number = found
                yield _Entry(key, time_ms, source, number, segment.is_audit, line)
    for piece in lines.fresh_lines(lines.open_file(now)):
        for place, time_ms in enumerate(piece.times):
            raw_line = restore_time(piece.raw[place], time_ms)
            first = piece.keys[place], time_ms, piece.sources[place]
            yield _Entry(*first, piece.lines[place], piece.is_audit, raw_line)


def _rows(entries: list[_Entry]) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows of `entries`, and by how much a key may be later than its time."""
    rows, key, spill_ms = [], -1, 0
    for entry in entries:
        time_ms = clamp(entry.time_ms)
        key = max(key + 1, time_ms * _PLACES)
        spilled_ms = key // _PLACES - time_ms
        spill_ms = max(spill_ms, spilled_ms)
        raw, fields = entry.raw, parse_line(entry.raw)[0]
        if not spilled_ms and time_ms == entry.time_ms and (found := time_of(fields)):
            raw = strip_time(raw, fields.get(found[1]))
        data, is_full = _shortened(zstandard.ZstdCompressor(write_checksum=False).compress(raw))
        flags = _AUDIT * entry.is_audit + _FULL_FRAME * is_full
        rows.append((key, entry.source, entry.line, flags, data))
    return rows, spill_ms


def _shortened(frame: bytes) -> tuple[bytes, bool]:
    """Return a frame without its usual headers, or without the magic number alone."""
    if frame[4] == 0x60 and frame[7] & 0b111 == 0b101:
        return frame[5:7] + frame[10:], False
    return frame[4:], True


def _minutes(entries: list[_Entry]) -> list[tuple[int, str, bool, int]]:
    counts = Counter(
        (clamp(one.time_ms) // 60_000, level_of(parse_line(one.raw)[0]), one.is_audit)
        for one in entries
    )
    return [(*minute, count) for minute, count in counts.items()]
