"""The Store protocol on one SQLite file: a writer for one thread, readers for all others."""

import logging
from pathlib import Path

from mikroscope.errors import DamagedIndexError, IndexFormatError, StoreError
from mikroscope.logfiles.sources import Source
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    Aggregate,
    Grouping,
    Page,
    PageRequest,
    Query,
)
from mikroscope.stores.base import FIRST_PAGE, Batch, Cutoffs, Deleted, Rebuild
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.rebuild import OldIndex, SqliteRebuild, clean_up
from mikroscope.stores.sqlite.read import aggregates
from mikroscope.stores.sqlite.read.connections import Connection, Readers
from mikroscope.stores.sqlite.schema import file_identity
from mikroscope.stores.sqlite.write.batch import Replaced, SqliteBatch
from mikroscope.stores.sqlite.write.writer import Writer

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_S = 30.0
READERS = 4


class SqliteStore:
    """An index file, or a link to one. With `write` false it must exist and is only read.

    With `alone` the file belongs to this process as long as the store is open: a second one
    that asks for the same is refused. Single batches of other processes remain possible, and
    so does a rebuild. An index that is damaged, or of another format, is set aside then.
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
        self._lock: int | None = None
        self._writer: Writer | None = None
        self._replaced = replaced
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            self._lock = files.lock(path)
        try:
            if alone:
                clean_up(path)
                self._writer = self._open_whole()
            elif write:
                self._writer = self._open_writer()
        except BaseException:
            self._unlock()
            raise
        self._readers = Readers(path, READERS, query_timeout_s)

    def sources(self) -> list[Source]:
        """Every source that was not discarded, as last committed."""
        with files.translating_errors(self._path):
            writer = self._writing
            if file_identity(self._path) != writer.identity:
                writer.close()
                self._writer = writer = self._open_writer()
            return writer.sources()

    def batch(self) -> Batch:
        """Begin a batch."""
        return self._writing.batch()

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Write a batch, all or nothing."""
        if not isinstance(batch, SqliteBatch):
            raise TypeError(f"{batch!r} was not begun by this store")
        with files.translating_errors(self._path):
            self._writing.commit(batch, wait)

    def purge(self, limit: int) -> bool:
        """Delete up to `limit` entries of discarded sources; False if there was none left."""
        with files.translating_errors(self._path):
            return self._writing.purge(limit)

    def prune(self, cutoffs: Cutoffs, position: int, limit: int) -> tuple[Deleted, int | None]:
        """Delete about `limit` entries that are too old, from a position on."""
        with files.translating_errors(self._path):
            return self._writing.prune(cutoffs, position, limit)

    def tidy(self) -> bool:
        """Give a little room back to the file system; False if nothing is left to be done."""
        with files.translating_errors(self._path):
            return self._writing.tidy()

    def rebuild(self) -> Rebuild:
        """Begin to build an index anew, beside this one."""
        return begin_rebuild(self._path)

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """One page of entries, newest first."""
        return self._readers.ask(lambda connection: connection.page(query, page))

    def aggregate(self, query: Query, grouping: Grouping, limit: int = DEFAULT_LIMIT) -> Aggregate:
        """Counts of the entries that match, by value."""
        return self._readers.ask(
            lambda connection: aggregates.aggregate(connection, query, grouping, limit)
        )

    def count(self) -> int:
        """How many entries there are."""
        return self._readers.ask(_count)

    def problem(self) -> str | None:
        """Whether somebody has come across damage."""
        return files.damage_text(self._path) if files.is_marked_damaged(self._path) else None

    def size_bytes(self) -> int:
        """The size of the file and of its write-ahead log."""
        paths = (self._path, files.sibling(self._path, "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """End running questions, close all connections, let go of the file."""
        self._readers.close()
        if self._writer is not None:
            self._writer.close()
        self._unlock()

    def seal(self) -> None:
        """Close, with all that was written in the one file."""
        with files.translating_errors(self._path):
            self._writing.empty_log()
        self.close()

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"{self._path} was opened for reading only")
        return self._writer

    def _open_writer(self, probe: bool = False) -> Writer:
        with files.translating_errors(self._path), files.shared_lock(self._path):
            writer = Writer(self._path, self._replaced)
            try:
                if probe:
                    writer.probe()
            except BaseException:
                writer.close()
                raise
            return writer

    def _open_whole(self) -> Writer:
        """Open the index, or, if it cannot be used any more, a new one in its place."""
        try:
            if files.is_marked_damaged(self._path) and self._path.exists():
                raise DamagedIndexError(f"the index {self._path} is damaged")
            return self._open_writer(probe=True)
        except DamagedIndexError as error:
            if not files.may_be_an_index(self._path):
                raise StoreError(f"{self._path} is not an index: {error.__cause__}") from error
            self._set_aside("damaged", error)
        except IndexFormatError as error:
            self._set_aside("old-format", error)
        return self._open_writer()

    def _set_aside(self, why: str, error: StoreError) -> None:
        with files.exclusive_lock(self._path):
            aside = files.set_aside(self._path, why)
        logger.error("%s; it is kept as %s, and a new one is made from the log files", error, aside)

    def _unlock(self) -> None:
        if self._lock is not None:
            files.unlock(self._lock)
            self._lock = None


def begin_rebuild(path: Path) -> SqliteRebuild:
    """Build the index at `path` anew; it need not exist. Raises StoreError if somebody else does.

    Only what is not MikroScope's is refused.
    """

    def make_store(new: Path, old: OldIndex) -> SqliteStore:
        SqliteStore(new).close()
        old.seed(new)
        return SqliteStore(new, replaced=Replaced(old.rules, old.time_of))

    path = files.resolve_link(path)
    with files.translating_errors(path):
        return SqliteRebuild(path, make_store)


def _count(connection: Connection) -> int:
    return int(connection.sql.execute("SELECT total(entries) FROM minutes").get)
