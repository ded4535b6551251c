"""Batches on their way into a store: read ahead, prepared here or in other processes, in order."""

import logging
from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from mikroscope.indexing.process_pool import ProcessPool, can_start
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import Appended
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, fingerprint
from mikroscope.logfiles.rotation import is_unchanged
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.stores.base import Batch, BatchResult

logger = logging.getLogger(__name__)

PARALLEL_BYTES = 48 << 20  # a smaller backlog is indexed before other processes would have started
_PROCESSES = 2  # two keep the writing process busy
_AHEAD = 3  # batches read before the first of them is committed: enough to keep all processes busy


class AppendedBatch(NamedTuple):
    """A batch of records that this process has just appended to a file."""

    batch: IngestBatch
    appended: Appended

    def checkpoint_after(self, before: Checkpoint) -> Checkpoint | None:
        """Return the checkpoint behind the batch; None unless it is all that is new in the file.

        Then the file need not be read: the records of the batch are what its lines say.
        """
        records, (old, new, tail) = self.batch.records, self.appended
        is_all = FINGERPRINT_BYTES <= before.offset == old.size == new.size - len(self.batch.lines)
        if records is None or not is_all or not is_unchanged(before, old):
            return None
        return Checkpoint(
            offset=new.size,
            line=before.line + len(records),
            head=before.head,
            tail=fingerprint(tail),
            device=new.device,
            inode=new.inode,
            size=new.size,
            mtime_ns=new.mtime_ns,
            target=before.target,
            is_adopted=before.is_adopted,
        )


class PendingBatch:
    """A batch of a store, and what is known of its lines before they are parsed."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.paths: set[str] = set()
        self.files_read = 0
        self.refused = 0
        """The number of lines that the reader has left out, as a whole or in part."""
        self._future: Future[BatchResult] | None = None

    def prepare(self, pool: ProcessPool | None = None) -> None:
        """Prepare the lines, in the processes of a pool if there is one."""
        self._future = self.batch.prepare(pool)

    def result(self) -> BatchResult:
        """Return what became of the lines. Raises ProcessPoolError."""
        if self._future is None:
            self._future = self.batch.prepare()
        return self._future.result()


class Pipeline:
    """Batches that are read ahead, and the processes that prepare them. Belongs to one thread."""

    def __init__(self) -> None:
        self._batches: deque[PendingBatch] = deque()
        self._pool: ProcessPool | None = None
        self._may_start = True

    @property
    def is_busy(self) -> bool:
        """Whether there is a batch to take."""
        return bool(self._batches)

    @property
    def is_parallel(self) -> bool:
        """Whether other processes help."""
        return self._pool is not None

    @property
    def has_capacity(self) -> bool:
        """Whether another batch should be read before the next one is taken."""
        return len(self._batches) < (_AHEAD if self._pool else 1)

    def start_pool_for(self, backlog_bytes: int) -> None:
        """Start processes if the backlog is worth it."""
        if backlog_bytes < PARALLEL_BYTES or not self._may_start or not can_start():
            return
        try:
            self._pool = ProcessPool(_PROCESSES)
        except OSError as error:
            self.give_up_pool(error)

    def submit(self, batch: PendingBatch) -> None:
        """Append a batch; batches are taken in the order in which they were submitted."""
        if self._pool is not None:
            batch.prepare(self._pool)
        self._batches.append(batch)

    def take(self) -> PendingBatch:
        """Take the first batch."""
        return self._batches.popleft()

    def holds_lines_of(self, paths: set[str]) -> bool:
        """Return whether a submitted batch has lines of one of these files."""
        return any(not paths.isdisjoint(batch.paths) for batch in self._batches)

    def give_up_pool(self, error: Exception) -> None:
        """Drop all batches and continue without other processes, for good."""
        self._may_start = False
        self.close()
        logger.warning("this process alone prepares lines from now on: %s", error)

    def drop(self) -> None:
        """Drop all batches; the processes that prepare them end."""
        if self._batches:
            self.close()

    def close(self) -> None:
        """Drop all batches and end the processes."""
        self._batches.clear()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
