"""Writes segments and fresh lines into their tables, and chooses the partition of a segment.

A partition has the segments of one day, or of several days that have few entries, and one inverted
index for them. So what is asked of a day is answered by one index, a year has not too many of them,
and each is dropped as a whole once its days are past.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import sub
from typing import Any, NamedTuple

import apsw
import msgspec

from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.frames import pack
from mikroscope.stores.sqlite.fresh_lines import FreshLines, pack_lines
from mikroscope.stores.sqlite.integers import pack_integers
from mikroscope.stores.sqlite.schema import (
    KEY_BITS,
    create_terms,
    day_of,
    first_row,
)
from mikroscope.stores.sqlite.schema import clamp as clamped
from mikroscope.stores.sqlite.sealing import COMMITS, KEYS, Sealed
from mikroscope.stores.sqlite.tokens import MAX_VALUE

FEW_ENTRIES = 100_000  # a partition of several days takes no further day once it has as many
_MANY_ENTRIES = 500_000  # nor a further segment
_MOST_ENTRIES = 4_000_000  # that the partition of one day takes
_LEAST_ENTRIES = 16_384  # that a partition takes however small the limit of the index is
_LIMITED_SHARE = (
    8  # an index with a limit has at least so many partitions, if they are not too small
)
_MOST_DAYS = 62  # that one partition spans
_MOST_NAMES = 1_000  # fields with tokens that a partition remembers

_PUT_SEGMENT = """
INSERT INTO segments(part, first_ordinal, entries, deleted, is_audit, is_posted, is_exact,
    first_key, last_key, first_ms, last_ms, last_commit, head)
VALUES(?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_SOURCE_LINES = """
INSERT INTO segment_sources VALUES(?, ?, ?, ?)
"""
_PUT_MINUTES = """
INSERT INTO minutes VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE
SET entries = entries + excluded.entries
"""
_encode = msgspec.msgpack.Encoder().encode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode

Minutes = Mapping[tuple[int, str], int]
"""Entries by minute since 1970 and level."""


class Placed(NamedTuple):
    """A segment that is to be stored, with what its entries got when they were committed."""

    sealed: Sealed
    commits: Sequence[int]


def put_segment(connection: apsw.Connection, placed: Placed, avoid: Iterable[int] = ()) -> int:
    """Store a segment and return its number; `avoid` has partitions that get no more of them."""
    sealed, commits = placed.sealed, placed.commits
    keys, times = sealed.keys, sealed.times
    starts = [clamped(time) << KEY_BITS for time in times]
    is_exact = all(key >> KEY_BITS == time for key, time in zip(keys, times, strict=True))
    columns = dict(sealed.columns)
    columns[KEYS] = pack_integers(list(map(sub, keys, starts)) if is_exact else keys)
    columns[COMMITS] = pack_integers(commits)
    part, ordinal = _take_place(connection, sealed, avoid)
    head = pack(_encode(sealed.head))
    connection.execute(
        _PUT_SEGMENT,
        (
            *(part, ordinal, sealed.entries, sealed.is_audit, bool(sealed.documents), is_exact),
            *(keys[0], keys[-1], min(times), max(times), max(commits), head),
        ),
    )
    segment = connection.last_insert_rowid()
    row = first_row(segment)
    connection.executemany(
        "INSERT INTO columns VALUES(?, ?)",
        [(row + place, content) for place, content in sorted(columns.items())],
    )
    connection.executemany(
        "INSERT INTO blocks VALUES(?, ?)",
        [(row + place, content) for place, content in enumerate(sealed.blocks)],
    )
    connection.executemany(
        _PUT_SOURCE_LINES,
        [(source, segment, first, last) for source, (first, last) in sealed.lines.items()],
    )
    if sealed.documents:
        connection.execute(
            f"INSERT INTO terms_{part}(rowid, document) "  # noqa: S608
            "SELECT ? + rowid, value FROM carray(?)",
            (ordinal - 1, apsw.carray(tuple(sealed.documents))),
        )
    return segment


def _take_place(
    connection: apsw.Connection, sealed: Sealed, avoid: Iterable[int]
) -> tuple[int, int]:
    """Return the partition of a segment and its first ordinal there."""
    first, last = (day_of(clamped(one(sealed.times))) for one in (min, max))
    part = _find_partition(connection, sealed.is_audit, first, last, avoid)
    if part is None:
        connection.execute(
            "INSERT INTO partitions(is_audit, first_day, last_day, entries, next_ordinal, "
            "is_merged, names) VALUES(?, ?, ?, 0, 1, 1, ?)",
            (sealed.is_audit, first, last, _encode([])),
        )
        part = connection.last_insert_rowid()
        create_terms(connection, part)
    row: Any = connection.execute(
        "SELECT next_ordinal, names FROM partitions WHERE id = ?", (part,)
    ).fetchone()
    ordinal, packed = row
    names = _decode_names(packed)
    if sealed.documents and not set(sealed.posted_names).issubset(names):
        names = list(dict.fromkeys((*names, *sealed.posted_names)))[:_MOST_NAMES]
        packed = _encode(names)
    documents = len(sealed.documents)
    connection.execute(
        "UPDATE partitions SET first_day = min(first_day, ?), last_day = max(last_day, ?), "
        "entries = entries + ?, next_ordinal = ?, is_merged = is_merged AND ?, names = ? "
        "WHERE id = ?",
        (first, last, sealed.entries, ordinal + documents, not documents, packed, part),
    )
    return part, ordinal


def _find_partition(
    connection: apsw.Connection, is_audit: bool, first: int, last: int, avoid: Iterable[int]
) -> int | None:
    """Return the partition whose days have to be extended least; None for a new one."""
    avoided = set(avoid)
    best: tuple[int, int, int] | None = None
    limit = _most_entries(connection)
    rows: Any = connection.execute(
        "SELECT id, first_day, last_day, max(entries, next_ordinal) FROM partitions "
        "WHERE is_audit = ? AND first_day <= ? AND last_day >= ?",
        (is_audit, last + _MOST_DAYS, first - _MOST_DAYS),
    )
    for part, low, high, entries in rows:
        if part in avoided:
            continue
        span = max(high, last) - min(low, first) + 1
        longer = span - (high - low + 1)
        most = _MOST_ENTRIES if span == 1 else FEW_ENTRIES if longer else _MANY_ENTRIES
        if entries < min(most, limit) and span <= _MOST_DAYS:
            found = longer, span, part
            best = found if best is None else min(best, found)
    return None if best is None else best[2]


def _most_entries(connection: apsw.Connection) -> int:
    """Return how many entries any partition takes.

    Where the oldest segments leave all the time, so should their inverted indexes.
    """
    if not connection.execute("SELECT value FROM meta WHERE name = 'is_limited'").get:
        return _MOST_ENTRIES
    total: Any = connection.execute("SELECT total(entries) FROM partitions").get
    return max(_LEAST_ENTRIES, int(total) // _LIMITED_SHARE)


def put_fresh(connection: apsw.Connection, lines: FreshLines, dictionary: Dictionary) -> int:
    """Store lines that have their keys; return the number of their row."""
    content = pack_lines(lines, dictionary.pack)
    connection.execute(
        "INSERT INTO fresh(is_audit, entries, first_key, last_key, dictionary, data) "
        "VALUES(?, ?, ?, ?, ?, ?)",
        (
            *(lines.is_audit, len(lines), lines.keys[0], lines.keys[-1]),
            *(dictionary.number, content),
        ),
    )
    return connection.last_insert_rowid()


def count_up(connection: apsw.Connection, minutes: Minutes, is_audit: bool) -> None:
    """Count entries by minute and level."""
    connection.executemany(
        _PUT_MINUTES,
        [(minute, level, is_audit, entries) for (minute, level), entries in minutes.items()],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO levels VALUES(?)", {(level,) for _, level in minutes}
    )


def count_down(connection: apsw.Connection, minutes: Minutes, is_audit: bool) -> None:
    """Undo `count_up`."""
    where = "minute = ? AND level = ? AND audit = ?"
    keys = [(minute, level, is_audit) for minute, level in minutes]
    connection.executemany(
        f"UPDATE minutes SET entries = entries - ? WHERE {where}",  # noqa: S608
        [(entries, *key) for entries, key in zip(minutes.values(), keys, strict=True)],
    )
    connection.executemany(f"DELETE FROM minutes WHERE {where} AND entries <= 0", keys)  # noqa: S608


def put_names(connection: apsw.Connection, names: Iterable[str]) -> None:
    """Remember names of fields; very long ones are not listed."""
    connection.executemany(
        "INSERT OR IGNORE INTO fields VALUES(?)",
        [(name,) for name in names if len(name) <= MAX_VALUE],
    )
