"""The Store protocol on one SQLite file: a writer for one thread, readers for all others."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from mikroscope.errors import MikroScopeError, StorageFullError, StoreError
from mikroscope.query import Aggregate, Grouping, Page, Query
from mikroscope.stores.base import Batch, Source
from mikroscope.stores.sqlite import aggregates
from mikroscope.stores.sqlite.batch import SqliteBatch
from mikroscope.stores.sqlite.reader import Connection, Readers
from mikroscope.stores.sqlite.writer import Writer

QUERY_TIMEOUT_S = 30.0
READERS = 4


class SqliteStore:
    """An index file. With `write` false it must exist and is only read.

    With `alone` the file belongs to this process as long as the store is open: a second one
    that asks for the same is refused. Single batches of other processes remain possible.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: bool = True,
        alone: bool = False,
        query_timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._lock: int | None = None
        self._writer: Writer | None = None
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            self._lock = _lock(path)
        try:
            with _translated(path):
                self._writer = Writer(path) if write else None
        except BaseException:
            self._unlock()
            raise
        self._readers = Readers(path, READERS, query_timeout_s)

    def sources(self) -> list[Source]:
        """Every source that was not discarded, as last committed."""
        with _translated(self._path):
            return self._writing.sources()

    def batch(self) -> Batch:
        """Begin a batch."""
        return self._writing.batch()

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Write a batch, all or nothing."""
        if not isinstance(batch, SqliteBatch):
            raise TypeError(f"{batch!r} was not begun by this store")
        with _translated(self._path):
            self._writing.commit(batch, wait)

    def purge(self, limit: int) -> bool:
        """Delete up to `limit` entries of discarded sources; False if there was none left."""
        with _translated(self._path):
            return self._writing.purge(limit)

    def page(self, query: Query) -> Page:
        """One page of entries, newest first."""
        return self._readers.ask(lambda connection: connection.page(query))

    def aggregate(self, query: Query, grouping: Grouping) -> Aggregate:
        """Counts of the entries that match, by value."""
        return self._readers.ask(
            lambda connection: aggregates.aggregate(connection, query, grouping)
        )

    def count(self) -> int:
        """How many entries there are."""
        return self._readers.ask(_count)

    def size_bytes(self) -> int:
        """The size of the file and of its write-ahead log."""
        paths = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """End running questions, close all connections, let go of the file."""
        self._readers.close()
        if self._writer is not None:
            self._writer.close()
        self._unlock()

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"{self._path} was opened for reading only")
        return self._writer

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _count(connection: Connection) -> int:
    return int(connection.sql.execute("SELECT total(entries) FROM minutes").get)


def _lock(path: Path) -> int:
    """Hold `<db>.lock`; the system lets go of it when the process ends, however it ends."""
    name = path.with_name(f"{path.name}.lock")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreError(
            f"another MikroScope server (process {holder or 'unknown'}) uses {path}: "
            "stop it, or give this one another --db"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except MikroScopeError:
        raise
    except (apsw.FullError, apsw.IOError) as error:
        raise StorageFullError(f"{path} cannot be written: {error}") from error
    except (apsw.Error, OSError) as error:
        raise StoreError(f"{path} cannot be used: {error}") from error
