"""What every store promises: the Store protocol, and the structs that pass through it."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from mikroscope.query import Aggregate, Grouping, Page, Query
from mikroscope.records import Fields


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far one source is indexed, and by what its file is known again.

    `offset` and `line` count bytes and lines of the content; `head` and `tail` are fingerprints
    of its first bytes and of the last ones before `offset`; the rest is the look at the file
    (`logfiles.FileStat`) that the reading began with.
    """

    offset: int = 0
    line: int = 0
    head: bytes = b""
    tail: bytes = b""
    device: int = 0
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0


class Source(msgspec.Struct, frozen=True):
    """One file whose lines are indexed. `gone`: the file was deleted, its entries are kept."""

    id: int
    path: str
    checkpoint: Checkpoint
    gone: bool = False


class Line(msgspec.Struct, frozen=True, gc=False):
    """One parsed line: `raw` is valid UTF-8 JSON text, `fields` what it says."""

    number: int
    raw: bytes
    fields: Fields


class Batch(Protocol):
    """Changes that become visible, and durable, together; made by one thread."""

    def add(self, source: Source, lines: Iterable[Line], checkpoint: Checkpoint) -> int:
        """Entries of one source, and how far that brings it; returns how many.

        The lines' `fields` are taken apart and cannot be used afterwards.
        Adding a (source, line) that is there already is a mistake of the caller.
        """

    def open_source(self, path: str) -> Source:
        """A source that has nothing indexed yet."""

    def update_source(self, source: Source) -> None:
        """Another path, checkpoint or `gone` for a source."""

    def discard_source(self, source: Source) -> None:
        """Forget a source; its entries leave with `Store.purge`."""

    @property
    def records(self) -> int:
        """How many entries were added so far."""


class Store(Protocol):
    """An index. Writing is for one thread at a time; questions may come from any thread.

    Every method may raise StoreError; questions also QueryTimeoutError.
    """

    def sources(self) -> list[Source]:
        """Every source that was not discarded, as last committed."""

    def batch(self) -> Batch:
        """Begin a batch. Nothing is written, and nobody is kept waiting, before `commit`."""

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Write a batch, all or nothing; when this returns, the next question sees it.

        Without `wait` that is so only when the next call that writes, or asks for the sources,
        returns; it raises what has gone wrong with this batch. Meanwhile the next can be made.

        Raises StaleBatchError if another process has written since the batch was begun: what the
        batch stands on may not hold any more.
        """

    def purge(self, limit: int) -> bool:
        """Delete up to `limit` entries of discarded sources; False if there was none left."""

    def page(self, query: Query) -> Page:
        """Entries, newest first, ties newest arrival first; `query.cursor` goes on behind a page.

        Pages neither skip nor repeat an entry that was there when the first one was asked for.
        """

    def aggregate(self, query: Query, grouping: Grouping) -> Aggregate:
        """Counts of the entries that match, by value; `query.limit` buckets at the most."""

    def count(self) -> int:
        """How many entries there are."""

    def size_bytes(self) -> int:
        """About how much room the index takes on disk."""

    def close(self) -> None:
        """Let go of everything. Questions that still run are ended."""
