"""The Store protocol on one SQLite file: one writer, and readers for any thread."""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import apsw

from mikroscope.errors import (
    DamagedIndexError,
    IndexFormatError,
    IndexZoneError,
    NotAnIndexError,
    StaleBatchError,
    StoreError,
)
from mikroscope.logfiles.sources import Source
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    Aggregate,
    Entry,
    Grouping,
    Page,
    PageRequest,
    Query,
)
from mikroscope.records.zones import default_zone_name, set_default_zone
from mikroscope.stores.base import (
    FACET_LIMIT,
    FIRST_PAGE,
    Batch,
    Cutoffs,
    Deleted,
    Facet,
    HistogramBucket,
    Rebuild,
    StoreStatus,
)
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.rebuild import OldIndex, SqliteRebuild, clean_up
from mikroscope.stores.sqlite.previous.writer import PreviousBatch, PreviousWriter, is_previous
from mikroscope.stores.sqlite.read import groups, histogram, pages
from mikroscope.stores.sqlite.read.connections import Readers
from mikroscope.stores.sqlite.schema import file_identity, zone_of
from mikroscope.stores.sqlite.write.batch import Replaced, SqliteBatch
from mikroscope.stores.sqlite.write.reading import MaybePruned
from mikroscope.stores.sqlite.write.shrinking import TermsBytes
from mikroscope.stores.sqlite.write.writer import Writer

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_S = 30.0
_SCAN_ENTRIES = 500
READERS = 4


class SqliteStore:
    """An index file, or a link to one. Without `write` it must exist and is only read.

    With `alone` this process owns the file while the store is open: a second store that wants to
    own it is refused. Other processes can still commit single batches or rebuild the index. A
    damaged index, or one of an unknown format, is set aside then.

    An index of the previous format is only read: `rebuild` makes one that replaces it.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: bool = True,
        alone: bool = False,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        replaced: Replaced | None = None,
    ) -> None:
        self._path = path = files.resolve_link(path)
        self._alone = alone
        self._locks: list[int] = []
        self._writer: Writer | PreviousWriter | None = None
        self._replaced = replaced
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            self._locks.append(files.lock(path))
        try:
            if alone:
                clean_up(path)
                self._writer = self._open_whole()
            elif write:
                self._writer = self._open_writer()
        except BaseException:
            self._unlock()
            raise
        self._readers = Readers(path, READERS, query_timeout_s, may_copy=not write)

    def sources(self) -> list[Source]:
        """Return every source that is not discarded, as last committed."""
        with files.translating_errors(self._path):
            if file_identity(self._path) != self._writing.identity:  # another process replaced it
                self.refresh()
            return self._writing.sources()

    def refresh(self) -> None:
        """Finish writes that are under way, and follow the index if another one replaced it."""
        with files.translating_errors(self._path):
            writer = self._writing
            if file_identity(self._path) == writer.identity:
                if isinstance(writer, Writer):
                    writer.reload()
                return
            writer.close()
            self._writer = self._open_writer()

    def begin(self) -> Batch:
        """Begin a batch."""
        return self._writing.begin()

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Write a batch, all or nothing."""
        writer = self._writing
        with files.translating_errors(self._path):
            if isinstance(writer, Writer) and isinstance(batch, SqliteBatch):
                writer.commit(batch, wait)
            elif isinstance(writer, PreviousWriter) and isinstance(batch, PreviousBatch):
                writer.commit(batch)
            elif isinstance(batch, PreviousBatch):
                raise StaleBatchError(f"{self._path} was replaced")
            else:
                raise TypeError(f"{batch!r} was not begun by this store")

    def expire(self, cutoffs: Cutoffs) -> Iterator[Deleted]:
        """Delete entries past their time, a bounded number with each step."""
        position: int | None = 0
        while position is not None:
            writer = self._writing
            if isinstance(writer, PreviousWriter):
                return
            try:
                with files.translating_errors(self._path):
                    deleted, position = writer.expire(cutoffs, position)
            except StaleBatchError:
                self._follow_replacement()
                deleted, position = Deleted(), 0
            yield deleted

    def collect(self) -> Iterator[Deleted]:
        """Delete the entries of discarded sources, a bounded number with each step."""
        while isinstance(writer := self._writing, Writer):
            deleted: Deleted | None = Deleted()
            try:
                with files.translating_errors(self._path):
                    deleted = writer.collect()
            except StaleBatchError:
                self._follow_replacement()
            if deleted is None:
                return
            yield deleted

    def shrink(self, max_bytes: int) -> Generator[Deleted, None, int]:
        """Delete the oldest entries until the index takes at most `max_bytes`.

        A step deletes a segment, some ten thousand entries at most, or fresh lines. What counts
        is the file without its free pages, and not the write-ahead log. The inverted index of a
        partition is freed with the last of its segments, or by compacting if most of a large one
        is of deleted entries, which does not count then. So more is deleted than necessary: at
        worst as much as a segment and half of the inverted index of the oldest day take. Once
        something was deleted, new partitions are smaller than a day: they have at most an eighth
        of all entries, or 16,384 and a segment. An index of an earlier version is left as it is.
        """
        known: TermsBytes = {}
        while isinstance(writer := self._writing, Writer):
            try:
                with files.translating_errors(self._path):
                    deleted, size = writer.shrink(max_bytes, known)
            except StaleBatchError:
                self._follow_replacement()
                known.clear()
                deleted = Deleted()
            if deleted is None:
                return size
            yield deleted
        return max_bytes

    def compact(self) -> Iterator[None]:
        """Give disk space back and merge the inverted index, a little with each step."""
        while isinstance(writer := self._writing, Writer):
            try:
                with files.translating_errors(self._path):
                    if not writer.compact():
                        return
            except StaleBatchError:
                self._follow_replacement()
            yield

    def rebuild(self) -> Rebuild:
        """Begin a new index next to this one."""
        writer = self._writer
        return begin_rebuild(
            self._path, writer.sources() if isinstance(writer, PreviousWriter) else None
        )

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """Return one page of entries, newest first."""
        return self._readers.ask(lambda snapshot: pages.page(snapshot, query, page))

    def get(self, entry_id: int) -> Entry | None:
        """Return one entry."""
        return self._readers.ask(lambda snapshot: pages.get(snapshot, entry_id))

    def count(self, query: Query) -> int:
        """Count the matching entries."""
        return self._readers.ask_whole(lambda snapshot: histogram.count(snapshot, query))

    def aggregate(self, query: Query, grouping: Grouping, limit: int = DEFAULT_LIMIT) -> Aggregate:
        """Count the matching entries by value."""
        return self._readers.ask(
            lambda snapshot: groups.aggregate(snapshot, query, grouping, limit)
        )

    def histogram(
        self, query: Query, interval_ms: int, split: Grouping | None = None
    ) -> list[HistogramBucket]:
        """Count the matching entries by time."""
        return self._readers.ask_whole(
            lambda snapshot: histogram.histogram(snapshot, query, interval_ms, split)
        )

    def facets(self, query: Query, fields: Sequence[str], limit: int = FACET_LIMIT) -> list[Facet]:
        """Count the matching entries by value of each of these fields."""
        return self._readers.ask_whole(
            lambda snapshot: [groups.facet(snapshot, query, field, limit) for field in fields]
        )

    def fields(self) -> list[str]:
        """Return the names of all fields, sorted."""
        return self._readers.ask(lambda snapshot: sorted(snapshot.field_names()))

    def scan(self, query: Query) -> Iterator[Entry]:
        """Yield every matching entry, newest first; each page is a question of its own."""
        page = PageRequest(_SCAN_ENTRIES)
        while True:
            found = self.search(query, page)
            yield from found.entries
            if not found.complete:
                raise DamagedIndexError("; ".join(found.notes))
            if found.next_cursor is None:
                return
            page = PageRequest(_SCAN_ENTRIES, found.next_cursor)

    def status(self) -> StoreStatus:
        """Return the size of the file with its write-ahead log, and any damage found so far."""
        is_damaged = files.is_marked_damaged(self._path)
        return StoreStatus(
            size_bytes=files.size_bytes(self._path),
            problem=files.damage_text(self._path) if is_damaged else None,
            is_outdated=isinstance(self._writer, PreviousWriter)
            and file_identity(self._path) == self._writer.identity,
        )

    def close(self) -> None:
        """End running questions, close all connections and release the file."""
        self._readers.close()
        if self._writer is not None:
            try:
                self._writer.close()
            except apsw.Error as error:  # the checkpoints are as old as what is indexed
                logger.error("the end of %s could not be written: %s", self._path, error)
        self._unlock()

    def keep(
        self, sources: Mapping[int, Source], entries: Sequence[tuple[MaybePruned, int]]
    ) -> None:
        """Commit entries of the index that this one replaces, with their sources as they are."""
        batch = self.begin()
        if isinstance(batch, SqliteBatch):
            batch.keep(sources, entries)
            self.commit(batch)

    def seal(self) -> None:
        """Close, with everything in the one file."""
        if isinstance(self._writer, Writer):
            with files.translating_errors(self._path):
                self._writer.empty_log()
        self.close()

    def _follow_replacement(self) -> None:
        """Continue with the index of another process, whose sources the caller does not know."""
        self.refresh()
        if isinstance(self._writing, Writer):
            self._writing.run_ahead()

    @property
    def _writing(self) -> Writer | PreviousWriter:
        if self._writer is None:
            raise StoreError(f"{self._path} was opened for reading only")
        return self._writer

    def _open_writer(self, probe: bool = False) -> Writer | PreviousWriter:
        with files.translating_errors(self._path), files.shared_lock(self._path):
            if self._alone:
                self._lock_file()
            writer = self._make_writer()
            try:
                if probe:
                    writer.probe()
                self._follow_zone(refuse=probe)
            except BaseException:
                writer.close()
                raise
            return writer

    def _make_writer(self) -> Writer | PreviousWriter:
        try:
            return Writer(self._path, self._replaced)
        except IndexFormatError:
            if not is_previous(self._path):
                raise
            return PreviousWriter(self._path)

    def _open_whole(self) -> Writer | PreviousWriter:
        """Open the index; if it cannot be used any more, set it aside and make a new one."""
        try:
            if files.is_marked_damaged(self._path) and self._path.exists():
                raise DamagedIndexError(f"the index {self._path} is damaged")
            return self._open_writer(probe=True)
        except DamagedIndexError as error:
            is_other = isinstance(error, NotAnIndexError)
            if not files.may_be_an_index(self._path):
                what = "SQLite file" if is_other else f"index: {error.__cause__}"
                raise StoreError(f"{self._path} is not an {what}; pass another --db") from error
            what = "is not an SQLite file" if is_other else f"is damaged ({error.__cause__})"
            self._set_aside("damaged", what if error.__cause__ else "is damaged")
        except IndexZoneError:
            self._set_aside("other-zone", "was made with another --default-timezone")
        except IndexFormatError:
            self._set_aside("old-format", "has the index format of another version")
        return self._open_writer()

    def _follow_zone(self, refuse: bool) -> None:
        """Read times as the index has them so far, or `refuse` it: one index has one zone."""
        zone, own = zone_of(self._path), default_zone_name()
        if zone == own:
            return
        if refuse:
            raise IndexZoneError(f"{self._path} was made with --default-timezone {zone}")
        if self._alone:
            text = "%s was rebuilt with --default-timezone %s, which holds instead of %s"
            logger.warning(text, self._path, zone, own)
        set_default_zone(zone)

    def _set_aside(self, why: str, what: str) -> None:
        with files.exclusive_lock(self._path):
            aside = files.set_aside(self._path, why)
        logger.error(
            "%s %s; it was moved to %s, and a new index is made from the log files",
            self._path,
            what,
            aside,
        )

    def _lock_file(self) -> None:
        """Lock the present file, and release the one that it has replaced."""
        files.create(self._path)
        self._locks.append(files.lock_file(self._path))
        while len(self._locks) > 2:
            files.unlock(self._locks.pop(1))

    def _unlock(self) -> None:
        while self._locks:
            files.unlock(self._locks.pop())


def begin_rebuild(path: Path, sources: Sequence[Source] | None = None) -> SqliteRebuild:
    """Begin to rebuild the index at `path`, which need not exist or may be damaged.

    `sources` are those of the old index, if more is known than it has. Raises StoreError if another
    rebuild is running, or if the file is not an index.
    """

    def make_store(new: Path, old: OldIndex) -> SqliteStore:
        SqliteStore(new).close()
        old.seed(new)
        return SqliteStore(new, replaced=Replaced(old.rules, old.time_of))

    path = files.resolve_link(path)
    with files.translating_errors(path):
        return SqliteRebuild(path, make_store, sources)
