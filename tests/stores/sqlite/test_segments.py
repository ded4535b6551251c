"""How entries get keys, segments and partitions, and how these are put together."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore, sealing
from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.read import groups, lookup
from mikroscope.stores.sqlite.schema import DAY_MS, KEY_BITS, MAX_MS, clamp
from mikroscope.stores.sqlite.sealing import BLOCK_BYTES, BLOCK_LINES, MAX_ENTRIES, pack_lines
from mikroscope.stores.sqlite.write import encoding, merging, resealing, sealer, templates
from mikroscope.stores.sqlite.write.encoding import LEAST_ENTRIES, divide
from mikroscope.stores.sqlite.write.fresh import FreshKeys
from mikroscope.stores.sqlite.write.placing import keys_alone, keys_beside
from tests.helpers.stores import writer_of
from tests.stores.contract.base import (
    START_MS,
    Record,
    add,
    at,
    buckets_of,
    collect_all,
    commit,
    discard,
    found,
    numbers_of,
    put,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A new store."""
    with closing(SqliteStore(tmp_path / "index.db")) as opened:
        yield opened


def rows_of(store: SqliteStore, select: str) -> list[Any]:
    """Return what the index has in its tables."""
    return writer_of(store)._connection.execute(select).fetchall()


def compact(store: SqliteStore) -> int:
    """Do all that is left to do; return the number of steps."""
    steps = 0
    for _ in store.compact():
        steps += 1
        assert steps < 1_000, "compacting does not come to an end"
    return steps


# --- keys ---------------------------------------------------------------------------------------

times = st.lists(
    st.one_of(st.integers(START_MS, START_MS + 3), st.integers(-5, 5), st.just(MAX_MS + 9)),
    min_size=1,
    max_size=30,
).map(sorted)


@given(times, st.lists(times, max_size=3))
def test_keys(own: list[int], others: list[list[int]]) -> None:
    """Keys are unique and rise, those of one time in the order of arrival."""
    taken: list[FreshKeys] = []
    for some in (*others, own):
        keys = keys_beside(some, taken)
        assert all(one < other for one, other in pairwise(keys))
        known = {key for piece in taken for key in piece.keys}
        assert known.isdisjoint(keys)
        for key, time in zip(keys, some, strict=True):
            moment = clamp(time)
            assert key >> KEY_BITS >= moment
            assert all(one < key for one in known if one >> KEY_BITS == moment)
        taken.append(FreshKeys(keys[0], keys[-1], keys))
    assert keys_alone(own) == keys_beside(own, [])


def test_very_many_entries_of_one_millisecond() -> None:
    """100,000 entries of one millisecond spill into the next ones, in the order of arrival, and
    late ones come behind those of their own time.
    """
    many = [START_MS] * 100_000
    keys = keys_alone(many)
    assert keys == list(range(START_MS << KEY_BITS, (START_MS << KEY_BITS) + len(many)))
    beside = [FreshKeys(keys[0], keys[-1], keys)]
    late = keys_beside([START_MS - 1, START_MS, START_MS, START_MS + 1], beside)
    assert late == [(START_MS - 1) << KEY_BITS, keys[-1] + 1, keys[-1] + 2, keys[-1] + 3]
    assert keys_beside([START_MS + 49], beside) == [(START_MS + 49) << KEY_BITS]


def test_late_entries_beside_many_of_one_millisecond(store: SqliteStore) -> None:
    """Pages have late entries where they belong, whatever keys they got."""
    size = 5_000
    put(store, [at(0, n=n) for n in range(size)], "a")
    put(store, [at(1, n=size), at(0, n=size + 1), at(-1, n=-1), at(10, n=size + 2)], "b")
    numbers = numbers_of(store, page=PageRequest(1000))
    assert numbers[0] == size + 2
    assert numbers[-1] == -1
    assert sorted(numbers) == list(range(-1, size + 3))
    only = Query(from_ms=START_MS + 1, to_ms=START_MS + 1)
    assert numbers_of(store, only) == [size]
    assert store.count(Query(from_ms=START_MS, to_ms=START_MS)) == size + 1


# --- segments -----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9).filter(lambda raw: b"\n" not in raw), max_size=200))
def test_blocks(lines: list[bytes]) -> None:
    """Lines are packed in blocks of a limited number, and none is lost."""
    none = Dictionary(0, b"")
    blocks, sizes = pack_lines(lines, none)
    unpacked = [none.unpack(block).split(b"\n") for block in blocks]
    assert [line for block in unpacked for line in block] == lines
    assert [len(block) for block in unpacked] == sizes
    assert max(sizes, default=0) <= BLOCK_LINES


def test_blocks_of_long_lines() -> None:
    """A block ends where it has enough bytes."""
    _, sizes = pack_lines([b"x" * BLOCK_BYTES, b"y", b"z" * BLOCK_BYTES, b"y"], Dictionary(0, b""))
    assert sizes == [1, 2, 1]


def days(*entries: int) -> list[int]:
    """Return times of so many entries on one day after another."""
    return [day * DAY_MS + n for day, number in enumerate(entries) for n in range(number)]


DENSE = LEAST_ENTRIES


@pytest.mark.parametrize(
    ("entries", "sizes"),
    [
        ((), []),
        ((5,), [5]),
        ((5, 7), [12]),
        ((DENSE, DENSE), [DENSE, DENSE]),
        ((5, DENSE, 7, 8), [5, DENSE, 15]),
        ((MAX_ENTRIES + 1,), [MAX_ENTRIES // 2, MAX_ENTRIES // 2 + 1]),
        ((1,) * 40, [31, 9]),
        ((DENSE - 1,) * 4, [3 * (DENSE - 1), DENSE - 1]),
    ],
)
def test_division(entries: tuple[int, ...], sizes: list[int]) -> None:
    """Dense days are apart, sparse ones together, and no segment is too large."""
    assert [end - start for start, end in divide(days(*entries))] == sizes


@given(st.lists(st.integers(0, 3 * DENSE), max_size=6))
def test_division_loses_nothing(entries: list[int]) -> None:
    """The runs follow each other, and cover all entries."""
    runs = divide(days(*entries))
    edges = [0, *(end for _, end in runs)]
    assert edges[-1] == sum(entries)
    assert [start for start, _ in runs] == edges[:-1]


# --- partitions ---------------------------------------------------------------------------------


def test_sparse_days_share_partitions(store: SqliteStore) -> None:
    """Records of 5,000 days do not make as many tables."""
    put(store, [at(-day * DAY_MS, n=day) for day in range(5_000) for _ in range(2)])
    compact(store)
    [(partitions,)] = rows_of(store, "SELECT count(*) FROM partitions")
    assert 1 <= partitions <= 5_000 // 31 + 2
    assert found(store, field="n", value="4321") == {4321}
    assert store.count(Query()) == 10_000


def test_more_sparse_entries_than_a_column_has_values(store: SqliteStore) -> None:
    """One batch may have more different ids on sparse days than codes have numbers."""
    put(store, [at(-(n // 50) * DAY_MS, n=n, id=f"id-{n}") for n in range(70_000)])
    assert found(store, field="id", value="id-69999") == {69_999}
    compact(store)
    assert found(store, field="id", value="id-69999") == {69_999}
    assert store.count(Query()) == 70_000


def test_dense_days_are_apart(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day with many entries has a partition of its own, also for later entries of it."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 5)
    monkeypatch.setattr("mikroscope.stores.sqlite.write.storing.FEW_ENTRIES", 5)
    for start in (0, 5):
        records = [at(day * DAY_MS + n, n=n) for day in range(3) for n in range(start, start + 5)]
        put(store, records, f"{start}.ndjson")
    rows = rows_of(store, "SELECT first_day, last_day, entries FROM partitions ORDER BY first_day")
    first = rows[0][0]
    assert rows == [(first + day, first + day, 10) for day in range(3)]


def test_audit_entries_are_apart(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit entries, which stay longer, share no partition with others."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    put(store, [at(n, n=n, audit=n % 2 == 0) for n in range(8)])
    rows = rows_of(store, "SELECT is_audit, entries FROM partitions ORDER BY is_audit")
    assert rows == [(0, 4), (1, 4)]


# --- merging ------------------------------------------------------------------------------------


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal small pieces; with 10 entries a segment has documents."""
    monkeypatch.setattr(sealer, "SEAL_ENTRIES", 1)
    for module in (encoding, merging, resealing):
        monkeypatch.setattr(module, "LEAST_ENTRIES", 10)


@pytest.mark.usefixtures("loose")
def test_loose_segments_are_put_together(store: SqliteStore) -> None:
    """Small segments of a day become one that has documents, and then stay as they are."""
    for number in range(8):
        put(store, [at(number * 10 + n, n=number * 3 + n) for n in range(3)], f"{number}.ndjson")
        compact(store)
    rows = rows_of(store, "SELECT id, entries, is_posted FROM segments WHERE is_posted")
    assert rows
    assert compact(store) == 0
    assert rows_of(store, "SELECT id, entries, is_posted FROM segments WHERE is_posted") == rows
    assert numbers_of(store) == list(range(23, -1, -1))


@pytest.mark.usefixtures("loose")
@pytest.mark.parametrize("gap", [0, 1, 20, 31, 40, 100])
def test_merging_comes_to_an_end(
    store: SqliteStore, gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far days are apart, segments are not put together twice."""
    monkeypatch.setattr(merging, "_MANY_LOOSE", 2)
    for number in range(6):
        put(store, [at(number * gap * DAY_MS, n=number)], f"{number}.ndjson")
        compact(store)
    assert compact(store) == 0
    assert numbers_of(store)[-1] == 0


def test_holes_are_closed(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment with many deleted entries is written once more, and only once."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    batch = store.begin()
    kept, gone = batch.open_source("a.ndjson"), batch.open_source("b.ndjson")
    add(batch, kept, [at(2 * n, n=2 * n) for n in range(10)])
    add(batch, gone, [at(2 * n + 1, n=2 * n + 1) for n in range(10)])
    commit(store, batch)
    discard(store, gone)
    collect_all(store)
    assert rows_of(store, "SELECT entries, deleted FROM segments") == [(20, 10)]
    compact(store)
    rows = rows_of(store, "SELECT id, entries, deleted FROM segments")
    assert [row[1:] for row in rows] == [(10, 0)]
    assert rows_of(store, "SELECT count(*) FROM masks") == [(0,)]
    assert compact(store) == 0
    assert rows_of(store, "SELECT id, entries, deleted FROM segments") == rows
    assert numbers_of(store) == list(range(18, -1, -2))


# --- sealing beside writing ---------------------------------------------------------------------


@pytest.mark.parametrize("change", ["discard", "remove", "expire"])
def test_pieces_deleted_while_they_are_sealed(
    store: SqliteStore, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another thread seals is dropped if one of its entries was deleted meanwhile."""
    may_seal, seal = threading.Event(), sealer.PackedPieces.seal

    def wait_and_seal(pieces: sealer.PackedPieces) -> Any:
        assert may_seal.wait(30)
        return seal(pieces)

    monkeypatch.setattr(sealer, "SEAL_ENTRIES", 4)
    monkeypatch.setattr(sealer.PackedPieces, "seal", wait_and_seal)
    source = put(store, [at(n, n=n) for n in range(6)], "a")
    put(store, [at(10, n=10)], "b")  # begins to seal
    batch = store.begin()
    if change == "remove":
        batch.remove_line(source, 3)
    elif change == "discard":
        batch.discard_source(source)
    commit(store, batch)
    if change == "expire":
        for _ in store.expire(Cutoffs(START_MS + 3, None)):
            pass
    collect_all(store)
    left = {"discard": {10}, "remove": {0, 1, 3, 4, 5, 10}, "expire": {3, 4, 5, 10}}[change]
    assert found(store) == left
    may_seal.set()
    for number in range(3):
        put(store, [at(20 + number, n=20 + number)], "c")
    compact(store)
    assert found(store) == left | {20, 21, 22}
    assert store.count(Query()) == len(left) + 3


def test_sealing_beside_commits(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are found whether they were sealed or not, without a pause."""
    monkeypatch.setattr(sealer, "SEAL_ENTRIES", 5)
    for number in range(60):
        put(store, [at(number, n=number)], "a")
        assert store.count(Query(field="n", value=str(number))) == 1
    assert numbers_of(store) == list(range(59, -1, -1))
    assert rows_of(store, "SELECT count(*) > 0 FROM segments") == [(1,)]


# --- templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("post", [True, False])
def test_too_many_templates(
    store: SqliteStore, post: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates beyond the limit are counted as one, and can be filtered by it, for good."""
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 3)
    if post:
        monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    else:
        monkeypatch.setattr(sealer, "SEAL_ENTRIES", 1)
    grouping = Grouping("field", "@template")
    expected = [("(other)", 4), ("kind a", 2), ("kind b", 2), ("kind c", 2)]
    source = put(store, [message(n, "abcde"[n // 2]) for n in range(10)])
    if not post:
        compact(store)
    assert buckets_of(store, grouping) == expected
    assert found(store, field="@template", value="(other)") == {6, 7, 8, 9}
    batch = store.begin()
    for line in (2, 4, 6, 8, 10):
        batch.remove_line(source, line)
    commit(store, batch)
    compact(store)  # writes the segment once more
    assert buckets_of(store, grouping) == [(key, number // 2) for key, number in expected]
    assert rows_of(store, "SELECT count(*) FROM templates") == [(3,)]


def message(n: int, kind: str) -> Record:
    """Return a record with a message of some kind."""
    return at(n, n=n, message=f"kind {kind}")


# --- inverted indexes ---------------------------------------------------------------------------


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every value a token, and count by tokens."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    monkeypatch.setattr(sealing, "MAX_COLUMN_VALUES", 0)
    monkeypatch.setattr(groups, "_FEW_LINES", 0)


@pytest.mark.usefixtures("posted")
def test_tokens_of_other_segments_are_not_counted(store: SqliteStore) -> None:
    """Segments of one partition that a query leaves out are not in its groups."""
    put(store, [at(n, id=f"early {n % 2}") for n in range(4)], "a")
    put(store, [at(1000 + n, id=f"late {n % 2}") for n in range(4)], "b")
    grouping = Grouping("field", "id")
    expected = [("early 0", 2), ("early 1", 2)]
    assert buckets_of(store, grouping, to_ms=START_MS + 500) == expected
    assert len(buckets_of(store, grouping)) == 4


@pytest.mark.usefixtures("posted")
def test_newest_hits_that_do_not_match(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries whose words are those of a long message do not hide the older ones that have it."""
    monkeypatch.setattr(lookup, "_FEW", 3)
    message = "the quick brown fox jumps over the lazy dog"
    other = "the lazy dog jumps over the quick brown fox"
    records = [at(n, n=n, message=message if n < 5 else other) for n in range(40)]
    put(store, records)
    query = Query(field="message", value=message)
    assert numbers_of(store, query, PageRequest(limit=2)) == [4, 3, 2, 1, 0]


# --- snapshots ----------------------------------------------------------------------------------


def test_an_older_snapshot_sees_its_own_state(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that has begun goes on with what was there, while others see what is committed."""
    monkeypatch.setattr(sealer, "SEAL_ENTRIES", 4)
    readers = store._readers
    ask: Callable[[Any], Any] = readers.ask
    put(store, [at(n, n=n) for n in range(3)], "a")

    def older(snapshot: Any) -> list[int]:
        snapshot.file.sql.execute("SELECT count(*) FROM meta").fetchall()  # begins to read
        seen = []
        for number in range(3, 12):
            put(store, [at(number, n=number)], "b")
            assert store.count(Query(field="n", value=str(number))) == 1
            compact(store)
            fresh = readers._directory.content(snapshot.file)
            entries = sum(one.entries for one in fresh.fresh)
            seen.append(entries + sum(info.entries for info in fresh.segments))
        return seen

    assert ask(older) == [3] * 9
    assert numbers_of(store) == list(range(11, -1, -1))
