"""A place where a writer thread works, for tests of that thread."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from mikroscope.indexing.indexer import BATCH_BYTES, Indexer
from mikroscope.indexing.writer_thread import WriterThread
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import LogAppender
from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import Batch, Store
from tests.helpers.stores import Place, StoreWrapper, lines
from tests.helpers.waiting import DEADLINE_S, wait_until

HOUR_S = 3_600.0
INGEST = "ingest/p/2026-02-18.ndjson"


class Workplace(Place):
    """A place with workers that are stopped at the end of the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.workers: list[WriterThread] = []

    def work(self, store: Store | None = None, **options: Any) -> WriterThread:
        """Start a worker as `make` makes it."""
        worker = self.make(store, **options)
        worker.start()
        return worker

    def make(
        self,
        store: Store | None = None,
        *,
        interval_s: float | None = HOUR_S,
        flush_s: float = HOUR_S,
        batch_bytes: int = BATCH_BYTES,
    ) -> WriterThread:
        """Make a worker, not started; it does nothing by the clock unless the test asks for it."""
        worker = WriterThread(
            Indexer(store or self.store, self.tree, batch_bytes),
            LogAppender(self.logs),
            interval_s=interval_s,
            flush_s=flush_s,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            monotonic=time.monotonic,
        )
        self.workers.append(worker)
        return worker

    @property
    def worker(self) -> WriterThread:
        """Return the worker that was started last."""
        return self.workers[-1]

    def work_ready(self, store: Store | None = None) -> WriterThread:
        """Start a worker and wait for the end of its first scan."""
        worker = self.work(store)
        wait_until(lambda: worker.run.runs == 1)
        return worker

    def content(self, path: str = INGEST) -> bytes:
        """Return the content of a file; empty if it is missing."""
        file = self.logs / path
        return file.read_bytes() if file.exists() else b""


class GatedStore(StoreWrapper):
    """A store that calls a function before every commit, and counts commits."""

    def __init__(self, store: Store, before_commit: Callable[[int], None]) -> None:
        super().__init__(store)
        self.commits = 0
        self._before_commit = before_commit

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Call the function with the commit's number, then commit."""
        self.commits += 1
        self._before_commit(self.commits)
        super().commit(batch, wait)


def some(*numbers: int, path: str = INGEST, size: int = 0) -> IngestBatch:
    """Return the records of one request."""
    content = lines(*numbers, size=size)
    records = [parse_line(line)[0] for line in content.splitlines()]
    return IngestBatch(path, content, len(numbers), 0, records)


def submit(worker: WriterThread, wanted: IngestBatch) -> "Future[None]":
    """Submit a batch and keep its result to wait for."""
    future: Future[None] = Future()

    def tell(error: Exception | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    worker.submit(wanted, tell)
    return future


def done(future: "Future[None]") -> None:
    """Wait for a submission; raise its failure."""
    future.result(timeout=DEADLINE_S)
