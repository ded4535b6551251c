"""Reads what is new in the log files into a store, with a checkpoint for each file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from mikroscope.errors import StaleBatchError
from mikroscope.indexing.line_warnings import LineWarnings
from mikroscope.indexing.pipeline import AppendedBatch, PendingBatch, Pipeline
from mikroscope.indexing.process_pool import ProcessPoolError
from mikroscope.indexing.source_reader import SourceReader
from mikroscope.indexing.stats import FilesOfPass, IndexStats
from mikroscope.logfiles.links import Known
from mikroscope.logfiles.rotation import is_unchanged, reconcile
from mikroscope.logfiles.sources import Source
from mikroscope.logfiles.tree import Listing, LogTree
from mikroscope.stores.base import Batch, Deleted, Store

BATCH_BYTES = 4 << 20  # of raw lines in one transaction


class Indexer:
    """Reads sources into a store, one bounded step at a time. Belongs to the writing thread.

    Paths are relative to the tree's root.
    """

    def __init__(self, store: Store, tree: LogTree, batch_bytes: int = BATCH_BYTES) -> None:
        self._store = store
        self._tree = tree
        self._batch_bytes = batch_bytes
        self._queue: dict[str, None] = {}
        self._pipeline = Pipeline()
        self._warnings = LineWarnings()
        self._reader = SourceReader(tree, self._warnings)
        self._ended: dict[str, None] = {}  # files that end in a line without its line feed
        self._to_finish: set[str] = set()  # those of them whose last line is to be read
        self._collecting: Iterator[Deleted] | None = store.collect()
        self._rotated = False
        self.listed = Listing({}, {})  # by the last scan
        self._files = FilesOfPass()
        self.stats = IndexStats()
        self._committed_stats = IndexStats()
        self._must_reload = False  # after a failure: what was read may not be committed
        self._load_sources()

    @property
    def backlog(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._queue) or self._collecting is not None or self._pipeline.is_busy

    @property
    def rotated(self) -> bool:
        """Whether a file turned out to be another file, so that a scan is due."""
        return self._rotated

    def scan(self, final: bool = False) -> None:
        """Scan the whole tree and queue the files that have something to read.

        Files whose stat is unchanged are not opened; with `final`, those are that may end in a
        record without its line feed. Batches that were read ahead are committed first.
        """
        with self._undoing_on_error():
            self._commit_all()
            while not self._scan():
                pass
            if final:
                self._queue.update(dict.fromkeys(self._unfinished()))
            if not self._pipeline.is_parallel:
                self._pipeline.start_pool_for(self.pending_bytes())
            self._end_pass()

    def commit_ahead(self) -> bool:
        """Commit a batch that was read ahead, so that a scan need not; return False without one."""
        if not self._pipeline.is_busy:
            return False
        with self._undoing_on_error():
            self._commit_next()
        return True

    def touch(self, paths: set[str]) -> bool:
        """Queue those of these files that have grown; return False if a scan is needed as well."""
        known = not self._must_reload
        for path in paths:
            source, stat = self._sources.get(path), self._tree.stat(path)
            if source is None or stat is None or stat.inode != source.checkpoint.inode:
                known = False
            elif not is_unchanged(source.checkpoint, stat):
                self._queue[path] = None
        return known

    def take_ended(self) -> list[str]:
        """Take the files that turned out to end in what may be a record without its line feed."""
        ended, self._ended = self._ended, {}
        return list(ended)

    def finish(self, paths: list[str]) -> None:
        """Queue files, to read also a last line without its line feed where nothing has changed."""
        self._reload_if_needed()
        for path in paths:
            source, stat = self._sources.get(path), self._tree.stat(path)
            if source is None or stat is None:
                continue  # a scan finds out to where
            if not is_unchanged(source.checkpoint, stat):
                self._queue[path] = None
            elif source.checkpoint.is_unfinished:
                self._queue[path] = None
                self._to_finish.add(path)

    def step(self, final: bool = False) -> None:
        """Read and commit one batch, or delete some entries of discarded sources.

        With `final` a last line without its line feed is indexed too. Raises StoreError; then
        nothing is lost, the files are read again.
        """
        with self._undoing_on_error():
            if self._collecting is not None:
                self._collect()
            else:
                self._index_some(final)

    def index_now(
        self, paths: set[str], appended: Mapping[str, AppendedBatch] | None = None
    ) -> None:
        """Index what is new in these files before anything else. Raises StoreError.

        A file whose only news is its batch in `appended` is not read.
        """
        if self._pipeline.holds_lines_of(paths):
            with self._undoing_on_error():
                self._commit_all()
        waiting, self._queue = self._queue, dict.fromkeys(sorted(paths))
        sources = {self._sources[path].id for path in paths if path in self._sources}
        try:
            with self._undoing_on_error():
                if appended:
                    self._index_appended(appended)
                    waiting |= self._put_off(paths, sources)
                while self._queue:
                    batch = self._read_batch(final=False)
                    self._commit_batch(batch, more=bool(self._queue))
                    if self._rotated:
                        self.scan()
                    waiting |= self._put_off(paths, sources)
        finally:
            self._queue |= waiting

    def index_part(self, path: str, cost: int) -> None:
        """Index some of what is new in a file, up to a cost. Raises StoreError."""
        if self._pipeline.holds_lines_of({path}):
            self.commit_ahead()
            return
        with self._undoing_on_error():
            waiting, self._queue = self._queue, {path: None}
            try:
                self._commit_batch(self._read_batch(False, cost), more=False)
                if self._rotated:
                    self.scan()
            finally:
                waiting |= self._queue
                self._queue = {one: None for one in waiting if one != path}

    def _index_appended(self, appended: Mapping[str, AppendedBatch]) -> None:
        """Commit batches whose files need not be read, and take these files off the queue."""
        pending = PendingBatch(self._store.begin())
        for path, one in appended.items():
            source = self._sources.get(path)
            checkpoint = one.checkpoint_after(source.checkpoint) if source else None
            if source is None or checkpoint is None:
                continue
            first, lines = source.checkpoint.line + 1, one.batch.lines.removesuffix(b"\n")
            pending.batch.add(source, first, lines, checkpoint, one.batch.records)
            self._sources[path] = msgspec.structs.replace(source, checkpoint=checkpoint)
            pending.paths.add(path)
            pending.files_read += 1
            del self._queue[path]
        if pending.paths:
            self._commit_batch(pending, more=bool(self._queue))

    def _put_off(self, paths: set[str], sources: set[int]) -> dict[str, None]:
        """Take other files off the queue that a scan has put there; return them."""
        if not self._queue:
            return {}
        wanted = {one.path for one in self._sources.values() if one.id in sources} | paths
        others = dict.fromkeys(path for path in self._queue if path not in wanted)
        self._queue = {path: None for path in self._queue if path in wanted}
        return others

    def compact(self) -> Iterator[None]:
        """Make questions faster after much was indexed, one bounded step per item."""
        return self._store.compact()

    def close(self) -> None:
        """Stop the helper processes; uncommitted lines are read again on the next run."""
        self._tree.release()
        self._pipeline.close()

    def follow_replacement(self) -> None:
        """Continue with the index that has replaced the previous one."""
        self._pipeline.drop()
        self._committed_stats = self.stats.copy()
        self._must_reload = True

    def indexed_bytes(self, path: str) -> int:
        """Return how many bytes of a file are certainly indexed."""
        try:
            self._reload_if_needed()
        except Exception:  # the caller handles the error that led here
            return 0
        source = self._sources.get(path)
        return source.checkpoint.offset if source else 0

    def has_indexed(self, path: str, size: int) -> bool:
        """Return whether the first `size` bytes of a file are committed."""
        return self.indexed_bytes(path) >= size and not self._pipeline.holds_lines_of({path})

    @property
    def sources(self) -> Mapping[str, Source]:
        """The sources that have a file, by its path."""
        return self._sources

    def run(self, final: bool = False) -> Iterator[None]:
        """Scan, then step until nothing is left; yield after each step."""
        self.scan(final)
        while self.backlog:
            self.step(final)
            if self._rotated:
                self.scan()
            yield

    def total(self) -> IndexStats:
        """Return the stats of all passes as those of a single one: each file counts once."""
        return msgspec.structs.replace(self.stats, files_scanned=len(self.listed.files))

    def pending_bytes(self) -> int:
        """Return how many bytes of the queued files are not read yet."""
        total = 0
        for path in self._queue:
            source, stat = self._sources.get(path), self._tree.stat(path)
            offset = source.checkpoint.offset if source else 0
            if stat is not None and stat.size > offset:
                total += self._tree.data_after(path, offset, stat.size)
        return total

    def _scan(self) -> bool:
        self._rotated = False
        sources = [*self._sources.values(), *self._gone]
        known = {path: Known.of(source) for path, source in self._sources.items()}
        listing = self._tree.walk(known)
        changes = reconcile(self._tree, listing, sources)
        if any(source.gone for source in changes.updated):
            # A walk may miss a file that is renamed during it, so one does not prove it gone.
            listing = self._tree.walk(known)
            changes = reconcile(self._tree, listing, sources)
        if changes.updated or changes.discarded:
            batch = self._store.begin()
            for source in changes.updated:
                batch.update_source(source)
            for source in changes.discarded:
                batch.discard_source(source)
            if not self._commit(batch):
                return False
            self._committed_stats = self.stats.copy()
            self._load_sources()
            if changes.discarded and self._collecting is None:
                self._collecting = self._store.collect()
        self._queue.update(dict.fromkeys(changes.readable))
        self._count_listed(listing)
        return True

    def _count_listed(self, listing: Listing) -> None:
        self.listed = listing
        new = self._files.add_listed(len(listing.files))
        self.stats.files_scanned += new
        self._committed_stats.files_scanned += new

    def _end_pass(self) -> None:
        if not self.backlog:
            self._files = FilesOfPass()

    def _collect(self) -> None:
        """Delete some entries of discarded sources; an iterator that failed is begun again."""
        collecting, self._collecting = self._collecting, self._store.collect()
        if collecting is not None and next(collecting, None) is None:
            self._collecting = None
        else:
            self._collecting = collecting

    def _unfinished(self) -> list[str]:
        """Return the files that may end in a record without its line feed."""
        return [path for path, one in self._sources.items() if one.checkpoint.is_unfinished]

    def _index_some(self, final: bool = False) -> None:
        """Commit one batch; the next ones are read, and prepared elsewhere, ahead of it."""
        while self._queue and self._pipeline.has_capacity:
            self._pipeline.submit(self._read_batch(final))
        if self._pipeline.is_busy:
            self._commit_next()
        if not self.backlog:
            self.close()
        self._end_pass()

    def _commit_all(self) -> None:
        while self._pipeline.is_busy:
            self._commit_next()

    def _commit_next(self) -> None:
        pending = self._pipeline.take()
        try:
            pending.result()
        except ProcessPoolError as error:
            self._pipeline.give_up_pool(error)
            self._reload()
            self.scan()
            return
        self._commit_batch(pending, more=bool(self._queue) or self._pipeline.is_busy)

    def _read_batch(self, final: bool, cost: int | None = None) -> PendingBatch:
        """Read the next lines of the queued files, as many as a batch may have."""
        pending = PendingBatch(self._store.begin())
        left = cost or self._batch_bytes
        while self._queue and left > 0:
            left -= self._read(next(iter(self._queue)), pending, left, final)
        return pending

    def _read(self, path: str, pending: PendingBatch, limit: int, final: bool) -> int:
        """Read a file, up to a cost of `limit`; return the cost."""
        final = final or path in self._to_finish
        reading = self._reader.read(path, self._sources.get(path), pending, limit, final)
        if reading.source is not None:
            self._sources[path] = reading.source
            if reading.is_done and reading.source.checkpoint.is_unfinished:
                self._ended[path] = None
        if reading.is_done:
            self._to_finish.discard(path)
            self._queue.pop(path, None)
        self._rotated |= reading.is_other_file  # at this very moment: a scan finds out to where
        return reading.cost

    def _commit_batch(self, pending: PendingBatch, *, more: bool) -> None:
        """Commit; with `more` the next batch is prepared while this one is written."""
        before = self.stats.copy()
        self._count(pending)
        if self._commit(pending.batch, wait=not more):
            self._committed_stats = before if more else self.stats.copy()
            return
        self.stats = before
        self._pipeline.drop()
        self.scan()

    def _count(self, pending: PendingBatch) -> None:
        result, stats = pending.result(), self.stats
        stats.files_scanned += self._files.add_read(pending.files_read)
        stats.lines_scanned += result.lines
        stats.records_inserted += result.records
        stats.records_skipped += result.pruned
        stats.unreadable_timestamps += result.unreadable_times
        stats.parse_errors += len(result.problems) + pending.refused
        for path, line, problem in [*result.problems, *result.unreadable]:
            self._warnings.add(path, line, problem)

    # --- state --------------------------------------------------------------------------------

    def _commit(self, batch: Batch, wait: bool = True) -> bool:
        """Write a batch; return False if it is stale, so that the tree must be scanned again."""
        try:
            self._store.commit(batch, wait)
        except StaleBatchError:
            self._reload()
            return False
        return True

    @contextmanager
    def _undoing_on_error(self) -> Iterator[None]:
        """On any error, treat what is not certainly committed as not read."""
        self._reload_if_needed()
        try:
            yield
        except BaseException:
            self._must_reload = True
            self._pipeline.drop()
            self.stats = self._committed_stats.copy()
            raise

    def _reload_if_needed(self) -> None:
        if self._must_reload:
            self._reload()

    def _reload(self) -> None:
        """Take over the sources as committed; batches that were begun before are stale."""
        self._store.refresh()
        self._load_sources()

    def _load_sources(self) -> None:
        sources = self._store.sources()
        self._sources = {source.path: source for source in sources if not source.gone}
        self._gone = [source for source in sources if source.gone]
        self._ended.update(dict.fromkeys(self._unfinished()))
        self._must_reload = False
