"""Damage in the index costs what it is in, and no answer conceals it."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from mikroscope.errors import DamagedIndexError
from mikroscope.query.model import Aggregate, Grouping, Page, PageRequest, Query
from mikroscope.records.attributes import MISSING
from mikroscope.stores.sqlite import SqliteStore, files, sealing
from mikroscope.stores.sqlite.read import groups
from mikroscope.stores.sqlite.write import encoding, merging, resealing
from tests.helpers.forms import amount
from tests.helpers.stores import writer_of
from tests.stores.contract.base import START_MS, Record, at, put, record_of

ENTRIES = 60
EVERYTHING = PageRequest(2000)
TABLES = ["columns", "blocks", "masks", "fresh", "dictionaries", "segments"]
QUERIES = [
    Query(),
    Query(level="ERROR"),
    Query(field="tenant", value="t1"),
    Query(field="id", value="id-7"),
    Query(field="note", value="a long note that is not kept as a whole 3"),
    Query(text="paid"),
    Query(from_ms=START_MS + 5_500, to_ms=START_MS + 40_000),
]
GROUPINGS = [
    Grouping("level"),
    Grouping("event"),
    Grouping("field", "tenant"),
    Grouping("field", "id"),
    Grouping("field", "note"),
    Grouping("field", "@template"),
]


def record_number(n: int) -> Record:
    """Return a record."""
    return at(
        n * 1000,
        n=n,
        level=("INFO", "ERROR")[n % 2],
        tenant=f"t{n % 3}",
        id=f"id-{n}",
        note=f"a long note that is not kept as a whole {n % 9}",
        message=f"order {n} paid",
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with segments of few entries, one of them with a mask, and with fresh entries."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 2)
    monkeypatch.setattr(encoding, "MAX_ENTRIES", 20)
    monkeypatch.setattr(merging, "LEAST_ENTRIES", 2)
    monkeypatch.setattr(resealing, "LEAST_ENTRIES", 2)
    monkeypatch.setattr(sealing, "BLOCK_LINES", 4)
    monkeypatch.setattr(sealing, "_FEW_VALUES", 4)
    path = tmp_path / "index.db"
    with closing(SqliteStore(path)) as store:
        source = put(store, [record_number(n) for n in range(ENTRIES)])
        batch = store.begin()
        batch.remove_line(source, 6)
        store.commit(batch)
        for n in (ENTRIES, ENTRIES + 1):  # too few for a segment
            put(store, [record_number(n)], "b")
        pack_with_a_dictionary(store)
    return path


def pack_with_a_dictionary(store: SqliteStore) -> None:
    """Add a segment that is packed with a dictionary."""
    lines = 1_000
    put(store, [{"time": START_MS - 10**9 + n, "old": n} for n in range(lines)], "old")
    assert rows_of(writer_of(store)._connection, "dictionaries")


def rows_of(connection: apsw.Connection, table: str) -> list[Any]:
    """Return the number and the bytes of each row of a table."""
    key = {"masks": "segment"}.get(table, "id")
    data = {"dictionaries": "dictionary", "segments": "head"}.get(table, "data")
    return connection.execute(f"SELECT {key}, {data} FROM {table}").fetchall()  # noqa: S608


def flip(path: Path, table: str, row: int, place: int, bits: int) -> None:
    """Change one byte of a row."""
    key = {"masks": "segment"}.get(table, "id")
    data = {"dictionaries": "dictionary", "segments": "head"}.get(table, "data")
    with closing(apsw.Connection(str(path))) as connection:
        select = f"SELECT {data} FROM {table} WHERE {key} = ?"  # noqa: S608
        content = bytearray(connection.execute(select, (row,)).get)
        content[place] ^= bits
        update = f"UPDATE {table} SET {data} = ? WHERE {key} = ?"  # noqa: S608
        connection.execute(update, (bytes(content), row))


def answers(path: Path) -> list[Page | Aggregate]:
    """Return the answer of each query, a page, and of each grouping of it."""
    with closing(SqliteStore(path, write=False)) as store:
        found: list[Page | Aggregate] = []
        for query in QUERIES:
            found.append(store.search(query, EVERYTHING))
            found += [store.aggregate(query, one, 1000) for one in GROUPINGS]
        return found


def counts(path: Path) -> list[int | None]:
    """Return the number of matches of each query; None where damage is reported."""
    numbers: list[int | None] = []
    with closing(SqliteStore(path, write=False)) as store:
        for query in QUERIES:
            for count in (store.count, lambda one: sum_of(store, one)):
                try:
                    numbers.append(count(query))
                except DamagedIndexError:
                    numbers.append(None)
    return numbers


def sum_of(store: SqliteStore, query: Query) -> int:
    """Return the sum of the buckets of a histogram."""
    return sum(bucket.count for bucket in store.histogram(query, 3_600_000))


def places_in(path: Path, table: str, number: int) -> Iterator[tuple[int, int, int]]:
    """Yield a row, a place in it and bits to change, at random but the same in each run."""
    chance = random.Random(table)
    with closing(apsw.Connection(str(path))) as connection:
        rows = rows_of(connection, table)
    assert rows
    for _ in range(number):
        row, content = chance.choice(rows)
        yield row, chance.randrange(len(content)), chance.randrange(1, 256)


@pytest.mark.parametrize("table", TABLES)
def test_no_entry_is_missing_in_silence(path: Path, table: str) -> None:
    """With any byte changed, each answer is as before, or says that something is missing."""
    whole, numbers = answers(path), counts(path)
    assert all(answer.complete for answer in whole)
    noticed = 0
    for row, place, bits in places_in(
        path, table, amount(6, 300) * (10 if table == "dictionaries" else 1)
    ):
        flip(path, table, row, place, bits)
        for answer, before in zip(answers(path), whole, strict=True):
            if answer.complete:
                assert answer == before, (row, place, bits)
                continue
            noticed += 1
            assert "the index is damaged" in answer.notes[0]
            check_less(answer, before)
        for count, known in zip(counts(path), numbers, strict=True):
            assert count in (None, known), (row, place, bits)
        files.sibling(path, ".damaged").unlink(missing_ok=True)
        flip(path, table, row, place, bits)
    assert noticed
    assert answers(path) == whole


def check_less(answer: Page | Aggregate, whole: Page | Aggregate) -> None:
    """Check that an answer has nothing that the whole one does not have."""
    if isinstance(answer, Page) and isinstance(whole, Page):
        assert [entry for entry in whole.entries if entry in answer.entries] == answer.entries
    elif isinstance(answer, Aggregate) and isinstance(whole, Aggregate):
        assert counted(answer) <= counted(whole)


def counted(answer: Aggregate) -> Counter[str]:
    """Return the counts by value; of values only, since a field that cannot be read is missing."""
    return Counter({one.key: one.count for one in answer.buckets})


def test_a_block_costs_its_lines(path: Path) -> None:
    """Where a block is damaged all other entries are there, under any filter."""
    with closing(apsw.Connection(str(path))) as connection:
        first = rows_of(connection, "blocks")[0][0]
    flip(path, "blocks", first + 1, 20, 1)
    lost = {4, 5, 6, 7}  # and line 6 was removed: 5
    with closing(SqliteStore(path, write=False)) as store:
        page = store.search(Query(from_ms=START_MS), EVERYTHING)
        long = store.search(
            Query(field="note", value="a long note that is not kept as a whole 4"), EVERYTHING
        )
    numbers = {record_of(entry)["n"] for entry in page.entries}
    assert numbers == {*range(ENTRIES + 2)} - lost - {5}
    assert {record_of(entry)["n"] for entry in long.entries} == {13, 22, 31, 40, 49, 58}
    assert "up to 3 entries" in page.notes[0]


def test_a_fresh_row_costs_its_entries(path: Path) -> None:
    """Where entries that are not sealed are damaged, all others are there."""
    with closing(apsw.Connection(str(path))) as connection:
        row = rows_of(connection, "fresh")[-1][0]
    flip(path, "fresh", row, 20, 1)
    with closing(SqliteStore(path, write=False)) as store:
        page = store.search(Query(from_ms=START_MS), EVERYTHING)
        assert [record_of(one)["n"] for one in page.entries[:2]] == [ENTRIES, ENTRIES - 1]
        assert (page.complete, "up to 1 entries" in page.notes[0]) == (False, True)
        with pytest.raises(DamagedIndexError):
            store.count(Query(text="paid"))


def test_groups_notice_a_damaged_inverted_index(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any byte of an inverted index changed, the groups of all entries are as many as before,
    or say that something is missing; filters raise nothing unexpected.
    """
    monkeypatch.setattr(groups, "_FEW_LINES", 0)
    grouping = Grouping("field", "id")
    chance = random.Random(1)
    rows = inverted_rows(path)
    noticed = 0
    for _ in range(amount(30, 1_000)):
        table, row, content = chance.choice(rows)
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
        put_block(path, table, row, bytes(changed))
        with closing(SqliteStore(path, write=False)) as store:
            for query in QUERIES:
                store.search(query, EVERYTHING)
            answer = store.aggregate(Query(), grouping, 2000)
        noticed += not answer.complete
        numbers = [one.count for one in answer.buckets if one.key != MISSING]
        assert not answer.complete or sum(numbers) == ENTRIES + 1, (table, row)
        put_block(path, table, row, content)
    assert noticed


def inverted_rows(path: Path) -> list[tuple[str, int, bytes]]:
    """Return the blocks of all inverted indexes."""
    select = "SELECT name FROM sqlite_schema WHERE name GLOB 'terms_*_data'"
    with closing(apsw.Connection(str(path))) as connection:
        tables: list[Any] = connection.execute(select).fetchall()
        return [
            (table, *row)
            for (table,) in tables
            for row in connection.execute(f"SELECT id, block FROM {table}")  # noqa: S608
        ]


def put_block(path: Path, table: str, row: int, content: bytes) -> None:
    """Put bytes into an inverted index."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"UPDATE {table} SET block = ? WHERE id = ?", (content, row))  # noqa: S608


@pytest.mark.parametrize("table", ["blocks", "columns", "fresh"])
def test_the_next_start_makes_a_new_index(path: Path, table: str) -> None:
    """Damage that a query has found is remembered, and the next server begins with a new index."""
    with closing(apsw.Connection(str(path))) as connection:
        row = rows_of(connection, table)[0][0]
    flip(path, table, row, 10, 1)
    with closing(SqliteStore(path)) as store:
        store.search(Query(text="paid"), EVERYTHING)
        assert store.status().problem
    with closing(SqliteStore(path, alone=True)) as store:
        assert store.search(Query(), EVERYTHING).entries == []
    assert len(list(path.parent.glob("index.db.damaged-*"))) == 1
