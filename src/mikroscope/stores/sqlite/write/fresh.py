"""The lines that are not sealed yet, as the writing connection sees them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apsw

from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.fresh_lines import FreshLines, unpack_lines
from mikroscope.stores.sqlite.write.storing import put_fresh


class FreshKeys(NamedTuple):
    """The keys of one row."""

    first_key: int
    last_key: int
    keys: list[int]


class FreshRows:
    """The rows of `fresh`; keeps their keys, which new entries must not have.

    `dictionary` returns a dictionary by its number, and `current` the one to pack with.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        dictionary: Callable[[int], Dictionary],
        current: Callable[[], Dictionary],
    ) -> None:
        self._connection = connection
        self._dictionary = dictionary
        self._current = current
        self._keys: dict[int, FreshKeys] | None = None
        self._entries: dict[bool, int] | None = None

    def entries(self, is_audit: bool) -> int:
        """Return the number of entries of one kind."""
        if self._entries is None:
            select = "SELECT is_audit, total(entries) FROM fresh GROUP BY is_audit"
            rows: Any = self._connection.execute(select)
            self._entries = {bool(kind): int(entries) for kind, entries in rows}
        return self._entries.get(is_audit, 0)

    @property
    def most_entries(self) -> int:
        """The number of entries of that kind which has more."""
        return max(self.entries(False), self.entries(True))

    def rows(self, is_audit: bool) -> list[tuple[int, int, bytes]]:
        """Return number, dictionary and packed lines of each row of one kind."""
        select = "SELECT id, dictionary, data FROM fresh WHERE is_audit = ? ORDER BY id"
        found: Any = self._connection.execute(select, (is_audit,))
        return list(found)

    def lines(self) -> Iterator[tuple[int, FreshLines]]:
        """Yield the number of each row and its lines."""
        select = "SELECT id, dictionary, data FROM fresh ORDER BY id"
        rows: Any = self._connection.execute(select).fetchall()
        for row, dictionary, data in rows:
            yield row, unpack_lines(self._dictionary(dictionary).unpack(data))

    def lines_in(self, row: int) -> FreshLines:
        """Return the lines of a row."""
        select = "SELECT dictionary, data FROM fresh WHERE id = ?"
        found: Any = self._connection.execute(select, (row,)).fetchone()
        dictionary, data = found
        return unpack_lines(self._dictionary(dictionary).unpack(data))

    def add(self, lines: FreshLines) -> None:
        """Store lines that have their keys."""
        row = put_fresh(self._connection, lines, self._current())
        if self._entries is not None:
            self._entries[lines.is_audit] = self.entries(lines.is_audit) + len(lines)
        if self._keys is not None:
            self._keys[row] = FreshKeys(lines.keys[0], lines.keys[-1], lines.keys)

    def replace(self, row: int, lines: FreshLines | None) -> None:
        """Put other lines, or none, in the place of a row."""
        self.delete([row])
        if lines is not None:
            self.add(lines)

    def delete(self, rows: list[int]) -> None:
        """Delete rows."""
        self._connection.executemany("DELETE FROM fresh WHERE id = ?", [(row,) for row in rows])
        self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'changes'")
        self._entries = None
        if self._keys is not None:
            for row in rows:
                self._keys.pop(row, None)

    def has_all(self, rows: list[int]) -> bool:
        """Return whether all of these rows are there still."""
        select = "SELECT count(*) FROM fresh WHERE id = ?"
        return all(self._connection.execute(select, (row,)).get for row in rows)

    def keys(self) -> list[FreshKeys]:
        """Return the keys of all rows."""
        if self._keys is None:
            self._keys = {
                row: FreshKeys(lines.keys[0], lines.keys[-1], lines.keys)
                for row, lines in self.lines()
            }
        return list(self._keys.values())
