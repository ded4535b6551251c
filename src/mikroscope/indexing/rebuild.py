"""Rebuilds the index from the log files, next to the old one, and swaps it in."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from mikroscope.errors import ConflictError, DamagedIndexError, StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.stats import IndexReport, IndexStats
from mikroscope.logfiles.tree import LogTree
from mikroscope.records.timestamps import format_moment
from mikroscope.stores.base import Deleted, Rebuild, Store

logger = logging.getLogger(__name__)

_FEW_RECORDS = 2_000  # that may be left to read while the old index is locked
_MAX_ROUNDS = 20
_POLL_S = 0.1  # how soon a stop is noticed while waiting for the clean-up

RunJob = Callable[[Iterator[object]], "Future[Any]"]
"""Takes the steps of an iterator in the writing thread; the future gets what it returns."""


class RebuildResult(NamedTuple):
    """What went into the new index, and what the old one held."""

    stats: IndexStats
    replaced: Deleted


def index_report(stats: IndexStats, started: datetime, finished: datetime) -> IndexReport:
    """Return the report that `mikroscope index` and `POST /api/reindex` show of a run."""
    counts = msgspec.structs.asdict(stats)
    del counts["unreadable_timestamps"]  # which the original's report does not have
    return IndexReport(
        **counts,
        started_at=format_moment(started),
        finished_at=format_moment(finished),
        mode="full",
    )


def require_logs(tree: LogTree) -> None:
    """Raise ConflictError if there is no logs directory: a rebuild would leave an empty index."""
    if not tree.root.is_dir():
        raise ConflictError(
            f"the logs directory {tree.root} is gone; a rebuild without it would leave an empty "
            "index: check that its file system is mounted"
        )


class IndexBuilder:
    """Fills a new index, also with last lines without their line feeds.

    Belongs to one thread at a time.
    """

    def __init__(self, rebuild: Rebuild, tree: LogTree) -> None:
        self._rebuild = rebuild
        self.indexer = Indexer(rebuild.store, tree)

    def fill(self) -> Iterator[None]:
        """Read everything, and then what has arrived meanwhile, until only little is left.

        Before that, entries without a file are copied from an index of an earlier format.
        """
        yield from self._rebuild.carry_over()
        for _ in range(_MAX_ROUNDS):
            before = self.indexer.stats.records_inserted
            yield from self.indexer.run(final=True)
            if self.indexer.stats.records_inserted - before < _FEW_RECORDS:
                return

    def swap(self) -> RebuildResult:
        """Read the rest and swap the new index in."""
        replaced = self._rebuild.swap(self._catch_up)
        return RebuildResult(self.indexer.total(), replaced)

    def close(self) -> None:
        """Stop the helper processes."""
        self.indexer.close()

    def _catch_up(self) -> None:
        for _ in self.indexer.run(final=True):
            pass


class RebuildJob:
    """Rebuilds a server's index, once at a time, while everything else continues.

    `run_job` runs steps in the writing thread: there `scan` records where the old index's files are
    now, and `done` gets what went into the new index. The job holds `exclusive` while it runs: a
    clean-up meanwhile would be undone.
    """

    def __init__(
        self,
        store: Store,
        make_tree: Callable[[], LogTree],
        *,
        run_job: RunJob,
        scan: Callable[[], None],
        done: Callable[[IndexStats], None],
        exclusive: threading.Lock,
    ) -> None:
        self._store = store
        self._make_tree = make_tree
        self._run_job = run_job
        self._scan = scan
        self._done = done
        self._exclusive = exclusive
        self._lock = threading.Lock()
        self._running: Future[RebuildResult] | None = None
        self._stopping = False

    def run(self) -> RebuildResult:
        """Rebuild, or wait for the rebuild that is running. Raises MikroScopeError."""
        with self._lock:
            running = self._running
            mine: Future[RebuildResult] = Future()
            if running is None:
                self._running = mine
        if running is not None:
            return running.result()
        try:
            mine.set_result(self._rebuild())
        except BaseException as error:
            mine.set_exception(error)
        finally:
            with self._lock:
                self._running = None
        return mine.result()

    def stop(self) -> None:
        """Give up a rebuild that is running; return when only the old index is left."""
        self._stopping = True
        with self._lock:
            running = self._running
        if running is not None:
            running.exception()

    def _rebuild(self) -> RebuildResult:
        require_logs(self._make_tree())
        while not self._exclusive.acquire(timeout=_POLL_S):
            self._check()
        try:
            return self._rebuild_exclusively()
        finally:
            self._exclusive.release()

    def _rebuild_exclusively(self) -> RebuildResult:
        self._run_job(self._scan_once()).result()
        rebuild = self._store.rebuild()
        try:
            with closing(IndexBuilder(rebuild, self._make_tree())) as builder:
                for _ in builder.fill():
                    self._check()
                result: RebuildResult = self._run_job(self._swap(builder)).result()
                return result
        finally:
            rebuild.close()

    def _scan_once(self) -> Iterator[None]:
        self._check()
        try:
            self._scan()
        except DamagedIndexError:  # the new index replaces it
            logger.warning("the old index is damaged: it cannot record where its files are now")
        yield

    def _swap(self, builder: IndexBuilder) -> Generator[None, None, RebuildResult]:
        """Swap the new index in, in one step, and return the result."""
        self._check()
        with suppress(DamagedIndexError):  # the new index replaces it
            self._store.refresh()
        result = builder.swap()
        self._done(result.stats)
        yield
        return result

    def _check(self) -> None:
        if self._stopping:
            raise StoreError("the server is stopping: the index is left as it was")
