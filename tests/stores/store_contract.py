"""What every store must do, asked through the Store protocol only.

A store passes when a class of its own, with `make_store`, inherits each of the suites below.
"""

import itertools
import pickle
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mikroscope.errors import StaleBatchError, StoreError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.query.model import Bucket, Entry, GroupBy, Grouping, PageRequest, Query
from mikroscope.records.attributes import MISSING, correlation_of, event_of, level_of
from mikroscope.records.fields import field_text, scalar_text
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.base import Accepted, Batch, Cutoffs, Deleted, Store

Record = dict[str, Any]
OpenStore = Callable[[], Store]

DEADLINE_S = 30.0  # far above what anything here takes
MANY = 6_000  # entries: more than any store will count by looking at each
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


# --- making records, and reading answers --------------------------------------------------------


def at(milliseconds: int, **fields: object) -> Record:
    """A record of a time, counted from START_MS."""
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


def prepare(batch: Batch) -> Accepted:
    """Make ready what was added."""
    return batch.accept(batch.task().run())


def commit(store: Store, batch: Batch, wait: bool = True) -> None:
    """Make a batch ready, and write it."""
    prepare(batch)
    store.commit(batch, wait)


def put(store: Store, records: Sequence[Record | bytes], path: str = "app.ndjson") -> Source:
    """Commit records as a source of their own."""
    batch = store.batch()
    source = batch.open_source(path)
    checkpoint = Checkpoint(offset=len(records) * 10, line=len(records))
    add(batch, source, records, checkpoint)
    commit(store, batch)
    return msgspec.structs.replace(source, checkpoint=checkpoint)


def put_again(store: Store, records: Sequence[Record | bytes], path: str) -> Source:
    """The same where another store may have written since this one last did."""
    try:
        return put(store, records, path)
    except StaleBatchError:
        return put(store, records, path)


def discard(store: Store, source: Source) -> None:
    """Commit that a source is no more."""
    batch = store.batch()
    batch.discard_source(source)
    commit(store, batch)


def purge_all(store: Store, limit: int = 1000) -> None:
    """Delete everything of discarded sources."""
    while store.purge(limit):
        pass


def record_of(entry: Entry) -> Record:
    """The record of an entry."""
    record: Record = msgspec.json.decode(entry.data)
    return record


def pages(store: Store, query: Query, page: PageRequest = LARGE_PAGE) -> Iterator[list[Entry]]:
    """One page after the other, each asked for with the cursor of the one before."""
    while True:
        found = store.search(query, page)
        yield found.entries
        if found.next_cursor is None:
            return
        page = PageRequest(page.limit, found.next_cursor)


def entries_of(
    store: Store, query: Query = EVERYTHING, page: PageRequest = LARGE_PAGE
) -> list[Entry]:
    """Every entry that matches, over all pages."""
    return [entry for entries in pages(store, query, page) for entry in entries]


def numbers_of(
    store: Store, query: Query = EVERYTHING, page: PageRequest = LARGE_PAGE
) -> list[int]:
    """The field `n` of every entry that matches, in the order of the pages."""
    return [record_of(entry)["n"] for entry in entries_of(store, query, page)]


def found(store: Store, **query: Any) -> set[int]:
    """The field `n` of every entry that matches."""
    return set(numbers_of(store, Query(**query)))


def buckets_of(
    store: Store, grouping: Grouping, limit: int = 1000, **query: Any
) -> list[tuple[str, int]]:
    """Keys and counts, in their order."""
    answer = store.aggregate(Query(**query), grouping, limit)
    return [(bucket.key, bucket.count) for bucket in answer.buckets]


def in_order(counts: Counter[str]) -> list[tuple[str, int]]:
    """Highest count first, then by key."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


class Contract(ABC):
    """Opens stores, and closes them after the test."""

    @abstractmethod
    def make_store(self, path: Path) -> Store:
        """Open the store at a path, or make it there."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[OpenStore]:
        """Opens one and the same store, each time as an instance of its own."""
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


# --- writing ------------------------------------------------------------------------------------


class WritingContract(Contract):
    """Sources, batches, commits."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        """A new store has no entries and no sources."""
        assert (store.count(), store.sources(), entries_of(store)) == (0, [], [])

    def test_sources_survive_reopening(self, open_store: OpenStore) -> None:
        """Path and checkpoint of a source are there after reopening, to the last field."""
        store = open_store()
        checkpoint = Checkpoint(
            offset=2**40,
            line=7,
            head=b"\0h",
            tail=b"\xfft",
            device=3,
            inode=2**60,
            size=9,
            mtime_ns=1,
        )
        batch = store.batch()
        source = batch.open_source("a/b.ndjson")
        add(batch, source, [at(0)], checkpoint)
        commit(store, batch)
        store.close()
        expected = msgspec.structs.replace(source, checkpoint=checkpoint)
        assert open_store().sources() == [expected]

    def test_entries_survive_reopening(self, open_store: OpenStore) -> None:
        """Entries are the same after reopening, their ids too."""
        store = open_store()
        put(store, [at(n, n=n) for n in range(5)])
        before = entries_of(store)
        store.close()
        assert entries_of(open_store()) == before

    def test_a_source_can_be_updated(self, store: Store) -> None:
        """Another path, checkpoint and `gone` replace what a source had."""
        source = put(store, [at(0)])
        changed = msgspec.structs.replace(
            source, path="renamed.ndjson", checkpoint=Checkpoint(offset=99), gone=True
        )
        batch = store.batch()
        batch.update_source(changed)
        commit(store, batch)
        assert store.sources() == [changed]

    def test_entries_follow_a_renamed_source(self, store: Store) -> None:
        """Entries name their source by its present path."""
        source = put(store, [at(0)], "app.ndjson")
        batch = store.batch()
        batch.update_source(msgspec.structs.replace(source, path="app.1.ndjson"))
        commit(store, batch)
        assert [entry.source_file for entry in entries_of(store)] == ["app.1.ndjson"]

    def test_a_discarded_source_is_not_listed(self, store: Store) -> None:
        """A source that was discarded is none any more."""
        kept, lost = put(store, [at(0)], "kept"), put(store, [at(1)], "lost")
        discard(store, lost)
        assert store.sources() == [kept]

    def test_no_two_sources_share_an_id(self, open_store: OpenStore) -> None:
        """A source's id is its own, also after a reopening and a discarded source."""
        store = open_store()
        ids = [put(store, [at(0)], path).id for path in ("a", "b")]
        discard(store, store.sources()[-1])
        purge_all(store)
        store.close()
        ids.append(put(open_store(), [at(0)], "a").id)
        assert len(set(ids)) == 3

    def test_a_batch_counts_its_entries(self, store: Store) -> None:
        """`accept` tells how many lines there were, how many are entries, and what is none."""
        batch = store.batch()
        add(batch, batch.open_source("a"), [at(0), b" ", at(1)])
        add(batch, batch.open_source("b"), [at(2), b"[1]"], first=7)
        accepted = prepare(batch)
        assert (accepted.lines, accepted.records) == (4, 3)
        assert [problem[:2] for problem in accepted.problems] == [("b", 8)]

    def test_what_a_task_makes_can_travel(self, store: Store) -> None:
        """A task may be done in another process: it is pickled, and so is what it makes."""
        put(store, [at(n, n=n, text=f"{n} of many") for n in range(1500)], "before")
        batch = store.batch()
        records = [at(2000 - n, n=n, sub={"n": n}, audit=n == 7) for n in range(100)]
        add(batch, batch.open_source("app.ndjson"), records)
        task = pickle.loads(pickle.dumps(batch.task()))  # noqa: S301
        batch.accept(pickle.loads(pickle.dumps(task.run())))  # noqa: S301
        store.commit(batch)
        assert numbers_of(store, Query(from_ms=START_MS + 1901)) == list(range(100))
        assert found(store, field="sub.n", value="42") == {42}
        assert found(store, audit=True) == {7}

    def test_lines_must_be_made_ready(self, store: Store) -> None:
        """A batch whose lines were not made ready is not written without them."""
        batch = store.batch()
        add(batch, batch.open_source("app.ndjson"), [at(0)])
        with pytest.raises(StoreError):
            store.commit(batch)
        assert (store.count(), store.sources()) == (0, [])

    def test_nothing_shows_before_commit(self, open_store: OpenStore) -> None:
        """What a batch holds is neither in this store nor in another one on the same index."""
        stores = [open_store(), open_store()]
        batch = stores[0].batch()
        add(batch, batch.open_source("app.ndjson"), [at(0)])
        assert [(one.count(), one.sources(), entries_of(one)) for one in stores] == [
            (0, [], [])
        ] * 2

    def test_everything_shows_after_commit(self, open_store: OpenStore) -> None:
        """When `commit` returns, this store and every other one answer with the entries."""
        stores = [open_store(), open_store()]
        put(stores[0], [at(0, n=0), at(1, n=1)])
        assert [(one.count(), numbers_of(one)) for one in stores] == [(2, [1, 0])] * 2

    def test_an_empty_batch_can_be_committed(self, store: Store) -> None:
        """A batch with nothing in it changes nothing."""
        source = put(store, [at(0)])
        commit(store, store.batch())
        assert (store.count(), store.sources()) == (1, [source])

    def test_a_checkpoint_moves_without_entries(self, store: Store) -> None:
        """Lines that were no records still count as read."""
        batch = store.batch()
        add(batch, batch.open_source("app.ndjson"), [], Checkpoint(offset=50, line=3))
        commit(store, batch)
        assert [(one.checkpoint.offset, one.checkpoint.line) for one in store.sources()] == [
            (50, 3)
        ]

    def test_a_source_grows(self, store: Store) -> None:
        """Entries of one source may come in many batches; each keeps its line number."""
        source = put(store, [at(0), at(1)])
        batch = store.batch()
        add(batch, source, [at(2)], Checkpoint(line=7), first=7)
        commit(store, batch)
        assert [entry.line_number for entry in entries_of(store)] == [7, 2, 1]

    def test_several_sources_in_one_batch(self, store: Store) -> None:
        """A batch may hold entries of several sources, added in turns."""
        batch = store.batch()
        sources = [batch.open_source("a"), batch.open_source("b")]
        for turn in range(4):
            add(batch, sources[turn % 2], [at(turn)], Checkpoint(line=turn), first=turn)
        commit(store, batch)
        assert [(one.source_file, one.line_number) for one in entries_of(store)] == [
            ("b", 3),
            ("a", 2),
            ("b", 1),
            ("a", 0),
        ]

    def test_a_batch_that_is_dropped_leaves_nothing(self, open_store: OpenStore) -> None:
        """A batch may be given up; those after it are whole all the same, also for others."""
        store = open_store()
        records = [at(n, n=n, message=f"order {n} of tenant {n % 7} created") for n in range(2500)]
        dropped = store.batch()
        add(dropped, dropped.open_source("dropped"), records)
        source = put(store, records, "kept")
        store.close()
        reopened = open_store()
        assert (reopened.sources(), reopened.count()) == ([source], 2500)
        assert numbers_of(reopened) == list(range(2499, -1, -1))

    def test_a_batch_is_stale_when_another_store_has_written(self, open_store: OpenStore) -> None:
        """What was begun before another store committed is refused."""
        store, other = open_store(), open_store()
        batch = store.batch()
        add(batch, batch.open_source("late"), [at(0)])
        put(other, [at(1)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, batch)

    def test_nothing_of_a_stale_batch_is_there(self, open_store: OpenStore) -> None:
        """Entries and new, moved and discarded sources of a stale batch are not there."""
        store, other = open_store(), open_store()
        moved, discarded = put(store, [at(0, n=0)], "moved"), put(store, [at(1, n=1)], "discarded")
        batch = store.batch()
        add(batch, batch.open_source("new"), [at(2, n=2)])
        batch.update_source(msgspec.structs.replace(moved, path="elsewhere"))
        batch.discard_source(discarded)
        early = put_again(other, [at(3, n=3)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, batch)
        assert store.sources() == [moved, discarded, early]
        assert (numbers_of(store), store.count(), store.purge(10)) == ([3, 1, 0], 3, False)

    def test_a_stale_batch_can_be_made_anew(self, open_store: OpenStore) -> None:
        """After StaleBatchError the next batch stands on what the other store has written."""
        store, other = open_store(), open_store()
        stale = store.batch()
        put(other, [at(1, n=1)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, stale)
        put(store, [at(2, n=2)], "late")
        assert [numbers_of(one) for one in (store, other)] == [[2, 1]] * 2
        assert len({source.id for source in store.sources()}) == 2

    def test_every_batch_begun_before_is_stale(self, open_store: OpenStore) -> None:
        """A refused batch does not make an older one acceptable."""
        store, other = open_store(), open_store()
        batches = [store.batch(), store.batch()]
        for batch in batches:
            add(batch, batch.open_source("late"), [at(0)])
        put(other, [at(1)], "early")
        for batch in batches:
            with pytest.raises(StaleBatchError):
                commit(store, batch)
        assert store.count() == 1

    def test_two_stores_take_turns(self, open_store: OpenStore) -> None:
        """Two stores that try again after StaleBatchError lose and double nothing."""
        stores = [open_store(), open_store()]
        for n in range(20):
            put_again(stores[n % 2], [at(n, n=n)], f"{n}")
        assert [numbers_of(store) for store in stores] == [list(range(19, -1, -1))] * 2

    def test_a_commit_that_nobody_waits_for(self, open_store: OpenStore) -> None:
        """Without `wait` the next call that asks for the sources ends with the batch visible."""
        store = open_store()
        batches = []
        for n in range(3):
            batches.append(store.batch())
            source = batches[-1].open_source(f"{n}")
            add(batches[-1], source, [at(n, n=n)])
            commit(store, batches[-1], wait=False)
        assert len(store.sources()) == 3
        assert [numbers_of(one) for one in (store, open_store())] == [[2, 1, 0]] * 2

    def test_closing_waits_for_the_last_commit(self, open_store: OpenStore) -> None:
        """What was committed without `wait` is there after closing and reopening."""
        store = open_store()
        batch = store.batch()
        add(batch, batch.open_source("app.ndjson"), [at(0, n=0)])
        commit(store, batch, wait=False)
        store.close()
        assert numbers_of(open_store()) == [0]

    def test_a_stale_commit_that_nobody_waits_for(self, open_store: OpenStore) -> None:
        """What has gone wrong with a batch is raised by its commit, or by the next call."""
        store, other = open_store(), open_store()
        batch = store.batch()
        add(batch, batch.open_source("late"), [at(0, n=0)])
        put(other, [at(1, n=1)], "early")
        with pytest.raises(StaleBatchError):  # noqa: PT012 - either may raise
            commit(store, batch, wait=False)
            store.sources()
        assert numbers_of(store) == [1]

    def test_size(self, store: Store) -> None:
        """The size is that of what is kept."""
        put(store, [at(n, text=f"{n}" * 50) for n in range(1000)])
        assert store.size_bytes() > 1000
        assert store.problem() is None

    def test_a_closed_store_answers_no_more(self, store: Store) -> None:
        """After `close` every question and every write is a StoreError."""
        put(store, [at(0)])
        batch = store.batch()
        store.close()
        questions: list[Callable[[], object]] = [
            store.count,
            store.sources,
            lambda: store.search(Query()),
            lambda: store.aggregate(Query(), Grouping("level")),
            lambda: commit(store, batch),
            lambda: store.purge(1),
        ]
        for question in questions:
            with pytest.raises(StoreError):
                question()

    def test_closing_twice(self, store: Store) -> None:
        """A second `close` does nothing."""
        store.close()
        store.close()


# --- entries ------------------------------------------------------------------------------------


class EntryContract(Contract):
    """What an entry tells of its record."""

    def only(self, store: Store, record: Record | bytes) -> Entry:
        """The entry of a record that is the only one."""
        put(store, [record], "dir/app.ndjson")
        (entry,) = store.search(Query()).entries
        return entry

    def test_attributes(self, store: Store) -> None:
        """An entry has time, level, event, message, source and line of its record."""
        record = {
            "timestamp": "2026-02-18T10:20:00Z",
            "level": "warn",
            "event": "e",
            "message": "m",
        }
        entry = self.only(store, record)
        assert msgspec.structs.asdict(entry) | {"id": 0, "data": b""} == {
            "id": 0,
            "timestamp": "2026-02-18T10:20:00Z",
            "level": "WARN",
            "event": "e",
            "message": "m",
            "data": b"",
            "source_file": "dir/app.ndjson",
            "line_number": 1,
        }

    def test_defaults(self, store: Store) -> None:
        """A record that says nothing is INFO, `log.event`, and without message."""
        entry = self.only(store, {})
        assert (entry.level, entry.event, entry.message) == ("INFO", "log.event", "")

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("2026-02-18T10:20:00+02:00", "2026-02-18T10:20:00+02:00"),
            ("2026-02-18 10:20:00,123456789", "2026-02-18 10:20:00,123456789"),
            ("9999-12-31T23:59:59.999-12:00", "9999-12-31T23:59:59.999-12:00"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            (1770000000, "2026-02-02T02:40:00.000Z"),
            ("1770000000123", "2026-02-02T02:40:00.123Z"),
            ("1712010112345", "2024-04-01T22:21:52.345Z"),
            ({"seconds": 1, "nanos": 5_000_000}, "1970-01-01T00:00:01.005Z"),
            (-62_135_596_800, "0001-01-01T00:00:00.000Z"),
            ({"seconds": "253402300799"}, "9999-12-31T23:59:59.000Z"),
        ],
    )
    def test_timestamp(self, store: Store, value: object, shown: str) -> None:
        """A time is shown as the record wrote it if that is ISO 8601, else in UTC."""
        assert self.only(store, {"timestamp": value}).timestamp == shown

    def test_a_record_without_time_has_that_of_its_indexing(self, store: Store) -> None:
        """A record that tells no time stands at the moment it was indexed."""
        before = time.time_ns() // 1_000_000
        entry = self.only(store, {"timestamp": "yesterday"})
        shown = parse_time(entry.timestamp)
        assert shown is not None
        assert before <= shown <= time.time_ns() // 1_000_000
        assert entries_of(store, Query(from_ms=shown, to_ms=shown)) == [entry]

    @pytest.mark.parametrize(
        "raw",
        [
            b"{}",
            b'{ "b" : 1 ,\t"a":2, "b" :3 }',
            b'{"a":1.0,"b":1e2,"c":-0.0,"d":12345678901234567890123,"e":1.10}',
            b'{"a":"\\u0041\\/\\n\\ud83d\\ude00\\ud800","\\u0062":"\\u0000"}',
            '{"ключ":"значение 😀","a":"\u2028\x7f"}'.encode(),
            b'{"timestamp":"2026-02-18T10:20:00.000Z","a":"2026-02-18T10:20:00.000Z"}',
            b'{"a":"2026-02-18T10:20:00.000Z","time":"2026-02-18T10:20:00.000Z"}',
            b'{"2026-02-18T10:20:00.000Z":1,"time":"2026-02-18T10:20:00.000Z"}',
            b'{"time":"2026-02-18T10:20:00.000Z","timestamp":"2026-02-18T10:20:00.000z"}',
            b'{"time":"2026-02-18T10:20:00\\u002e000Z","a":"2026-02-18T10:20:00.000Z"}',
            b'{"time":"2026-02-18T10:20:00.000+00:00"}',
            b'{"time":"9999-12-31T23:59:59.999Z"}',
            b'{"time":"1969-12-31T23:59:59.999Z"}',
            b'{"time":"2016-12-31T23:59:60.000Z"}',
            b'{"a":{"b":[1,{"c":null},[]]}}',
        ],
    )
    def test_data(self, store: Store, raw: bytes) -> None:
        """A record comes back byte for byte."""
        assert bytes(self.only(store, raw).data) == raw

    def test_large_records(self, store: Store) -> None:
        """A record of a megabyte comes back like any other."""
        raw = msgspec.json.encode(at(0, blob="0123456789abcdef" * 65_536))
        assert bytes(self.only(store, raw).data) == raw

    def test_ids(self, store: Store) -> None:
        """Ids are unique integers that JavaScript can hold."""
        put(store, [at(n // 10) for n in range(100)], "a")
        put(store, [at(n // 10) for n in range(100)], "b")
        ids = [entry.id for entry in entries_of(store)]
        assert len(set(ids)) == 200
        assert all(0 <= one < 2**53 for one in ids)

    def test_lines_that_repeat(self, store: Store) -> None:
        """Equal records are entries of their own."""
        put(store, [at(0, n=1)] * 3)
        assert [entry.line_number for entry in entries_of(store)] == [3, 2, 1]


# --- pages --------------------------------------------------------------------------------------


class PagingContract(Contract):
    """Order, limits and cursors."""

    def test_newest_first(self, store: Store) -> None:
        """Entries come by their time, however they arrived."""
        put(store, [at(ms, n=ms) for ms in (5, 1, 9)], "a")
        put(store, [at(ms, n=ms) for ms in (3, 7, 0)], "b")
        assert numbers_of(store) == [9, 7, 5, 3, 1, 0]

    def test_ties(self, store: Store) -> None:
        """Of entries of one millisecond the newest arrival comes first."""
        put(store, [at(0, n=0), at(0, n=1)], "b")
        put(store, [at(0, n=2), at(1, n=9), at(0, n=3)], "a")
        put(store, [at(0, n=4)], "c")
        assert numbers_of(store) == [9, 4, 3, 2, 1, 0]

    def test_times_of_all_centuries(self, store: Store) -> None:
        """From the year 1 to 9999, what is newer and came later stands first."""
        put(store, [{"time": text, "n": n} for n, text in enumerate(EDGE_TIMES)])
        assert numbers_of(store) == list(range(len(EDGE_TIMES) - 1, -1, -1))

    def test_limit(self, store: Store) -> None:
        """A page has at most `limit` entries, and says how many that is."""
        put(store, [at(n, n=n) for n in range(10)])
        page = store.search(Query(), PageRequest(limit=3))
        assert ([record_of(one)["n"] for one in page.entries], page.limit) == ([9, 8, 7], 3)

    @pytest.mark.parametrize(("limit", "more"), [(9, True), (10, False), (11, False)])
    def test_has_more(self, store: Store, limit: int, more: bool) -> None:
        """There is more, and a cursor to it, only if an entry is left behind the page."""
        put(store, [at(n) for n in range(10)])
        page = store.search(Query(), PageRequest(limit=limit))
        assert (page.has_more, page.next_cursor is not None) == (more, more)

    def test_an_empty_page(self, store: Store) -> None:
        """Where nothing matches there is no entry, no more, no cursor."""
        put(store, [at(0)])
        page = store.search(Query(level="NONE"))
        assert (page.entries, page.has_more, page.next_cursor) == ([], False, None)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 49, 50])
    def test_walking(self, store: Store, limit: int) -> None:
        """Cursors lead over all entries, each once, in order, also amid a millisecond."""
        put(store, [at(n // 20, n=n) for n in range(50)])
        assert numbers_of(store, Query(), PageRequest(limit=limit)) == list(range(49, -1, -1))

    def test_walking_with_filters(self, store: Store) -> None:
        """A cursor goes on with the same filters and range."""
        put(store, [at(n // 3, n=n, even=n % 2 == 0) for n in range(60)])
        query = Query(field="even", value="true", from_ms=START_MS + 5, to_ms=START_MS + 15)
        found = numbers_of(store, query, PageRequest(limit=4))
        assert found == [n for n in range(47, 14, -1) if n % 2 == 0]

    @pytest.mark.parametrize("filters", [{}, {"level": "INFO"}, {"field": "all", "value": "true"}])
    def test_walking_while_entries_arrive(self, store: Store, filters: dict[str, str]) -> None:
        """What was there at the first page comes exactly once, whatever arrives in between."""
        there = set(range(60))
        put(store, [at(n // 6, n=n, all=True) for n in there], "first")
        seen: list[int] = []
        for turn, page in enumerate(pages(store, Query(**filters), PageRequest(limit=7))):  # type: ignore[arg-type]
            seen += [record_of(entry)["n"] for entry in page]
            late = [at(ms, n=1000 + turn * 20 + ms, all=True) for ms in range(-1, 12)]
            put(store, late, f"late-{turn}")
            if turn > 30:
                break
        assert len(set(seen)) == len(seen)
        assert there <= set(seen)

    def test_newer_entries_do_not_come_behind_a_cursor(self, store: Store) -> None:
        """What arrives above a cursor, even in its millisecond, is not on the next page."""
        put(store, [at(0, n=n) for n in range(10)], "first")
        cursor = store.search(Query(), PageRequest(limit=5)).next_cursor
        put(store, [at(0, n=n) for n in range(10, 20)], "second")
        assert numbers_of(store, Query(), PageRequest(cursor=cursor)) == [4, 3, 2, 1, 0]

    def test_walking_while_entries_leave(self, store: Store) -> None:
        """A purge in between does not make a cursor skip or repeat what stays."""
        put(store, [at(n, n=n) for n in range(0, 40, 2)], "stays")
        leaving = put(store, [at(n, n=n) for n in range(1, 40, 2)], "leaves")
        page = store.search(Query(), PageRequest(limit=10))
        discard(store, leaving)
        purge_all(store)
        rest = numbers_of(store, Query(), PageRequest(limit=10, cursor=page.next_cursor))
        assert rest == list(range(28, -1, -2))

    def test_a_cursor_survives_reopening(self, open_store: OpenStore) -> None:
        """A cursor is good for another store on the same index, later."""
        store = open_store()
        put(store, [at(0, n=n) for n in range(10)])
        cursor = store.search(Query(), PageRequest(limit=5)).next_cursor
        store.close()
        assert numbers_of(open_store(), Query(), PageRequest(cursor=cursor)) == [4, 3, 2, 1, 0]

    def test_thousands_of_one_millisecond(self, store: Store) -> None:
        """However many share a millisecond, each comes once, the newest arrival first."""
        put(store, [at(shift, n=-1) for shift in (-1, 1, 2, 3)], "around")
        for part in range(3):
            first = part * MANY // 3
            put(store, [at(0, n=first + n) for n in range(MANY // 3)], f"{part}")
        walked = numbers_of(store)
        assert len(walked) == MANY + 4
        assert [n for n in walked if n >= 0] == list(range(MANY - 1, -1, -1))

    @pytest.mark.parametrize(
        "cursor",
        ["", " ", "x", "0", "-1", "null", "====", "AAAA", "é", "\x00", "../..", "a" * 5000, "%00"],
    )
    def test_malformed_cursors(self, store: Store, cursor: str) -> None:
        """A cursor that no page gave starts at the first page."""
        put(store, [at(n, n=n) for n in range(3)])
        assert numbers_of(store, Query(), PageRequest(cursor=cursor)) == [2, 1, 0]


# --- filters ------------------------------------------------------------------------------------


class FilterContract(Contract):
    """Every filter, alone and with others."""

    def test_values(self, store: Store) -> None:
        """A field filter finds exactly the records whose value has that text."""
        put(store, [at(n, n=n, f=value) for n, value in enumerate(VALUES)])
        texts = [scalar_text(value) for value in VALUES]
        answers = {text: found(store, field="f", value=text) for text in texts}
        assert answers == {
            text: {n for n, other in enumerate(texts) if other == text} for text in texts
        }

    def test_nested_values(self, store: Store) -> None:
        """The same holds inside objects."""
        put(store, [at(n, n=n, f={"g": value}) for n, value in enumerate(VALUES)])
        texts = [scalar_text(value) for value in VALUES]
        answers = {text: found(store, field="f.g", value=text) for text in texts}
        assert answers == {
            text: {n for n, other in enumerate(texts) if other == text} for text in texts
        }

    def test_names(self, store: Store) -> None:
        """A field filter finds exactly the records with that field, whatever its name."""
        put(store, [at(n, n=n) | {name: "v"} for n, name in enumerate(NAMES)])
        answers = {name: found(store, field=name, value="v") for name in NAMES}
        assert answers == {name: {n} for n, name in enumerate(NAMES)}

    def test_name_and_value_are_two(self, store: Store) -> None:
        """Where the name ends and the value begins makes a difference."""
        pairs = [
            ("a", "b=c"),
            ("a=b", "c"),
            ("a=", "=c"),
            ("a", "==c"),
            ("", "a=b=c"),
            ("a==", "c"),
        ]
        put(store, [at(n, n=n) | {name: value} for n, (name, value) in enumerate(pairs)])
        answers = [found(store, field=name, value=value) for name, value in pairs]
        assert answers == [{n} for n in range(len(pairs))]

    @pytest.mark.parametrize("value", [{"a": 1}, [1], [], {}, ["v"]])
    def test_arrays_and_objects_have_no_text(self, store: Store, value: object) -> None:
        """An array or object is not found by its JSON text, nor by what is in it."""
        put(store, [at(0, n=0, f=value)])
        texts = [msgspec.json.encode(value).decode(), "1", "v", "", "null"]
        assert [found(store, field="f", value=text) for text in texts] == [set()] * 5

    @pytest.mark.parametrize(
        ("record", "path"),
        [
            ({"a": {"b": "v"}}, "a.b"),
            ({"a": {"b": {"c": {"d": "v"}}}}, "a.b.c.d"),
            ({"a.b": "v"}, "a.b"),
            ({"a.b": {"c": "v"}}, "a.b.c"),
            ({"a": {"b.c": "v"}}, "a.b.c"),
            ({"a": {"": "v"}}, "a."),
            ({"": {"a": "v"}}, ".a"),
            ({"a": {"b=c": "v"}}, "a.b=c"),
            ({"a": {".": "v"}}, "a.."),
            ({"event": {"kind": "v"}}, "event.kind"),
            ({"correlationId": {"id": "v"}}, "correlationId.id"),
            ({"level": {"name": "v"}}, "level.name"),
            ({"timestamp": {"seconds": 1, "zone": "v"}}, "timestamp.zone"),
        ],
    )
    def test_paths(self, store: Store, record: Record, path: str) -> None:
        """A dotted path reaches into objects, and means a key with dots as well."""
        put(store, [{"n": 1, **record}])
        assert found(store, field=path, value="v") == {1}

    @pytest.mark.parametrize(
        "record",
        [
            {"a.b": "1", "a": {"b": "2"}},
            {"a": {"b": "2"}, "a.b": "1"},
        ],
    )
    def test_a_path_that_means_two_values(self, store: Store, record: Record) -> None:
        """Where a key with dots and a nested one have the same path, either is found."""
        put(store, [at(0, n=1, **record)])
        assert [found(store, field="a.b", value=value) for value in "123"] == [{1}, {1}, set()]

    @pytest.mark.parametrize(
        ("record", "field", "value"),
        [
            ({"level": "ERROR"}, "level", "ERROR"),
            ({"level": "error"}, "level", "error"),
            ({"level": "Custom Level"}, "level", "Custom Level"),
            ({"level": ""}, "level", ""),
            ({"level": 30}, "level", "30"),
            ({"level": 30.5}, "level", "30.5"),
            ({"level": None}, "level", "null"),
            ({"level": False}, "level", "false"),
            ({"event": "e"}, "event", "e"),
            ({"event": "E e"}, "event", "E e"),
            ({"event": ""}, "event", ""),
            ({"event": 5}, "event", "5"),
            ({"event": None}, "event", "null"),
            ({"event": True}, "event", "true"),
            ({"correlationId": "c"}, "correlationId", "c"),
            ({"correlationId": ""}, "correlationId", ""),
            ({"correlationId": 7}, "correlationId", "7"),
            ({"correlationId": 7.0}, "correlationId", "7"),
            ({"correlationId": None, "requestId": "r"}, "correlationId", "null"),
            ({"correlationId": True}, "correlationId", "true"),
            ({"correlationId": None, "requestId": "r"}, "requestId", "r"),
            ({"correlationId": "c", "requestId": "r"}, "requestId", "r"),
            ({"requestId": 7}, "requestId", "7"),
            ({"requestId": None}, "requestId", "null"),
            ({"audit": True}, "audit", "true"),
            ({"audit": "no"}, "audit", "no"),
            ({"message": "m"}, "message", "m"),
            ({"message": "many words that make up a longer message"}, "message", None),
            ({"message": 5}, "message", "5"),
            ({"timestamp": "2026-02-18T10:20:00.000Z"}, "timestamp", "2026-02-18T10:20:00.000Z"),
            ({"timestamp": "2026-02-18T10:20:00+02:00"}, "timestamp", "2026-02-18T10:20:00+02:00"),
            ({"timestamp": 1770000000}, "timestamp", "1770000000"),
            ({"timestamp": 1712010112345}, "timestamp", "1712010112345"),
            ({"timestamp": "1712010112345"}, "timestamp", "1712010112345"),
            ({"timestamp": 1770000000.5}, "timestamp", "1770000000.5"),
            ({"timestamp": 1.77e9}, "timestamp", "1770000000"),
            ({"timestamp": 20260218}, "timestamp", "20260218"),
            ({"timestamp": "20260218"}, "timestamp", "20260218"),
            ({"timestamp": -1}, "timestamp", "-1"),
            ({"timestamp": "0001-01-01T00:00:00Z"}, "timestamp", "0001-01-01T00:00:00Z"),
            ({"timestamp": "9999-12-31T23:59:59Z"}, "timestamp", "9999-12-31T23:59:59Z"),
            ({"timestamp": "yesterday"}, "timestamp", "yesterday"),
            ({"timestamp": ""}, "timestamp", ""),
            ({"timestamp": None}, "timestamp", "null"),
            ({"timestamp": True}, "timestamp", "true"),
            ({"timestamp": "yesterday", "time": "2026-02-18"}, "timestamp", "yesterday"),
            ({"timestamp": 1, "time": "2026-02-18"}, "time", "2026-02-18"),
            ({"timestamp": 1, "time": "2026-02-18"}, "timestamp", "1"),
            ({"timestamp": 1, "time": 1}, "time", "1"),
            ({"ts": 1770000000.123}, "ts", "1770000000.123"),
            ({"@timestamp": "2026-02-18"}, "@timestamp", "2026-02-18"),
        ],
    )
    def test_attribute_fields(
        self, store: Store, record: Record, field: str, value: str | None
    ) -> None:
        """A field that an attribute comes from is found by its own text like any other."""
        put(store, [{"n": 1, **record}, {"n": 2}])
        value = value if value is not None else str(record[field])
        assert found(store, field=field, value=value) == {1}

    @pytest.mark.parametrize(
        ("record", "field", "value"),
        [
            ({}, "level", "INFO"),
            ({"level": "error"}, "level", "ERROR"),
            ({"level": 30}, "level", "INFO"),
            ({"message": "m"}, "event", "m"),
            ({}, "event", "log.event"),
            ({"requestId": "r"}, "correlationId", "r"),
            ({}, "correlationId", "(missing)"),
            ({"msg": "m"}, "message", "m"),
            ({"timestamp": 1770000000}, "timestamp", "2026-02-02T02:40:00.000Z"),
            ({"timestamp": "2026-02-02T02:40:00Z"}, "timestamp", "2026-02-02T02:40:00.000Z"),
            ({"time": "2026-02-02"}, "timestamp", "2026-02-02"),
        ],
    )
    def test_derived_attributes_are_no_fields(
        self, store: Store, record: Record, field: str, value: str
    ) -> None:
        """What was derived from a record is not found as if the record said it."""
        put(store, [{"n": 1, **record}])
        assert found(store, field=field, value=value) == set()

    def test_levels(self, store: Store) -> None:
        """The level filter compares the entry's level, wherever it comes from."""
        levels: list[Record] = [
            *({"level": "error"}, {"level": "ERROR"}, {"level": 50}, {"levelname": "ERROR"}),
            *({"level": "WARN"}, {"level": "Custom Level"}, {}, {"level": "X" * 300}),
        ]
        put(store, [at(n, n=n, **record) for n, record in enumerate(levels)])
        asked = ("ERROR", "WARN", "INFO", "CUSTOM LEVEL", "X" * 300, "ERR", "X" * 299)
        assert [found(store, level=level) for level in asked] == [
            {0, 1, 2, 3},
            {4},
            {6},
            {5},
            {7},
            set(),
            set(),
        ]

    def test_audit(self, store: Store) -> None:
        """The audit filter goes by the record's word, else by the path."""
        says: list[Record] = [{}, {"audit": True}, {"audit": False}, {"audit": "yes"}, {"audit": 0}]
        put(store, [at(n, n=n, **record) for n, record in enumerate(says)], "a/app.ndjson")
        put(store, [at(n, n=n + 10, **record) for n, record in enumerate(says)], "Audit/app.ndjson")
        assert found(store, audit=True) == {1, 3, 10, 11, 13}
        assert found(store, audit=False) == {0, 2, 4, 12, 14}

    def test_audit_with_many_levels(self, store: Store) -> None:
        """Levels may be as many as entries."""
        put(store, [at(n, n=n, level=f"L{n}", audit=n % 2 == 0) for n in range(900)])
        assert found(store, audit=True) == set(range(0, 900, 2))

    def test_a_rare_word_among_frequent_ones(self, store: Store) -> None:
        """Wherever it stands: in a text, as a value, in an object; and from page to page."""
        records = [at(n, n=n, message="Paid by card", level="INFO") for n in range(1_200)]
        records[100]["message"] = "Paid by VISA card"
        records[300]["kind"] = "VISA"
        records[500]["card"] = {"kind": "VISA"}
        records[700] |= {"message": "VISA refused", "level": "ERROR"}
        records[900] |= {"kind": "visa", "level": "ERROR"}
        put(store, records)
        assert found(store, text="card VISA") == {100, 300, 500}
        assert found(store, text="by VISA Paid", level="INFO") == {100, 300, 500}
        assert found(store, text="VISA", level="ERROR") == {700}
        assert found(store, text="paid", field="kind", value="VISA") == {300}
        assert numbers_of(store, Query(text="card VISA"), PageRequest(limit=2)) == [500, 300, 100]
        by_level = buckets_of(store, Grouping("level"), text="VISA card")
        assert by_level == [("INFO", 3)]

    def test_words(self, store: Store) -> None:
        """The text filter finds all its words in the message, in any case and order."""
        messages = ["Payment declined", "payment accepted", "Größe 5 überschritten", ""]
        put(store, [at(n, n=n, message=message) for n, message in enumerate(messages)])
        asked = ("payment", "DECLINED payment", "GRÖSSE", "pay", "payment überschritten", "--- ,")
        assert [found(store, text=text) for text in asked] == [
            {0, 1},
            {0},
            {2},
            set(),
            set(),
            set(),
        ]

    def test_words_of_errors(self, store: Store) -> None:
        """The text filter finds the words of an error's text and stack."""
        put(store, [at(1, n=1, err={"message": "disk full", "stack": "at Writer.flush"})])
        assert [found(store, text=text) for text in ("disk", "flush", "err")] == [{1}, {1}, set()]

    def test_text_in_an_empty_store(self, store: Store) -> None:
        """A text without a word finds nothing where there is nothing."""
        assert found(store, text="---") == set()

    def test_filters_combine(self, store: Store) -> None:
        """All filters that are given must hold."""
        records = [
            at(n, n=n, level=level, audit=audit, tenant=tenant, message=f"{word} news")
            for n, (level, audit, tenant, word) in enumerate(
                itertools.product(("INFO", "ERROR"), (True, False), ("a", "b"), ("good", "bad"))
            )
        ]
        put(store, records)
        choices = itertools.product(
            (None, "INFO", "ERROR"), (None, True, False), (None, "a", "b"), (None, "good"), (0, 5)
        )
        for level, audit, tenant, word, first in choices:
            query = Query(
                level=level,
                audit=audit,
                field=tenant and "tenant",
                value=tenant,
                text=word,
                from_ms=START_MS + first,
                to_ms=START_MS + 12,
            )
            expected = [
                record["n"]
                for record in records
                if first <= record["n"] <= 12
                and level in (None, record["level"])
                and audit in (None, record["audit"])
                and tenant in (None, record["tenant"])
                and (word is None or record["message"].startswith(word))
            ]
            assert numbers_of(store, query) == expected[::-1], query


# --- times --------------------------------------------------------------------------------------

EDGE_TIMES = [
    "0001-01-01T00:00:00.000Z",
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


class TimeContract(Contract):
    """`from` and `to`, at all times that can be written down."""

    times = tuple(parse_time(text) or 0 for text in EDGE_TIMES)
    bounds = tuple(sorted({ms + shift for ms in times for shift in (-1, 0, 1)}))

    @pytest.fixture
    def filled(self, store: Store) -> Store:
        """A store with an entry, `n` its position, at each of the times; levels take turns."""
        put(store, [self.record(n) for n in range(len(EDGE_TIMES))])
        return store

    def record(self, n: int) -> Record:
        """The record of one of the times."""
        return {"time": EDGE_TIMES[n], "n": n, "level": "WARN" if n % 2 else "INFO", "f": n % 3}

    def between(self, low: int | None, high: int | None) -> list[int]:
        """Which of the times lie in a range."""
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
        """Both together bound a range, which is empty where it is upside down."""
        for low, high in itertools.product(self.bounds, repeat=2):
            expected = self.between(low, high)[::-1]
            assert numbers_of(filled, Query(from_ms=low, to_ms=high)) == expected, (low, high)

    def test_ranges_with_filters(self, filled: Store) -> None:
        """A range holds beside filters."""
        for low, high in itertools.product(self.bounds[::2], repeat=2):
            expected = [n for n in self.between(low, high)[::-1] if n % 2 and n % 3 == 1]
            query = Query(from_ms=low, to_ms=high, level="WARN", field="f", value="1")
            assert numbers_of(filled, query) == expected, (low, high)

    @pytest.mark.parametrize("grouping", [Grouping("level"), Grouping("field", "level")])
    def test_counts_in_ranges(self, filled: Store, grouping: Grouping) -> None:
        """Aggregates count what lies in the range."""
        for low, high in itertools.product(self.bounds, repeat=2):
            expected = Counter(str(self.record(n)["level"]) for n in self.between(low, high))
            counted = buckets_of(filled, grouping, from_ms=low, to_ms=high)
            assert counted == in_order(expected), (low, high)

    def test_walking_in_ranges(self, filled: Store) -> None:
        """Cursors go over all of a range at the ends of time too."""
        for low, high in itertools.product(self.bounds[::3], repeat=2):
            expected = self.between(low, high)[::-1]
            assert (
                numbers_of(filled, Query(from_ms=low, to_ms=high), PageRequest(limit=1)) == expected
            ), (
                low,
                high,
            )

    def test_bounds_beyond_all_times(self, filled: Store) -> None:
        """A range may reach beyond everything that can be written down."""
        far = 10**15
        everything = self.between(None, None)[::-1]
        assert numbers_of(filled, Query(from_ms=-far, to_ms=far)) == everything
        assert numbers_of(filled, Query(from_ms=far)) == []
        assert numbers_of(filled, Query(to_ms=-far)) == []

    def test_ranges_around_a_crowded_millisecond(self, store: Store) -> None:
        """Ranges and counts are exact where thousands of entries share a millisecond."""
        records = [at(0, n=n, level="WARN") for n in range(MANY)]
        put(store, records + [at(shift, n=shift) for shift in (-1, 1, 2, 3)])
        for low, high in itertools.product(range(-2, 5), repeat=2):
            bounds: dict[str, Any] = {"from_ms": START_MS + low, "to_ms": START_MS + high}
            around = sum(low <= shift <= high for shift in (-1, 1, 2, 3))
            crowd = MANY if low <= 0 <= high else 0
            expected = +Counter({"WARN": crowd, "INFO": around})
            assert buckets_of(store, Grouping("level"), **bounds) == in_order(expected)
            page = store.search(Query(**bounds), PageRequest(limit=1000))
            assert len(page.entries) == min(1000, crowd + around)

    def test_instants(self, store: Store) -> None:
        """Times compare as instants, whatever their offset and unit."""
        same: list[object] = [
            *("2026-02-18T10:20:00Z", "2026-02-18T12:20:00+02:00", "2026-02-18 05:20:00.000-0500"),
            *(1771410000, 1771410000000, 1771410000000000, "1771410000"),
        ]
        put(store, [{"time": value, "n": n} for n, value in enumerate(same)])
        moment = 1771410000000
        assert numbers_of(store, Query(from_ms=moment, to_ms=moment)) == list(range(6, -1, -1))


# --- aggregates ---------------------------------------------------------------------------------

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
    """The bucket of a record."""
    if grouping.by == "level":
        return level_of(record)
    if grouping.by == "event":
        return event_of(record)
    if grouping.by == "correlation":
        return correlation_of(record) or MISSING
    text = field_text(record, grouping.field or "")
    return MISSING if text is None else text


def shown_as(grouping: Grouping) -> str:
    """The name of a test's case."""
    return grouping.field or grouping.by


class AggregateContract(Contract):
    """Counts by value."""

    def check(self, store: Store, records: Sequence[Record], grouping: Grouping) -> None:
        """Compare the buckets with what a plain count over the records gives."""
        for name, (filters, keeps) in FILTERS.items():
            counted = buckets_of(store, grouping, **filters)
            expected = Counter(key_of(record, grouping) for record in records if keeps(record))
            assert counted == in_order(expected), name

    @pytest.mark.parametrize("grouping", GROUPINGS, ids=shown_as)
    def test_counts(self, store: Store, grouping: Grouping) -> None:
        """Buckets count the entries by value, with and without each filter."""
        put(store, AGGREGATED)
        self.check(store, AGGREGATED, grouping)

    def test_counts_of_many(self, store: Store) -> None:
        """The same where there are thousands of entries."""
        times = MANY // len(AGGREGATED) + 1
        put(store, AGGREGATED * times)
        for grouping in GROUPINGS:
            if grouping.field != "time":  # more buckets than may be asked for
                self.check(store, AGGREGATED * times, grouping)

    def test_more_values_than_can_be_counted_one_by_one(self, store: Store) -> None:
        """Of thousands of values those with the most entries are found, also in a range."""
        records = [at(n, id=f"id-{n % (MANY - 3)}", n=n) for n in range(MANY)]
        put(store, records)
        expected = [("id-0", 2), ("id-1", 2), ("id-2", 2), ("id-10", 1)]
        grouping = Grouping("field", "id")
        assert buckets_of(store, grouping, limit=4) == expected
        assert buckets_of(store, grouping, limit=4, from_ms=START_MS) == expected

    def test_the_answer_names_its_grouping(self, store: Store) -> None:
        """An aggregate says by what it groups."""
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
        """Only the first buckets come, (missing) among them by its count."""
        put(store, [*(at(0, f="a") for _ in range(3)), at(0), at(0), at(0, f="b")])
        assert buckets_of(store, Grouping("field", "f"), limit=2) == [("a", 3), (MISSING, 2)]

    @pytest.mark.parametrize("by", ["field", "correlation"])
    def test_missing(self, store: Store, by: GroupBy) -> None:
        """Entries without a value count as (missing), with those that say so themselves."""
        values: list[object] = [MISSING, [], "c"]
        put(store, [at(0), *(at(0, correlationId=value) for value in values)])
        grouping = Grouping(by, "correlationId" if by == "field" else None)
        assert buckets_of(store, grouping) == [(MISSING, 3), ("c", 1)]

    def test_values(self, store: Store) -> None:
        """A bucket's key is the value's whole text; what has the same text is one bucket."""
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
        """Long events and ids come whole, derived or not."""
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
        """An entry counts once: by the key with dots, else by the shortest way into objects."""
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
        """An entry counts once, also if several of its fields tell the time that is asked for."""
        put(store, [{"timestamp": 1, "time": 1}, {"time": 1}])
        assert buckets_of(store, Grouping("level"), field="time", value="1") == [("INFO", 2)]

    def test_count(self, store: Store) -> None:
        """`count` is the number of all entries."""
        put(store, AGGREGATED, "a")
        put(store, AGGREGATED, "audit/b")
        assert store.count() == 2 * len(AGGREGATED)


# --- deleting -----------------------------------------------------------------------------------


class PurgeContract(Contract):
    """How the entries of discarded sources leave."""

    def test_nothing_to_purge(self, store: Store) -> None:
        """Where no source was discarded a purge does nothing, and says so."""
        put(store, [at(0)])
        assert (store.purge(10), store.count()) == (False, 1)

    def test_small_steps(self, store: Store) -> None:
        """Each step deletes `limit` entries at the most, until nothing is left."""
        put(store, AGGREGATED[:20], "kept")
        lost = put(store, AGGREGATED[:95], "lost")
        discard(store, lost)
        counts = [store.count()]
        while store.purge(10):
            counts.append(store.count())
        steps = [before - after for before, after in itertools.pairwise(counts)]
        assert (sum(steps), store.count(), max(steps)) == (95, 20, 10)

    def test_only_the_discarded_source(self, store: Store) -> None:
        """Entries of other sources stay, also those of the same millisecond."""
        put(store, [at(n // 4, n=n) for n in range(50)], "kept")
        lost = put(store, [at(n // 4, n=100 + n) for n in range(50)], "lost")
        put(store, [at(n // 4, n=50 + n) for n in range(50)], "kept too")
        discard(store, lost)
        purge_all(store, 7)
        assert set(numbers_of(store)) == set(range(100))

    @pytest.mark.parametrize("grouping", GROUPINGS, ids=shown_as)
    def test_counts_are_exact_afterwards(self, store: Store, grouping: Grouping) -> None:
        """After a purge every count is that of what is left."""
        put(store, AGGREGATED[::2], "kept")
        discard(store, put(store, AGGREGATED, "lost"))
        purge_all(store, 50)
        for filters, keeps in FILTERS.values():
            expected = Counter(key_of(one, grouping) for one in AGGREGATED[::2] if keeps(one))
            assert buckets_of(store, grouping, **filters) == in_order(expected)

    def test_counts_of_many_are_exact_afterwards(self, store: Store) -> None:
        """The same where thousands of entries are left."""
        times = MANY // len(AGGREGATED) + 1
        put(store, AGGREGATED * times, "kept")
        discard(store, put(store, AGGREGATED * 3, "lost"))
        purge_all(store, 500)
        for grouping in GROUPINGS:
            if grouping.field != "time":
                expected = Counter(key_of(one, grouping) for one in AGGREGATED * times)
                assert buckets_of(store, grouping) == in_order(expected)
        assert store.count() == times * len(AGGREGATED)

    def test_values_are_gone(self, store: Store) -> None:
        """No filter finds what was purged, whatever its fields held."""
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
        purge_all(store, 100)
        asked = [("f", scalar_text(value)) for value in VALUES] + [(name, "v") for name in NAMES]
        assert (store.count(), numbers_of(store)) == (1, [-1])
        assert [pair for pair in asked if found(store, field=pair[0], value=pair[1])] == []
        assert buckets_of(store, Grouping("level")) == [("INFO", 1)]
        assert buckets_of(store, Grouping("event")) == [("log.event", 1)]

    def test_entries_show_until_they_leave(self, store: Store) -> None:
        """Discarding alone deletes nothing."""
        discard(store, put(store, [at(0, n=1)]))
        assert (store.count(), numbers_of(store)) == (1, [1])

    def test_a_purge_goes_on_after_reopening(self, open_store: OpenStore) -> None:
        """What was discarded leaves even if the purge is broken off in between."""
        store = open_store()
        kept = put(store, [at(0, n=-1)], "kept")
        discard(store, put(store, [at(n, n=n) for n in range(30)], "lost"))
        store.purge(10)
        store.close()
        reopened = open_store()
        purge_all(reopened, 10)
        assert (reopened.sources(), numbers_of(reopened)) == ([kept], [-1])

    def test_a_purge_of_what_another_store_has_written(self, open_store: OpenStore) -> None:
        """One store deletes what another one, open at the same time, has written and discarded."""
        store, other = open_store(), open_store()
        records = [at(n, n=n, message=f"order {n} of tenant {n % 7} created") for n in range(2500)]
        discard(other, put(other, records))
        purge_all(store)
        assert [one.count() for one in (store, other)] == [0, 0]

    def test_writing_between_steps(self, store: Store) -> None:
        """Entries may be added while others leave, in the same millisecond too."""
        discard(store, put(store, [at(0, n=n) for n in range(30)], "lost"))
        added = 0
        while store.purge(10):
            put(store, [at(0, n=100 + added)], f"new-{added}")
            added += 1
        assert sorted(numbers_of(store)) == list(range(100, 100 + added))

    def test_a_source_without_entries(self, store: Store) -> None:
        """A source that never had an entry can be discarded too."""
        discard(store, put(store, []))
        purge_all(store)
        assert (store.sources(), store.purge(1)) == ([], False)

    def test_a_crowded_millisecond(self, store: Store) -> None:
        """Counts are exact also after thousands of entries of one millisecond have left."""
        crowd = [at(0, n=n, kind="crowd") for n in range(MANY)]
        put(store, [at(shift, n=-1, kind="kept") for shift in (-1, 0, 1, 2, 3)], "kept")
        discard(store, put(store, crowd, "lost"))
        put(store, [at(shift, n=-2, kind="kept") for shift in (-1, 0, 1, 2, 3)], "kept too")
        purge_all(store)
        assert (store.count(), len(entries_of(store))) == (10, 10)
        assert buckets_of(store, Grouping("level")) == [("INFO", 10)]
        assert buckets_of(store, Grouping("field", "kind")) == [("kept", 10)]

    def test_many_discarded_sources(self, store: Store) -> None:
        """Several sources may be discarded at once, also in the batch that filled them."""
        batch = store.batch()
        for number in range(5):
            source = batch.open_source(f"{number}")
            add(batch, source, [at(n, n=n) for n in range(number * 3)])
            batch.discard_source(source)
        commit(store, batch)
        purge_all(store, 4)
        assert (store.count(), entries_of(store)) == (0, [])


# --- what is too old, and a new index -----------------------------------------------------------


def prune_all(store: Store, limit: int = 1000, **cutoffs: int | None) -> Deleted:
    """Prune to the end; what was deleted. Times are counted from START_MS."""
    given = {name: None if ms is None else START_MS + ms for name, ms in cutoffs.items()}
    wanted = Cutoffs(normal_ms=given.get("normal"), audit_ms=given.get("audit"))
    deleted, position = Deleted(), 0
    while True:
        some, found = store.prune(wanted, position, limit)
        deleted.add(some)
        if found is None:
            return deleted
        position = found


def read_again(store: Store, records: Sequence[Record]) -> int:
    """Give a new index all that its one source holds; how many entries that makes."""
    (source,) = store.sources()
    assert source.checkpoint.offset == 0
    batch = store.batch()
    add(batch, source, records, Checkpoint(offset=1, line=len(records)))
    taken = prepare(batch).records
    store.commit(batch)
    return taken


class UpkeepContract(Contract):
    """Retention, and the index that takes another one's place."""

    def test_what_is_too_old_leaves(self, store: Store) -> None:
        """An entry of the cutoff itself stays; normal and audit entries go by their own."""
        put(store, [at(n, n=n, audit=bool(n % 2)) for n in range(10)])
        deleted = prune_all(store, normal=6, audit=3)
        assert (deleted.normal_entries, deleted.audit_entries) == (3, 1)
        assert deleted.field_values == 4 * 3
        assert sorted(numbers_of(store)) == [3, 5, 6, 7, 8, 9]
        assert store.count() == 6

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_in_steps_of_any_size(self, store: Store, limit: int) -> None:
        """All that is too old leaves, and nothing else."""
        put(store, [at(n % 7, n=n, audit=not n % 3) for n in range(50)])
        prune_all(store, limit, normal=4, audit=2)
        kept = [n for n in range(50) if n % 7 >= (4 if n % 3 else 2)]
        assert sorted(numbers_of(store)) == kept

    def test_no_cutoff(self, store: Store) -> None:
        """Without one nothing leaves, of any kind."""
        put(store, [at(0, n=0), at(0, n=1, audit=True)])
        assert prune_all(store, normal=None, audit=None).entries == 0
        assert prune_all(store, normal=None, audit=5).entries == 1
        assert numbers_of(store) == [0]

    def test_aggregates_forget(self, store: Store) -> None:
        """Counts are those of what is left."""
        put(store, [at(n, n=n, kind=f"k{n % 3}") for n in range(300)])
        prune_all(store, normal=200)
        assert sum(count for _, count in buckets_of(store, Grouping("field", "kind"))) == 100
        assert buckets_of(store, Grouping("level")) == [("INFO", 100)]

    def test_sources_that_are_gone_and_empty(self, store: Store) -> None:
        """They are forgotten; one that has entries left, or is there, is not."""
        sources = [put(store, [at(n * 10)], f"{n}.ndjson") for n in range(3)]
        batch = store.batch()
        for source in sources[:2]:
            batch.update_source(msgspec.structs.replace(source, gone=True))
        commit(store, batch)
        prune_all(store, normal=5, audit=5)
        assert {source.path for source in store.sources()} == {"1.ndjson", "2.ndjson"}

    def test_sources_know_of_audit(self, store: Store) -> None:
        """Also when the entry has left."""
        put(store, [at(0), at(0, audit=True)], "a")
        put(store, [at(0)], "b")
        prune_all(store, audit=1)
        assert {source.path: source.holds_audit for source in store.sources()} == {
            "a": True,
            "b": False,
        }

    def test_tidying_comes_to_an_end(self, store: Store) -> None:
        """It says when nothing is left to be done, and changes no answer."""
        put(store, [at(n, n=n, note=f"words of number {n}") for n in range(5_000)])
        prune_all(store, normal=4_500)
        while store.tidy():
            pass
        assert store.tidy() is False
        assert numbers_of(store) == list(range(4_999, 4_499, -1))
        assert found(store, text="4700") == {4_700}

    def test_a_new_index(self, store: Store) -> None:
        """It begins with the same sources and no entries, and is what is asked once it is there."""
        records = [at(n, n=n) for n in range(10)]
        put(store, records)
        rebuild = store.rebuild()
        assert rebuild.store.count() == 0
        assert store.count() == 10
        replaced = rebuild.swap(lambda: read_again(rebuild.store, records[:4]))
        assert (replaced.normal_entries, replaced.field_values) == (10, 20)
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
        batch = store.batch()
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
        prune_all(store, normal=6, audit=4)
        batch = store.batch()
        late = [at(0, n=10), at(1, n=11, audit=True)]
        checkpoint = Checkpoint(offset=120, line=12)
        add(batch, source, late, checkpoint, first=11)
        commit(store, batch)
        rebuild = store.rebuild()
        taken: list[int] = []
        rebuild.swap(lambda: taken.append(read_again(rebuild.store, records + late)))
        assert taken == [7]
        assert sorted(numbers_of(store)) == [5, 6, 7, 8, 9, 10, 11]


# --- threads ------------------------------------------------------------------------------------


class ThreadContract(Contract):
    """Questions from many threads while one writes."""

    COMMITS, EACH = 40, 25

    def test_answers_are_whole_while_others_are_written(self, store: Store) -> None:
        """Whoever asks sees whole commits only, in every answer, and never fewer than before."""
        questions: list[Callable[[], int]] = [
            store.count,
            lambda: len(store.search(EVERYTHING).entries),
            lambda: len(
                store.search(Query(field="all", value="true"), PageRequest(limit=1000)).entries
            ),
            lambda: sum(count for _, count in buckets_of(store, Grouping("field", "batch"))),
        ]
        done = threading.Event()
        answers: list[list[int]] = [[0] for _ in questions * 2]

        def ask(question: Callable[[], int], seen: list[int]) -> None:
            while not done.is_set():
                seen.append(question())

        with ThreadPoolExecutor(len(answers)) as pool:
            asking = [pool.submit(ask, *pair) for pair in zip(questions * 2, answers, strict=True)]
            for commit in range(self.COMMITS):
                records = [at(n, batch=commit, all=True) for n in range(self.EACH)]
                put(store, records, f"{commit}")
            done.set()
            for one in asking:
                one.result(DEADLINE_S)
        assert [seen for seen in answers if seen != sorted(seen)] == []
        assert [n for seen in answers for n in seen if n % self.EACH] == []

    def test_more_threads_than_the_store_has_connections(self, store: Store) -> None:
        """Every thread gets its answer, however many ask at once."""
        put(store, [at(n, n=n) for n in range(100)])
        barrier = threading.Barrier(20)

        def ask(_: int) -> list[int]:
            barrier.wait(DEADLINE_S)
            return numbers_of(store, Query(), PageRequest(limit=10))

        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(ask, range(20))) == [list(range(99, -1, -1))] * 20

    def test_closing_ends_questions(self, store: Store) -> None:
        """A store closes while others ask; whoever still asks gets a StoreError."""
        put(store, [at(n, n=n) for n in range(500)])
        asked = threading.Semaphore(0)

        def ask() -> None:
            while True:
                entries_of(store, Query(), PageRequest(limit=50))
                asked.release()

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            for _ in asking:
                assert asked.acquire(timeout=DEADLINE_S)
            store.close()
            errors = [one.exception(DEADLINE_S) for one in asking]
        assert [error for error in errors if not isinstance(error, StoreError)] == []
