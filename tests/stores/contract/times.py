"""The contract of every store for `from` and `to`."""

import itertools
from collections import Counter
from typing import Any

import pytest

from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    EDGE_TIMES,
    MANY,
    START_MS,
    Contract,
    Record,
    at,
    buckets_of,
    in_order,
    numbers_of,
    put,
)


class TimeContract(Contract):
    """`from` and `to`, at all times that can be written."""

    times = tuple(parse_time(text) or 0 for text in EDGE_TIMES)
    bounds = tuple(sorted({ms + shift for ms in times for shift in (-1, 0, 1)}))

    @pytest.fixture(scope="class")
    @classmethod
    def filled(cls, shared: Store) -> Store:
        """A store with an entry, `n` its position, at each of the times; levels alternate."""
        put(shared, [cls.record(n) for n in range(len(EDGE_TIMES))])
        return shared

    @staticmethod
    def record(n: int) -> Record:
        """Return the record of one of the times."""
        return {"time": EDGE_TIMES[n], "n": n, "level": "WARN" if n % 2 else "INFO", "f": n % 3}

    def between(self, low: int | None, high: int | None) -> list[int]:
        """Return the positions of the times in a range."""
        return [
            n
            for n, ms in enumerate(self.times)
            if (low is None or low <= ms) and (high is None or ms <= high)
        ]

    def test_from(self, filled: Store) -> None:
        """`from` is inclusive to the millisecond."""
        for bound in self.bounds:
            assert numbers_of(filled, Query(from_ms=bound)) == self.between(bound, None)[::-1], (
                bound
            )

    def test_to(self, filled: Store) -> None:
        """`to` is inclusive to the millisecond."""
        for bound in self.bounds:
            assert numbers_of(filled, Query(to_ms=bound)) == self.between(None, bound)[::-1], bound

    def test_from_and_to(self, filled: Store) -> None:
        """`from` and `to` together bound a range, which is empty if they are reversed."""
        for low, high in itertools.product(self.bounds, repeat=2):
            expected = self.between(low, high)[::-1]
            assert numbers_of(filled, Query(from_ms=low, to_ms=high)) == expected, (low, high)

    def test_ranges_with_filters(self, filled: Store) -> None:
        """A range combines with other filters."""
        for low, high in itertools.product(self.bounds[::2], repeat=2):
            expected = [n for n in self.between(low, high)[::-1] if n % 2 and n % 3 == 1]
            query = Query(from_ms=low, to_ms=high, level="WARN", field="f", value="1")
            assert numbers_of(filled, query) == expected, (low, high)

    @pytest.mark.parametrize("grouping", [Grouping("level"), Grouping("field", "level")])
    def test_counts_in_ranges(self, filled: Store, grouping: Grouping) -> None:
        """Aggregates count only the entries in the range."""
        for low, high in itertools.product(self.bounds, repeat=2):
            expected = Counter(str(self.record(n)["level"]) for n in self.between(low, high))
            counted = buckets_of(filled, grouping, from_ms=low, to_ms=high)
            assert counted == in_order(expected), (low, high)

    def test_walking_in_ranges(self, filled: Store) -> None:
        """Cursors cover a whole range, even at the earliest and latest times."""
        for low, high in itertools.product(self.bounds[::3], repeat=2):
            expected = self.between(low, high)[::-1]
            assert (
                numbers_of(filled, Query(from_ms=low, to_ms=high), PageRequest(limit=1)) == expected
            ), (
                low,
                high,
            )

    def test_bounds_beyond_all_times(self, filled: Store) -> None:
        """A range may reach beyond all times that can be written."""
        far = 10**15
        everything = self.between(None, None)[::-1]
        assert numbers_of(filled, Query(from_ms=-far, to_ms=far)) == everything
        assert numbers_of(filled, Query(from_ms=far)) == []
        assert numbers_of(filled, Query(to_ms=-far)) == []

    def test_ranges_around_a_crowded_millisecond(self, store: Store) -> None:
        """Ranges and counts are exact where thousands of entries share a millisecond."""
        records = [at(0, n=n, level="WARN") for n in range(MANY)]
        put(store, records + [at(shift, n=shift) for shift in (-1, 1, 2, 3)])
        for low, high in [(-1, 0), (0, 0), (0, 1), (-1, 4), (1, 4), (4, 4), (1, -1)]:
            bounds: dict[str, Any] = {"from_ms": START_MS + low, "to_ms": START_MS + high}
            around = sum(low <= shift <= high for shift in (-1, 1, 2, 3))
            crowd = MANY if low <= 0 <= high else 0
            expected = +Counter({"WARN": crowd, "INFO": around})
            assert buckets_of(store, Grouping("level"), **bounds) == in_order(expected)
            page = store.search(Query(**bounds), PageRequest(limit=100))
            assert len(page.entries) == min(100, crowd + around)

    def test_instants(self, store: Store) -> None:
        """Times compare as instants, whatever their offset and unit."""
        same: list[object] = [
            *("2026-02-18T10:20:00Z", "2026-02-18T12:20:00+02:00", "2026-02-18 05:20:00.000-0500"),
            *(1771410000, 1771410000000, 1771410000000000, "1771410000"),
        ]
        put(store, [{"time": value, "n": n} for n, value in enumerate(same)])
        moment = 1771410000000
        assert numbers_of(store, Query(from_ms=moment, to_ms=moment)) == list(range(6, -1, -1))
