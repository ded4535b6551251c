"""The contract of every store for an index that is rebuilt next to the old one."""

from collections.abc import Sequence

import pytest

from mikroscope.errors import StaleBatchError, StoreError
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    Contract,
    Record,
    add,
    at,
    commit,
    count,
    numbers_of,
    prepare,
    put,
)
from tests.stores.contract.expiry import expire_all


def read_again(store: Store, records: Sequence[Record]) -> int:
    """Add all lines of its one source to a new index; return the number of entries added."""
    (source,) = store.sources()
    assert source.checkpoint.offset == 0
    batch = store.begin()
    add(batch, source, records, Checkpoint(offset=1, line=len(records)))
    taken = prepare(batch).records
    store.commit(batch)
    return taken


class RebuildContract(Contract):
    """A new index that replaces the old one."""

    def test_a_new_index(self, store: Store) -> None:
        """The new index starts with the same sources and no entries, and answers after the swap."""
        records = [at(n, n=n) for n in range(10)]
        put(store, records)
        rebuild = store.rebuild()
        assert count(rebuild.store) == 0
        assert count(store) == 10
        replaced = rebuild.swap(lambda: read_again(rebuild.store, records[:4]))
        assert (replaced.normal_entries, replaced.field_values) in ((10, 20), (10, None))
        assert sorted(numbers_of(store)) == [0, 1, 2, 3]

    def test_a_new_index_that_is_given_up(self, store: Store) -> None:
        """A cancelled rebuild changes nothing, and another one may start."""
        put(store, [at(0, n=0)])
        store.rebuild().close()
        store.rebuild().close()
        assert numbers_of(store) == [0]

    def test_one_new_index_at_a_time(self, store: Store) -> None:
        """A second rebuild is refused during the first."""
        rebuild = store.rebuild()
        with pytest.raises(StoreError):
            store.rebuild()
        rebuild.close()

    def test_a_batch_from_before(self, store: Store) -> None:
        """A batch from the old index is not committed to the new one."""
        put(store, [at(0, n=0)])
        batch = store.begin()
        batch.open_source("late.ndjson")
        rebuild = store.rebuild()
        rebuild.swap(lambda: None)
        with pytest.raises(StaleBatchError):
            commit(store, batch)
        assert [source.path for source in store.sources()] == ["app.ndjson"]
        put(store, [at(1, n=1)], "late.ndjson")
        assert numbers_of(store) == [1]

    def test_what_was_pruned_stays_away(self, store: Store) -> None:
        """A rebuild leaves out pruned lines, but keeps equally old ones that were not pruned."""
        records = [at(n, n=n, audit=bool(n % 2)) for n in range(10)]
        source = put(store, records)
        expire_all(store, normal=6, audit=4)
        batch = store.begin()
        late = [at(0, n=10), at(1, n=11, audit=True)]
        checkpoint = Checkpoint(offset=120, line=12)
        add(batch, source, late, checkpoint, first=11)
        commit(store, batch)
        rebuild = store.rebuild()
        taken: list[int] = []
        rebuild.swap(lambda: taken.append(read_again(rebuild.store, records + late)))
        assert taken == [7]
        assert sorted(numbers_of(store)) == [5, 6, 7, 8, 9, 10, 11]
