"""The one thread that writes: it appends what is ingested and keeps the index up with the files.

Requests that wait while it is busy are written, indexed and committed together. A backlog is
indexed in steps, and between two of them requests have their turn.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from itertools import chain
from math import inf

from mikroscope.errors import IngestError, MikroScopeError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.ingest_queue import IngestQueue, OnDone, PendingWrite
from mikroscope.indexing.jobs import Jobs, refused
from mikroscope.indexing.pipeline import Fresh
from mikroscope.indexing.scan_schedule import ScanSchedule
from mikroscope.indexing.stats import IndexStats, QueueStatus, RunState
from mikroscope.ingest.batch import Lines
from mikroscope.logfiles.appender import Appended, LogWriter

logger = logging.getLogger(__name__)

MANY_RECORDS = 100_000  # of one run, after which the index is put in order
RETRY_S = 1.0  # after a failure to write or to index
STOP_PATIENCE_S = 5.0  # for records that cannot be written when it is to stop


class WriterThread:
    """Runs an Indexer and a LogWriter in a thread of its own. All methods may be called from any.

    `interval_s` None: the tree is looked at once, at the start, and then only what is ingested.
    """

    def __init__(
        self,
        indexer: Indexer,
        writer: LogWriter,
        *,
        interval_s: float | None,
        flush_s: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._indexer = indexer
        self._writer = writer
        self._schedule = ScanSchedule(interval_s)
        self._flush_s = flush_s
        self._clock = clock
        self._now = monotonic
        self._wake = threading.Condition()
        self._queue = IngestQueue()
        self._flush_at: float | None = None
        self._changed: set[str] = set()
        self._stopping = False
        self._stop_by = 0.0
        self._drain_at = 0.0  # once it is to stop
        self._jobs = Jobs(monotonic)
        self._retry_at = 0.0
        self._run_began: tuple[float, IndexStats] | None = None
        self.run = RunState()
        self.queue_status = QueueStatus()
        self.write_error: str | None = None
        """Why the last records that came could not be written or indexed; None if they could."""
        self.lost_records = 0
        """How many of the queue could not be written before the end."""
        self.caught_up: Future[None] = Future()
        """Done when all is indexed that the files held at the start."""
        self._thread = threading.Thread(target=self._loop, name="mikroscope-worker", daemon=True)

    def start(self, scan: bool = True) -> None:
        """Begin; the tree is looked at right away, or else from `start_scanning` on."""
        if not scan:
            self._retry_at = inf
        self._thread.start()

    def start_scanning(self) -> None:
        """Look at the tree now, and then at the interval."""
        with self._wake:
            self._retry_at = self._now()
            self._schedule.scan_now(self._retry_at)
            self._wake.notify()

    def stop(self) -> None:
        """Write and index everything that was accepted, then end."""
        with self._wake:
            self._stopping = True
            self._stop_by = self._now() + STOP_PATIENCE_S
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, lines: Lines, on_done: OnDone) -> None:
        """Lines to be written and indexed now; `on_done` is called, in this thread, when a query
        finds them, or with the error if they could not be: they are in no file then.

        Raises IngestError (503) if too much is waiting already.
        """
        with self._wake:
            self._accept(PendingWrite(lines, on_done))
            self._wake.notify()

    def enqueue(self, lines: Lines) -> None:
        """Lines to be written soon. Raises IngestError (503) if too much is waiting already."""
        with self._wake:
            self._accept(PendingWrite(lines, None))
            self.queue_status.records_queued += lines.accepted
            if self._flush_at is None:
                self._flush_at = self._now() + self._flush_s
                self._wake.notify()

    def files_changed(self, paths: set[str]) -> None:
        """Files below the root that have changed, as the file system tells.

        That it tells anything, be it of no file that is read, shows that changes are told at all.
        """
        with self._wake:
            self._schedule.event_seen()
            self._changed |= paths
            self._wake.notify()

    def watching_lost(self) -> None:
        """Changes are told no more, until one is."""
        with self._wake:
            self._schedule.events_lost(self._now())
            self._wake.notify()

    def run_job(self, step: Callable[[], bool]) -> "Future[None]":
        """Have `step` called in this thread, between other work, until it returns False.

        The future is done then, or fails with what it has raised, or with StoreError at a stop.
        """
        with self._wake:
            if self._stopping:
                return refused()
            self._wake.notify()
            return self._jobs.add(step)

    def scan(self) -> None:
        """Look at the tree, so that the sources are named as the files are; a step of `run_job`."""
        self._indexer.scan()

    def rebuilt(self, stats: IndexStats) -> None:
        """A rebuild of the index has come to its end; belongs to a step of `run_job`."""
        self._indexer.stats.add(stats)
        self._indexer.take_over()
        self._jobs.add(self._indexer.tidy)
        self.run.runs += 1
        self.run.last_mode = "full"
        self.run.last_run = stats
        self.run.last_run_at = self.run.last_success_at = self._clock()
        self.run.last_error = None

    def pending(self) -> tuple[int, int]:
        """How many batches, and records, are accepted and not written yet."""
        with self._wake:
            return self._queue.pending()

    @property
    def stats(self) -> IndexStats:
        """What was indexed since the start."""
        return self._indexer.stats

    @property
    def draining(self) -> bool:
        """Whether it is stopping and still writes what was accepted."""
        return self._stopping and bool(self._queue)

    def _accept(self, write: PendingWrite) -> None:
        if self._stopping:
            raise IngestError("the server is stopping", 503)
        if write.on_done is None and self.queue_status.last_error is not None:
            raise IngestError(
                f"the ingest queue cannot be written: {self.queue_status.last_error}", 503
            )
        self._queue.add(write)

    # --- the thread ---------------------------------------------------------------------------

    def _loop(self) -> None:
        while self._wait():
            try:
                self._work()
            except MikroScopeError as error:
                self._failed(error)
            except Exception as error:
                logger.exception("indexing failed")
                self._failed(error)
        with self._wake:
            self._jobs.cancel()
        self._indexer.close()
        self._writer.close()

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when all is done and it is to stop."""
        with self._wake:
            while True:
                if self._stopping and not self._queue:
                    return False
                delay = self._delay()
                if delay is not None and delay <= 0:
                    return True
                self._wake.wait(delay)

    def _delay(self) -> float | None:
        """Seconds until the next thing is due; None if nothing is."""
        now = self._now()
        if self._queue.waiting:
            return 0
        if self._stopping:
            return self._drain_at - now
        due = []
        if self._flush_at is not None:
            due.append(self._flush_at)
        if self._indexer.backlog:
            due.append(self._retry_at)
        if (job_at := self._jobs.due()) is not None:
            due.append(job_at)
        if self._changed:
            due.append(max(self._retry_at, self._schedule.next_after_event))
        due.append(max(self._retry_at, self._schedule.next_scan))
        first = min(due, default=inf)
        return None if first == inf else first - now

    def _work(self) -> None:
        """What was ingested, then the most urgent other thing that is due: neither starves."""
        now = self._now()
        writes = self._take_writes(now)
        if writes:
            try:
                self._write(writes)
            finally:
                with self._wake:
                    self._queue.done()
        if now >= self._retry_at and not self._stopping:
            self._keep_up(now)
        if not self._stopping:
            self._jobs.step()
        self._end_run()

    def _keep_up(self, now: float) -> None:
        if self._changed and now >= self._schedule.next_after_event:
            self._index_changed()
        elif now >= self._schedule.next_scan:
            self._begin_run()
            self._scan()
        elif self._indexer.backlog:
            self._begin_run()
            self._indexer.step()

    def _index_changed(self) -> None:
        with self._wake:
            changed, self._changed = self._changed, set()
        if not self._indexer.touch(changed):
            self._begin_run()
            self._scan()
        elif self._indexer.backlog:
            self._begin_run()

    def _scan(self) -> None:
        began = self._now()
        self._indexer.scan()
        self._schedule.scanned(began, self._now(), has_found=self._indexer.backlog)

    def _begin_run(self) -> None:
        if self._run_began is None:
            self._run_began = self._now(), self.stats.copy()
            self.run.running = True
            self.run.last_run_at = self._clock()

    def _end_run(self) -> None:
        """A run is over when nothing is left to be indexed."""
        if self._indexer.rotated:
            self._schedule.rescan(self._now())
        if self._run_began is None or self._indexer.backlog:
            return
        began, before = self._run_began
        self._run_began = None
        state = self.run
        state.running = False
        state.runs += 1
        state.last_success_at = self._clock()
        state.last_duration_ms = round((self._now() - began) * 1000)
        state.last_error = None
        state.last_mode = "incremental"
        state.last_run = self.stats.since(before)
        if state.last_run.records_inserted >= MANY_RECORDS:
            self._jobs.add(self._indexer.tidy)
        if not self.caught_up.done():
            self.caught_up.set_result(None)

    def _failed(self, error: Exception) -> None:
        if self.run.last_error != str(error):
            logger.error("indexing failed, trying again: %s", error)
        self._run_began = None
        self.run.running = False
        self.run.last_error = str(error)
        self._retry_at = self._now() + RETRY_S
        self._schedule.scan_now(self._retry_at)

    # --- what is ingested ---------------------------------------------------------------------

    def _take_writes(self, now: float) -> list[PendingWrite]:
        """In the order of their arrival, no more than one transaction should hold."""
        with self._wake:
            flush_due = self._flush_at is not None and now >= self._flush_at
            drain_due = self._stopping and now >= self._drain_at
            if not (self._queue.waiting or flush_due or drain_due):
                return []
            taken = self._queue.take()
            if not self._queue:
                self._flush_at = None
            return taken

    def _write(self, writes: list[PendingWrite]) -> None:
        """Append and index; each submission succeeds or fails with the others of its file."""
        by_path: dict[str, list[PendingWrite]] = defaultdict(list)
        for write in writes:
            by_path[write.lines.path].append(write)
        written: dict[str, Appended] = {}
        fresh: dict[str, Fresh] = {}
        for path, group in by_path.items():
            content = b"".join([one.lines.content for one in group])
            try:
                written[path] = self._writer.append(path, content)
            except Exception as error:
                self._requeue(group, error)
                continue
            parts = [one.lines.records for one in group if one.lines.records is not None]
            if len(parts) == len(group):
                fresh[path] = Fresh(content, list(chain.from_iterable(parts)), written[path])
        try:
            self._indexer.index_now(set(written), fresh)
        except Exception as error:
            for path, appended in written.items():
                self._undo(path, appended.before.size, by_path[path], error)
            raise
        for path in written:
            self._finish(by_path[path])

    def _undo(self, path: str, size: int, group: list[PendingWrite], error: Exception) -> None:
        """Take lines back that could not be indexed, so that nobody sends them twice.

        Where nobody waits for them they stay in the file, and are indexed as soon as that works.
        """
        waiting = any(write.on_done is not None for write in group)
        if not waiting or self._indexer.indexed_bytes(path) > size:
            self._finish(group)
        else:
            self._writer.take_back(path, size)
            self._requeue(group, error)

    def _finish(self, group: list[PendingWrite]) -> None:
        self.write_error = None
        for write in group:
            if write.on_done is not None:
                write.on_done(None)
            else:
                self.queue_status.records_flushed += write.lines.accepted
                self.queue_status.last_flush_at = self._clock()
                self.queue_status.last_error = None

    def _requeue(self, group: list[PendingWrite], error: Exception) -> None:
        """Tell those who wait; what was queued stays in the queue for another try."""
        self.write_error = str(error)
        for write in group:
            if write.on_done is not None:
                write.on_done(error)
        kept = [one for one in group if one.on_done is None]
        if not kept:
            return
        if self._stopping and self._now() >= self._stop_by:
            lost = sum(one.lines.accepted for one in kept)
            self.lost_records += lost
            logger.error("%d queued records are lost, they cannot be written: %s", lost, error)
            return
        if self.queue_status.last_error != str(error):
            logger.error("queued records cannot be written, trying again: %s", error)
        self.queue_status.last_error = str(error)
        with self._wake:
            self._queue.requeue(kept)
            self._flush_at = self._drain_at = self._now() + RETRY_S
