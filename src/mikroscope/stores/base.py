"""What every store promises: the Store protocol, and the structs that pass through it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import msgspec

from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    Aggregate,
    Bucket,
    Entry,
    Grouping,
    Page,
    PageRequest,
    Query,
)
from mikroscope.records.parsing import Fields

FIRST_PAGE = PageRequest()
FACET_LIMIT = 10
MAX_HISTOGRAM_BUCKETS = 1_000


class LineProblem(NamedTuple):
    """A line that is not a record, and the reason."""

    path: str
    line: int
    problem: str


class BatchResult(NamedTuple):
    """What became of the lines of a batch.

    `lines` counts the lines that are not blank, `records` the entries that come of them: usually
    one a line, but a line may hold several records, or none. A line that is not a record has a
    problem; `pruned` records were pruned from the index that this one replaces. `unreadable_times`
    counts records with a field for the time that cannot be understood; `unreadable` names some.
    """

    lines: int
    records: int
    problems: list[LineProblem]
    pruned: int = 0
    unreadable_times: int = 0
    unreadable: Sequence[LineProblem] = ()


class Cutoffs(msgspec.Struct, frozen=True):
    """Entries older than these epoch milliseconds expire; None keeps them forever."""

    normal_ms: int | None
    audit_ms: int | None


class Deleted(msgspec.Struct):
    """Counts of deleted entries, and of their top-level fields where the store counts those."""

    normal_entries: int = 0
    audit_entries: int = 0
    field_values: int | None = None

    def add(self, other: "Deleted") -> None:
        """Add another count to this one."""
        self.normal_entries += other.normal_entries
        self.audit_entries += other.audit_entries
        if other.field_values is not None:
            self.field_values = (self.field_values or 0) + other.field_values

    @property
    def entries(self) -> int:
        """The number of deleted entries, normal and audit."""
        return self.normal_entries + self.audit_entries


class HistogramBucket(msgspec.Struct, frozen=True):
    """The entries from `start_ms` until the next bucket, counted; and by group if asked for."""

    start_ms: int
    count: int
    groups: dict[str, int] = {}


class Facet(msgspec.Struct, frozen=True):
    """The most frequent values of one field, and how many entries do not have the field."""

    field: str
    values: list[Bucket]
    missing: int


class StoreStatus(msgspec.Struct, frozen=True):
    """The state of a store: its size on disk in bytes, and what is wrong with it, if known.

    With `is_outdated` the index has the format of an earlier version. Questions are answered from
    it; what is committed is not added: `rebuild` makes an index that has it, from the files.
    """

    size_bytes: int | None
    problem: str | None
    is_outdated: bool = False


class Executor(Protocol):
    """Runs work elsewhere: in other threads or, if the work can be pickled, other processes."""

    def submit(self, work: Callable[[], Any], /) -> "Future[Any]":
        """Start the work; the future gets its result or its exception."""


class Batch(Protocol):
    """Changes that become visible and durable together. Belongs to the writing thread."""

    def open_source(self, path: str) -> Source:
        """Create a source with nothing indexed yet."""

    def update_source(self, source: Source) -> None:
        """Change the path, checkpoint or `gone` of a source."""

    def discard_source(self, source: Source) -> None:
        """Forget a source; `Store.collect` deletes its entries later."""

    def add(
        self,
        source: Source,
        first_line: int,
        lines: bytes,
        checkpoint: Checkpoint,
        records: Sequence[Fields] | None = None,
    ) -> None:
        """Add consecutive lines of a source, and the checkpoint behind them.

        `first_line` is the number of the first line; a line feed separates each two lines, and
        lines may be blank. A NUL byte separates several records of one line. `records` are the
        parsed lines, one each, if the caller has them already (no line is blank then); they are
        only read.

        Idempotent on (source, line, part): lines that the store has already, or that an earlier
        batch of this store has added, are not added again, unless `remove_line` has removed them
        from this batch before. So after a crash lines may be added again from any earlier
        checkpoint. The records that one line holds are its parts 0, 1, 2, …
        """

    def remove_line(self, source: Source, line: int) -> None:
        """Remove the entries of one line of a source, all its parts; there may be none.

        Lines that are added to this batch afterwards may include this one: then they take its
        place, in the same commit. Idempotent as `add` is: after a crash it may be done again.
        """

    def prepare(self, executor: Executor | None = None) -> "Future[BatchResult]":
        """Parse and encode the added lines; nothing may be added afterwards.

        The store decides which part of the work runs in `executor`; without one it runs here. Ask
        for the future's result in the writing thread, in the order of the commits: the last step of
        the work may run there. The future fails as the executor fails.
        """


class Store(Protocol):
    """An index. Writing belongs to one thread at a time; any thread may ask questions.

    Every method may raise StoreError; questions may also raise QueryTimeoutError. The long work
    (`expire`, `collect`, `shrink`, `compact`) comes as iterators: each item is one bounded step,
    complete and durable when the item arrives; it may be dropped after any step and started again
    later.
    """

    def sources(self) -> list[Source]:
        """Return every source that is not discarded, as last committed."""

    def refresh(self) -> None:
        """Finish writes that are under way, and follow the index if another one replaced it.

        Batches that were begun before become stale.
        """

    def begin(self) -> Batch:
        """Begin a batch. Nothing is written or locked before `commit`."""

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Write a batch, all or nothing; the next question sees it when this returns.

        The checkpoint of a source is never ahead of its entries, whenever the process dies.
        Without `wait` the call may return early: the next call that writes or reads the sources
        waits, and raises what went wrong with this batch. Prepare the next batch meanwhile.

        Raises StaleBatchError where the batch may rest on what is no longer true, because another
        process has written since, or because of `refresh`: begin again. A store without other
        writers never raises it.
        """

    def expire(self, cutoffs: Cutoffs) -> Iterator[Deleted]:
        """Delete entries past their time, and sources that are gone and have no entry left."""

    def collect(self) -> Iterator[Deleted]:
        """Delete the entries of discarded sources."""

    def shrink(self, max_bytes: int) -> Generator[Deleted, None, int]:
        """Delete the oldest entries until the index takes at most `max_bytes`; return its size.

        Audit entries are deleted only after normal ones, since they are kept longer, and entries
        that have just arrived last. What counts is the size after `compact`, which is to follow; it
        may be an estimate, and more entries may be deleted than necessary, as the store says. An
        empty index may be larger than `max_bytes`.
        """

    def compact(self) -> Iterator[None]:
        """Give disk space back and make questions faster; there may be nothing to do."""

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """Return entries, newest first, ties newest arrival first; `page.cursor` continues a page.

        Pages neither skip nor repeat an entry that was there when the first page was requested.
        The cursor is opaque and the store's own.
        """

    def get(self, entry_id: int) -> Entry | None:
        """Return one entry. Ids are positive, below 2**53, and stable while the entry stays."""

    def count(self, query: Query) -> int:
        """Count the matching entries."""

    def aggregate(self, query: Query, grouping: Grouping, limit: int = DEFAULT_LIMIT) -> Aggregate:
        """Count the matching entries by value; the `limit` most frequent values are returned."""

    def histogram(
        self, query: Query, interval_ms: int, split: Grouping | None = None
    ) -> list[HistogramBucket]:
        """Count the matching entries by time, in buckets in order of time without gaps.

        Buckets start at multiples of `interval_ms` since 1970 and cover `query.from_ms` to
        `query.to_ms`; where a bound is not set, the first or the last matching entry is the bound.
        With `split` each bucket also counts by value. Raises QueryError for more than
        MAX_HISTOGRAM_BUCKETS buckets.
        """

    def facets(self, query: Query, fields: Sequence[str], limit: int = FACET_LIMIT) -> list[Facet]:
        """Count the matching entries by value of each of these fields, in their order."""

    def fields(self) -> list[str]:
        """Return the names of all fields that entries have or had, nested ones as `a.b`; sorted."""

    def scan(self, query: Query) -> Iterator[Entry]:
        """Yield every matching entry, newest first, in constant memory.

        It sees what was there at the start, and may or may not see what arrives meanwhile.
        """

    def status(self) -> StoreStatus:
        """Return the state of the store, in constant time however much it holds."""

    def rebuild(self) -> "Rebuild":
        """Begin a new index next to this one. Any thread may call this.

        Raises StoreError if another rebuild is running.
        """

    def close(self) -> None:
        """End running questions and release everything."""


class Rebuild(Protocol):
    """A new index that is to replace another one. Belongs to one thread at a time."""

    store: Store
    """The new index; it has the sources of the old one, with nothing indexed yet."""

    def carry_over(self) -> Iterator[None]:
        """Copy the entries whose file is gone out of an index of an earlier format.

        Each item is one bounded step. Of an index of the present format nothing is copied.
        """

    def swap(self, catch_up: Callable[[], object]) -> Deleted:
        """Replace the old index by the new one, and return what the old one held.

        Calls `catch_up` first, while nothing can be written to the old index, to index the rest.
        Questions that are running continue on the old one.
        """

    def close(self) -> None:
        """Give up the new index, unless it was swapped in."""
