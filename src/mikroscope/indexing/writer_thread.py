"""The one thread that writes: it appends what is ingested and indexes what is new in the files.

Requests that wait while the thread is busy are appended, indexed and committed together. A backlog
is indexed in steps, and between two steps requests have their turn.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from math import inf
from typing import Any

from mikroscope.errors import IngestError, MikroScopeError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.ingest_queue import IngestQueue, OnDone, PendingWrite
from mikroscope.indexing.ingest_writer import IngestWriter
from mikroscope.indexing.jobs import Jobs, refused
from mikroscope.indexing.quiet_files import QuietFiles
from mikroscope.indexing.runs import Runs, RunStatus
from mikroscope.indexing.scan_schedule import ScanSchedule
from mikroscope.indexing.stats import IndexStats
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import LogAppender

logger = logging.getLogger(__name__)

MANY_RECORDS = 100_000  # of one run, after which the index is compacted
RETRY_S = 1.0  # after a failure to write or to index
STOP_PATIENCE_S = 5.0  # at a stop, for records that cannot be written


class WriterThread:
    """Runs an Indexer and a LogAppender in a thread of its own. Any thread may call the methods.

    `interval_s` None: the tree is scanned once, at the start; later only ingest is indexed.
    """

    def __init__(
        self,
        indexer: Indexer,
        appender: LogAppender,
        *,
        interval_s: float | None,
        flush_s: float,
        clock_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._indexer = indexer
        self._appender = appender
        self._schedule = ScanSchedule(interval_s)
        self._quiet = QuietFiles() if interval_s is not None else None
        self._flush_s = flush_s
        self._now = monotonic
        self._wake = threading.Condition()
        self._queue = IngestQueue()
        self._flush_at: float | None = None
        self._changed: set[str] = set()
        self._recovering = False
        self._stopping = False
        self._stop_by = 0.0
        self._drain_at = 0.0  # of the queue, at a stop
        self._jobs = Jobs(monotonic)
        self._retry_at = 0.0
        self._runs = Runs(clock_ms)
        self.caught_up = self._runs.caught_up
        """Done when everything is indexed that the files held at the start."""
        self.scanned = threading.Event()
        """Set once the tree has been scanned, or the thread has ended."""
        self._ingest_writer = IngestWriter(indexer, appender, clock_ms, self._requeue)
        self.queue_status = self._ingest_writer.status
        self.lost_records = 0
        """The number of queued records that could not be written before the stop."""
        self._thread = threading.Thread(target=self._loop, name="mikroscope-writer", daemon=True)

    def start(self, scan: bool = True) -> None:
        """Start; the tree is scanned at once, or else from `start_scanning` on."""
        if not scan:
            self._retry_at = inf
        self._thread.start()

    def start_scanning(self) -> None:
        """Scan the tree now, and then at the interval."""
        with self._wake:
            self._retry_at = self._now()
            self._schedule.scan_now(self._retry_at)
            self._wake.notify()

    def stop(self) -> None:
        """Write and index everything that was accepted, then end."""
        with self._wake:
            self._stopping = True
            self._stop_by = self._now() + STOP_PATIENCE_S
            if self._retry_at == inf:  # `start_scanning` will not be called any more
                self._retry_at = self._now()
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, batch: IngestBatch, on_done: OnDone) -> None:
        """Write and index a batch now, and then call `on_done` in the writing thread.

        Raises IngestError (503) if too much is pending already.
        """
        with self._wake:
            self._accept(PendingWrite(batch, on_done))
            self._wake.notify()

    def enqueue(self, batch: IngestBatch) -> None:
        """Write and index a batch soon. Raises IngestError (503) if too much is pending already."""
        with self._wake:
            self._accept(PendingWrite(batch, None))
            self.queue_status.records_queued += batch.accepted
            if self._flush_at is None:
                self._flush_at = self._now() + self._flush_s
                self._wake.notify()

    def files_changed(self, paths: set[str]) -> None:
        """Handle a file-system event for these files below the root.

        An event without any file that is read still shows that events work here.
        """
        with self._wake:
            self._schedule.event_seen()
            self._changed |= paths
            self._wake.notify()

    def watching_lost(self) -> None:
        """Handle the loss of file-system events; the next event ends it."""
        with self._wake:
            self._schedule.events_lost(self._now())
            self._wake.notify()

    def run_job(self, steps: Iterator[object]) -> "Future[Any]":
        """Take the steps of an iterator in the writing thread, between other work.

        The future gets what a generator returns, the exception it raises, or StoreError at a stop.
        """
        with self._wake:
            if self._stopping:
                return refused()
            self._wake.notify()
            return self._jobs.add(steps)

    def scan(self) -> None:
        """Scan the tree, so that the sources have the names of their files; a step of a job."""
        self._indexer.scan()

    def rebuilt(self, stats: IndexStats) -> None:
        """Continue with the rebuilt index; a step of a job. `stats` are what went into it."""
        self._indexer.stats.add(stats)
        self._indexer.follow_replacement()
        self._jobs.add(self._indexer.compact())
        self._runs.rebuilt(stats)

    def recover_index(self) -> None:
        """Open the index again, or build it if it is gone, and scan the tree."""
        with self._wake:
            self._recovering = True
            self._wake.notify()

    def pending(self) -> tuple[int, int]:
        """Return how many batches, and how many records, are accepted and not written yet."""
        with self._wake:
            return self._queue.pending()

    @property
    def run(self) -> RunStatus:
        """The state of the runs."""
        return self._runs.status

    @property
    def stats(self) -> IndexStats:
        """The counts since the start."""
        return self._indexer.stats

    @property
    def unread_files(self) -> Mapping[str, int]:
        """The files that the last scan found and did not index; each scan makes a new one."""
        return self._indexer.listed.others

    @property
    def listed_bytes(self) -> int:
        """The size of all files that the last scan found and indexes."""
        return sum(stat.size for stat in self._indexer.listed.files.values())

    @property
    def write_error(self) -> str | None:
        """Why the last records could not be appended to their file; None if they could."""
        return self._ingest_writer.write_error

    @property
    def draining(self) -> bool:
        """Whether the thread is stopping and still writes what was accepted."""
        return self._stopping and (bool(self._queue) or bool(self._ingest_writer.busy))

    def _accept(self, write: PendingWrite) -> None:
        if self._stopping:
            raise IngestError("the server is stopping", 503)
        error = self.queue_status.last_error
        if write.on_done is None and error is not None:
            raise IngestError(f"the ingest queue cannot be written: {error}", 503)
        self._queue.add(write)

    # --- the thread ---------------------------------------------------------------------------

    def _loop(self) -> None:
        while self._wait():
            self._work()
        self.scanned.set()
        with self._wake:
            self._jobs.cancel()
        self._indexer.close()
        self._appender.close()

    def _wait(self) -> bool:
        """Sleep until there is work; return False when all is done and the thread should stop."""
        with self._wake:
            while True:
                if self._stopping and not self._queue and not self._ingest_writer.busy:
                    return False
                delay = self._delay()
                if delay is not None and delay <= 0:
                    return True
                self._wake.wait(delay)

    def _delay(self) -> float | None:
        """Return the seconds until the next work is due; None if there is none."""
        now = self._now()
        if self._queue.is_waited_for(self._ingest_writer.busy) or self._recovering:
            return 0
        due = [self._retry_at] if self._ingest_writer.busy else []
        if self._stopping:
            return min(due, default=self._drain_at) - now
        due.append(max(self._retry_at, self._schedule.next_scan))
        if self._flush_at is not None:
            due.append(self._flush_at)
        if self._indexer.backlog:
            due.append(self._retry_at)
        if (job_at := self._jobs.due_at()) is not None:
            due.append(job_at)
        if self._changed:
            due.append(max(self._retry_at, self._schedule.next_after_event))
        if self._quiet is not None and (quiet_at := self._quiet.due_at()) is not None:
            due.append(max(self._retry_at, quiet_at))
        first = min(due)
        return None if first == inf else first - now

    def _work(self) -> None:
        """Give each kind of work a turn; one that fails keeps none of the others from theirs."""
        if self._recovering:
            self._attempt(self._recover)
        self._attempt(self._ingest)
        if self._ingest_writer.busy and self._now() >= self._retry_at:
            self._attempt(self._index_long)
        if self._now() >= self._retry_at and not self._stopping:
            self._attempt(self._keep_up)
        if not self._stopping:
            self._jobs.step()
        self._attempt(self._end_run)

    def _recover(self) -> None:
        self._recovering = False
        self._indexer.follow_replacement()
        self._schedule.scan_now(self._now())

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except MikroScopeError as error:
            self._failed(error)
        except Exception as error:
            logger.exception("indexing failed")
            self._failed(error)

    def _ingest(self) -> None:
        writes = self._take_writes(self._now())
        if writes:
            try:
                self._ingest_writer.write(writes)
            finally:
                with self._wake:
                    self._queue.done()

    def _keep_up(self) -> None:
        now = self._now()
        if self._changed and now >= self._schedule.next_after_event:
            self._index_changed()
        elif now >= self._schedule.next_scan:
            self._runs.begin(self.stats)
            self._scan()
        elif self._indexer.backlog:
            self._runs.begin(self.stats)
            self._indexer.step(final=self._is_first_run)
        self._finish_quiet_files(now)

    @property
    def _is_first_run(self) -> bool:
        """Whether the files are read for the first time: last lines then need no line feed."""
        return not self.caught_up.done()

    def _finish_quiet_files(self, now: float) -> None:
        """Queue files that end in a line without its line feed and are quiet for a while."""
        if self._quiet is None:
            return
        self._quiet.ended(self._indexer.take_ended(), now)
        if quiet := self._quiet.take(now):
            self._indexer.finish(quiet)
            if self._indexer.backlog:
                self._runs.begin(self.stats)

    def _index_changed(self) -> None:
        with self._wake:
            changed, self._changed = self._changed, set()
        if not self._indexer.touch(changed):
            self._schedule.scan_now(self._now())
        elif self._indexer.backlog:
            self._runs.begin(self.stats)

    def _scan(self) -> None:
        if self._indexer.commit_ahead():
            return  # the scan is still due
        began = self._now()
        self._indexer.scan(final=self._is_first_run)
        self.scanned.set()
        self._schedule.scanned(began, self._now(), found_work=self._indexer.backlog)

    def _end_run(self) -> None:
        if self._indexer.rotated:
            self._schedule.rescan(self._now())
        if not self._runs.is_running or self._indexer.backlog:
            return
        self._runs.end(self.stats)
        if self.run.last_run.records_inserted >= MANY_RECORDS:
            self._jobs.add(self._indexer.compact())

    def _failed(self, error: Exception) -> None:
        self._runs.fail(error)
        self._retry_at = self._now() + RETRY_S
        self._schedule.scan_now(self._retry_at)

    # --- ingest -------------------------------------------------------------------------------

    def _take_writes(self, now: float) -> list[PendingWrite]:
        """Take pending writes in the order of arrival, as many as one transaction should hold."""
        with self._wake:
            flush_due = self._flush_at is not None and now >= self._flush_at
            drain_due = self._stopping and now >= self._drain_at
            busy = self._ingest_writer.busy
            if not (self._queue.is_waited_for(busy) or flush_due or drain_due):
                return []
            taken = self._queue.take(busy)
            if not self._queue or not taken:
                self._flush_at = None  # what waits for a long write is due at its end
            return taken

    def _index_long(self) -> None:
        if self._ingest_writer.index_long(give_up=self._is_impatient()):
            with self._wake:
                if self._queue:
                    self._flush_at = self._now()

    def _is_impatient(self) -> bool:
        """Whether a stop must not wait any longer."""
        return self._stopping and self._now() >= self._stop_by

    def _requeue(self, kept: list[PendingWrite], error: Exception) -> None:
        """Put queued writes that cannot be written back into the queue, or give them up."""
        if self._is_impatient():
            lost = sum(one.batch.accepted for one in kept)
            self.lost_records += lost
            logger.error("%d queued records are lost, they cannot be written: %s", lost, error)
            return
        if self.queue_status.last_error != str(error):
            logger.error("queued records cannot be written, trying again: %s", error)
        self.queue_status.last_error = str(error)
        with self._wake:
            self._queue.requeue(kept)
            self._flush_at = self._drain_at = self._now() + RETRY_S
