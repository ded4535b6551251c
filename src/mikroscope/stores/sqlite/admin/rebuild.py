"""A new index that is built next to the old one and replaces it in one step."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any, Self

import apsw

from mikroscope.errors import IndexFormatError, MikroScopeError, StoreError
from mikroscope.errors.wording import in_words
from mikroscope.logfiles.sources import Source, unread
from mikroscope.stores.base import Deleted
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.lines import open_file, times_by_line
from mikroscope.stores.sqlite.previous.carrying import Carrier, Keep, without_file
from mikroscope.stores.sqlite.previous.rows import times_of_source
from mikroscope.stores.sqlite.schema import (
    LINE_MASK,
    PREVIOUS_VERSION,
    VERSION,
    check_version,
    connect,
    decode_checkpoint,
    encode_checkpoint,
)
from mikroscope.stores.sqlite.write.batch import ACTIVE, DISCARDED, GONE
from mikroscope.stores.sqlite.write.reading import MaybePruned, PruneRules

logger = logging.getLogger(__name__)

SUFFIX = ".rebuild"
_CARRIED = "%s: %s of files that are gone were taken from the old index"
_BUSY_MS = 120_000  # a writer may hold the lock of the old index for the length of a batch

# The new index has the sources of the old one, so that source and number identify a line in both.
_SEED_SOURCE = """
INSERT INTO sources(id, path, state, checkpoint, last_line, holds_audit)
VALUES(?, ?, ?, ?, 0, ?)
"""
_SEEDED_META = ("next_source", "pruned_normal_ms", "pruned_audit_ms")


class OldIndex:
    """What a new index must know of the one it replaces; nothing, if that one cannot be read."""

    def __init__(self, path: Path, sources: Sequence[Source] | None = None) -> None:
        self._path = path
        self._sources = sources
        self.is_damaged = files.is_marked_damaged(path)
        self._is_previous = False
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
                with self.unless_unreadable():
                    self._times = self._read_times(self._connection, source)
        return self._times

    def _read_times(self, sql: apsw.Connection, source: int) -> dict[int, int]:
        if self._is_previous:
            return times_of_source(open_file(sql), source)
        return times_by_line(sql, source)

    def carrier(self, keep: Keep) -> Carrier | None:
        """Return what copies entries without a file; None if none are to be copied."""
        if self._connection is None or not self._is_previous:
            return None
        return Carrier(self._connection, keep, self._note_damage)

    def seed(self, new: Path) -> None:
        """Copy the sources into a new and empty index, with nothing indexed yet.

        Of an index of the previous format those without a file are copied as they are.
        """
        meta = dict(self._ask("SELECT name, value FROM meta"))
        sources = [
            (
                *(one.id, one.path, GONE if one.gone else ACTIVE),
                encode_checkpoint(one.checkpoint if one.gone else unread(one.checkpoint)),
                one.holds_audit,
            )
            for one in self.known_sources()
            if one.id < meta.get("next_source", 0) and (self._is_previous or not one.gone)
        ]
        with contextlib.closing(connect(new)) as connection, connection:
            connection.executemany(
                "UPDATE meta SET value = ? WHERE name = ?",
                [(meta[name], name) for name in _SEEDED_META if name in meta],
            )
            connection.executemany(_SEED_SOURCE, sources)

    def known_sources(self) -> Sequence[Source]:
        """Return the sources that are not discarded."""
        if self._sources is not None:
            return self._sources
        rows = self._ask(
            "SELECT id, path, checkpoint, state, holds_audit FROM sources WHERE state != ?",
            (DISCARDED,),
        )
        sources: list[Source] = []
        with self.unless_unreadable():
            sources += [
                Source(number, path, decode_checkpoint(content), state == GONE, bool(holds_audit))
                for number, path, content, state, holds_audit in rows
            ]
        return sources

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
        with self.unless_unreadable():
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
                check_version(connection, self._path, (VERSION, PREVIOUS_VERSION))
                self._is_previous = connection.pragma("user_version") == PREVIOUS_VERSION
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
            with self.unless_unreadable():
                rows = self._connection.execute(question, values).fetchall()
        return rows

    @contextmanager
    def unless_unreadable(self) -> Iterator[None]:
        """Give up within the context what the index does not give because it is damaged."""
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

    def __init__(
        self,
        path: Path,
        make_store: Callable[[Path, OldIndex], Any],
        sources: Sequence[Source] | None = None,
    ) -> None:
        self._path = path
        self._new = files.sibling(path, SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._new)
        self._old: OldIndex | None = None
        try:
            remove_leftovers(path)
            self._old = OldIndex(path, sources)
            self.store = make_store(self._new, self._old)
            self._carrier = self._old.carrier(self.store.keep)
        except BaseException:
            self._release()
            raise

    def carry_over(self) -> Iterator[None]:
        """Copy the entries whose file is gone, from an index of the previous format."""
        if self._carrier is None or self._old is None:
            return
        gone = without_file(self._old.known_sources(), self.store.sources())
        with self._old.unless_unreadable(), contextlib.closing(connect(self._new)) as new:
            yield from self._carrier.copy(gone, new)

    def swap(self, catch_up: Callable[[], object]) -> Deleted:
        """Replace the old index by the new one; return what the old one held."""
        if self._old is None:
            raise StoreError("the new index was given up or swapped in already")
        with files.translating_errors(self._path), self._old.held():
            catch_up()
            for _ in self.carry_over():  # of files that went during the rebuild
                pass
            if self._carrier is not None and self._carrier.entries:
                logger.info(_CARRIED, self._path, in_words(self._carrier.entries, "entry"))
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
