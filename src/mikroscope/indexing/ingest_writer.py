"""Appends records that were ingested to their files and indexes them, or undoes that."""

from collections import defaultdict
from collections.abc import Callable, Collection

from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.ingest_queue import PendingWrite, is_long
from mikroscope.indexing.long_writes import LongWrite, LongWrites
from mikroscope.indexing.pipeline import AppendedBatch
from mikroscope.indexing.stats import QueueStatus
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import LogAppender

Requeue = Callable[[list[PendingWrite], Exception], None]
"""Takes back writes that no request waits for, with the reason why they cannot be written."""


class IngestWriter:
    """Writes what requests have sent. Belongs to the writing thread."""

    def __init__(
        self,
        indexer: Indexer,
        appender: LogAppender,
        clock_ms: Callable[[], int],
        requeue: Requeue,
    ) -> None:
        self._indexer = indexer
        self._appender = appender
        self._clock_ms = clock_ms
        self._requeue = requeue
        self._long = LongWrites(indexer)
        self.status = QueueStatus()
        self.write_error: str | None = None
        """Why the last records could not be appended to their file; None if they could."""

    @property
    def busy(self) -> Collection[str]:
        """The files of long writes, to which nothing else may be written now."""
        return self._long.paths

    def write(self, writes: list[PendingWrite]) -> None:
        """Append and index; all writes to one file succeed or fail together.

        Raises what kept them from being indexed; those who wait were told before.
        """
        by_path: dict[str, list[PendingWrite]] = defaultdict(list)
        for write in writes:
            by_path[write.batch.path].append(write)
        written: dict[str, AppendedBatch] = {}
        for path, group in by_path.items():
            batch = IngestBatch.joined([one.batch for one in group])
            try:
                appended = self._appender.append(path, batch.lines)
            except Exception as error:
                self.write_error = str(error)
                self._fail(group, error)
                continue
            self.write_error = None
            if is_long(batch) or self._long.has_backlog(path, appended):
                self._long.add(LongWrite(path, group, appended))
            else:
                written[path] = AppendedBatch(batch, appended)
        try:
            self._indexer.index_now(set(written), written)
        except Exception as error:
            for path, one in written.items():
                self._undo(path, one.appended.before.size, by_path[path], error)
            raise
        for path in written:
            self._finish(by_path[path])

    def index_long(self, *, give_up: bool) -> bool:
        """Index some lines of a long write; return whether it is done, and its requests answered.

        With `give_up` the next start indexes the rest: the lines are in their file.
        """
        write = self._long.first()
        if give_up:
            self._finish(self._long.remove(write).writes)
            return True
        try:
            done = self._long.step()
        except Exception as error:
            begins_at = write.appended.before.size
            if self._indexer.indexed_bytes(write.path) <= begins_at:
                self._long.remove(write)
                self._undo(write.path, begins_at, write.writes, error)
            raise
        if done is not None:
            self._finish(done.writes)
        return done is not None

    def _undo(self, path: str, size: int, group: list[PendingWrite], error: Exception) -> None:
        """Truncate lines that could not be indexed, so that sending them again doubles nothing.

        If no request waits for them, they stay in the file and are indexed as soon as that works.
        """
        waiting = any(write.on_done is not None for write in group)
        if not waiting or self._indexer.indexed_bytes(path) > size:
            self._finish(group)
        else:
            self._appender.truncate(path, size)
            self._fail(group, error)

    def _finish(self, group: list[PendingWrite]) -> None:
        for write in group:
            if write.on_done is not None:
                write.on_done(None)
            else:
                self.status.records_flushed += write.batch.accepted
                self.status.last_flush_ms = self._clock_ms()
                self.status.last_error = None

    def _fail(self, group: list[PendingWrite], error: Exception) -> None:
        """Report the error to those who wait, and give the other writes back."""
        for write in group:
            if write.on_done is not None:
                write.on_done(error)
        kept = [one for one in group if one.on_done is None]
        if kept:
            self._requeue(kept, error)
