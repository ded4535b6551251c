"""What the SQLite store promises besides the contract of all stores."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mikroscope.errors import QueryTimeoutError, StorageFullError, StoreError
from mikroscope.query.model import Grouping, Query
from mikroscope.records.zones import default_zone_name, set_default_zone
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.schema import DAY_MS
from mikroscope.stores.sqlite.store import begin_rebuild
from mikroscope.stores.sqlite.write import encoding
from mikroscope.stores.sqlite.write.batch import SqliteBatch
from mikroscope.stores.sqlite.write.encoding import encode_kept
from mikroscope.stores.sqlite.write.reading import MaybePruned
from tests.helpers.stores import writer_of
from tests.stores.contract.base import (
    SOME,
    START_MS,
    at,
    buckets_of,
    collect_all,
    count,
    discard,
    found,
    numbers_of,
    prepare,
    put,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of an index file."""
    return tmp_path / "data" / "index.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in a new file."""
    with closing(SqliteStore(path)) as opened:
        yield opened


def connection_of(store: SqliteStore) -> apsw.Connection:
    """Return the connection that writes."""
    return writer_of(store)._connection


# --- opening ------------------------------------------------------------------------------------


def test_a_store_that_only_reads(store: SqliteStore, path: Path) -> None:
    """A store without `write` answers questions and refuses everything else."""
    put(store, [at(0, n=1)])
    with closing(SqliteStore(path, write=False)) as reading:
        assert (count(reading), numbers_of(reading)) == (1, [1])
        for refused in (reading.sources, reading.begin, lambda: list(reading.collect())):
            with pytest.raises(StoreError, match="reading only"):
                refused()


def test_a_reader_sees_what_is_written_later(store: SqliteStore, path: Path) -> None:
    """A store that only reads answers from what is committed at that moment."""
    with closing(SqliteStore(path, write=False)) as reading:
        before = count(reading)
        put(store, [at(0)])
        assert (before, count(reading)) == (0, 1)


def test_reading_where_nothing_is(path: Path) -> None:
    """A store that only reads creates no file, and its error says how to create one."""
    with (
        closing(SqliteStore(path, write=False)) as reading,
        pytest.raises(StoreError, match=r"No index at .* 'mikroscope index' creates one"),
    ):
        count(reading)
    assert not path.parent.exists()


@pytest.mark.parametrize("write", [True, False])
def test_a_database_of_another_program(path: Path, write: bool) -> None:
    """An SQLite file that is not an index is refused and left unchanged."""
    path.parent.mkdir()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE theirs(a)")
    with (
        pytest.raises(StoreError, match="not an index of MikroScope: move it away"),
        closing(SqliteStore(path, write=write)) as opened,
    ):
        count(opened)
    with closing(apsw.Connection(str(path))) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_database(path: Path, write: bool) -> None:
    """Any other file is refused."""
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with (
        pytest.raises(StoreError, match=r"is not an SQLite file"),
        closing(SqliteStore(path, write=write)) as opened,
    ):
        count(opened)


@pytest.mark.parametrize("write", [True, False])
def test_an_index_of_another_version(store: SqliteStore, path: Path, write: bool) -> None:
    """An index in another format is refused, and the error says how to fix it."""
    connection_of(store).pragma("user_version", 99)
    with (
        pytest.raises(StoreError, match=r"format 99, expected .* rebuild it"),
        closing(SqliteStore(path, write=write)) as opened,
    ):
        count(opened)


def test_alone(path: Path) -> None:
    """A file that one store has opened exclusively is refused to a second exclusive store."""
    with (
        closing(SqliteStore(path, alone=True)),
        pytest.raises(StoreError, match=rf"process {os.getpid()}\) uses .*index\.db: stop it"),
    ):
        SqliteStore(path, alone=True)


def test_alone_behind_a_link(path: Path) -> None:
    """A link to an exclusively opened file is also refused."""
    link = path.with_name("link.db")
    with closing(SqliteStore(path, alone=True)):
        link.symlink_to(path)
        with pytest.raises(StoreError, match="uses"):
            SqliteStore(link, alone=True)


def test_alone_under_another_name(path: Path) -> None:
    """A hard link to an exclusively opened file is refused, and so is the file itself without
    its lock file.
    """
    link = path.with_name("link.db")
    with closing(SqliteStore(path, alone=True)) as store:
        put(store, [at(0, n=1)])
        link.hardlink_to(path)
        path.with_name("index.db.lock").unlink()
        for name in (link, path):
            with pytest.raises(StoreError, match="by another name, or whose lock file is gone"):
                SqliteStore(name, alone=True)
        put(store, [at(0, n=2)], "b")
        assert found(store) == {1, 2}


def test_alone_after_a_rebuild(path: Path) -> None:
    """A store keeps its exclusive hold on the index that has replaced the one it opened."""
    with closing(SqliteStore(path, alone=True)) as store:
        put(store, [at(0, n=1)])
        with begin_rebuild(path) as rebuild:
            rebuild.swap(lambda: None)
        store.refresh()
        put(store, [at(0, n=2)])
        path.with_name("index.db.lock").unlink()
        with pytest.raises(StoreError, match="by another name"):
            SqliteStore(path, alone=True)
        assert found(store) == {2}


def test_others_may_not_read(path: Path) -> None:
    """Only owner and group may read the index and SQLite's files next to it."""
    with closing(SqliteStore(path, alone=True)) as store:
        put(store, [at(0, n=1)])
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert set(modes) == {"index.db", "index.db-wal", "index.db-shm", "index.db.lock"}
    assert set(modes.values()) == {0o640}


def test_opening_does_not_wait_for_a_writer(path: Path) -> None:
    """A store opens while another process holds the write lock, as at the end of a rebuild; that
    process may in turn wait until no other process is opening the index.
    """
    with closing(SqliteStore(path)) as store:
        put(store, [at(0, n=1)])
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for alone in (False, True):
            with closing(SqliteStore(path, alone=alone)) as store:
                assert numbers_of(store) == [1]


def test_an_index_that_was_hardly_begun(path: Path) -> None:
    """A file whose creation was cut off is completed; until then reading says what to do."""
    path.parent.mkdir()
    path.touch()
    with (
        closing(SqliteStore(path, write=False)) as reading,
        pytest.raises(StoreError, match=r"no index in .* yet: create it with 'mikroscope index'"),
    ):
        count(reading)
    with closing(SqliteStore(path, alone=True)) as store:
        put(store, [at(0, n=1)])
        assert numbers_of(store) == [1]


def test_alone_ends_with_close(path: Path) -> None:
    """A closed store releases its file."""
    SqliteStore(path, alone=True).close()
    SqliteStore(path, alone=True).close()


def test_alone_ends_with_a_failure(path: Path) -> None:
    """A store that failed to open releases its file."""
    path.parent.mkdir()
    with closing(apsw.Connection(str(path))) as other:
        other.execute("CREATE TABLE somebody_elses(x)")
    with pytest.raises(StoreError):
        SqliteStore(path, alone=True)
    path.unlink()
    SqliteStore(path, alone=True).close()


def test_batches_beside_one_that_is_alone(path: Path) -> None:
    """A store that does not ask for exclusive use may write next to one that has it."""
    with closing(SqliteStore(path, alone=True)) as server, closing(SqliteStore(path)) as cli:
        put(cli, [at(0, n=1)])
        assert numbers_of(server) == [1]


# --- writing ------------------------------------------------------------------------------------


def test_a_batch_of_something_else(store: SqliteStore) -> None:
    """Only a batch of this kind of store can be committed."""
    with pytest.raises(TypeError, match="not begun by this store"):
        store.commit(object())  # type: ignore[arg-type]


def test_no_room(store: SqliteStore) -> None:
    """If the disk is full, no part of the batch is written, and later batches are complete."""
    kept = put(store, [at(0, n=-1)], "kept")
    connection = connection_of(store)
    connection.pragma("max_page_count", connection.pragma("page_count") + 2)
    records = [at(n, n=n, message=f"order {n} of tenant {n % 7} created") for n in range(2500)]
    with pytest.raises(StorageFullError, match=r"index\.db cannot be written"):
        put(store, records, "lost")
    assert (store.sources(), count(store), numbers_of(store)) == ([kept], 1, [-1])
    connection.pragma("max_page_count", 2**30)
    put(store, records, "found")
    assert numbers_of(store) == [*range(2499, 0, -1), 0, -1]


@pytest.mark.parametrize("unit_ms", [60_000, DAY_MS])
def test_records_without_time_over_a_minute(store: SqliteStore, unit_ms: int) -> None:
    """Records without a time may spill into another minute or day: all counts stay exact, and
    nothing is left after a purge.
    """
    batch = store.begin()
    assert isinstance(batch, SqliteBatch)
    source = batch.open_source("app.ndjson")
    last_ms = START_MS // unit_ms * unit_ms - 1
    suspects = [MaybePruned(source.id, False, n, None, b'{"n":%d}' % n) for n in range(SOME)]
    prepare(batch)
    assert batch._future is not None
    batch._future.encoded = encode_kept(((one, last_ms) for one in suspects), Dictionary(0, b""))
    store.commit(batch)
    before = buckets_of(store, Grouping("level"), from_ms=last_ms, to_ms=last_ms + SOME)
    last = {"field": "n", "value": str(SOME - 1)}
    assert found(store, **last) == {SOME - 1}
    discard(store, source)
    collect_all(store)
    assert (before, count(store)) == ([("INFO", SOME)], 0)
    assert connection_of(store).execute("SELECT * FROM minutes").fetchall() == []
    assert found(store, **last) == set()


# --- questions ----------------------------------------------------------------------------------


def test_a_question_that_takes_too_long(path: Path) -> None:
    """A query is stopped at its deadline with a helpful error, and others are still answered."""
    with closing(SqliteStore(path, query_timeout_s=0)) as hasty:
        put(hasty, [at(n) for n in range(SOME)])
        with pytest.raises(QueryTimeoutError, match="stopped after 0 s: narrow it"):
            hasty.aggregate(Query(), Grouping("field", "time"))
        assert count(hasty) == SOME


def parts_of(path: Path) -> int:
    """Return the number of segments of the inverted index."""
    with closing(apsw.Connection(str(path))) as connection:
        return int(connection.execute("SELECT count(DISTINCT segid) FROM terms_1_idx").get)


def test_compacting_leaves_few_parts(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compacting leaves few of the segments that batches have added to the inverted index."""
    monkeypatch.setattr(encoding, "LEAST_ENTRIES", 1)
    for number in range(7):
        put(store, [at(number, n=number)], "a")
    before = parts_of(path)
    for _ in store.compact():
        pass
    assert (before, parts_of(path)) == (7, 1)
    assert numbers_of(store) == list(range(6, -1, -1))


def test_the_size_counts_the_log(store: SqliteStore, path: Path) -> None:
    """The reported size is that of the file and its write-ahead log."""
    put(store, [at(n) for n in range(1000)])
    log = path.with_name("index.db-wal")
    assert (
        store.status().size_bytes == path.stat().st_size + log.stat().st_size > path.stat().st_size
    )


@pytest.fixture
def utc() -> Iterator[None]:
    """Restore the default zone of this process."""
    yield
    set_default_zone("UTC")


def make_in(zone: str, path: Path) -> None:
    """Make an index with one entry whose time names no zone."""
    set_default_zone(zone)
    with closing(SqliteStore(path, alone=True)) as store:
        put(store, [{"time": "2026-02-18 10:20:00"}])


@pytest.mark.usefixtures("utc")
def test_a_reader_takes_the_zone_of_the_index(tmp_path: Path) -> None:
    """Another process that reads an index shows the times that it was made with."""
    make_in("+01:00", tmp_path / "index.db")
    set_default_zone("UTC")
    with closing(SqliteStore(tmp_path / "index.db", write=False)) as store:
        assert [entry.timestamp for entry in store.scan(Query())] == ["2026-02-18T09:20:00.000Z"]


@pytest.mark.usefixtures("utc")
def test_a_second_writer_takes_the_zone_of_the_index(tmp_path: Path) -> None:
    """One index has one zone."""
    make_in("+01:00", tmp_path / "index.db")
    set_default_zone("Europe/Kyiv")
    with closing(SqliteStore(tmp_path / "index.db")):
        assert default_zone_name() == "+01:00"


@pytest.mark.usefixtures("utc")
def test_another_zone_makes_a_new_index_at_the_start(tmp_path: Path) -> None:
    """The owner of an index of another zone sets it aside, since all its times are others."""
    make_in("+01:00", tmp_path / "index.db")
    set_default_zone("Asia/Tokyo")
    with closing(SqliteStore(tmp_path / "index.db", alone=True)) as store:
        assert store.sources() == []
        assert default_zone_name() == "Asia/Tokyo"
    assert len(list(tmp_path.glob("index.db.other-zone-*"))) == 1
    with closing(SqliteStore(tmp_path / "index.db", alone=True)):
        assert len(list(tmp_path.glob("index.db.other-zone-*"))) == 1
