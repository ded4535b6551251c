"""Lines on their way into a store: read, being prepared here or by other processes, in order."""

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from mikroscope.indexing.process_pool import ProcessPool, can_start
from mikroscope.logfiles.appender import Appended
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, fingerprint
from mikroscope.logfiles.rotation import is_unchanged
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.records.parsing import Fields
from mikroscope.stores.base import Batch, Prepared

logger = logging.getLogger(__name__)

PARALLEL_BYTES = 48 << 20  # a smaller backlog is indexed before other processes would have begun
_PROCESSES = 2  # two keep the one that writes busy
_AHEAD = 3  # loads that are read before the first of them is committed: enough for all to work


class Fresh(NamedTuple):
    """Lines that were appended to a file just now, by this process, and what they say."""

    lines: bytes
    records: Sequence[Fields]
    """What `parse_line` would give for each line; must not be used afterwards."""
    appended: Appended

    def checkpoint_behind(self, before: Checkpoint) -> Checkpoint | None:
        """The checkpoint behind them; None unless they are all that is new in the file."""
        stood, stands = self.appended.before, self.appended.after
        if not (
            FINGERPRINT_BYTES <= before.offset == stood.size == stands.size - len(self.lines)
            and is_unchanged(before, stood)
        ):
            return None
        return Checkpoint(
            offset=stands.size,
            line=before.line + len(self.records),
            head=before.head,
            tail=fingerprint(self.appended.tail),
            device=stands.device,
            inode=stands.inode,
            size=stands.size,
            mtime_ns=stands.mtime_ns,
        )


class PendingBatch:
    """A batch, and what is known of its lines before they are parsed."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.paths: set[str] = set()
        self.files_read = 0
        self.too_long = 0
        self._elsewhere: Future[Prepared] | None = None
        self._prepared: Prepared | None = None

    def submit(self, workers: ProcessPool) -> None:
        """Have the lines prepared elsewhere."""
        self._elsewhere = workers.submit(self.batch.task())

    def prepared(self) -> Prepared:
        """What has become of the lines. Raises WorkerError."""
        if self._prepared is None:
            elsewhere = self._elsewhere
            self._prepared = elsewhere.result() if elsewhere else self.batch.task().run()
        return self._prepared


class Pipeline:
    """Loads that are read ahead, and the processes that prepare them; belongs to one thread."""

    def __init__(self) -> None:
        self._loads: deque[PendingBatch] = deque()
        self._workers: ProcessPool | None = None
        self._may_start = True

    @property
    def is_busy(self) -> bool:
        """Whether there is a load to take."""
        return bool(self._loads)

    @property
    def is_parallel(self) -> bool:
        """Whether other processes help."""
        return self._workers is not None

    @property
    def has_room(self) -> bool:
        """Whether another load should be read before the next one is taken."""
        return len(self._loads) < (_AHEAD if self._workers else 1)

    def prepare_for(self, backlog_bytes: int) -> None:
        """Start processes if that much to be read is worth it."""
        if backlog_bytes < PARALLEL_BYTES or not self._may_start or not can_start():
            return
        try:
            self._workers = ProcessPool(_PROCESSES)
        except OSError as error:
            self.give_up(error)

    def submit(self, load: PendingBatch) -> None:
        """A load that was read; the loads are taken in the order in which they come."""
        if self._workers is not None:
            load.submit(self._workers)
        self._loads.append(load)

    def take(self) -> PendingBatch:
        """The first load."""
        return self._loads.popleft()

    def concerns(self, paths: set[str]) -> bool:
        """Whether lines of one of these files are on their way."""
        return any(not paths.isdisjoint(load.paths) for load in self._loads)

    def give_up(self, error: Exception) -> None:
        """Forget what is on its way, and go on without other processes: they are of no use."""
        self._may_start = False
        self.close()
        logger.warning("lines are prepared by this process alone from now on: %s", error)

    def drop(self) -> None:
        """Forget what is on its way."""
        if self._loads:  # what the processes are at is of no use any more
            self.close()

    def close(self) -> None:
        """Forget what is on its way, and end the processes."""
        self._loads.clear()
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()
