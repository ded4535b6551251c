"""The contract of every store for sources, batches and commits."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from mikroscope.errors import StaleBatchError, StoreError
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.query.model import Grouping, Query
from mikroscope.stores.base import Cutoffs, Store
from tests.stores.contract.base import (
    START_MS,
    Contract,
    OpenStore,
    add,
    at,
    collect_all,
    commit,
    count,
    discard,
    entries_of,
    found,
    numbers_of,
    prepare,
    put,
    put_again,
    record_of,
)


class Elsewhere:
    """An executor that pickles everything, as another process would."""

    def submit(self, work: Callable[[], Any], /) -> "Future[Any]":
        """Run the work on its unpickled copy."""
        future: Future[Any] = Future()
        future.set_result(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(work))())))  # noqa: S301
        return future


class Broken:
    """An executor whose process has ended."""

    def submit(self, _work: Callable[[], Any], /) -> "Future[Any]":
        """Fail."""
        future: Future[Any] = Future()
        future.set_exception(StoreError("no process"))
        return future


class WritingContract(Contract):
    """Sources, batches, commits."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        """A new store has no entries and no sources."""
        assert (count(store), store.sources(), entries_of(store)) == (0, [], [])

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
        batch = store.begin()
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
        """An update replaces path, checkpoint and `gone` of a source."""
        source = put(store, [at(0)])
        changed = msgspec.structs.replace(
            source, path="renamed.ndjson", checkpoint=Checkpoint(offset=99), gone=True
        )
        batch = store.begin()
        batch.update_source(changed)
        commit(store, batch)
        assert store.sources() == [changed]

    def test_entries_follow_a_renamed_source(self, store: Store) -> None:
        """Entries name their source by its current path."""
        source = put(store, [at(0)], "app.ndjson")
        batch = store.begin()
        batch.update_source(msgspec.structs.replace(source, path="app.1.ndjson"))
        commit(store, batch)
        assert [entry.source_file for entry in entries_of(store)] == ["app.1.ndjson"]

    def test_a_discarded_source_is_not_listed(self, store: Store) -> None:
        """A discarded source is not listed."""
        kept, lost = put(store, [at(0)], "kept"), put(store, [at(1)], "lost")
        discard(store, lost)
        assert store.sources() == [kept]

    def test_no_two_sources_share_an_id(self, open_store: OpenStore) -> None:
        """A source's id is unique, also after reopening the store and discarding a source."""
        store = open_store()
        ids = [put(store, [at(0)], path).id for path in ("a", "b")]
        discard(store, store.sources()[-1])
        collect_all(store)
        store.close()
        ids.append(put(open_store(), [at(0)], "a").id)
        assert len(set(ids)) == 3

    def test_a_batch_counts_its_entries(self, store: Store) -> None:
        """A batch's result counts lines and entries, and names the lines that are not records."""
        batch = store.begin()
        add(batch, batch.open_source("a"), [at(0), b" ", at(1)])
        add(batch, batch.open_source("b"), [at(2), b"[1]"], first=7)
        accepted = prepare(batch)
        assert (accepted.lines, accepted.records) == (4, 3)
        assert [problem[:2] for problem in accepted.problems] == [("b", 8)]

    def test_an_executor_may_prepare_in_another_process(self, store: Store) -> None:
        """An executor may pickle the work of a batch and its result."""
        put(store, [at(n, n=n, text=f"{n} of many") for n in range(1500)], "before")
        batch = store.begin()
        records = [at(2000 - n, n=n, sub={"n": n}, audit=n == 7) for n in range(100)]
        add(batch, batch.open_source("app.ndjson"), records)
        assert batch.prepare(Elsewhere()).result().records == 100
        store.commit(batch)
        assert numbers_of(store, Query(from_ms=START_MS + 1901)) == list(range(100))
        assert found(store, field="sub.n", value="42") == {42}
        assert found(store, audit=True) == {7}

    def test_an_executor_that_fails(self, store: Store) -> None:
        """A batch whose preparation failed cannot be committed, and leaves nothing."""
        batch = store.begin()
        add(batch, batch.open_source("app.ndjson"), [at(0)])
        with pytest.raises(StoreError, match="no process"):
            batch.prepare(Broken()).result()
        with pytest.raises(StoreError, match="no process"):
            store.commit(batch)
        assert (count(store), store.sources()) == (0, [])

    def test_committing_prepares(self, store: Store) -> None:
        """`commit` prepares a batch that was not prepared."""
        batch = store.begin()
        add(batch, batch.open_source("app.ndjson"), [at(0, n=7)])
        store.commit(batch)
        assert numbers_of(store) == [7]

    def test_nothing_is_added_after_preparing(self, store: Store) -> None:
        """A batch that was prepared takes no more lines."""
        batch = store.begin()
        source = batch.open_source("app.ndjson")
        add(batch, source, [at(0)])
        batch.prepare()
        with pytest.raises(StoreError):
            add(batch, source, [at(1)], first=2)

    def test_records_are_only_read(self, store: Store) -> None:
        """Committing a batch does not change the parsed lines given to it."""
        records = [
            at(n, n=n, level="info", event="", correlationId=None, sub={"a": n}) for n in range(3)
        ]
        kept = copy.deepcopy(records)
        batch = store.begin()
        lines = b"\n".join(msgspec.json.encode(record) for record in records)
        batch.add(batch.open_source("app.ndjson"), 1, lines, Checkpoint(line=3), records)
        commit(store, batch)
        assert records == kept
        assert [record_of(entry) for entry in entries_of(store)] == kept[::-1]

    def test_refresh_makes_batches_stale(self, store: Store) -> None:
        """A batch that began before `refresh` is refused and leaves nothing in the store."""
        batch = store.begin()
        add(batch, batch.open_source("app.ndjson"), [at(0)])
        store.refresh()
        with pytest.raises(StaleBatchError):
            commit(store, batch)
        put(store, [at(1, n=1)])
        assert (count(store), numbers_of(store)) == (1, [1])

    def test_nothing_shows_before_commit(self, open_store: OpenStore) -> None:
        """Neither this store nor another one on the same index shows a batch before its commit."""
        stores = [open_store(), open_store()]
        batch = stores[0].begin()
        add(batch, batch.open_source("app.ndjson"), [at(0)])
        assert [(count(one), one.sources(), entries_of(one)) for one in stores] == [(0, [], [])] * 2

    def test_everything_shows_after_commit(self, open_store: OpenStore) -> None:
        """When `commit` returns, this store and every other one show the entries."""
        stores = [open_store(), open_store()]
        put(stores[0], [at(0, n=0), at(1, n=1)])
        assert [(count(one), numbers_of(one)) for one in stores] == [(2, [1, 0])] * 2

    def test_an_empty_batch_can_be_committed(self, store: Store) -> None:
        """An empty batch changes nothing."""
        source = put(store, [at(0)])
        commit(store, store.begin())
        assert (count(store), store.sources()) == (1, [source])

    def test_a_checkpoint_moves_without_entries(self, store: Store) -> None:
        """Lines that are not records still count as read."""
        batch = store.begin()
        add(batch, batch.open_source("app.ndjson"), [], Checkpoint(offset=50, line=3))
        commit(store, batch)
        assert [(one.checkpoint.offset, one.checkpoint.line) for one in store.sources()] == [
            (50, 3)
        ]

    def test_a_source_grows(self, store: Store) -> None:
        """Entries of one source may arrive in many batches; each keeps its line number."""
        source = put(store, [at(0), at(1)])
        batch = store.begin()
        add(batch, source, [at(2)], Checkpoint(line=7), first=7)
        commit(store, batch)
        assert [entry.line_number for entry in entries_of(store)] == [7, 2, 1]

    def test_several_sources_in_one_batch(self, store: Store) -> None:
        """A batch may hold entries of several sources, added alternately."""
        batch = store.begin()
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
        """A dropped batch leaves nothing, and later batches are complete in every store."""
        store = open_store()
        records = [at(n, n=n, message=f"order {n} of tenant {n % 7} created") for n in range(2500)]
        dropped = store.begin()
        add(dropped, dropped.open_source("dropped"), records)
        source = put(store, records, "kept")
        store.close()
        reopened = open_store()
        assert (reopened.sources(), count(reopened)) == ([source], 2500)
        assert numbers_of(reopened) == list(range(2499, -1, -1))

    def test_a_batch_is_stale_when_another_store_has_written(self, open_store: OpenStore) -> None:
        """A batch that began before another store committed is refused."""
        store, other = open_store(), open_store()
        batch = store.begin()
        add(batch, batch.open_source("late"), [at(0)])
        put(other, [at(1)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, batch)

    def test_nothing_of_a_stale_batch_is_there(self, open_store: OpenStore) -> None:
        """A stale batch leaves no entries and changes no sources."""
        store, other = open_store(), open_store()
        moved, discarded = put(store, [at(0, n=0)], "moved"), put(store, [at(1, n=1)], "discarded")
        batch = store.begin()
        add(batch, batch.open_source("new"), [at(2, n=2)])
        batch.update_source(msgspec.structs.replace(moved, path="elsewhere"))
        batch.discard_source(discarded)
        early = put_again(other, [at(3, n=3)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, batch)
        assert store.sources() == [moved, discarded, early]
        assert (numbers_of(store), count(store), list(store.collect())) == ([3, 1, 0], 3, [])

    def test_a_stale_batch_can_be_made_anew(self, open_store: OpenStore) -> None:
        """After StaleBatchError, the next batch builds on what the other store has written."""
        store, other = open_store(), open_store()
        stale = store.begin()
        put(other, [at(1, n=1)], "early")
        with pytest.raises(StaleBatchError):
            commit(store, stale)
        put(store, [at(2, n=2)], "late")
        assert [numbers_of(one) for one in (store, other)] == [[2, 1]] * 2
        assert len({source.id for source in store.sources()}) == 2

    def test_every_batch_begun_before_is_stale(self, open_store: OpenStore) -> None:
        """A refused batch does not make an older one acceptable."""
        store, other = open_store(), open_store()
        batches = [store.begin(), store.begin()]
        for batch in batches:
            add(batch, batch.open_source("late"), [at(0)])
        put(other, [at(1)], "early")
        for batch in batches:
            with pytest.raises(StaleBatchError):
                commit(store, batch)
        assert count(store) == 1

    def test_two_stores_take_turns(self, open_store: OpenStore) -> None:
        """Two stores that retry after StaleBatchError lose and duplicate nothing."""
        stores = [open_store(), open_store()]
        for n in range(20):
            put_again(stores[n % 2], [at(n, n=n)], f"{n}")
        assert [numbers_of(store) for store in stores] == [list(range(19, -1, -1))] * 2

    def test_a_commit_that_nobody_waits_for(self, open_store: OpenStore) -> None:
        """After a commit without `wait`, asking for the sources waits until it is visible."""
        store = open_store()
        batches = []
        for n in range(3):
            batches.append(store.begin())
            source = batches[-1].open_source(f"{n}")
            add(batches[-1], source, [at(n, n=n)])
            commit(store, batches[-1], wait=False)
        assert len(store.sources()) == 3
        assert [numbers_of(one) for one in (store, open_store())] == [[2, 1, 0]] * 2

    def test_closing_waits_for_the_last_commit(self, open_store: OpenStore) -> None:
        """A commit without `wait` is complete after closing and reopening."""
        store = open_store()
        batch = store.begin()
        add(batch, batch.open_source("app.ndjson"), [at(0, n=0)])
        commit(store, batch, wait=False)
        store.close()
        assert numbers_of(open_store()) == [0]

    def test_a_stale_commit_that_nobody_waits_for(self, open_store: OpenStore) -> None:
        """A commit without `wait`, or the next call, raises the failure of its batch."""
        store, other = open_store(), open_store()
        batch = store.begin()
        add(batch, batch.open_source("late"), [at(0, n=0)])
        put(other, [at(1, n=1)], "early")
        with pytest.raises(StaleBatchError):  # noqa: PT012 - either may raise
            commit(store, batch, wait=False)
            store.sources()
        assert numbers_of(store) == [1]

    def test_size(self, store: Store) -> None:
        """The reported size is that of the kept data."""
        put(store, [at(n, text=f"{n}" * 50) for n in range(1000)])
        status = store.status()
        assert status.size_bytes is None or status.size_bytes > 1000
        assert status.problem is None

    def test_a_closed_store_answers_no_more(self, store: Store) -> None:
        """After `close`, every query and every write raises StoreError."""
        put(store, [at(0)])
        batch = store.begin()
        store.close()
        questions: list[Callable[[], object]] = [
            lambda: count(store),
            store.sources,
            lambda: store.search(Query()),
            lambda: store.aggregate(Query(), Grouping("level")),
            lambda: commit(store, batch),
            lambda: list(store.collect()),
            lambda: list(store.expire(Cutoffs(None, 1))),
            lambda: list(store.compact()),
            lambda: list(store.scan(Query())),
            lambda: store.get(1),
            store.fields,
            store.refresh,
        ]
        for question in questions:
            with pytest.raises(StoreError):
                question()

    def test_closing_twice(self, store: Store) -> None:
        """A second `close` does nothing."""
        store.close()
        store.close()
