"""What every store promises of an index that is rebuilt next to the old one."""

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
    """Give a new index all that its one source holds; how many entries that makes."""
    (source,) = store.sources()
    assert source.checkpoint.offset == 0
    batch = store.begin()
    add(batch, source, records, Checkpoint(offset=1, line=len(records)))
    taken = prepare(batch).records
    store.commit(batch)
    return taken


class RebuildContract(Contract):
    """The index that replaces another one."""

    def test_a_new_index(self, store: Store) -> None:
        """It begins with the same sources and no entries, and is what is asked once it is there."""
        records = [at(n, n=n) for n in range(10)]
        put(store, records)
        rebuild = store.rebuild()
        assert count(rebuild.store) == 0
        assert count(store) == 10
        replaced = rebuild.swap(lambda: read_again(rebuild.store, records[:4]))
        assert (replaced.normal_entries, replaced.field_values) in ((10, 20), (10, None))
        assert sorted(numbers_of(store)) == [0, 1, 2, 3]

    def test_a_new_index_that_is_given_up(self, store: Store) -> None:
        """Nothing has changed, and another one may be begun."""
        put(store, [at(0, n=0)])
        store.rebuild().close()
        store.rebuild().close()
        assert numbers_of(store) == [0]

    def test_one_new_index_at_a_time(self, store: Store) -> None:
        """A second one is refused."""
        rebuild = store.rebuild()
        with pytest.raises(StoreError):
            store.rebuild()
        rebuild.close()

    def test_a_batch_from_before(self, store: Store) -> None:
        """What was begun on the old index does not go into the new one."""
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
        """A line that the old index had read and has no more; one as old that it has does not."""
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
