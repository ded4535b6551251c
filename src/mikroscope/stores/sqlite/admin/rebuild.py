"""A new index that is built next to the old one and replaces it in one step."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any, Self

import apsw

from mikroscope.errors import IndexFormatError, MikroScopeError, StoreError
from mikroscope.logfiles.sources import unread
from mikroscope.stores.base import Deleted
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.lines import times_by_line
from mikroscope.stores.sqlite.schema import (
    LINE_MASK,
    check_version,
    connect,
    decode_checkpoint,
    encode_checkpoint,
)
from mikroscope.stores.sqlite.write.reading import MaybePruned, PruneRules

logger = logging.getLogger(__name__)

SUFFIX = ".rebuild"
_BUSY_MS = 120_000  # a writer may hold the lock of the old index for the length of a batch

# The new index has the sources of the old one, so that source and number identify a line in both.
_SEED_SOURCE = """
INSERT INTO sources(id, path, state, checkpoint, last_line, holds_audit)
VALUES(?, ?, 0, ?, 0, ?)
"""
_SEEDED_META = ("next_source", "pruned_normal_ms", "pruned_audit_ms")


class OldIndex:
    """What a new index must know of the one it replaces; nothing, if that one cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_damaged = files.is_marked_damaged(path)
        self._connection = self._open()
        meta = dict(self._ask("SELECT name, value FROM meta"))
        self.rules = PruneRules(meta.get("pruned_normal_ms", 0), meta.get("pruned_audit_ms", 0))
        self._read_to = dict(self._ask("SELECT id, last_line FROM sources WHERE state = 0"))
        self._listed = -1  # the source that was asked for last
        self._times: dict[int, int] = {}

    def time_of(self, entry: MaybePruned) -> int | None:
        """Return the time of an entry in epoch milliseconds; None if the old index has pruned it.

        A record without a time keeps the time at which it was first indexed.
        """
        is_new = entry.line & LINE_MASK > self._read_to.get(entry.source, 0)
        if entry.time_ms is None:
            return time_ns() // 1_000_000 if is_new else self._indexed_at(entry)
        return entry.time_ms if is_new or self._is_here(entry) else None

    def _is_here(self, entry: MaybePruned) -> bool:
        return entry.line in self._times_of(entry.source)

    def _indexed_at(self, entry: MaybePruned) -> int | None:
        """Return when a line without a time was indexed; None if its entry was pruned."""
        return self._times_of(entry.source).get(entry.line)

    def _times_of(self, source: int) -> dict[int, int]:
        """Return the times of a source's entries by line; those of the last source are kept."""
        if source != self._listed:
            self._listed, self._times = source, {}
            if self._connection is not None:
                with self._unless_unreadable():
                    self._times = times_by_line(self._connection, source)
        return self._times

    def seed(self, new: Path) -> None:
        """Copy the sources into a new and empty index, with nothing indexed yet."""
        meta = dict(self._ask("SELECT name, value FROM meta"))
        rows = self._ask("SELECT id, path, checkpoint, holds_audit FROM sources WHERE state = 0")
        sources: list[tuple[Any, ...]] = []
        with self._unless_unreadable():
            sources += [
                (number, path, encode_checkpoint(unread(decode_checkpoint(content))), holds_audit)
                for number, path, content, holds_audit in rows
            ]
        with contextlib.closing(connect(new)) as connection, connection:
            connection.executemany(
                "UPDATE meta SET value = ? WHERE name = ?",
                [(meta[name], name) for name in _SEEDED_META if name in meta],
            )
            connection.executemany(_SEED_SOURCE, sources)

    def content(self) -> Deleted:
        """Return how much the index holds."""
        counts = dict(self._ask("SELECT audit, total(entries) FROM minutes GROUP BY audit"))
        values = self._ask("SELECT value FROM meta WHERE name = 'field_values'")
        return Deleted(int(counts.get(0, 0)), int(counts.get(1, 0)), sum(n for (n,) in values))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the index against writers; a batch that waits finds the new index then."""
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
        """Close the index."""
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
            self._note_damage(error)
            return None
        return connection

    def _ask(self, question: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return the rows; none if the old index cannot be read."""
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
            self._note_damage(error)

    def _note_damage(self, error: Exception) -> None:
        if isinstance(error, files.DAMAGE):
            if not files.may_be_an_index(self._path):
                raise StoreError(f"{self._path} is not an index: {error}") from error
            self.is_damaged = True
            files.damaged(self._path, error)
        logger.warning("the old index cannot be read: %s", error)


class SqliteRebuild:
    """A new index in `<db>.rebuild`; `make_store` opens a store there."""

    def __init__(self, path: Path, make_store: Callable[[Path, OldIndex], Any]) -> None:
        self._path = path
        self._new = files.sibling(path, SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._new)
        self._old: OldIndex | None = None
        try:
            remove_leftovers(path)
            self._old = OldIndex(path)
            self.store = make_store(self._new, self._old)
        except BaseException:
            self._release()
            raise

    def swap(self, catch_up: Callable[[], object]) -> Deleted:
        """Replace the old index by the new one; return what the old one held."""
        if self._old is None:
            raise StoreError("the new index was given up or swapped in already")
        with files.translating_errors(self._path), self._old.held():
            catch_up()
            self.store.seal()
            content = self._old.content()
            with files.exclusive_lock(self._path):
                files.put_in_place(self._new, self._path, self._old.is_damaged)
        self.close()
        return content

    def close(self) -> None:
        """Give the new index up, unless it was swapped in."""
        if self._old is not None:
            self.store.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        old, self._old = self._old, None
        if old is not None:
            old.close()
        remove_leftovers(self._path)
        files.unlock(self._lock)
        files.sibling(self._new, ".lock").unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what a killed rebuild has left; its lock must be held."""
    for suffix in ("", "-wal", "-shm", ".damaged"):
        files.sibling(files.sibling(path, SUFFIX), suffix).unlink(missing_ok=True)


def clean_up(path: Path) -> None:
    """Delete what a killed rebuild has left, unless a rebuild is running."""
    new = files.sibling(path, SUFFIX)
    if not new.exists():
        return
    with contextlib.suppress(MikroScopeError):
        lock = _lock(new)
        remove_leftovers(path)
        files.unlock(lock)
        files.sibling(new, ".lock").unlink(missing_ok=True)


def _lock(new: Path) -> int:
    try:
        return files.lock(new)
    except StoreError:
        raise StoreError("the index is already being rebuilt: wait until that is done") from None
