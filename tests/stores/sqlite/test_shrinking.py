"""How exact an index keeps to its limit where many entries share an inverted index."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from mikroscope.logfiles.sources import Checkpoint
from mikroscope.query.model import Query
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.schema import connect
from mikroscope.stores.sqlite.write import encoding, merging, storing
from tests.stores.contract.base import add, at, commit
from tests.stores.contract.shrinking import shrink_to, size_of

_BATCHES = 12
_ENTRIES = 400


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is a segment, and what holds for many entries holds for few."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    monkeypatch.setattr(merging, "_WASTED_ORDINALS", _ENTRIES)
    monkeypatch.setattr(storing, "_LEAST_ENTRIES", 2 * _ENTRIES)


@pytest.fixture
def one_day(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store with a day of entries that are found by their ids."""
    with closing(SqliteStore(tmp_path / "x.db")) as store:
        for part in range(_BATCHES):
            put_part(store, part)
        compact(store)
        yield store


def put_part(store: SqliteStore, part: int) -> None:
    """Commit a segment."""
    noise = Random(part)
    batch = store.begin()
    source = batch.open_source(f"{part}.ndjson")
    first = part * _ENTRIES
    ids = [{f"id{place}": noise.randbytes(6).hex() for place in range(6)} for _ in range(_ENTRIES)]
    records = [at(first + n, n=first + n, **ids[n]) for n in range(_ENTRIES)]
    add(batch, source, records, Checkpoint(line=_ENTRIES))
    commit(store, batch)


def compact(store: SqliteStore) -> None:
    """Compact to the end."""
    for _ in store.compact():
        pass


def partitions(store_path: Path) -> list[int]:
    """Return how many entries each partition ever had."""
    with closing(connect(store_path)) as connection:
        rows = connection.execute("SELECT next_ordinal - 1 FROM partitions ORDER BY id")
        return [int(documents) for (documents,) in rows]


def test_one_inverted_index_for_all(one_day: SqliteStore, tmp_path: Path) -> None:
    """A limit of half the size leaves about half of the entries, whose index is written again."""
    assert len(partitions(tmp_path / "x.db")) == 1
    limit = size_of(one_day) // 2
    shrink_to(one_day, limit)
    kept = one_day.count(Query())
    assert kept / (_BATCHES * _ENTRIES) > 0.3
    compact(one_day)
    assert one_day.count(Query()) == kept
    assert (tmp_path / "x.db").stat().st_size <= 1.1 * limit


def test_a_full_index_has_small_partitions(one_day: SqliteStore, tmp_path: Path) -> None:
    """Once entries had to leave, further ones share smaller inverted indexes."""
    limit = size_of(one_day)
    for part in range(_BATCHES, 3 * _BATCHES):
        put_part(one_day, part)
        shrink_to(one_day, limit)
        compact(one_day)
    documents = partitions(tmp_path / "x.db")
    assert max(documents) < 4 * _ENTRIES
    assert len(documents) >= 3
    assert (tmp_path / "x.db").stat().st_size <= 1.1 * limit
    assert one_day.count(Query()) > _BATCHES * _ENTRIES // 2
