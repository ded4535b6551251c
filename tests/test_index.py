"""The index for other programs: `mikroscope.open_index`."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mikroscope import MikroScopeError, Query, open_index
from mikroscope.errors import QueryError, StoreError
from mikroscope.index import Index
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.stores import open_store

LEVELS = ("ERROR", "INFO", "INFO")


@pytest.fixture
def now() -> datetime:
    """Return the time of the newest record."""
    return datetime.now(UTC)


def record(n: int, now: datetime) -> dict[str, Any]:
    """Return one record, `n` minutes old."""
    return {
        "timestamp": (now - timedelta(minutes=n)).isoformat(),
        "level": LEVELS[n % 3],
        "service": f"s{n % 2}",
        "n": n,
        "message": f"card {n} refused" if n % 5 == 0 else f"order {n}",
    }


@pytest.fixture
def path(tmp_path: Path, now: datetime) -> Path:
    """An index with sixty records, one a minute."""
    path = tmp_path / "data" / "mikroscope.db"
    with closing(open_store(path, "write")) as store:
        batch = store.begin()
        lines = "\n".join(json.dumps(record(n, now)) for n in range(60)).encode()
        batch.add(batch.open_source("app.ndjson"), 1, lines, Checkpoint(line=60))
        store.commit(batch)
    return path


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    """The index, open."""
    with open_index(path) as opened:
        yield opened


def numbers(index: Index, **filters: Any) -> list[int]:
    """Return the numbers of the found entries."""
    return [json.loads(bytes(entry.data))["n"] for entry in index.search(**filters)]


def test_search_is_newest_first(index: Index) -> None:
    """Entries come newest first, a hundred unless another limit is given."""
    assert numbers(index) == list(range(60))
    assert numbers(index, limit=3) == [0, 1, 2]
    assert numbers(index, limit=None) == list(range(60))


def test_entry_gives_its_record(index: Index) -> None:
    """An entry has its attributes and its record, parsed."""
    entry = next(index.search(level="error"))
    assert (entry.level, entry.message, entry.record()["service"]) == (
        "ERROR",
        "card 0 refused",
        "s0",
    )
    assert index.get(entry.id) == entry
    assert index.get(1) is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"level": "error"}, range(0, 60, 3)),
        ({"text": "refused"}, range(0, 60, 5)),
        ({"field": "service", "value": "s1"}, range(1, 60, 2)),
        ({"since": "-10m"}, range(10)),
        ({"since": "-1h", "level": "ERROR", "text": "refused"}, range(0, 60, 15)),
        ({"query": Query(level="ERROR")}, range(0, 60, 3)),
        ({"query": Query(level="ERROR"), "text": "refused"}, range(0, 60, 15)),
    ],
    ids=str,
)
def test_filters(index: Index, filters: dict[str, Any], expected: range) -> None:
    """Each condition that is given must hold, whether it comes as a keyword or in a query."""
    assert numbers(index, **filters) == list(expected)
    assert index.count(**filters) == len(expected)


def test_times(index: Index, now: datetime) -> None:
    """A time is a datetime, with or without a time zone, or a text."""
    four_minutes = now - timedelta(minutes=4)
    assert numbers(index, since=four_minutes) == list(range(5))
    assert numbers(index, since=four_minutes.replace(tzinfo=None)) == list(range(5))
    until = (now - timedelta(minutes=57)).isoformat()
    assert numbers(index, until=until) == list(range(57, 60))
    assert index.count(until=until) == 3


def test_aggregate(index: Index) -> None:
    """Counts are by an attribute or by a field."""
    assert [(one.key, one.count) for one in index.aggregate("level")] == [
        ("INFO", 40),
        ("ERROR", 20),
    ]
    found = index.aggregate("service", level="ERROR")
    assert [(one.key, one.count) for one in found] == [("s0", 10), ("s1", 10)]
    assert [one.count for one in index.aggregate("field")] == [60]  # a field of that name: missing


def test_histogram_and_facets(index: Index) -> None:
    """Counts over time and by several fields add up to the matching entries."""
    buckets = index.histogram(interval="15m", by="level")
    assert sum(bucket.count for bucket in buckets) == 60
    assert sum(bucket.groups.get("ERROR", 0) for bucket in buckets) == 20
    (facet,) = index.facets(["service"], level="ERROR")
    assert ([one.count for one in facet.values], facet.missing) == ([10, 10], 0)
    assert {"n", "service"} <= set(index.fields())


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda index: list(index.search(since="soon")), "'since' is 'soon'"),
        (lambda index: list(index.search(until="-2 weeks")), "'until' is '-2 weeks'"),
        (lambda index: list(index.search(field="a")), "'field' and 'value'"),
        (lambda index: index.histogram(interval="often"), "'interval' is 'often'"),
        (lambda index: index.histogram(interval="0s"), "'interval' is '0s'"),
    ],
)
def test_conditions_that_cannot_be_understood(index: Index, ask: Any, named: str) -> None:
    """A mistake is a QueryError that names the parameter."""
    with pytest.raises(QueryError, match=named):
        ask(index)


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    """A missing index is a MikroScopeError that says so; nothing is created."""
    with (
        open_index(tmp_path / "none.db") as index,
        pytest.raises(MikroScopeError, match="No index at"),
    ):
        index.count()
    assert list(tmp_path.iterdir()) == []


def test_address_of_an_unknown_store() -> None:
    """A URL is refused."""
    with pytest.raises(StoreError, match="clickhouse"):
        open_index("clickhouse://localhost/logs")
