"""The contract of every store for lines whose entries are replaced."""

import msgspec
import pytest

from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.query.model import Grouping, Query
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    Contract,
    OpenStore,
    Record,
    add,
    at,
    buckets_of,
    collect_all,
    commit,
    count,
    discard,
    found,
    prepare,
    put,
)
from tests.stores.contract.expiry import expire_all
from tests.stores.contract.idempotence import RECORDS, expected, lines_of

LAST = 20


def replace(store: Store, source: Source, *records: Record | bytes, line: int = LAST) -> None:
    """Commit that a line became something else, and what follows it."""
    batch = store.begin()
    batch.remove_line(source, line)
    add(batch, source, records, Checkpoint(line=line + len(records) - 1), first=line)
    commit(store, batch)


class ReplacingContract(Contract):
    """`remove_line` makes way for what a line became."""

    @pytest.mark.parametrize("line", [1, 7, LAST])
    @pytest.mark.parametrize("time", [0, 3, 90_000])
    def test_a_line_is_replaced(self, store: Store, line: int, time: int) -> None:
        """The new entry is found, the old one is not, and nothing else has changed."""
        source = put(store, RECORDS)
        replace(store, source, at(time, n=99, level="ERROR", audit=True), line=line)
        want = [(path, number, 99 if number == line else n) for path, number, n in expected()]
        assert (lines_of(store), count(store)) == (want, 20)
        assert found(store, level="ERROR") == {99}
        assert found(store, field="n", value=str(line - 1)) == set()
        audit = {n for n in range(20) if not n % 3 and n != line - 1} | {99}
        assert found(store, audit=True) == audit
        assert sum(bucket.count for bucket in store.histogram(Query(), 60_000)) == 20
        assert dict(buckets_of(store, Grouping("level"))) == {"INFO": 19, "ERROR": 1}

    def test_the_lines_after_it_come_with_it(self, store: Store) -> None:
        """Lines that follow a replaced one are added as well."""
        source = put(store, RECORDS)
        replace(store, source, at(1, n=99), at(2, n=20), at(3, n=21))
        assert [n for _, _, n in lines_of(store)] == [*range(19), 99, 20, 21]

    def test_a_line_is_removed(self, store: Store) -> None:
        """A line that became nothing, or no record, loses its entry and counts as read."""
        source = put(store, RECORDS)
        batch = store.begin()
        batch.remove_line(source, 20)
        add(batch, source, [b'{"n":19}x', at(1, n=20)], Checkpoint(line=21), first=20)
        result = prepare(batch)
        store.commit(batch)
        assert (result.lines, result.records, [one.line for one in result.problems]) == (2, 1, [20])
        assert [n for _, _, n in lines_of(store)] == [*range(19), 20]

    def test_only_a_removal(self, store: Store) -> None:
        """A batch may remove a line and add nothing."""
        source = put(store, RECORDS)
        batch = store.begin()
        batch.remove_line(source, 20)
        commit(store, batch)
        assert lines_of(store) == expected(records=19)

    def test_a_line_that_has_no_entry(self, store: Store) -> None:
        """Removing what is not there changes nothing: a line without entry, or of no source yet."""
        source = put(store, [*RECORDS, b"no record"])
        replace(store, source, at(1, n=20), line=21)
        batch = store.begin()
        other = batch.open_source("other.ndjson")
        batch.remove_line(other, 1)
        add(batch, other, RECORDS)
        commit(store, batch)
        assert lines_of(store) == sorted(expected(records=21) + expected("other.ndjson"))

    def test_the_same_line_of_another_source_stays(self, store: Store) -> None:
        """Only the named source loses its line."""
        source = put(store, RECORDS, "a")
        put(store, RECORDS, "b")
        replace(store, source, b"nothing")
        assert lines_of(store) == sorted(expected("a", 19) + expected("b"))

    def test_twice_in_one_batch(self, store: Store) -> None:
        """The last of two replacements in one batch stays, and adding it again changes nothing."""
        source = put(store, RECORDS)
        batch = store.begin()
        for n in (98, 99):
            batch.remove_line(source, LAST)
            add(batch, source, [at(0, n=n), at(0, n=20)], first=LAST)
        add(batch, source, [at(0, n=97), at(0, n=20)], first=LAST)
        commit(store, batch)
        assert [n for _, _, n in lines_of(store)] == [*range(19), 99, 20]

    @pytest.mark.parametrize("first", [1, 11, LAST])
    def test_what_the_batch_itself_has_added(self, store: Store, first: int) -> None:
        """A line of a source that is new in the batch may be replaced in it."""
        batch = store.begin()
        source = batch.open_source("app.ndjson")
        add(batch, source, RECORDS)
        batch.remove_line(source, first)
        add(batch, source, [at(0, n=99)], first=first)
        commit(store, batch)
        assert [n for _, _, n in lines_of(store)] == [
            99 if n == first - 1 else n for n in range(20)
        ]

    def test_batches_that_are_read_ahead(self, store: Store) -> None:
        """A line that an earlier batch has added, not committed yet, is replaced."""
        first, second = store.begin(), store.begin()
        source = first.open_source("app.ndjson")
        add(first, source, RECORDS)
        second.remove_line(source, LAST)
        add(second, source, [at(0, n=99), at(0, n=20)], first=LAST)
        prepare(first)
        prepare(second)
        store.commit(first, wait=False)
        store.commit(second, wait=False)
        store.refresh()
        assert [n for _, _, n in lines_of(store)] == [*range(19), 99, 20]

    def test_again_after_a_crash(self, open_store: OpenStore) -> None:
        """A replacement that was committed without its checkpoint may be done again."""
        store = open_store()
        source = put(store, RECORDS)
        replace(store, source, at(0, n=99), at(0, n=20))
        store.close()
        reopened = open_store()
        replace(reopened, source, at(0, n=99), at(0, n=20))
        assert [n for _, _, n in lines_of(reopened)] == [*range(19), 99, 20]

    def test_a_batch_that_is_dropped(self, store: Store) -> None:
        """A removal that is not committed changes nothing."""
        source = put(store, RECORDS)
        dropped = store.begin()
        dropped.remove_line(source, LAST)
        dropped.prepare()
        del dropped
        store.refresh()
        assert lines_of(store) == expected()

    def test_deleting_what_was_replaced(self, store: Store) -> None:
        """Counts agree after a line was replaced, some entries expired and the source went."""
        source = put(store, RECORDS)
        replace(store, source, at(90_000, n=99, more=True))
        expired = expire_all(store, normal=2, audit=2)
        discard(store, source)
        deleted = collect_all(store)
        assert expired.entries + deleted.entries == 20
        assert (count(store), lines_of(store)) == (0, [])

    def test_a_line_of_several_records(self, store: Store) -> None:
        """All parts of a line go, and several may come in its place."""
        parts = [msgspec.json.encode(at(n * 1_000_000, n=n)) for n in (90, 91, 92)]
        source = put(store, RECORDS)
        replace(store, source, b"\0".join(parts))
        want = [*expected(records=19), *((source.path, LAST, n) for n in (90, 91, 92))]
        assert lines_of(store) == want
        replace(store, source, b"\0".join(parts[1:]), at(1, n=20))
        assert [n for _, _, n in lines_of(store)] == [*range(19), 91, 92, 20]
        replace(store, source, b"\0".join([parts[0], b"no record"]))
        assert [n for _, _, n in lines_of(store)] == [*range(19), 20]

    def test_without_a_time(self, store: Store) -> None:
        """Lines without a time of their own are replaced like others."""
        source = put(store, [{"n": n} for n in range(20)])
        replace(store, source, {"n": 99}, {"n": 20})
        assert [n for _, _, n in lines_of(store)] == [*range(19), 99, 20]
