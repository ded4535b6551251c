"""The contract of every store for an index that may take only so many bytes."""

from collections.abc import Sequence
from random import Random

import msgspec

from mikroscope.logfiles.sources import Checkpoint
from mikroscope.query.model import Grouping
from mikroscope.stores.base import Deleted, Store
from tests.stores.contract.base import (
    Contract,
    Record,
    add,
    at,
    buckets_of,
    commit,
    count,
    found,
    numbers_of,
    put,
)
from tests.stores.contract.rebuilding import read_again

_BATCHES = 8
_ENTRIES = 200  # of a batch
_APART_MS = 70 * 86_400_000  # so far apart are the times of two batches that all stores part them
_NO_LIMIT = 1 << 50


def shrink_to(store: Store, max_bytes: int) -> tuple[Deleted, int]:
    """Shrink to the end; return the totals and the size."""
    deleted = Deleted()
    steps = store.shrink(max_bytes)
    while True:
        try:
            deleted.add(next(steps))
        except StopIteration as end:
            return deleted, end.value


def size_of(store: Store) -> int:
    """Return the size that `shrink` counts."""
    return shrink_to(store, _NO_LIMIT)[1]


def records_of(batch: int, **fields: object) -> list[Record]:
    """Return records whose content takes space."""
    noise = Random(batch)
    start = batch * _APART_MS
    return [
        at(start + n, n=batch * _ENTRIES + n, noise=noise.randbytes(150).hex(), **fields)
        for n in range(_ENTRIES)
    ]


def fill(store: Store, batches: Sequence[int] = range(_BATCHES), **fields: object) -> int:
    """Commit batches, each in a file of its own; return the size that is half as much."""
    before = size_of(store)
    for batch in batches:
        put(store, records_of(batch, **fields), f"{batch}.ndjson")
    return (before + size_of(store)) // 2


def numbers_from(batch: int) -> list[int]:
    """Return the numbers of a batch's records and of all later ones, newest first."""
    return list(range(_BATCHES * _ENTRIES - 1, batch * _ENTRIES - 1, -1))


class ShrinkContract(Contract):
    """`shrink` deletes the oldest entries."""

    def test_a_small_index_stays(self, store: Store) -> None:
        """An index that is small enough is left as it is, and its size is returned."""
        fill(store)
        deleted, size = shrink_to(store, _NO_LIMIT)
        assert (deleted.entries, count(store)) == (0, _BATCHES * _ENTRIES)
        assert size > _BATCHES * _ENTRIES * 150
        assert shrink_to(store, size)[0].entries == 0

    def test_the_oldest_leave(self, store: Store) -> None:
        """The oldest entries leave until the index is small enough, and not many more."""
        half = fill(store)
        deleted, size = shrink_to(store, half)
        assert size <= half
        kept = numbers_of(store)
        assert kept == numbers_from(_BATCHES - len(kept) // _ENTRIES)
        assert _BATCHES // 2 - 2 <= len(kept) // _ENTRIES <= _BATCHES // 2 + 1
        assert deleted.normal_entries == _BATCHES * _ENTRIES - len(kept)
        assert deleted.field_values in (None, deleted.entries * 3)

    def test_compacting_keeps_it_small(self, store: Store) -> None:
        """After compacting the size is no larger, and there is nothing more to delete."""
        half = fill(store)
        shrink_to(store, half)
        kept = numbers_of(store)
        for _ in store.compact():
            pass
        deleted, size = shrink_to(store, half)
        assert (deleted.entries, size <= half, numbers_of(store)) == (0, True, kept)

    def test_whatever_arrived_last(self, store: Store) -> None:
        """Old entries leave first also if they arrived last."""
        half = fill(store, range(_BATCHES - 1, -1, -1))
        shrink_to(store, half)
        kept = numbers_of(store)
        assert kept == numbers_from(_BATCHES - len(kept) // _ENTRIES) != []

    def test_audit_entries_stay_longer(self, store: Store) -> None:
        """Audit entries are kept while there are normal ones, however old they are."""
        fill(store, range(3), audit=True)
        limit = size_of(store)
        fill(store, range(3, _BATCHES))
        deleted, size = shrink_to(store, (limit + size_of(store)) // 2)
        assert (deleted.audit_entries, deleted.normal_entries > 0) == (0, True)
        assert found(store, audit=True) == set(range(3 * _ENTRIES))
        assert shrink_to(store, size // 4)[0].audit_entries > 0
        assert found(store, audit=False) == set()

    def test_too_small_a_limit(self, store: Store) -> None:
        """A limit that no index keeps empties it, and comes to an end."""
        fill(store)
        deleted, size = shrink_to(store, 0)
        assert (deleted.entries, count(store)) == (_BATCHES * _ENTRIES, 0)
        assert size > 0
        assert shrink_to(store, 0) == (Deleted(), size)
        fill(store, [0])
        assert count(store) == _ENTRIES

    def test_aggregates_forget(self, store: Store) -> None:
        """Aggregates and filters do not find what was deleted."""
        half = fill(store, kind="old")
        put(store, [at(_BATCHES * _APART_MS, n=-1, kind="new")], "new.ndjson")
        shrink_to(store, half)
        left = count(store)
        assert buckets_of(store, Grouping("level")) == [("INFO", left)]
        assert buckets_of(store, Grouping("field", "kind")) == [("old", left - 1), ("new", 1)]
        assert found(store, field="n", value="0") == set()

    def test_stopped_halfway_and_begun_again(self, store: Store) -> None:
        """If an iterator is dropped after a step, the next one deletes the rest."""
        half = fill(store)
        first = next(store.shrink(half))
        assert 0 < first.entries < _BATCHES * _ENTRIES // 2
        deleted, size = shrink_to(store, half)
        assert size <= half
        assert count(store) == _BATCHES * _ENTRIES - first.entries - deleted.entries

    def test_writing_between_steps(self, store: Store) -> None:
        """Entries may be added meanwhile."""
        half, added = fill(store), 0
        for _ in store.shrink(half):
            put(store, [at(_BATCHES * _APART_MS, n=-1)], f"new-{added}.ndjson")
            added += 1
        assert added > 1
        assert numbers_of(store)[:added] == [-1] * added

    def test_sources_that_are_gone_and_empty(self, store: Store) -> None:
        """A source whose file is gone is forgotten with its last entry."""
        half = fill(store)
        batch = store.begin()
        for source in store.sources():
            if source.path in ("0.ndjson", f"{_BATCHES - 1}.ndjson"):
                batch.update_source(msgspec.structs.replace(source, gone=True))
        commit(store, batch)
        shrink_to(store, half)
        paths = {source.path for source in store.sources()}
        assert paths == {f"{batch}.ndjson" for batch in range(1, _BATCHES)}

    def test_a_rebuilt_index_leaves_them_out(self, store: Store) -> None:
        """What was deleted stays deleted in a new index; new lines are taken, however old."""
        records = [one for batch in range(_BATCHES) for one in records_of(batch)]
        half = fill_one_source(store, records)
        shrink_to(store, half)
        kept = numbers_of(store)
        assert 0 < len(kept) < len(records)
        rebuild = store.rebuild()
        late = [at(0, n=-2), at(1, n=-1, audit=True)]
        rebuild.swap(lambda: read_again(rebuild.store, [*records, *late]))
        assert numbers_of(store) == [*kept, -1, -2]

    def test_a_limit_in_a_new_index(self, store: Store) -> None:
        """A new index may be shrunk before it replaces the old one."""
        half = fill(store)
        rebuild = store.rebuild()

        def catch_up() -> None:
            refill(rebuild.store)
            shrink_to(rebuild.store, half)

        rebuild.swap(catch_up)
        kept = numbers_of(store)
        assert kept == numbers_from(_BATCHES - len(kept) // _ENTRIES) != numbers_from(0)


def fill_one_source(store: Store, records: Sequence[Record]) -> int:
    """Commit records of one source in batches; return the size that is half as much."""
    before, source = size_of(store), None
    for first in range(0, len(records), _ENTRIES):
        batch = store.begin()
        source = batch.open_source("app.ndjson") if source is None else source
        some = records[first : first + _ENTRIES]
        add(batch, source, some, Checkpoint(line=first + len(some)), first + 1)
        commit(store, batch)
    return (before + size_of(store)) // 2


def refill(store: Store) -> None:
    """Add the lines of all sources again, each in its own batch."""
    for source in store.sources():
        batch = store.begin()
        number = int(source.path.removesuffix(".ndjson"))
        add(batch, source, records_of(number), Checkpoint(line=_ENTRIES))
        commit(store, batch)
