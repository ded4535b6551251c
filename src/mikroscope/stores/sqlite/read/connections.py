"""A small pool of reading connections; each question has a deadline."""

import heapq
import threading
from array import array
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from math import inf
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import apsw
import msgspec

from mikroscope.errors import QueryTimeoutError, StoreError
from mikroscope.query.model import Entry, Page, PageRequest, Query
from mikroscope.records.attributes import event_of, find_time, level_of, message_of
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.parsing import Fields, parse_line
from mikroscope.records.timestamps import format_time, has_zone
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.compression import Dictionary, restore_time
from mikroscope.stores.sqlite.read.access import open_reader
from mikroscope.stores.sqlite.read.day_cache import DayCountCache, DayState
from mikroscope.stores.sqlite.read.planner import Plan, Planner, Plans, encode_cursor
from mikroscope.stores.sqlite.read.recheck import Recheck
from mikroscope.stores.sqlite.read.vocabulary import add_tables
from mikroscope.stores.sqlite.rows import AUDIT, FULL_FRAME
from mikroscope.stores.sqlite.schema import (
    KEY_BITS,
    KEY_MASK,
    LINE_MASK,
    MAX_MS,
)

_TRIES = 5
_CHECK_EVERY = 20_000  # instructions of SQLite's virtual machine between two checks of the deadline
_ROW = "e.key, e.source, e.line, e.flags, e.dictionary, e.data"
_WALK = f"SELECT {_ROW} FROM entries e WHERE e.key BETWEEN ? AND ? ORDER BY e.key DESC"  # noqa: S608
_MATCH = (
    f"SELECT {_ROW} FROM terms t CROSS JOIN entries e ON e.key = t.rowid "  # noqa: S608
    "WHERE t.terms MATCH ? AND t.rowid BETWEEN ? AND ? ORDER BY t.rowid DESC"
)
_BY_KEYS = (
    f"SELECT {_ROW} FROM carray(?) AS k CROSS JOIN entries e ON e.key = k.value "  # noqa: S608
    "ORDER BY e.key DESC"
)
_AT_THE_ENDS = "SELECT 1 FROM entries WHERE key <= ? OR key >= ? LIMIT 1"
_KEYS = (
    "SELECT rowid FROM terms WHERE terms MATCH ? AND rowid BETWEEN ? AND ? "
    "ORDER BY rowid DESC LIMIT ?"
)

Answer = TypeVar("Answer")


class Row(NamedTuple):
    """One row of `entries` with its line decompressed."""

    key: int
    source: int
    line: int
    is_audit: bool
    raw: bytes

    def fields(self) -> Fields:
        """Return the fields of the line."""
        return parse_line(self.raw)[0]


class Connection:
    """A reading connection; a question runs within `snapshot`, in one thread."""

    def __init__(self, path: Path, day_counts: DayCountCache, may_copy: bool = False) -> None:
        self.day_counts = day_counts
        self.reading = open_reader(path, may_copy)
        self.identity = self.reading.identity
        self.sql = self.reading.sql
        self._dictionaries: dict[int, Dictionary] = {0: Dictionary(0, b"")}
        self._deadline = inf
        self.sql.set_progress_handler(self._is_late, _CHECK_EVERY)
        add_tables(self.sql)
        self._planner = Planner(self)

    @contextmanager
    def snapshot(self, timeout_s: float) -> Iterator[None]:
        """See one state of the index within the context. Raises QueryTimeoutError."""
        self._deadline = monotonic() + timeout_s
        self.sql.execute("BEGIN")
        try:
            yield
        except apsw.InterruptError:
            raise QueryTimeoutError(
                f"the query was stopped after {timeout_s:g} s: narrow it by time or by a filter"
            ) from None
        finally:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")

    def plans(self, query: Query, first_days: int = 1, cursor: str | None = None) -> Plans:
        """Plan a query for what the index holds now."""
        return self._planner.plans(query, first_days, cursor)

    def keys_of(self, plan: Plan, limit: int) -> list[int]:
        """Return the first `limit` keys that match a plan, newest first."""
        rows: Any = self.sql.execute(_KEYS, (plan.match, plan.low, plan.high, limit))
        return [key for (key,) in rows]

    def has_inexact_keys(self) -> bool:
        """Return whether some key does not give its entry's time."""
        ends = (KEY_MASK, MAX_MS << KEY_BITS)
        return bool(self.spill_ms() or self.sql.execute(_AT_THE_ENDS, ends).get)

    def days_and_spill(self) -> tuple[list[int], int]:
        """Return what `day_windows` needs."""
        return self.days(), self.spill_ms()

    def days(self) -> list[int]:
        """Return every day that has or had entries, in rising order."""
        rows: Any = self.sql.execute("SELECT day FROM days ORDER BY day")
        return [day for (day,) in rows]

    def day_states(self, days: Collection[int]) -> list[DayState]:
        """Return the state of those of these days that have or had entries."""
        rows: Any = self.sql.execute("SELECT day, changed FROM days ORDER BY day")
        return [DayState(self.identity, day, changed) for day, changed in rows if day in days]

    def spill_ms(self) -> int:
        """Return by how many milliseconds a key may be later than its entry's time."""
        found: int = self.sql.execute("SELECT value FROM meta WHERE name = 'spill_ms'").get
        return found

    def levels(self, wanted: str | None = None) -> list[str]:
        """Return every level that entries have or had; with `wanted`, those of its severities."""
        levels = [level for (level,) in self.sql.execute("SELECT level FROM levels")]
        if wanted is None:
            return levels
        severities = severities_in(wanted)
        return [level for level in levels if severity_of(level) in severities]

    def rows(self, query: Query, plan: Plan, limit: int = -1) -> Iterator[Row]:
        """Yield the rows of a plan, newest first."""
        suffix = f" LIMIT {limit}" if limit >= 0 and not plan.check else ""
        check = Recheck(query, self.field_names() if query.text else []) if plan.check else None
        for key, source, line, flags, dictionary, data in self._find(plan, suffix):
            packed = self._dictionary(dictionary).unpack(data, flags >= FULL_FRAME)
            row = Row(key, source, line, bool(flags & AUDIT), restore_time(packed, key >> KEY_BITS))
            if check is None or check.matches(row.fields(), key, row.is_audit):
                yield row

    def lines(self, query: Query, plans: Plans) -> Iterator[bytes]:
        """Yield the lines of all plans in any order; counting needs neither rows nor order."""
        if plans.exact_times:
            yield from (row.raw for row in self.merged_rows(query, plans))
            return
        for plan in plans.parts:
            if plan.check:
                yield from (row.raw for row in self.rows(query, plan))
                continue
            for key, _, _, flags, dictionary, data in self._find(plan):
                packed = self._dictionary(dictionary).unpack(data, flags >= FULL_FRAME)
                yield restore_time(packed, key >> KEY_BITS)

    def _find(self, plan: Plan, suffix: str = "") -> Iterator[Any]:
        if plan.keys is not None:
            if not plan.keys:
                return iter(())
            return self.sql.execute(_BY_KEYS, (apsw.carray(array("q", plan.keys)),))
        if plan.match is None:
            return self.sql.execute(_WALK + suffix, (plan.low, plan.high))
        return self.sql.execute(_MATCH + suffix, (plan.match, plan.low, plan.high))

    def merged_rows(self, query: Query, plans: Plans, limit: int = -1) -> Iterator[Row]:
        """Yield the rows of all plans, newest first, each once; a plan runs when it is needed."""
        parts = chain.from_iterable(self.rows(query, plan, limit) for plan in plans.parts)
        if not plans.exact_times:
            yield from parts
            return
        exact_times = [self.rows(query, plan, limit) for plan in plans.exact_times]
        last = None
        for row in heapq.merge(parts, *exact_times, key=attrgetter("key"), reverse=True):
            if row.key != last:
                yield row
            last = row.key

    def get(self, key: int) -> Entry | None:
        """Return the entry with a key."""
        row = next(self.rows(Query(), Plan(None, key, key)), None)
        return None if row is None else _entry(row, self._paths({row.source}).get(row.source, ""))

    def page(self, query: Query, page: PageRequest) -> Page:
        """Return one page of entries, newest first."""
        plans, wanted = self.plans(query, cursor=page.cursor), page.limit + 1
        rows = list(islice(self.merged_rows(query, plans, wanted), wanted))
        shown = rows[: page.limit]
        paths = self._paths({row.source for row in shown})
        has_more = len(rows) > page.limit
        return Page(
            entries=[_entry(row, paths.get(row.source, "")) for row in shown],
            has_more=has_more,
            limit=page.limit,
            next_cursor=encode_cursor(shown[-1].key) if has_more else None,
        )

    def field_names(self) -> list[str]:
        """Return the names of all fields that entries have or had."""
        names: Any = self.sql.execute("SELECT name FROM fields")
        return [name for (name,) in names]

    def _paths(self, sources: set[int]) -> dict[int, str]:
        select = "SELECT path FROM sources WHERE id = ?"
        found = {number: self.sql.execute(select, (number,)).fetchone() for number in sources}
        return {number: row[0] for number, row in found.items() if row is not None}

    def _dictionary(self, number: int) -> Dictionary:
        known = self._dictionaries.get(number)
        if known is None:
            select = "SELECT dictionary FROM dictionaries WHERE id = ?"
            content: Any = self.sql.execute(select, (number,)).get
            known = self._dictionaries[number] = Dictionary(number, content)
        return known

    def _is_late(self) -> bool:
        return monotonic() > self._deadline


class Readers:
    """Up to `size` connections, each opened when it is first needed.

    With `may_copy` they may read a private copy where nothing can be shared with writers.
    """

    def __init__(self, path: Path, size: int, timeout_s: float, may_copy: bool = False) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._may_copy = may_copy
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: list[Connection] = []
        self._closed = False
        self._day_counts = DayCountCache()

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Run a question on a connection of its own; wait while all connections are busy."""
        with self._free:
            try:
                return self._ask(question)
            except files.DAMAGE as error:
                raise files.damaged(self._path, error) from error
            except apsw.Error as error:
                raise StoreError(f"the index cannot be read: {error}") from error

    def close(self) -> None:
        """Interrupt running questions and close every connection."""
        with self._lock:
            self._closed = True
            for connection in self._busy:
                connection.sql.interrupt()
            for connection in self._idle:
                connection.reading.close()
            self._idle.clear()

    def _ask(self, question: Callable[[Connection], Answer]) -> Answer:
        for _ in range(_TRIES):
            connection = self._take()
            try:
                with connection.snapshot(self._timeout_s):
                    answer = question(connection)
                if not connection.reading.is_torn():
                    return answer
            except Exception:  # a file that changes while it is read may cause any error
                if not connection.reading.is_torn():
                    raise
            finally:
                self._release(connection)
        raise StoreError(f"{self._path} changes while it is read: query the server over HTTP")

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreError("the index is closed")
            self._drop_replaced()
            connection = self._idle.pop() if self._idle else self._open()
            self._busy.append(connection)
            return connection

    def _open(self) -> Connection:
        return Connection(self._path, self._day_counts, self._may_copy)

    def _drop_replaced(self) -> None:
        """Close connections to an index that was replaced by another one, or has changed.

        After the last one is closed a later index may get the same inode, so the cached counts,
        which are keyed by inode, are dropped as well.
        """
        for connection in [one for one in self._idle if not one.reading.is_current()]:
            self._idle.remove(connection)
            connection.reading.close()
            self._day_counts = DayCountCache()

    def _release(self, connection: Connection) -> None:
        with self._lock:
            self._busy.remove(connection)
            if self._closed:
                connection.reading.close()
            else:
                self._idle.append(connection)


def _entry(row: Row, path: str) -> Entry:
    fields = row.fields()
    return Entry(
        id=row.key,
        timestamp=_timestamp(fields, row.key),
        level=level_of(fields),
        event=event_of(fields),
        message=message_of(fields),
        data=msgspec.Raw(row.raw),
        source_file=path,
        line_number=row.line & LINE_MASK,
    )


def _timestamp(fields: Fields, key: int) -> str:
    """Return the record's own text if it is ISO 8601 with a zone, else the time in ISO 8601."""
    found = find_time(fields)
    if found.milliseconds is None:
        return format_time(key >> KEY_BITS)
    own = found.value
    return own if isinstance(own, str) and has_zone(own) else format_time(found.milliseconds)
