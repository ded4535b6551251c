"""A place for log files and an index, and stores that misbehave, shared by several tests."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from mikroscope.errors import StoreError
from mikroscope.indexing.indexer import BATCH_BYTES, Indexer
from mikroscope.indexing.stats import IndexStats
from mikroscope.logfiles.reader import LineReader
from mikroscope.logfiles.sources import Source
from mikroscope.logfiles.tree import LogTree
from mikroscope.query.model import Aggregate, Entry, Grouping, Page, PageRequest, Query
from mikroscope.stores.base import (
    FIRST_PAGE,
    Batch,
    Cutoffs,
    Deleted,
    Facet,
    HistogramBucket,
    Rebuild,
    Store,
    StoreStatus,
)
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.write.writer import Writer

SUFFIXES = (".ndjson", ".ndjson.gz", ".jsonl", ".log")


def line(number: int, size: int = 0) -> bytes:
    """Return one record with its line end, padded to more than `size` bytes."""
    return msgspec.json.encode({"n": number, "pad": "x" * size}) + b"\n"


def lines(*numbers: int, size: int = 0) -> bytes:
    """Return records with these numbers, each on its own line."""
    return b"".join(line(number, size) for number in numbers)


# Root may read everything, so tests of permissions run as a user without rights. That user
# cannot read Python's own files either, so a program calls this after its imports.
BECOME_NOBODY = """
def become_nobody():
    import os
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
"""


def run_python(program: str, *arguments: object) -> str:
    """Run a program in a separate process, with `become_nobody` defined; return its output."""
    command = [sys.executable, "-c", BECOME_NOBODY + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def all_entries(store: Store) -> list[Entry]:
    """Return every entry of a store, newest first."""
    entries: list[Entry] = []
    cursor = None
    while True:
        page = store.search(Query(), PageRequest(limit=1000, cursor=cursor))
        assert page.complete, page.notes
        entries += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return entries


def writer_of(store: SqliteStore) -> Writer:
    """Return the writer of a store, for tests that look into its tables."""
    assert isinstance(store._writer, Writer)
    return store._writer


def count(store: Store) -> int:
    """Return the number of entries."""
    return store.count(Query())


def rows(store: Store) -> Counter[tuple[str, int, bytes]]:
    """Count how often each (source file, line number, record) is in the index."""
    return Counter((e.source_file, e.line_number, bytes(e.data)) for e in all_entries(store))


def number_of(entry: Entry) -> int:
    """Return the number of a record that `line` made."""
    return int(msgspec.json.decode(entry.data)["n"])


class CountingTree(LogTree):
    """A tree that records which files were opened."""

    def __init__(self, root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
        super().__init__(root, suffixes)
        self.opened: list[str] = []

    def open(self, path: str, offset: int = 0, line: int = 0, open_bytes: int = 0) -> LineReader:
        """Open a file at an offset."""
        self.opened.append(path)
        return super().open(path, offset, line, open_bytes)

    def head(self, path: str) -> bytes:
        """Return the first bytes of a file."""
        self.opened.append(path)
        return super().head(path)


class StoreWrapper:
    """Passes every call on to a store; the base class of stores that misbehave."""

    def __init__(self, store: Store) -> None:
        self.inner = store

    def sources(self) -> list[Source]:
        """Call `sources` of the wrapped store."""
        return self.inner.sources()

    def refresh(self) -> None:
        """Call `refresh` of the wrapped store."""
        self.inner.refresh()

    def begin(self) -> Batch:
        """Call `begin` of the wrapped store."""
        return self.inner.begin()

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Call `commit` of the wrapped store."""
        self.inner.commit(batch, wait)

    def expire(self, cutoffs: Cutoffs) -> Iterator[Deleted]:
        """Call `expire` of the wrapped store."""
        return self.inner.expire(cutoffs)

    def collect(self) -> Iterator[Deleted]:
        """Call `collect` of the wrapped store."""
        return self.inner.collect()

    def shrink(self, max_bytes: int) -> Generator[Deleted, None, int]:
        """Call `shrink` of the wrapped store."""
        return self.inner.shrink(max_bytes)

    def compact(self) -> Iterator[None]:
        """Call `compact` of the wrapped store."""
        return self.inner.compact()

    def rebuild(self) -> Rebuild:
        """Call `rebuild` of the wrapped store."""
        return self.inner.rebuild()

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """Call `search` of the wrapped store."""
        return self.inner.search(query, page)

    def get(self, entry_id: int) -> Entry | None:
        """Call `get` of the wrapped store."""
        return self.inner.get(entry_id)

    def count(self, query: Query) -> int:
        """Call `count` of the wrapped store."""
        return self.inner.count(query)

    def aggregate(self, query: Query, grouping: Grouping, limit: int = 100) -> Aggregate:
        """Call `aggregate` of the wrapped store."""
        return self.inner.aggregate(query, grouping, limit)

    def histogram(
        self, query: Query, interval_ms: int, split: Grouping | None = None
    ) -> list[HistogramBucket]:
        """Call `histogram` of the wrapped store."""
        return self.inner.histogram(query, interval_ms, split)

    def facets(self, query: Query, fields: Sequence[str], limit: int = 10) -> list[Facet]:
        """Call `facets` of the wrapped store."""
        return self.inner.facets(query, fields, limit)

    def fields(self) -> list[str]:
        """Call `fields` of the wrapped store."""
        return self.inner.fields()

    def scan(self, query: Query) -> Iterator[Entry]:
        """Call `scan` of the wrapped store."""
        return self.inner.scan(query)

    def status(self) -> StoreStatus:
        """Call `status` of the wrapped store."""
        return self.inner.status()

    def close(self) -> None:
        """Call `close` of the wrapped store."""
        self.inner.close()


class FlakyStore(StoreWrapper):
    """Loses chosen batches, and counts those that it commits.

    `losses` says which commits fail, counted from 1. With `late` a commit that need not wait
    seems to succeed, and the next call that writes or asks for the sources raises; with
    `refresh_fails` the first refresh after a loss fails as well.
    """

    def __init__(
        self,
        store: Store,
        losses: Collection[int] = (),
        *,
        late: bool = False,
        refresh_fails: bool = False,
        error: Exception | None = None,
    ) -> None:
        super().__init__(store)
        self.losses = losses
        self.calls = 0
        self.commits = 0
        self.raised = 0
        self._late = late
        self._refresh_fails = refresh_fails
        self._error = error or StoreError("the disk is on fire")
        self._owed = False
        self._unwell = False

    def refresh(self) -> None:
        """Refresh, or raise the pending failure."""
        self._pay()
        if self._unwell:
            self._unwell = False
            self._fail()
        super().refresh()

    def sources(self) -> list[Source]:
        """Return the sources, or raise the pending failure."""
        self._pay()
        return super().sources()

    def collect(self) -> Iterator[Deleted]:
        """Collect, or raise the pending failure."""
        for deleted in super().collect():
            self._pay()
            yield deleted

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Commit, or lose the batch."""
        self._pay()
        self.calls += 1
        if self.calls not in self.losses:
            super().commit(batch, wait)
            self.commits += 1
            return
        self._unwell = self._refresh_fails
        self._owed = self._late and not wait
        if not self._owed:
            self._fail()

    def _pay(self) -> None:
        if self._owed:
            self._owed = False
            self._fail()

    def _fail(self) -> None:
        self.raised += 1
        self.inner.sources()  # earlier commits are durable, as after a real failure
        raise self._error


class Place:
    """A directory of logs with an index next to it; paths are relative to the logs."""

    def __init__(self, directory: Path, batch_bytes: int = BATCH_BYTES) -> None:
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.database = directory / "index.db"
        self.batch_bytes = batch_bytes
        self._open()

    def _open(self) -> None:
        self.tree = CountingTree(self.logs)
        self.store = SqliteStore(self.database)
        self.indexer = Indexer(self.store, self.tree, self.batch_bytes)

    def restart(self) -> None:
        """Close the index and reopen it."""
        self.indexer.close()
        self.store.close()
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.indexer.close()
        self.store.close()

    def write(self, path: str, content: bytes) -> Path:
        """Create a file with its directories, or replace its content."""
        file = self.logs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def append(self, path: str, content: bytes) -> Path:
        """Append to a file."""
        file = self.logs / path
        with file.open("ab") as opened:
            opened.write(content)
        return file

    def rename(self, path: str, other: str) -> None:
        """Rename a file."""
        (self.logs / path).replace(self.logs / other)

    def index(self, final: bool = False) -> IndexStats:
        """Index everything new; return the statistics of this run."""
        before = self.indexer.stats.copy()
        for _ in self.indexer.run(final):
            pass
        return self.indexer.stats.since(before)

    def index_with(self, store: Store) -> Indexer:
        """Return another indexer on the same files and another store."""
        return Indexer(store, self.tree, self.batch_bytes)

    def opened_by(self, act: Callable[[], object]) -> list[str]:
        """Return the files that an action opens."""
        self.tree.opened.clear()
        act()
        return list(self.tree.opened)

    def entries(self) -> list[Entry]:
        """Return every entry of the index."""
        return all_entries(self.store)

    def numbers(self, path: str | None = None) -> list[int]:
        """Return the numbers of the indexed records, or of one source's; sorted."""
        found = self.entries()
        return sorted(number_of(one) for one in found if path in (None, one.source_file))

    def by_path(self) -> dict[str, list[int]]:
        """Return the numbers of the indexed records, by source."""
        return {
            path: self.numbers(path) for path in sorted({e.source_file for e in self.entries()})
        }


def place_in(directory: Path, batch_bytes: int = BATCH_BYTES) -> Iterator[Place]:
    """Create a place; the body of a fixture."""
    with Place(directory, batch_bytes) as place:
        yield place
