"""An index that is built anew beside the old one, and takes its place in one step."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any, Self

import apsw

from mikroscope.errors import IndexFormatError, MikroScopeError, StoreError
from mikroscope.logfiles.sources import unread
from mikroscope.stores.base import Deleted
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.schema import (
    KEY_BITS,
    KEY_MASK,
    check_version,
    clamp,
    connect,
    decode_checkpoint,
    encode_checkpoint,
)
from mikroscope.stores.sqlite.write.encoding import MaybePruned, PruneRules

logger = logging.getLogger(__name__)

SUFFIX = ".rebuild"
_BUSY_MS = 120_000  # a writer that is at work may hold the old index for the length of a batch

# The new index has the sources of the old one, so that source and number identify a line in both.
_SEED_SOURCE = f"""
INSERT INTO sources(id, path, state, checkpoint, last_line, holds_audit, first_key, last_key)
VALUES(?, ?, 0, ?, 0, ?, {(1 << 63) - 1}, 0)
"""
_SEEDED_META = ("next_source", "pruned_normal_ms", "pruned_audit_ms")

# Entries are in the order of time; these are found by their lines.
_MAKE_LINES = """
CREATE TEMP TABLE IF NOT EXISTS lines(
    source INTEGER, line INTEGER, key INTEGER, PRIMARY KEY(source, line)) WITHOUT ROWID
"""
_LIST_LINES = """
INSERT INTO temp.lines SELECT e.source, e.line, e.key FROM sources s JOIN entries e
    ON e.key BETWEEN s.first_key AND s.last_key AND e.source = s.id WHERE s.id = ?
"""


class OldIndex:
    """What a new index must know of the one it replaces. One that cannot be read knows nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_damaged = files.is_marked_damaged(path)
        self._connection = self._open()
        meta = dict(self._ask("SELECT name, value FROM meta"))
        self.rules = PruneRules(meta.get("pruned_normal_ms", 0), meta.get("pruned_audit_ms", 0))
        self._spill_ms = meta.get("spill_ms", 0)
        self._read_to = dict(self._ask("SELECT id, last_line FROM sources WHERE state = 0"))
        self._listed: set[int] = set()

    def time_of(self, suspect: MaybePruned) -> int | None:
        """The time of an entry that stays; None for one that was indexed and is not here any more.

        A record without a time keeps the one at which it was indexed first.
        """
        is_new = suspect.line > self._read_to.get(suspect.source, 0)
        if suspect.time_ms is None:
            return time_ns() // 1_000_000 if is_new else self._indexed_at(suspect)
        return suspect.time_ms if is_new or self._is_here(suspect, suspect.time_ms) else None

    def _is_here(self, suspect: MaybePruned, time_ms: int) -> bool:
        first = clamp(time_ms) << KEY_BITS
        last = clamp(time_ms) + self._spill_ms << KEY_BITS | KEY_MASK
        found = self._ask(
            "SELECT count(*) FROM entries WHERE key BETWEEN ? AND ? AND source = ? AND line = ?",
            (first, last, suspect.source, suspect.line),
        )
        return found != [(0,)]

    def _indexed_at(self, suspect: MaybePruned) -> int | None:
        """The time of an entry that is known by its source and line only."""
        if suspect.source not in self._listed:
            self._ask(_MAKE_LINES)
            self._ask(_LIST_LINES, (suspect.source,))
            self._listed.add(suspect.source)
        found = self._ask(
            "SELECT key FROM temp.lines WHERE source = ? AND line = ?",
            (suspect.source, suspect.line),
        )
        return found[0][0] >> KEY_BITS if found else None

    def seed(self, new: Path) -> None:
        """Copy the sources into a new and empty index, with nothing indexed yet."""
        meta = dict(self._ask("SELECT name, value FROM meta"))
        rows = self._ask("SELECT id, path, checkpoint, holds_audit FROM sources WHERE state = 0")
        sources = [
            (number, path, encode_checkpoint(unread(decode_checkpoint(checkpoint))), holds_audit)
            for number, path, checkpoint, holds_audit in rows
        ]
        with contextlib.closing(connect(new)) as connection, connection:
            connection.executemany(
                "UPDATE meta SET value = ? WHERE name = ?",
                [(meta[name], name) for name in _SEEDED_META if name in meta],
            )
            connection.executemany(_SEED_SOURCE, sources)

    def content(self) -> Deleted:
        """How much it holds."""
        counts = dict(self._ask("SELECT audit, total(entries) FROM minutes GROUP BY audit"))
        values = self._ask("SELECT value FROM meta WHERE name = 'field_values'")
        return Deleted(int(counts.get(0, 0)), int(counts.get(1, 0)), sum(n for (n,) in values))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody can write to it meanwhile; a batch that waits finds the new one then."""
        if self._connection is None:
            yield
            return
        with self._unless_unreadable():
            self._connection.set_busy_timeout(_BUSY_MS)
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> apsw.Connection | None:
        if not self._path.exists() or not self._path.stat().st_size:
            return None
        connection = None
        try:
            with files.shared_lock(self._path):
                connection = connect(self._path, apsw.SQLITE_OPEN_READWRITE)
                check_version(connection, self._path)
        except (*files.DAMAGE, IndexFormatError) as error:
            if connection is not None:
                connection.close()
            self._tell(error)
            return None
        return connection

    def _ask(self, question: str, values: tuple[object, ...] = ()) -> list[Any]:
        """The rows; none where the old index cannot be read."""
        rows: list[Any] = []
        if self._connection is not None:
            with self._unless_unreadable():
                rows = self._connection.execute(question, values).fetchall()
        return rows

    @contextmanager
    def _unless_unreadable(self) -> Iterator[None]:
        try:
            yield
        except files.DAMAGE as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if isinstance(error, files.DAMAGE):
            if not files.may_be_an_index(self._path):
                raise StoreError(f"{self._path} is not an index: {error}") from error
            self.is_damaged = True
            files.damaged(self._path, error)
        logger.warning("the old index cannot be read: %s", error)


class SqliteRebuild:
    """A new index on `<db>.rebuild`; `make_store` opens a store there."""

    def __init__(self, path: Path, make_store: Callable[[Path, OldIndex], Any]) -> None:
        self._path = path
        self._new = files.sibling(path, SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._new)
        self._old: OldIndex | None = None
        try:
            remove_remains(path)
            self._old = OldIndex(path)
            self.store = make_store(self._new, self._old)
        except BaseException:
            self._let_go()
            raise

    def swap(self, catch_up: Callable[[], object]) -> Deleted:
        """Put the new index in the place of the old one; returns what was in that."""
        if self._old is None:
            raise StoreError("the new index was given up, or swapped in already")
        with files.translating_errors(self._path), self._old.held():
            catch_up()
            self.store.seal()
            content = self._old.content()
            with files.exclusive_lock(self._path):
                files.put_in_place(self._new, self._path, self._old.is_damaged)
        self.close()
        return content

    def close(self) -> None:
        """Give it up, unless it was swapped in."""
        if self._old is not None:
            self.store.close()
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _let_go(self) -> None:
        old, self._old = self._old, None
        if old is not None:
            old.close()
        remove_remains(self._path)
        files.unlock(self._lock)
        files.sibling(self._new, ".lock").unlink(missing_ok=True)


def remove_remains(path: Path) -> None:
    """Delete what a rebuild that was killed has left; its lock must be held."""
    for suffix in ("", "-wal", "-shm", ".damaged"):
        files.sibling(files.sibling(path, SUFFIX), suffix).unlink(missing_ok=True)


def clean_up(path: Path) -> None:
    """Delete the remains of a rebuild, unless one is going on."""
    new = files.sibling(path, SUFFIX)
    if not new.exists():
        return
    with contextlib.suppress(MikroScopeError):
        lock = _lock(new)
        remove_remains(path)
        files.unlock(lock)
        files.sibling(new, ".lock").unlink(missing_ok=True)


def _lock(new: Path) -> int:
    try:
        return files.lock(new)
    except StoreError:
        raise StoreError("the index is being rebuilt already: wait until that is done") from None
