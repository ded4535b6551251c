"""Builds the index anew from the log files, beside the old one, and puts it in its place."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

import msgspec

from mikroscope.errors import DamagedIndexError, StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.stats import IndexReport, IndexStats
from mikroscope.ingest.native import receipt_time
from mikroscope.logfiles.tree import LogTree
from mikroscope.stores.base import Deleted, Rebuild, Store

logger = logging.getLogger(__name__)

_FEW_RECORDS = 2_000  # what may be left to be read while nobody can write to the old index
_MAX_ROUNDS = 20
_LOOK_S = 0.1  # how soon a stop is noticed by who waits for a clean-up


class RebuildResult(NamedTuple):
    """What went into the new index, and what was in the old one."""

    stats: IndexStats
    replaced: Deleted


def index_report(stats: IndexStats, started: datetime, finished: datetime) -> IndexReport:
    """What `mikroscope index` and `POST /api/reindex` tell of a run."""
    return IndexReport(
        **msgspec.structs.asdict(stats),
        started_at=receipt_time(started),
        finished_at=receipt_time(finished),
        mode="full",
    )


class IndexBuilder:
    """Fills a new index; belongs to one thread at a time."""

    def __init__(self, rebuild: Rebuild, tree: LogTree, *, final: bool = False) -> None:
        self._rebuild = rebuild
        self._final = final
        self.indexer = Indexer(rebuild.store, tree)

    def fill(self) -> Iterator[None]:
        """Read all there is, and then what has come meanwhile, until that is little."""
        for _ in range(_MAX_ROUNDS):
            before = self.indexer.stats.records_inserted
            yield from self.indexer.run(self._final)
            if self.indexer.stats.records_inserted - before < _FEW_RECORDS:
                return

    def swap(self) -> RebuildResult:
        """Read the rest, and put the new index in the place of the old one."""
        replaced = self._rebuild.swap(self._catch_up)
        return RebuildResult(self.indexer.stats.copy(), replaced)

    def close(self) -> None:
        """Let go of what helps to fill it."""
        self.indexer.close()

    def _catch_up(self) -> None:
        for _ in self.indexer.run(self._final):
            pass


class RebuildJob:
    """Rebuilds a server's index, once at a time, while everything else goes on.

    `run_job` has a step called by the thread that writes, until it returns False; there `scan`
    tells the old index where its files are now, and `done` is told what went into the new one. It
    holds `exclusive` meanwhile, and waits for it at first.
    """

    def __init__(
        self,
        store: Store,
        make_tree: Callable[[], LogTree],
        *,
        run_job: Callable[[Callable[[], bool]], "Future[None]"],
        scan: Callable[[], None],
        done: Callable[[IndexStats], None],
        exclusive: threading.Lock,
    ) -> None:
        self._store = store
        self._make_tree = make_tree
        self._in_turn = run_job
        self._scan = scan
        self._done = done
        self._exclusive = exclusive
        self._lock = threading.Lock()
        self._running: Future[RebuildResult] | None = None
        self._stopping = False

    def run(self) -> RebuildResult:
        """Rebuild, or wait for the rebuild that is going on. Raises MikroScopeError."""
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
        """Give up a rebuild that is going on; returns when the old index is all there is."""
        self._stopping = True
        with self._lock:
            running = self._running
        if running is not None:
            running.exception()

    def _rebuild(self) -> RebuildResult:
        while not self._exclusive.acquire(timeout=_LOOK_S):
            self._check()
        try:
            return self._rebuild_alone()
        finally:
            self._exclusive.release()

    def _rebuild_alone(self) -> RebuildResult:
        self._in_turn(self._scan_once).result()
        rebuild = self._store.rebuild()
        try:
            with closing(IndexBuilder(rebuild, self._make_tree())) as builder:
                for _ in builder.fill():
                    self._check()
                return self._swap(builder)
        finally:
            rebuild.close()

    def _scan_once(self) -> bool:
        self._check()
        try:
            self._scan()
        except DamagedIndexError:  # which the new one is to replace
            logger.warning("the old index cannot tell where its files are now")
        return False

    def _swap(self, builder: IndexBuilder) -> RebuildResult:
        found: list[RebuildResult] = []

        def step() -> bool:
            self._check()
            self._store.sources()  # what is being written is complete then
            found.append(builder.swap())
            self._done(found[0].stats)
            return False

        self._in_turn(step).result()
        return found[0]

    def _check(self) -> None:
        if self._stopping:
            raise StoreError("the server is stopping: the index stays as it was")
