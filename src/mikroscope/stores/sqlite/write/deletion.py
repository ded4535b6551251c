"""Deletes entries, of discarded sources and past their time, and gives their space back."""

from collections.abc import Callable, Iterable
from typing import Any

import apsw

from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import Cutoffs, Deleted
from mikroscope.stores.sqlite.compression import Dictionary, restore_time
from mikroscope.stores.sqlite.rows import AUDIT, DAY_MINUTES, FULL_FRAME, encode_again
from mikroscope.stores.sqlite.schema import KEY_BITS, LINE_MASK, MAX_KEY, clamp, mark_days_changed
from mikroscope.stores.sqlite.terms import TermEncoder
from mikroscope.stores.sqlite.write.batch import DISCARDED, GONE

_FORGET_DAYS = f"""
DELETE FROM days WHERE NOT EXISTS (
    SELECT 1 FROM minutes
    WHERE minute BETWEEN day * {DAY_MINUTES} AND day * {DAY_MINUTES} + {DAY_MINUTES - 1})
"""  # noqa: S608
_KEYS_OF_LINE = f"""
SELECT e.key FROM sources s JOIN entries e ON e.key BETWEEN s.first_key AND s.last_key
WHERE s.id = ? AND e.source = s.id AND e.line & {LINE_MASK} = ?
"""  # noqa: S608
_WINDOW = 20_000  # rows examined in one step
_COLLECT_ENTRIES = 2_000  # deleted in one step
_EXPIRE_ENTRIES = 250  # likewise; requests wait no longer than this takes
# FTS5 frees the space of deleted documents only when it merges parts: worth it from this share on.
_MERGE_AFTER_SHARE = 0.1
_MERGE_PAGES = 100
_VACUUM_PAGES = 250


def collect(connection: apsw.Connection, deleter: "Deleter") -> Deleted | None:
    """Delete some entries of a discarded source, and at last the source; None without one."""
    found: Any = connection.execute(
        "SELECT id, first_key, last_key FROM sources WHERE state = ? LIMIT 1", (DISCARDED,)
    ).fetchone()
    if found is None:
        return None
    source, first, last = found
    window = connection.execute(
        "SELECT key, source FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
        (first, last, _WINDOW),
    )
    keys, reached = _choose(window, lambda _key, of_source: of_source == source, _COLLECT_ENTRIES)
    deleted = deleter.delete(keys)
    if reached is None:
        connection.execute("DELETE FROM sources WHERE id = ?", (source,))
    else:
        connection.execute("UPDATE sources SET first_key = ? WHERE id = ?", (reached + 1, source))
    return deleted


def expire(
    connection: apsw.Connection, deleter: "Deleter", cutoffs: Cutoffs, position: int
) -> tuple[Deleted, int | None]:
    """Delete some expired entries from a key on; return the counts and the next key.

    The next key is None at the end; sources that are gone and have no entry left are deleted then.
    """
    normal_end, audit_end = _end(cutoffs.normal_ms), _end(cutoffs.audit_ms)
    if not position:
        _remember(connection, cutoffs)
    end = max(normal_end, audit_end)
    window = connection.execute(
        "SELECT key, flags FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
        (position, end, _WINDOW),
    )
    keys, reached = _choose(
        window,
        lambda key, flags: key < (audit_end if flags & AUDIT else normal_end),
        _EXPIRE_ENTRIES,
    )
    deleted = deleter.delete(keys)
    if reached is not None:
        return deleted, reached + 1
    connection.execute(_FORGET_DAYS)
    connection.execute(
        "DELETE FROM sources WHERE state = ? AND last_key < ?", (GONE, min(normal_end, audit_end))
    )
    return deleted, None


def remove_lines(
    connection: apsw.Connection, deleter: "Deleter", lines: Iterable[tuple[int, int]]
) -> None:
    """Delete the entries of some lines; each is a source and a line number.

    Reads all entries of the source's time span: the parts of a line may have any times.
    """
    keys = [key for line in lines for (key,) in connection.execute(_KEYS_OF_LINE, line)]
    if keys:
        deleter.delete(keys)


def compact(connection: apsw.Connection) -> bool:
    """Merge some of the inverted index, or give some pages back; False if nothing is left to do."""
    if _merge_some(connection):
        return True
    free = connection.pragma("freelist_count")
    if not free:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return bool(connection.pragma("freelist_count") < free)


class Deleter:
    """Deletes entries from every table, within the caller's transaction."""

    def __init__(
        self,
        connection: apsw.Connection,
        dictionary: Callable[[int], Dictionary],
        terms: TermEncoder,
    ) -> None:
        self._connection = connection
        self._dictionary = dictionary
        self._terms = terms

    def delete(self, keys: list[int]) -> Deleted:
        """Delete the entries with these keys, and return their counts."""
        deleted = Deleted(field_values=0)
        field_values = 0
        minutes: dict[tuple[int, str, bool], int] = {}
        documents = []
        for key in keys:
            minute, document, values = self._counted_and_found(key)
            minutes[minute] = minutes.get(minute, 0) + 1
            documents.append((key, document))
            field_values += values
        deleted.field_values = field_values
        deleted.audit_entries = sum(n for (_, _, audit), n in minutes.items() if audit)
        deleted.normal_entries = len(keys) - deleted.audit_entries
        execute_many = self._connection.executemany
        execute_many("INSERT INTO terms(terms, rowid, document) VALUES('delete', ?, ?)", documents)
        execute_many("DELETE FROM entries WHERE key = ?", [(key,) for key in keys])
        self._count_down(minutes)
        execute_many(
            "UPDATE meta SET value = value + ? WHERE name = ?",
            [(-field_values, "field_values"), (len(keys), "deleted_since_merge")],
        )
        return deleted

    def _count_down(self, minutes: dict[tuple[int, str, bool], int]) -> None:
        mark_days_changed(self._connection, {minute // DAY_MINUTES for minute, _, _ in minutes})
        where = "minute = ? AND level = ? AND audit = ?"
        self._connection.executemany(
            f"UPDATE minutes SET entries = entries - ? WHERE {where}",  # noqa: S608
            [(entries, *minute) for minute, entries in minutes.items()],
        )
        self._connection.executemany(
            f"DELETE FROM minutes WHERE {where} AND entries <= 0",  # noqa: S608
            list(minutes),
        )

    def _counted_and_found(self, key: int) -> tuple[tuple[int, str, bool], bytes, int]:
        """Return the minute that counts an entry, its document, and how many fields it has."""
        row: Any = self._connection.execute(
            "SELECT flags, dictionary, data FROM entries WHERE key = ?", (key,)
        ).fetchone()
        flags, number, data = row
        line = self._dictionary(number).unpack(data, bool(flags & FULL_FRAME))
        raw = restore_time(line, key >> KEY_BITS)
        fields, _ = parse_line(raw)
        field_values = len(fields)
        minute, document = encode_again(self._terms, fields, key, bool(flags & AUDIT))
        return minute, document, field_values


def _choose(
    window: Iterable[Any], is_meant: Callable[[int, int], bool], limit: int
) -> tuple[list[int], int | None]:
    """Choose keys from a window of rows; also return the last key seen, None if it was the end."""
    keys: list[int] = []
    rows = key = 0
    for key, column in window:
        rows += 1
        if is_meant(key, column):
            keys.append(key)
        if len(keys) == limit:
            return keys, key
    return keys, key if rows == _WINDOW else None


def _end(cutoff_ms: int | None) -> int:
    """Return the first key that stays."""
    return 0 if cutoff_ms is None or cutoff_ms <= 0 else min(clamp(cutoff_ms) << KEY_BITS, MAX_KEY)


def _remember(connection: apsw.Connection, cutoffs: Cutoffs) -> None:
    """Remember the cutoffs: a rebuilt index leaves out older lines that this one has pruned."""
    connection.executemany(
        "UPDATE meta SET value = max(value, ?) WHERE name = ?",
        [(cutoffs.normal_ms or 0, "pruned_normal_ms"), (cutoffs.audit_ms or 0, "pruned_audit_ms")],
    )


def _merge_some(connection: apsw.Connection) -> bool:
    """Merge some parts of the inverted index, since a term is looked up in each; False if done.

    FTS5 has merged nothing if hardly a row changed. A positive number of pages makes it merge parts
    of one size (two of them: `usermerge`), or continue, so that a large part is not written again
    for every small one; a negative number begins to merge all parts.
    """
    select = "SELECT value FROM meta WHERE name = 'deleted_since_merge'"
    deleted: int = connection.execute(select).get
    if deleted > 0 and deleted >= _MERGE_AFTER_SHARE * (_entries(connection) + deleted):
        _merge(connection, -_MERGE_PAGES)
        _set_deleted(connection, -1)  # means: merging all parts has begun
        return True
    goes_on = _merge(connection, _MERGE_PAGES)
    if deleted < 0 and not goes_on:
        _set_deleted(connection, 0)
    return goes_on


def _merge(connection: apsw.Connection, pages: int) -> bool:
    before = connection.total_changes()
    connection.execute("INSERT INTO terms(terms, rank) VALUES('merge', ?)", (pages,))
    return connection.total_changes() - before >= 2


def _entries(connection: apsw.Connection) -> int:
    return int(connection.execute("SELECT total(entries) FROM minutes").get)


def _set_deleted(connection: apsw.Connection, value: int) -> None:
    update = "UPDATE meta SET value = ? WHERE name = 'deleted_since_merge'"
    connection.execute(update, (value,))
