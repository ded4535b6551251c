"""The contract of every store for get, count, histogram, facets, fields and scan."""

from collections import Counter
from itertools import product
from typing import Any

import msgspec
import pytest

from mikroscope.errors import QueryError
from mikroscope.query.matching import matches
from mikroscope.query.model import Grouping, Query
from mikroscope.records.attributes import audit_of, level_of, time_of
from mikroscope.stores.base import MAX_HISTOGRAM_BUCKETS, Facet, HistogramBucket, Store
from tests.stores.contract.base import (
    MANY,
    START_MS,
    Contract,
    Record,
    at,
    count,
    discard,
    entries_of,
    numbers_of,
    put,
)

MINUTE_MS = 60_000
RECORDS = [
    at(
        n * 7_919,
        n=n,
        level=("INFO", "ERROR", "warn", "Custom")[n % 4],
        tenant=f"t{n % 5}",
        http={"status": 200 + n % 3},
        audit=not n % 6,
        message=f"order {n} for t{n % 5}",
    )
    for n in range(240)
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"level": "ERROR"},
    {"level": "CUSTOM", "audit": False},
    {"audit": True},
    {"field": "tenant", "value": "t3"},
    {"field": "http.status", "value": "201", "level": "WARN"},
    {"field": "tenant", "value": "nobody"},
    {"field": "n", "value": "17", "audit": False},
]
RANGES: list[dict[str, Any]] = [
    {},
    {"from_ms": START_MS + 100_000},
    {"to_ms": START_MS + 600_001},
    {"from_ms": START_MS + 300_123, "to_ms": START_MS + 1_500_777},
]
QUERIES = [Query(**filters, **bounds) for filters, bounds in product(FILTERS, RANGES)]


def is_meant(query: Query, record: Record) -> bool:
    """Return whether a record matches a query; this is the reference."""
    found = time_of(record)
    assert found is not None
    return matches(query, record, found[0], audit_of(record, path_is_audit=False))


def meant(query: Query) -> list[Record]:
    """Return the records that match a query, newest first."""
    return [record for record in reversed(RECORDS) if is_meant(query, record)]


def buckets(
    records: list[Record], interval_ms: int, low: int, high: int, by_level: bool = False
) -> list[HistogramBucket]:
    """Count the histogram of some records one by one, from one time to another."""
    starts = range(low // interval_ms * interval_ms, high + 1, interval_ms)
    groups: dict[int, Counter[str]] = {start: Counter() for start in starts}
    for record in records:
        groups[record["time"] // interval_ms * interval_ms][level_of(record)] += 1
    return [
        HistogramBucket(start, one.total(), dict(one) if by_level else {})
        for start, one in groups.items()
    ]


class QuestionContract(Contract):
    """Queries other than pages and aggregates agree with the reference."""

    @pytest.fixture(scope="class")
    @classmethod
    def filled(cls, shared: Store) -> Store:
        """A store with RECORDS, from two files."""
        put(shared, RECORDS[::2], "a.ndjson")
        put(shared, RECORDS[1::2], "b.ndjson")
        return shared

    @pytest.mark.parametrize("query", QUERIES, ids=str)
    def test_every_query(self, filled: Store, query: Query) -> None:
        """Search, scan and count of any query agree with the reference."""
        expected = [record["n"] for record in meant(query)]
        scanned = [int(msgspec.json.decode(entry.data)["n"]) for entry in filled.scan(query)]
        assert numbers_of(filled, query) == scanned == expected
        assert filled.count(query) == len(expected)

    def test_count_of_many(self, store: Store) -> None:
        """Counts are exact where thousands of entries match."""
        put(store, [at(n // 9, n=n, half=n % 2) for n in range(MANY)])
        assert store.count(Query(field="half", value="1")) == MANY // 2
        assert store.count(Query(from_ms=START_MS + 100)) == MANY - 900
        assert store.count(Query(field="time", value=str(START_MS + 3))) == 9

    def test_get(self, filled: Store) -> None:
        """An entry is found by its id and equals the one on a page."""
        for entry in entries_of(filled)[::17]:
            assert filled.get(entry.id) == entry

    @pytest.mark.parametrize("entry_id", [0, 1, -1, 2**53 - 1, 2**62])
    def test_get_of_an_id_that_is_not_there(self, filled: Store, entry_id: int) -> None:
        """An unknown id gives None."""
        assert filled.get(entry_id) is None

    def test_get_of_a_deleted_entry(self, store: Store) -> None:
        """The id of a deleted entry gives None."""
        source = put(store, [at(0)])
        (entry,) = entries_of(store)
        discard(store, source)
        for _ in store.collect():
            pass
        assert store.get(entry.id) is None

    @pytest.mark.parametrize("interval_ms", [3_500, 7_000, MINUTE_MS, 5 * MINUTE_MS, 86_400_000])
    @pytest.mark.parametrize("query", QUERIES[1::3], ids=str)
    def test_histogram(self, filled: Store, query: Query, interval_ms: int) -> None:
        """Buckets cover the range without gaps and count matching entries, also by level."""
        records = meant(query)
        times = [record["time"] for record in records]
        low = query.from_ms if query.from_ms is not None else min(times, default=None)
        high = query.to_ms if query.to_ms is not None else max(times, default=None)
        plain = filled.histogram(query, interval_ms)
        split = filled.histogram(query, interval_ms, Grouping("level"))
        if low is None or high is None:
            assert (plain, split) == ([], [])
            return
        assert plain == buckets(records, interval_ms, low, high)
        assert split == buckets(records, interval_ms, low, high, by_level=True)

    def test_histogram_by_a_field(self, filled: Store) -> None:
        """A histogram can be split by any grouping."""
        found = filled.histogram(Query(level="ERROR"), 10 * MINUTE_MS, Grouping("field", "tenant"))
        total: Counter[str] = Counter()
        for bucket in found:
            total.update(bucket.groups)
            assert sum(bucket.groups.values()) == bucket.count
        assert total == Counter(record["tenant"] for record in meant(Query(level="ERROR")))

    def test_histogram_of_a_crowded_millisecond(self, store: Store) -> None:
        """Entries count at their own time, however many share a millisecond."""
        put(store, [at(0, n=n) for n in range(MANY)] + [at(1, n=-1)])
        found = store.histogram(Query(), 1)
        assert [(bucket.start_ms, bucket.count) for bucket in found] == [
            (START_MS, MANY),
            (START_MS + 1, 1),
        ]

    def test_histogram_of_records_at_the_ends_of_time(self, store: Store) -> None:
        """Times before 1970 and far in the future have their own buckets."""
        put(store, [{"time": "1950-01-01T00:00:00Z"}, {"time": "2500-01-01T00:00:00Z"}])
        found = store.histogram(Query(), 365 * 86_400_000)
        assert (found[0].count, found[-1].count, sum(bucket.count for bucket in found)) == (1, 1, 2)

    @pytest.mark.parametrize("interval_ms", [0, -1])
    def test_histogram_needs_an_interval(self, filled: Store, interval_ms: int) -> None:
        """An interval below a millisecond is refused."""
        with pytest.raises(QueryError, match="interval"):
            filled.histogram(Query(), interval_ms)

    def test_histogram_is_bounded(self, filled: Store) -> None:
        """A histogram with too many buckets is refused with an error that names the interval."""
        with pytest.raises(QueryError, match=f"at most {MAX_HISTOGRAM_BUCKETS}"):
            filled.histogram(Query(from_ms=START_MS, to_ms=START_MS + 1_000_000), 1000)
        with pytest.raises(QueryError, match=f"at most {MAX_HISTOGRAM_BUCKETS}"):
            filled.histogram(Query(), 1)

    def test_histogram_of_nothing(self, store: Store) -> None:
        """An empty store has no buckets without a range, and empty buckets in a range."""
        assert store.histogram(Query(), 1000) == []
        found = store.histogram(Query(from_ms=START_MS, to_ms=START_MS + 1999), 1000)
        assert [bucket.count for bucket in found] == [0, 0]

    @pytest.mark.parametrize("query", QUERIES[::5], ids=str)
    def test_facets(self, filled: Store, query: Query) -> None:
        """Each field has its most frequent values, and the number of entries without it."""
        fields = ["tenant", "http.status", "level", "nothing"]
        for facet in filled.facets(query, fields, limit=3):
            values = [value_of(record, facet.field) for record in meant(query)]
            counts = Counter(value for value in values if value is not None)
            top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
            assert [(one.key, one.count) for one in facet.values] == top
            assert facet.missing == values.count(None)

    def test_facets_keep_the_order_of_the_fields(self, filled: Store) -> None:
        """Facets keep the order of the requested fields."""
        found = filled.facets(Query(), ["tenant", "a", "n"])
        assert [facet.field for facet in found] == ["tenant", "a", "n"]
        assert found[1] == Facet("a", [], len(RECORDS))

    def test_fields(self, filled: Store) -> None:
        """All fields are listed, nested ones by their path."""
        listed = filled.fields()
        assert listed == sorted(listed)
        assert {"n", "tenant", "http.status", "message"} <= set(listed)

    def test_scan_while_entries_arrive(self, store: Store) -> None:
        """A scan returns every entry that existed at its start, once and in order."""
        put(store, [at(n, n=n) for n in range(2_000)], "first")
        seen = []
        for entry in store.scan(Query()):
            seen.append(int(msgspec.json.decode(entry.data)["n"]))
            if len(seen) % 400 == 0:
                put(store, [at(5_000 + len(seen), n=-1), at(1, n=-2)], f"late-{len(seen)}")
        assert [n for n in seen if n >= 0] == list(range(1_999, -1, -1))

    def test_scan_can_be_dropped(self, store: Store) -> None:
        """A scan that is not read to its end blocks nothing."""
        put(store, [at(n, n=n) for n in range(2_000)])
        first = next(iter(store.scan(Query())))
        assert int(msgspec.json.decode(first.data)["n"]) == 1_999
        put(store, [at(1, n=1)], "more")
        assert count(store) == 2_001


def value_of(record: dict[str, Any], field: str) -> str | None:
    """Return the text of a field of RECORDS."""
    if field == "http.status":
        return str(record["http"]["status"])
    return record.get(field)
