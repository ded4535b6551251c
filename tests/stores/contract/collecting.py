"""The contract of every store for deleting the entries of discarded sources."""

from collections import Counter

import pytest

from mikroscope.query.model import Grouping
from mikroscope.records.fields import scalar_text
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    AGGREGATED,
    EDGE_TIMES,
    FILTERS,
    GROUPINGS,
    MANY,
    NAMES,
    SOME,
    VALUES,
    Contract,
    OpenStore,
    add,
    at,
    buckets_of,
    collect_all,
    commit,
    count,
    discard,
    entries_of,
    found,
    in_order,
    key_of,
    numbers_of,
    put,
    put_some,
    shown_as,
)


class CollectContract(Contract):
    """`collect` deletes the entries of discarded sources."""

    @pytest.fixture(scope="class")
    @classmethod
    def collected(cls, shared: Store) -> Store:
        """A store with every second record of AGGREGATED; all of them were there and deleted."""
        put(shared, AGGREGATED[::2], "kept")
        discard(shared, put(shared, AGGREGATED, "lost"))
        collect_all(shared)
        return shared

    def test_nothing_to_collect(self, store: Store) -> None:
        """Without a discarded source, `collect` has no steps and deletes nothing."""
        put(store, [at(0)])
        assert (list(store.collect()), count(store)) == ([], 1)

    def test_steps(self, store: Store) -> None:
        """Each step has deleted what it reports, and no step deletes everything."""
        put(store, [at(n, n=-1) for n in range(20)], "kept")
        discard(store, put_some(store, lambda n: at(n, n=n, audit=not n % 2), "lost"))
        left = SOME
        steps = 0
        for deleted in store.collect():
            left -= deleted.entries
            steps += 1
            assert count(store) == left + 20
        assert (left, steps > 1) == (0, True)

    def test_stopped_halfway_and_begun_again(self, store: Store) -> None:
        """If an iterator is dropped after a step, the next one deletes the rest."""
        put(store, [at(0, n=-1)], "kept")
        discard(store, put_some(store, lambda n: at(n, n=n), "lost"))
        first = next(iter(store.collect()))
        assert 0 < first.entries < SOME
        assert collect_all(store).entries == SOME - first.entries
        assert numbers_of(store) == [-1]

    def test_only_the_discarded_source(self, store: Store) -> None:
        """Entries of other sources stay, even those of the same millisecond."""
        put(store, [at(n // 4, n=n) for n in range(50)], "kept")
        lost = put(store, [at(n // 4, n=100 + n) for n in range(50)], "lost")
        put(store, [at(n // 4, n=50 + n) for n in range(50)], "kept too")
        discard(store, lost)
        collect_all(store)
        assert set(numbers_of(store)) == set(range(100))

    @pytest.mark.parametrize("grouping", GROUPINGS, ids=shown_as)
    def test_counts_are_exact_afterwards(self, collected: Store, grouping: Grouping) -> None:
        """After a collection, all counts match the remaining entries."""
        for filters, keeps in FILTERS.values():
            expected = Counter(key_of(one, grouping) for one in AGGREGATED[::2] if keeps(one))
            assert buckets_of(collected, grouping, **filters) == in_order(expected)

    def test_counts_of_many_are_exact_afterwards(self, store: Store) -> None:
        """After a collection, all counts match thousands of remaining entries."""
        times = MANY // len(AGGREGATED) + 1
        put(store, AGGREGATED * times, "kept")
        discard(store, put(store, AGGREGATED * 3, "lost"))
        collect_all(store)
        for grouping in GROUPINGS:
            if grouping.field != "time":
                once = Counter(key_of(one, grouping) for one in AGGREGATED)
                expected = [(key, number * times) for key, number in in_order(once)]
                assert buckets_of(store, grouping) == expected
        assert count(store) == times * len(AGGREGATED)

    def test_values_are_gone(self, store: Store) -> None:
        """No filter finds deleted entries, whatever their fields were."""
        put(store, [at(0, n=-1)], "kept")
        lost = [
            *(at(n, n=n, f=value) for n, value in enumerate(VALUES)),
            *(at(n, n=n) | {name: "v", "o": {name: name}} for n, name in enumerate(NAMES)),
            *({"n": 1, "time": text} for text in EDGE_TIMES),
            *({"n": 1, "message": value} for value in VALUES),
            *({"n": 1, "event": value, "correlationId": value} for value in VALUES),
            *({"n": 1, "level": value, "requestId": value} for value in VALUES),
        ]
        discard(store, put(store, lost, "lost"))
        collect_all(store)
        asked = [("f", scalar_text(value)) for value in VALUES] + [(name, "v") for name in NAMES]
        assert (count(store), numbers_of(store)) == (1, [-1])
        assert [pair for pair in asked if found(store, field=pair[0], value=pair[1])] == []
        assert buckets_of(store, Grouping("level")) == [("INFO", 1)]
        assert buckets_of(store, Grouping("event")) == [("log.event", 1)]

    def test_entries_show_until_they_leave(self, store: Store) -> None:
        """Discarding alone deletes nothing."""
        discard(store, put(store, [at(0, n=1)]))
        assert (count(store), numbers_of(store)) == (1, [1])

    def test_goes_on_after_reopening(self, open_store: OpenStore) -> None:
        """An interrupted collection continues after the store is reopened."""
        store = open_store()
        kept = put(store, [at(0, n=-1)], "kept")
        discard(store, put_some(store, lambda n: at(n, n=n), "lost"))
        next(iter(store.collect()))
        store.close()
        reopened = open_store()
        collect_all(reopened)
        assert (reopened.sources(), numbers_of(reopened)) == ([kept], [-1])

    def test_collects_what_another_store_has_written(self, open_store: OpenStore) -> None:
        """One store deletes entries that another open store has written and discarded."""
        store, other = open_store(), open_store()
        records = [at(n, n=n, message=f"order {n} of tenant {n % 7} created") for n in range(2500)]
        discard(other, put(other, records))
        collect_all(store)
        assert [count(one) for one in (store, other)] == [0, 0]

    def test_writing_between_steps(self, store: Store) -> None:
        """Entries may be added during a collection, even in the same millisecond."""
        discard(store, put_some(store, lambda n: at(n // 1000, n=n), "lost"))
        added = 0
        for _ in store.collect():
            put(store, [at(0, n=100 + added)], f"new-{added}")
            added += 1
        assert added > 1
        assert sorted(numbers_of(store)) == list(range(100, 100 + added))

    def test_a_source_without_entries(self, store: Store) -> None:
        """A source that never had an entry can be discarded."""
        discard(store, put(store, []))
        collect_all(store)
        assert (store.sources(), list(store.collect())) == ([], [])

    def test_a_crowded_millisecond(self, store: Store) -> None:
        """Counts stay exact after thousands of entries of one millisecond were deleted."""
        crowd = [at(0, n=n, kind="crowd") for n in range(MANY)]
        put(store, [at(shift, n=-1, kind="kept") for shift in (-1, 0, 1, 2, 3)], "kept")
        discard(store, put(store, crowd, "lost"))
        put(store, [at(shift, n=-2, kind="kept") for shift in (-1, 0, 1, 2, 3)], "kept too")
        collect_all(store)
        assert (count(store), len(entries_of(store))) == (10, 10)
        assert buckets_of(store, Grouping("level")) == [("INFO", 10)]
        assert buckets_of(store, Grouping("field", "kind")) == [("kept", 10)]

    def test_many_discarded_sources(self, store: Store) -> None:
        """Several sources may be discarded at once, even in the batch that filled them."""
        batch = store.begin()
        for number in range(5):
            source = batch.open_source(f"{number}")
            add(batch, source, [at(n, n=n) for n in range(number * 3)])
            batch.discard_source(source)
        commit(store, batch)
        collect_all(store)
        assert (count(store), entries_of(store)) == (0, [])
