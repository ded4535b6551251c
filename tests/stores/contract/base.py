"""The contract suites' shared records, helpers and store fixture."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mikroscope.errors import StaleBatchError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.query.model import Entry, Grouping, PageRequest, Query
from mikroscope.records.attributes import MISSING, correlation_of, event_of, level_of
from mikroscope.records.fields import field_text
from mikroscope.stores.base import Batch, BatchResult, Deleted, Store
from tests.helpers import forms

Record = dict[str, Any]
OpenStore = Callable[[], Store]
DEADLINE_S = 30.0  # far above the time of any test
# Entries: more than any store will count one by one; `make check` takes fewer.
MANY = 1_200 if forms.chosen == "check" else 5_100
SOME = 5_000  # entries: more than any store will delete in one step, see `put_some`
START_MS = 1_770_000_000_000  # in February 2026
EVERYTHING = Query()
LARGE_PAGE = PageRequest(1000)
VALUES: list[object] = [
    *("abc", "ABC", "Abc", "a b", "a  b", " a", "a ", "", " ", "a\tb", "a\nb", "a\x1fb", "a\x1eb"),
    *("a\uf71fb", "\x00", "\x7f", 'a"b', "a'b", '"', "a=b", "=", "a\\b", "%", "_", "*", "a*", "("),
    *(
        "é",
        "É",
        "e\u0301",
        "ß",
        "ss",
        "İ",
        "日本 語",
        "😀",
        "\ue000",
        "\u2028",
        "a AND b",
        "a OR b",
    ),
    *("NOT a", "^a", "-a", "+a", "a:b", "{a b}", "NEAR(a b)", "True", "NULL", "(missing)"),
    *("x" * 256, "x" * 257, "X" * 257, "x" * 256 + "y", "a b" * 100, "a b" * 100 + "c", "é" * 300),
    *("a" * 24, "a " * 12 + "b", "a " * 12 + "c", "b" * 128, "b" * 129, "b" * 128 + "c"),
    *(0, 1, -1, 1.0, "1", "1.0", 1.5, -0.0, 100, 1e2, 1e21, 1e-7, 0.1, 2**53, 2**53 + 1, 2**64),
    *(10**30, -(10**30), 10**200, 10**200 + 1, "1" * 200, 1e300, True, "true", False, None, "null"),
]


NAMES = [
    *("a", "A", "a b", "a=b", "a=", "=a", "=", "", ".", "..", "a.", ".a", "é", "É", "\x1c", "\x1d"),
    *("\x1e", "\x1f", "\x1ce", "\x1cm", "\uf71d", "\uf71e", "\uf71f", "\x00", "a\tb", "'", '"'),
    *("*", "(", "x" * 128, "x" * 129, "x" * 300, "x" * 301, "levels", "id", "key", "rowid", "$x"),
]


def at(milliseconds: int, **fields: object) -> Record:
    """Return a record of a time, counted from START_MS."""
    return {"time": START_MS + milliseconds, **fields}


def add(
    batch: Batch,
    source: Source,
    records: Iterable[Record | bytes],
    checkpoint: Checkpoint | None = None,
    first: int = 1,
) -> None:
    """Add records, or the texts of some, as the indexer does."""
    lines = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in records]
    batch.add(source, first, b"\n".join(lines), checkpoint or Checkpoint())


def prepare(batch: Batch) -> BatchResult:
    """Encode the added lines."""
    return batch.prepare().result()


def commit(store: Store, batch: Batch, wait: bool = True) -> None:
    """Prepare and write a batch."""
    prepare(batch)
    store.commit(batch, wait)


def put_some(store: Store, record: Callable[[int], Record], path: str = "app.ndjson") -> Source:
    """Commit SOME records of one source, made of their numbers from 0 on, in several batches.

    No store deletes the entries of two such batches in one step.
    """
    source = None
    for first in range(0, SOME, SOME // 2):
        batch = store.begin()
        source = batch.open_source(path) if source is None else source
        records = [record(n) for n in range(first, first + SOME // 2)]
        add(batch, source, records, Checkpoint(line=first + len(records)), first + 1)
        commit(store, batch)
    assert source is not None
    return source


def put(store: Store, records: Sequence[Record | bytes], path: str = "app.ndjson") -> Source:
    """Commit records under their own source."""
    batch = store.begin()
    source = batch.open_source(path)
    checkpoint = Checkpoint(offset=len(records) * 10, line=len(records))
    add(batch, source, records, checkpoint)
    commit(store, batch)
    return msgspec.structs.replace(source, checkpoint=checkpoint)


def put_again(store: Store, records: Sequence[Record | bytes], path: str) -> Source:
    """Commit records, again if another store has written in between."""
    try:
        return put(store, records, path)
    except StaleBatchError:
        return put(store, records, path)


def discard(store: Store, source: Source) -> None:
    """Commit that a source is discarded."""
    batch = store.begin()
    batch.discard_source(source)
    commit(store, batch)


def collect_all(store: Store) -> Deleted:
    """Delete all entries of discarded sources; return the totals."""
    deleted = Deleted()
    for some in store.collect():
        deleted.add(some)
    return deleted


def count(store: Store) -> int:
    """Return the number of entries."""
    return store.count(Query())


def record_of(entry: Entry) -> Record:
    """Return the record of an entry."""
    record: Record = msgspec.json.decode(entry.data)
    return record


def pages(store: Store, query: Query, page: PageRequest = LARGE_PAGE) -> Iterator[list[Entry]]:
    """Yield one page after the other, each fetched with the cursor of the previous one."""
    while True:
        found = store.search(query, page)
        yield found.entries
        if found.next_cursor is None:
            return
        page = PageRequest(page.limit, found.next_cursor)


def entries_of(
    store: Store, query: Query = EVERYTHING, page: PageRequest = LARGE_PAGE
) -> list[Entry]:
    """Return every matching entry, over all pages."""
    return [entry for entries in pages(store, query, page) for entry in entries]


def numbers_of(
    store: Store, query: Query = EVERYTHING, page: PageRequest = LARGE_PAGE
) -> list[int]:
    """Return the field `n` of every matching entry, in the order of the pages."""
    return [record_of(entry)["n"] for entry in entries_of(store, query, page)]


def found(store: Store, **query: Any) -> set[int]:
    """Return the set of the field `n` of every matching entry."""
    return set(numbers_of(store, Query(**query)))


def buckets_of(
    store: Store, grouping: Grouping, limit: int = 1000, **query: Any
) -> list[tuple[str, int]]:
    """Return keys and counts in their order."""
    answer = store.aggregate(Query(**query), grouping, limit)
    return [(bucket.key, bucket.count) for bucket in answer.buckets]


def in_order(counts: Counter[str]) -> list[tuple[str, int]]:
    """Sort by highest count, then by key."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


class Contract(ABC):
    """Opens stores, and closes them after the test."""

    @classmethod
    @abstractmethod
    def make_store(cls, path: Path) -> Store:
        """Open the store at a path, or create it."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[OpenStore]:
        """Open the same store each time, as a new instance."""
        opened: list[Store] = []

        def make() -> Store:
            opened.append(self.make_store(tmp_path / "index"))
            return opened[-1]

        yield make
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Store:
        """A new store."""
        return open_store()

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
        """One store for all tests of a class, which a fixture fills and no test changes."""
        store = cls.make_store(tmp_path_factory.mktemp("shared") / "index")
        yield store
        store.close()


EDGE_TIMES = [
    "0002-01-01T00:00:00.000Z",
    "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00.000Z",
    "1970-01-01T00:00:00.001Z",
    "1970-01-01T00:01:00.000Z",
    "2026-02-18T10:20:00.000Z",
    "2109-05-15T07:35:11.103Z",
    "2109-12-31T23:59:59.999Z",
    "2110-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
]


AGGREGATED: list[Record] = [
    at(
        n * 250,
        n=n,
        level=("INFO", "info", "ERROR", "WARN", 50)[n % 5],
        tenant=("a", "B b", "c")[n % 3],
        code=(1, 1.0, "1", 2, None, True, "", {"no": "scalar"})[n % 8],
        http={"status": (200, 404)[n % 2]},
        **({"event": f"event {n % 4}"} if n % 7 else {"message": "Only a Message"}),
        **({"correlationId": f"c-{n % 9}"} if n % 2 else {}),
        **({"requestId": f"c-{n % 5}"} if n % 4 == 0 else {}),
        **({"audit": True} if n % 6 == 0 else {}),
    )
    for n in range(480)
]


GROUPINGS: list[Grouping] = [
    *(Grouping("level"), Grouping("event"), Grouping("correlation")),
    *(Grouping("field", name) for name in ("tenant", "code", "http.status", "level", "event")),
    *(Grouping("field", name) for name in ("correlationId", "requestId", "audit", "time", "none")),
]


FILTERS: dict[str, tuple[dict[str, Any], Callable[[Record], bool]]] = {
    "all": ({}, lambda record: True),
    "level": ({"level": "ERROR"}, lambda record: record["level"] in ("ERROR", 50)),
    "audit": ({"audit": True}, lambda record: "audit" in record),
    "not audit": ({"audit": False}, lambda record: "audit" not in record),
    "field": ({"field": "tenant", "value": "B b"}, lambda record: record["tenant"] == "B b"),
    "nested": (
        {"field": "http.status", "value": "404"},
        lambda record: record["http"]["status"] == 404,
    ),
    "text": ({"text": "message"}, lambda record: "message" in record),
    "from": (
        {"from_ms": START_MS + 40_125},
        lambda record: record["time"] >= START_MS + 40_125,
    ),
    "range": (
        {"from_ms": START_MS + 10_000, "to_ms": START_MS + 100_000},
        lambda record: 10_000 <= record["time"] - START_MS <= 100_000,
    ),
    "everything": (
        {
            "from_ms": START_MS,
            "to_ms": START_MS + 90_000,
            "level": "INFO",
            "audit": False,
            "field": "tenant",
            "value": "a",
        },
        lambda record: (
            record["time"] - START_MS <= 90_000
            and record["level"] in ("INFO", "info")
            and "audit" not in record
            and record["tenant"] == "a"
        ),
    ),
    "nothing": ({"level": "NONE"}, lambda record: False),
}


def key_of(record: Record, grouping: Grouping) -> str:
    """Return the bucket of a record."""
    if grouping.by == "level":
        return level_of(record)
    if grouping.by == "event":
        return event_of(record)
    if grouping.by == "correlation":
        return correlation_of(record) or MISSING
    text = field_text(record, grouping.field or "")
    return MISSING if text is None else text


def shown_as(grouping: Grouping) -> str:
    """Return the name of a test's case."""
    return grouping.field or grouping.by
