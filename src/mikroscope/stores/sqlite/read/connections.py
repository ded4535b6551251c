"""A small pool of reading connections; each question has a deadline."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic
from typing import TypeVar

import apsw

from mikroscope.errors import QueryTimeoutError, StoreError
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.cache import PartCache
from mikroscope.stores.sqlite.previous.snapshot import Chunks, PreviousSnapshot
from mikroscope.stores.sqlite.read.access import open_reader
from mikroscope.stores.sqlite.read.directory import Directory
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.stored import SegmentFile

_TRIES = 5
_CHECK_EVERY = 20_000  # instructions of SQLite's virtual machine between two checks of the deadline
_CACHE_BYTES = 8 << 20  # of unpacked parts of segments that all connections share

Answer = TypeVar("Answer")


class Connection:
    """A reading connection; a question runs within `snapshot`, in one thread."""

    def __init__(
        self,
        path: Path,
        directory: Directory,
        cache: PartCache,
        chunks: Chunks,
        may_copy: bool = False,
    ) -> None:
        self.reading = open_reader(path, may_copy)
        self.sql = self.reading.sql
        self._file = SegmentFile(self.sql, self.reading.identity, cache)
        self._directory = directory
        self._chunks = chunks
        self._deadline = inf
        self._timeout_s = 0.0
        self._is_interrupted = False
        self.sql.set_progress_handler(self._is_late, _CHECK_EVERY)

    @contextmanager
    def snapshot(self, timeout_s: float) -> Iterator[Snapshot]:
        """See one state of the index within the context. Raises QueryTimeoutError."""
        self._deadline, self._timeout_s = monotonic() + timeout_s, timeout_s
        self.sql.execute("BEGIN")
        try:
            yield self._snapshot()
        except apsw.InterruptError:
            raise self._timed_out() from None
        finally:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")

    def _snapshot(self) -> Snapshot:
        if self.reading.is_previous:
            return PreviousSnapshot(self._file, self._directory, self._chunks, self._check)
        return Snapshot(self._file, self._directory, self._check)

    def interrupt(self) -> None:
        """Stop the question that is running, from any thread."""
        self._is_interrupted = True
        self.sql.interrupt()

    def _is_late(self) -> bool:
        return monotonic() > self._deadline

    def _check(self) -> None:
        """Raise QueryTimeoutError if the question has to stop."""
        if self._is_interrupted or self._is_late():
            raise self._timed_out()

    def _timed_out(self) -> QueryTimeoutError:
        return QueryTimeoutError(
            f"the query was stopped after {self._timeout_s:g} s: narrow it by time or by a filter"
        )


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
        self._directory = Directory()
        self._chunks = Chunks()
        self._cache = PartCache(_CACHE_BYTES)

    def ask(self, question: Callable[[Snapshot], Answer]) -> Answer:
        """Run a question on a connection of its own; wait while all connections are busy."""
        with self._free:
            try:
                return self._ask(question)
            except files.DAMAGE as error:
                raise files.damaged(self._path, error) from error
            except apsw.Error as error:
                raise StoreError(f"the index cannot be read: {error}") from error

    def ask_whole(self, question: Callable[[Snapshot], Answer]) -> Answer:
        """Run a question whose answer cannot say that something is missing: damage is raised."""

        def whole(snapshot: Snapshot) -> Answer:
            answer = question(snapshot)
            if snapshot.damage is not None:
                raise snapshot.damage
            return answer

        return self.ask(whole)

    def close(self) -> None:
        """Interrupt running questions and close every connection."""
        with self._lock:
            self._closed = True
            for connection in self._busy:
                connection.interrupt()
            for connection in self._idle:
                connection.reading.close()
            self._idle.clear()

    def _ask(self, question: Callable[[Snapshot], Answer]) -> Answer:
        for _ in range(_TRIES):
            connection = self._take()
            try:
                with connection.snapshot(self._timeout_s) as snapshot:
                    answer = question(snapshot)
                if snapshot.damage is not None:
                    files.damaged(self._path, snapshot.damage)
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
        directory, cache, chunks = self._directory, self._cache, self._chunks
        return Connection(self._path, directory, cache, chunks, self._may_copy)

    def _drop_replaced(self) -> None:
        """Close connections to an index that was replaced by another one, or has changed.

        After the last one is closed a later index may get the same inode, so what is cached,
        which is keyed by inode, is dropped as well.
        """
        for connection in [one for one in self._idle if not one.reading.is_current()]:
            self._idle.remove(connection)
            connection.reading.close()
            self._directory = Directory()
            self._chunks = Chunks()
            self._cache = PartCache(_CACHE_BYTES)

    def _release(self, connection: Connection) -> None:
        with self._lock:
            self._busy.remove(connection)
            if self._closed:
                connection.reading.close()
            else:
                self._idle.append(connection)
