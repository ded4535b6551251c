"""The contract of every store for counts by value."""

from collections import Counter
from collections.abc import Iterable

import pytest

from mikroscope.query.model import Bucket, GroupBy, Grouping, Query
from mikroscope.records.attributes import MISSING
from mikroscope.records.fields import scalar_text
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    AGGREGATED,
    FILTERS,
    GROUPINGS,
    MANY,
    NAMES,
    START_MS,
    VALUES,
    Contract,
    Record,
    at,
    buckets_of,
    count,
    in_order,
    key_of,
    put,
    shown_as,
)


class AggregateContract(Contract):
    """Counts by value."""

    def check(self, store: Store, times: int, grouping: Grouping, names: Iterable[str]) -> None:
        """Compare the buckets with a plain count over AGGREGATED, which the store has n times."""
        for name in names:
            filters, keeps = FILTERS[name]
            counted = buckets_of(store, grouping, **filters)
            once = Counter(key_of(record, grouping) for record in AGGREGATED if keeps(record))
            expected = Counter({key: number * times for key, number in once.items()})
            assert counted == in_order(expected), name

    @pytest.fixture(scope="class")
    @classmethod
    def filled(cls, shared: Store) -> Store:
        """A store with AGGREGATED."""
        put(shared, AGGREGATED)
        return shared

    @pytest.mark.parametrize("grouping", GROUPINGS, ids=shown_as)
    def test_counts(self, filled: Store, grouping: Grouping) -> None:
        """Buckets count the entries by value, with and without each filter."""
        self.check(filled, 1, grouping, FILTERS)

    def test_counts_of_many(self, store: Store) -> None:
        """Buckets count thousands of entries by each value, and with each filter."""
        times = MANY // len(AGGREGATED) + 1
        put(store, AGGREGATED * times)
        names = [name for name in FILTERS if name != "all"]
        for number, grouping in enumerate(GROUPINGS):
            if grouping.field != "time":  # more buckets than may be asked for
                self.check(store, times, grouping, ["all", *names[number % 3 :: 3]])

    def test_more_values_than_can_be_counted_one_by_one(self, store: Store) -> None:
        """The values with the most entries are found among thousands, also in a range."""
        records = [at(n, id=f"id-{n % (MANY - 3)}", n=n) for n in range(MANY)]
        put(store, records)
        expected = [("id-0", 2), ("id-1", 2), ("id-2", 2), ("id-10", 1)]
        grouping = Grouping("field", "id")
        assert buckets_of(store, grouping, limit=4) == expected
        assert buckets_of(store, grouping, limit=4, from_ms=START_MS) == expected

    def test_the_answer_names_its_grouping(self, store: Store) -> None:
        """An aggregate names the field it groups by."""
        answer = store.aggregate(Query(), Grouping("field", "tenant"))
        assert (answer.buckets, answer.group_by, answer.group_field) == ([], "field", "tenant")

    def test_order(self, store: Store) -> None:
        """The highest count comes first, then the smaller key."""
        put(store, [at(0, f=value) for value in ("b", "a", "c", "c", "B", "10", "9", "é")])
        answer = store.aggregate(Query(), Grouping("field", "f"))
        keys = [bucket.key for bucket in answer.buckets]
        assert answer.buckets[0] == Bucket("c", 2)
        assert keys[1:] == ["10", "9", "B", "a", "b", "é"]

    def test_limit(self, store: Store) -> None:
        """An aggregate returns only the first buckets; (missing) is ordered by its count."""
        put(store, [*(at(0, f="a") for _ in range(3)), at(0), at(0), at(0, f="b")])
        assert buckets_of(store, Grouping("field", "f"), limit=2) == [("a", 3), (MISSING, 2)]

    @pytest.mark.parametrize("by", ["field", "correlation"])
    def test_missing(self, store: Store, by: GroupBy) -> None:
        """Entries without a value count as (missing), as do those whose value is "(missing)"."""
        values: list[object] = [MISSING, [], "c"]
        put(store, [at(0), *(at(0, correlationId=value) for value in values)])
        grouping = Grouping(by, "correlationId" if by == "field" else None)
        assert buckets_of(store, grouping) == [(MISSING, 3), ("c", 1)]

    def test_values(self, store: Store) -> None:
        """A bucket's key is the value's whole text; values with the same text share a bucket."""
        put(store, [at(0, f=value) for value in VALUES])
        expected = Counter(str(scalar_text(value)) for value in VALUES)
        assert buckets_of(store, Grouping("field", "f")) == in_order(expected)

    def test_names(self, store: Store) -> None:
        """A field may have any name."""
        put(store, [at(n) | {name: "v"} for n, name in enumerate(NAMES)])
        for name in NAMES:
            expected = [(MISSING, len(NAMES) - 1), ("v", 1)]
            assert buckets_of(store, Grouping("field", name)) == expected, name

    def test_whole_texts_of_events_and_ids(self, store: Store) -> None:
        """Long events and ids are returned whole, derived or not."""
        long = "a long text with Words, " * 20
        records: list[Record] = [
            *({"event": long + "1"}, {"message": long + "2"}, {"correlationId": long + "3"}),
            {"requestId": long + "4"},
        ]
        put(store, [at(0, **record) for record in records])
        events = {key for key, _ in buckets_of(store, Grouping("event"))}
        ids = {key for key, _ in buckets_of(store, Grouping("correlation"))}
        assert events == {long + "1", long + "2", "log.event"}
        assert ids == {long + "3", long + "4", MISSING}

    def test_a_path_that_means_two_values(self, store: Store) -> None:
        """An entry counts once: by the key with dots, else by the shortest path into objects."""
        records: list[Record] = [
            {"a": {"b": "2"}, "a.b": "1"},
            {"a.b": [], "a": {"b": "2"}},
            {"a.b": {"c": 1}, "a": {"b": {"c": "2"}}},
            {},
        ]
        put(store, [at(n, **records[n % 4]) for n in range(MANY)])
        assert buckets_of(store, Grouping("field", "a.b")) == [
            (MISSING, MANY // 2),
            ("1", MANY // 4),
            ("2", MANY // 4),
        ]
        assert buckets_of(store, Grouping("field", "a.b.c"))[1] == ("2", MANY // 4)

    def test_an_entry_that_is_found_in_two_ways(self, store: Store) -> None:
        """An entry counts once even if several of its fields match the filter."""
        put(store, [{"timestamp": 1, "time": 1}, {"time": 1}])
        assert buckets_of(store, Grouping("level"), field="time", value="1") == [("INFO", 2)]

    def test_count(self, store: Store) -> None:
        """`count` is the number of all entries."""
        put(store, AGGREGATED, "a")
        put(store, AGGREGATED, "audit/b")
        assert count(store) == 2 * len(AGGREGATED)
