"""The contract of every store for lines that are added again."""

import msgspec
import pytest

from mikroscope.logfiles.sources import Checkpoint
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    Contract,
    OpenStore,
    Record,
    add,
    at,
    commit,
    count,
    discard,
    entries_of,
    numbers_of,
    prepare,
    put,
)
from tests.stores.contract.expiry import expire_all

RECORDS = [at(n % 5, n=n, audit=not n % 3) for n in range(20)]


def lines_of(store: Store) -> list[tuple[str, int, int]]:
    """Return file, line number and `n` of every entry, sorted."""
    found = (
        (entry.source_file, entry.line_number, int(msgspec.json.decode(entry.data)["n"]))
        for entry in entries_of(store)
    )
    return sorted(found)


def expected(path: str = "app.ndjson", records: int = 20) -> list[tuple[str, int, int]]:
    """Return all records, each once under its own line."""
    return sorted((path, n + 1, n) for n in range(records))


class IdempotenceContract(Contract):
    """Adding is idempotent on (source, line)."""

    def test_the_same_lines_twice(self, store: Store) -> None:
        """Lines that are added in two batches are stored once, and the second batch counts none."""
        source = put(store, RECORDS)
        batch = store.begin()
        add(batch, source, RECORDS, source.checkpoint)
        assert prepare(batch).records == 0
        store.commit(batch)
        assert (lines_of(store), count(store)) == (expected(), 20)

    def test_the_same_lines_twice_in_one_batch(self, store: Store) -> None:
        """Lines that are added twice in one batch are stored once."""
        batch = store.begin()
        source = batch.open_source("app.ndjson")
        add(batch, source, RECORDS[:15])
        add(batch, source, RECORDS[10:], first=11)
        commit(store, batch)
        assert (lines_of(store), count(store)) == (expected(), 20)

    def test_the_same_lines_in_two_batches_under_way(self, store: Store) -> None:
        """The next batch does not add lines of a batch that is not committed yet."""
        first = store.begin()
        source = first.open_source("app.ndjson")
        add(first, source, RECORDS[:15])
        first.prepare()
        second = store.begin()
        add(second, source, RECORDS[5:], first=6)
        second.prepare()
        for batch in (first, second):
            commit(store, batch, wait=batch is second)
        assert (lines_of(store), count(store)) == (expected(), 20)

    def test_a_batch_that_is_dropped_adds_nothing(self, store: Store) -> None:
        """The next batch adds the lines of a dropped batch."""
        source = put(store, RECORDS[:5])
        dropped = store.begin()
        add(dropped, source, RECORDS[5:], first=6)
        dropped.prepare()
        del dropped
        store.refresh()
        batch = store.begin()
        add(batch, source, RECORDS, Checkpoint(line=20))
        commit(store, batch)
        assert lines_of(store) == expected()

    @pytest.mark.parametrize("first", [1, 4, 10])
    def test_overlaps(self, store: Store, first: int) -> None:
        """If lines overlap with stored ones, only the new ones are added."""
        source = put(store, RECORDS[3:9])  # lines 1 to 6 of a file that begins there
        batch = store.begin()
        add(batch, source, RECORDS[2 + first :], first=first)
        commit(store, batch)
        there = {*range(1, 7), *range(first, first + len(RECORDS[2 + first :]))}
        assert [line for _, line, _ in lines_of(store)] == sorted(there)

    def test_gaps_are_filled(self, store: Store) -> None:
        """Lines that come before stored lines of their source are added."""
        batch = store.begin()
        source = batch.open_source("app.ndjson")
        for start in (15, 5, 10, 0):
            add(batch, source, RECORDS[start : start + 3], first=start + 1)
        commit(store, batch)
        batch = store.begin()
        add(batch, source, RECORDS, Checkpoint(line=20))
        assert prepare(batch).records == 8
        store.commit(batch)
        assert lines_of(store) == expected()

    def test_with_parsed_records(self, store: Store) -> None:
        """Lines with their parsed records are also added only once."""
        source = put(store, RECORDS[:12])
        batch = store.begin()
        lines = b"\n".join(msgspec.json.encode(record) for record in RECORDS[4:])
        batch.add(source, 5, lines, Checkpoint(line=20), RECORDS[4:])
        commit(store, batch)
        assert lines_of(store) == expected()

    def test_lines_that_are_not_records(self, store: Store) -> None:
        """Blank and invalid lines between records keep the line numbers of the others."""
        mixed: list[Record | bytes] = [RECORDS[0], b"", b"[]", RECORDS[3], b"  ", RECORDS[5]]
        source = put(store, mixed[:4])
        batch = store.begin()
        add(batch, source, mixed)
        commit(store, batch)
        assert lines_of(store) == [("app.ndjson", n + 1, n) for n in (0, 3, 5)]

    def test_another_source_has_its_own_lines(self, store: Store) -> None:
        """The same lines of another source are separate entries."""
        put(store, RECORDS, "a")
        put(store, RECORDS, "b")
        assert lines_of(store) == expected("a") + expected("b")

    def test_a_crash_between_entries_and_checkpoint(self, open_store: OpenStore) -> None:
        """If entries are ahead of the checkpoint, reading again from it duplicates nothing."""
        store = open_store()
        source = put(store, RECORDS[:8])
        batch = store.begin()
        add(batch, source, RECORDS[8:15], source.checkpoint, first=9)  # the checkpoint stays behind
        commit(store, batch)
        store.close()
        reopened = open_store()
        (source,) = reopened.sources()
        assert source.checkpoint.line == 8
        batch = reopened.begin()
        add(batch, source, RECORDS[8:], Checkpoint(line=20), first=9)
        assert prepare(batch).records == 5
        reopened.commit(batch)
        assert (lines_of(reopened), count(reopened)) == (expected(), 20)

    def test_a_crash_before_the_commit(self, open_store: OpenStore) -> None:
        """Lines that were prepared but not committed are read again and stored once."""
        store = open_store()
        source = put(store, RECORDS[:8])
        batch = store.begin()
        add(batch, source, RECORDS[8:], Checkpoint(line=20), first=9)
        prepare(batch)
        store.close()
        reopened = open_store()
        batch = reopened.begin()
        add(batch, reopened.sources()[0], RECORDS[8:], Checkpoint(line=20), first=9)
        commit(reopened, batch)
        assert lines_of(reopened) == expected()

    def test_deleting_what_was_added_again(self, store: Store) -> None:
        """Counts and filters agree after lines were added again and their source was discarded."""
        source = put(store, RECORDS, "a")
        batch = store.begin()
        add(batch, source, RECORDS)
        commit(store, batch)
        assert expire_all(store, normal=2, audit=2).entries == 8
        discard(store, source)
        for _ in store.collect():
            pass
        assert (count(store), numbers_of(store)) == (0, [])
