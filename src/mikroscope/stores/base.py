"""What every store promises: the Store protocol, and the structs that pass through it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    Aggregate,
    Grouping,
    Page,
    PageRequest,
    Query,
)
from mikroscope.records.parsing import Fields

FIRST_PAGE = PageRequest()


class LineProblem(NamedTuple):
    """A line that is no record, and why."""

    path: str
    line: int
    problem: str


class Accepted(NamedTuple):
    """What became of the lines of a batch.

    `lines` counts those that are not blank, `records` those that are entries now; of the others
    each has a problem, or was pruned before.
    """

    lines: int
    records: int
    problems: list[LineProblem]


class Cutoffs(msgspec.Struct, frozen=True):
    """Entries older than these epoch milliseconds are to go; None keeps them for good."""

    normal_ms: int | None
    audit_ms: int | None


class Deleted(msgspec.Struct):
    """How much was deleted; `field_values` are the top-level fields of those entries."""

    normal_entries: int = 0
    audit_entries: int = 0
    field_values: int = 0

    def add(self, other: "Deleted") -> None:
        """Count what else was deleted."""
        self.normal_entries += other.normal_entries
        self.audit_entries += other.audit_entries
        self.field_values += other.field_values

    @property
    def entries(self) -> int:
        """All of them."""
        return self.normal_entries + self.audit_entries


class Prepared(Protocol):
    """What a task has made; only the store knows what that is."""

    lines: int


class Task(Protocol):
    """The work of making lines ready for a store. It can be pickled, and so can what it makes."""

    def run(self) -> Prepared:
        """Do it, once, in any thread or process."""


class Batch(Protocol):
    """Changes that become visible, and durable, together; made by one thread.

    Lines that were added must be made ready: `batch.accept(batch.task().run())`.
    """

    def add(
        self,
        source: Source,
        first: int,
        lines: bytes,
        checkpoint: Checkpoint,
        records: Sequence[Fields] | None = None,
    ) -> None:
        """Neighbouring lines of one source, and how far that brings it.

        `first` is the number of the first line; between each two is a line feed, and some may be
        blank. `records` is what `parse_line` gives for each of them, where the caller knows that
        already (and none is blank); it must not be used afterwards, since it may be taken apart.
        Adding a (source, line) that is there already is a mistake of the caller.
        """

    def task(self) -> Task:
        """The work that all lines take that were added; nothing can be added afterwards."""

    def accept(self, prepared: Prepared) -> Accepted:
        """Take what the task has made, once; returns what became of the lines.

        Entries that were pruned from the index that this one replaces are left out.
        """

    def open_source(self, path: str) -> Source:
        """A source that has nothing indexed yet."""

    def update_source(self, source: Source) -> None:
        """Another path, checkpoint or `gone` for a source."""

    def discard_source(self, source: Source) -> None:
        """Forget a source; its entries leave with `Store.purge`."""


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

    def prune(self, cutoffs: Cutoffs, position: int, limit: int) -> tuple[Deleted, int | None]:
        """Delete about `limit` entries that are too old, from a position on (0 is the first).

        Returns what was deleted and the next position; None when all is done. Then sources that
        are gone, and have no entry left, are forgotten.
        """

    def tidy(self) -> bool:
        """Give a little room back to the file system; False if nothing is left to be done."""

    def rebuild(self) -> "Rebuild":
        """Begin to build an index anew, beside this one. Raises StoreError if that goes on already.

        May be called from any thread.
        """

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """Entries, newest first, ties newest arrival first; `page.cursor` goes on behind a page.

        Pages neither skip nor repeat an entry that was there when the first one was asked for.
        """

    def aggregate(self, query: Query, grouping: Grouping, limit: int = DEFAULT_LIMIT) -> Aggregate:
        """Counts of the entries that match, by value: the `limit` most frequent ones."""

    def count(self) -> int:
        """How many entries there are."""

    def problem(self) -> str | None:
        """What is wrong with it, as far as that has shown, and the mend; None if nothing is known.

        Takes no longer however much there is.
        """

    def size_bytes(self) -> int:
        """About how much room the index takes on disk."""

    def close(self) -> None:
        """Let go of everything. Questions that still run are ended."""


class Rebuild(Protocol):
    """An index in the making that is to replace another one; belongs to one thread at a time."""

    store: Store
    """The new index; its sources are those of the old one, with nothing indexed yet."""

    def swap(self, catch_up: Callable[[], object]) -> Deleted:
        """Put the new index in the place of the old one; returns what was in that.

        First `catch_up` is called, while nobody can write to the old index: what it leaves out
        is found by nobody until it is indexed. Questions that run go on in the old one.
        """

    def close(self) -> None:
        """Give it up, unless it was swapped in."""
