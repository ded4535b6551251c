"""Files to store: what is new in the tree is read, parsed and committed with its checkpoint."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from mikroscope.errors import StaleBatchError
from mikroscope.indexing.pipeline import Fresh, PendingBatch, Pipeline
from mikroscope.indexing.process_pool import ProcessPoolError
from mikroscope.indexing.stats import IndexStats
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, Chunk, LineReader, fingerprint
from mikroscope.logfiles.rotation import UNREAD, is_same_content, is_unchanged, reconcile
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.logfiles.tree import LogTree
from mikroscope.stores.base import Batch, Store

logger = logging.getLogger(__name__)

BATCH_BYTES = 4 << 20  # of raw lines in one transaction
PURGE_ENTRIES = 2_000
MAX_WARNINGS = 10  # about the lines of one file


class Indexer:
    """Reads sources into a store, a bounded step at a time. Belongs to the thread that writes.

    Paths are relative to the tree's root.
    """

    def __init__(self, store: Store, tree: LogTree, batch_bytes: int = BATCH_BYTES) -> None:
        self._store = store
        self._tree = tree
        self._batch_bytes = batch_bytes
        self._queue: dict[str, None] = {}
        self._loader = Pipeline()
        self._warnings: dict[str, int] = {}
        self._purging = True
        self._rotated = False
        self.stats = IndexStats()
        self._last_sure = IndexStats()
        self._unsure = False  # after a failure: whether all that was read is committed
        self._reload()

    @property
    def backlog(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._queue) or self._purging or self._loader.is_busy

    @property
    def rotated(self) -> bool:
        """Whether a file turned out to be another one, so that a scan is due."""
        return self._rotated

    def scan(self) -> None:
        """Look at the whole tree; what has something to read is put in the queue.

        Files that look as they did when last read are not opened. What was read ahead is
        committed first.
        """
        with self._taken_back_on_error():
            self._finish_loads()
            while not self._scan():
                pass
            if not self._loader.is_parallel:
                self._loader.prepare_for(self.pending_bytes())

    def touch(self, paths: set[str]) -> bool:
        """Files that may have grown are put in the queue; False if only `scan` can tell more."""
        known = not self._unsure
        for path in paths:
            source, stat = self._sources.get(path), self._tree.stat(path)
            if source is None or stat is None or stat.inode != source.checkpoint.inode:
                known = False
            elif not is_unchanged(source.checkpoint, stat):
                self._queue[path] = None
        return known

    def step(self, final: bool = False) -> None:
        """Read and commit one batch, or delete some entries of discarded sources.

        With `final` a last line without its line end is taken too. Raises StoreError; nothing
        is lost then, the files are looked at anew.
        """
        with self._taken_back_on_error():
            if self._purging:
                self._purge()
            else:
                self._index_some(final)

    def index_now(self, paths: set[str], fresh: Mapping[str, Fresh] | None = None) -> None:
        """Index what stands in these files before anything else. Raises StoreError.

        A file that holds nothing new but what is `fresh` is not read for that.
        """
        if self._loader.concerns(paths):
            with self._taken_back_on_error():
                self._finish_loads()
        waiting, self._queue = self._queue, dict.fromkeys(sorted(paths))
        sources = {self._sources[path].id for path in paths if path in self._sources}
        try:
            with self._taken_back_on_error():
                if fresh:
                    self._index_fresh(fresh)
                    waiting |= self._put_off(paths, sources)
                while self._queue:
                    load = self._read_load(final=False)
                    self._commit_load(load, more=bool(self._queue))
                    if self._rotated:
                        self.scan()
                    waiting |= self._put_off(paths, sources)
        finally:
            self._queue |= waiting

    def _index_fresh(self, fresh: Mapping[str, Fresh]) -> None:
        """Commit what needs not be read; the files that is true of leave the queue."""
        load = PendingBatch(self._store.batch())
        for path, lines in fresh.items():
            source = self._sources.get(path)
            checkpoint = lines.checkpoint_behind(source.checkpoint) if source else None
            if source is None or checkpoint is None:
                continue
            first = source.checkpoint.line + 1
            content = lines.lines.removesuffix(b"\n")
            load.batch.add(source, first, content, checkpoint, lines.records)
            self._sources[path] = msgspec.structs.replace(source, checkpoint=checkpoint)
            load.paths.add(path)
            load.files_read += 1
            del self._queue[path]
        if load.paths:
            self._commit_load(load, more=bool(self._queue))

    def _put_off(self, paths: set[str], sources: set[int]) -> dict[str, None]:
        """Take from the queue what a scan has put there besides these files, now or formerly."""
        if not self._queue:
            return {}
        wanted = {one.path for one in self._sources.values() if one.id in sources} | paths
        others = dict.fromkeys(path for path in self._queue if path not in wanted)
        self._queue = {path: None for path in self._queue if path in wanted}
        return others

    def tidy(self) -> bool:
        """Make questions faster after much was indexed, a bit at a time; False when that is done.

        Raises StoreError.
        """
        try:
            return self._store.tidy()
        except StaleBatchError:
            self._reload()
            return True

    def close(self) -> None:
        """Let go of what helps to prepare lines; what was not committed is read again some day."""
        self._loader.close()

    def take_over(self) -> None:
        """Go on with the index as it is now, after it was replaced."""
        self._loader.drop()
        self._last_sure = self.stats.copy()
        self._unsure = True

    def indexed_bytes(self, path: str) -> int:
        """How far a file is indexed for sure."""
        try:
            self._reload_if_unsure()
        except Exception:  # the one who asks is about to tell of it
            return 0
        source = self._sources.get(path)
        return source.checkpoint.offset if source else 0

    def run(self, final: bool = False) -> Iterator[None]:
        """Scan, then step until nothing is left; yields after each step."""
        self.scan()
        if final:
            self._queue.update(dict.fromkeys(self._unfinished()))
        while self.backlog:
            self.step(final)
            if self._rotated:
                self.scan()
            yield

    def pending_bytes(self) -> int:
        """How many bytes of the files in the queue are not read yet."""
        total = 0
        for path in self._queue:
            source, stat = self._sources.get(path), self._tree.stat(path)
            if stat is not None:
                total += max(0, stat.size - (source.checkpoint.offset if source else 0))
        return total

    def _scan(self) -> bool:
        self._rotated = False
        sources = [*self._sources.values(), *self._gone]
        changes = reconcile(self._tree, self._tree.walk(), sources)
        if any(source.gone for source in changes.updated):
            # A walk may miss what is renamed during it: look twice before a file counts as gone.
            changes = reconcile(self._tree, self._tree.walk(), sources)
        if changes.updated or changes.discarded:
            batch = self._store.batch()
            for source in changes.updated:
                batch.update_source(source)
            for source in changes.discarded:
                batch.discard_source(source)
            if not self._commit(batch):
                return False
            self._last_sure = self.stats.copy()
            self._reload()
            self._purging = self._purging or bool(changes.discarded)
        self._queue.update(dict.fromkeys(changes.readable))
        return True

    def _purge(self) -> None:
        try:
            self._purging = self._store.purge(PURGE_ENTRIES)
        except StaleBatchError:
            self._reload()

    def _unfinished(self) -> list[str]:
        """Files that end in a line without its line end."""
        return [
            path
            for path, source in self._sources.items()
            if source.checkpoint.offset < source.checkpoint.size and not path.endswith(".gz")
        ]

    def _index_some(self, final: bool = False) -> None:
        """Commit one batch, while the next ones are read, and prepared by others, ahead of it."""
        while self._queue and self._loader.has_room:
            self._loader.submit(self._read_load(final))
        if self._loader.is_busy:
            self._commit_next()
        if not self.backlog:
            self._loader.close()

    def _finish_loads(self) -> None:
        while self._loader.is_busy:
            self._commit_next()

    def _commit_next(self) -> None:
        load = self._loader.take()
        try:
            load.prepared()
        except ProcessPoolError as error:
            self._loader.give_up(error)
            self._reload()
            self.scan()
            return
        self._commit_load(load, more=bool(self._queue) or self._loader.is_busy)

    def _read_load(self, final: bool) -> PendingBatch:
        """Read the next lines of the files in the queue, as many as a batch may have."""
        load = PendingBatch(self._store.batch())
        room = self._batch_bytes
        while self._queue and room > 0:
            room -= self._read(next(iter(self._queue)), load, room, final)
        return load

    def _commit_load(self, load: PendingBatch, *, more: bool) -> None:
        """Commit; while there is more, the next batch is made ready meanwhile."""
        before = self.stats.copy()
        self._count(load)
        if self._commit(load.batch, wait=not more):
            self._last_sure = before if more else self.stats.copy()
            return
        self.stats = before
        self._loader.drop()
        self.scan()

    def _count(self, load: PendingBatch) -> None:
        accepted = load.batch.accept(load.prepared())
        stats = self.stats
        stats.files_scanned += load.files_read
        stats.lines_scanned += accepted.lines
        stats.records_inserted += accepted.records
        stats.records_skipped += accepted.lines - accepted.records - len(accepted.problems)
        stats.parse_errors += len(accepted.problems) + load.too_long
        for path, line, problem in accepted.problems:
            self._warn(f"{path}:{line}", problem)

    # --- one file -----------------------------------------------------------------------------

    def _read(self, path: str, load: PendingBatch, room: int, final: bool) -> int:
        """Read up to `room` bytes of a file; it leaves the queue when it is read to its end."""
        source = self._sources.get(path)
        checkpoint = source.checkpoint if source else Checkpoint()
        try:
            with self._tree.open(path, checkpoint.offset, checkpoint.line) as reader:
                if not is_same_content(reader, checkpoint):
                    del self._queue[path]
                    self._rotated = True  # this very moment: a scan sorts it out
                    return 0
                source = source or load.batch.open_source(path)
                return self._read_lines(reader, source, load, room, final)
        except FileNotFoundError:
            self._queue.pop(path, None)
            self._rotated = True
        except OSError as error:
            self._queue.pop(path, None)
            self._warn(path, f"cannot be read: {error.strerror or error}")
        return 0

    def _read_lines(
        self, reader: LineReader, source: Source, load: PendingBatch, room: int, final: bool
    ) -> int:
        read = 0
        start = source.checkpoint.offset
        load.paths.add(source.path)
        while read < room:
            chunk = reader.read(room - read, final)
            source = self._add(source, chunk, reader, load)
            self._sources[source.path] = source
            read = chunk.offset - start
            if _is_end(chunk):
                del self._queue[source.path]
                load.files_read += 1
                break
        return read

    def _add(self, source: Source, chunk: Chunk, reader: LineReader, load: PendingBatch) -> Source:
        if chunk.too_long:
            load.too_long += chunk.too_long
            self._warn(source.path, f"{chunk.too_long} lines before line {chunk.line} are too long")
        checkpoint = self._checkpoint(source.checkpoint, chunk, reader)
        first = chunk.line - chunk.length + 1
        load.batch.add(source, first, chunk.content, checkpoint)
        return msgspec.structs.replace(source, checkpoint=checkpoint)

    def _checkpoint(self, before: Checkpoint, chunk: Chunk, reader: LineReader) -> Checkpoint:
        head = before.head
        if before.offset < FINGERPRINT_BYTES and chunk.offset > before.offset:
            head = fingerprint(reader.first_bytes[: min(chunk.offset, FINGERPRINT_BYTES)])
        return Checkpoint(
            offset=chunk.offset,
            line=chunk.line,
            head=head,
            tail=fingerprint(chunk.tail),
            device=reader.stat.device,
            inode=reader.stat.inode,
            size=reader.stat.size,
            mtime_ns=reader.stat.mtime_ns if _is_end(chunk) else UNREAD,
        )

    def _warn(self, place: str, problem: str) -> None:
        path = place.partition(":")[0]
        told = self._warnings[path] = self._warnings.get(path, 0) + 1
        if told <= MAX_WARNINGS:
            more = "; further ones of this file are only counted" if told == MAX_WARNINGS else ""
            logger.warning("%s: %s%s", place, problem, more)

    # --- state --------------------------------------------------------------------------------

    def _commit(self, batch: Batch, wait: bool = True) -> bool:
        """Write a batch; False if another process was faster and all must be looked at anew."""
        try:
            self._store.commit(batch, wait)
        except StaleBatchError:
            self._reload()
            return False
        return True

    @contextmanager
    def _taken_back_on_error(self) -> Iterator[None]:
        """Whatever fails, and wherever: what is not committed for sure was not read."""
        self._reload_if_unsure()
        try:
            yield
        except BaseException:
            self._unsure = True
            self._loader.drop()
            self.stats = self._last_sure.copy()
            raise

    def _reload_if_unsure(self) -> None:
        if self._unsure:
            self._reload()

    def _reload(self) -> None:
        sources = self._store.sources()
        self._sources = {source.path: source for source in sources if not source.gone}
        self._gone = [source for source in sources if source.gone]
        self._unsure = False


def _is_end(chunk: Chunk) -> bool:
    return not chunk.length and not chunk.too_long
