"""An index of format 5 answers until one of the present format has replaced it."""

import logging
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mikroscope.errors import IndexFormatError, StorageFullError
from mikroscope.indexing.once import index_once, rebuild_once, scan_sources
from mikroscope.query.model import PageRequest, Query
from mikroscope.stores import begin_rebuild, open_store
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.admin import snapshot
from tests.helpers.previous import downgrade
from tests.helpers.stores import Place, all_entries, lines, rows

EMPTY = b'{"message":"no time"}\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place with an index of format 5: of one file that is there, and of one that is gone."""
    made = Place(tmp_path)
    with made:
        made.write("app.ndjson", lines(*range(100)))
        made.write("gone.ndjson", lines(*range(100, 150)) + EMPTY)
        made.write("audit/gone.ndjson", lines(*range(150, 180)))
        made.index()
        (made.logs / "gone.ndjson").unlink()
        (made.logs / "audit/gone.ndjson").unlink()
        made.index()
    downgrade(made.database)
    return made


def upgrade(place: Place) -> SqliteStore:
    """Rebuild the index as `mikroscope index` does; return the new one, opened."""
    with closing(SqliteStore(place.database)) as store:
        assert store.status().is_outdated
        scan_sources(store, place.tree)
        with closing(store.rebuild()) as rebuild:
            rebuild_once(rebuild, place.tree)
        assert not store.status().is_outdated
    return SqliteStore(place.database)


def content_of(database: Path) -> list[tuple[object, ...]]:
    """Return all entries, newest first, as far as an upgrade keeps them."""
    with closing(SqliteStore(database, write=False)) as store:
        return [
            (one.timestamp, one.level, one.source_file, one.line_number, bytes(one.data))
            for one in all_entries(store)
        ]


def numbers(database: Path, query: Query) -> int:
    """Return how many entries match."""
    with closing(SqliteStore(database, write=False)) as store:
        return store.count(query)


def test_nothing_is_lost(place: Place) -> None:
    """The new index has the same entries: those of files, and those whose file is gone."""
    before, audit = content_of(place.database), numbers(place.database, Query(audit=True))
    assert (len(before), audit) == (181, 30)
    upgrade(place).close()
    assert sorted(map(str, content_of(place.database))) == sorted(map(str, before))
    assert numbers(place.database, Query(audit=True)) == audit
    with closing(apsw.Connection(str(place.database))) as connection:
        assert connection.pragma("user_version") == 6


def test_a_second_upgrade_has_nothing_to_do(place: Place) -> None:
    """Sources without a file stay gone: nothing is read or copied twice."""
    with closing(upgrade(place)) as store:
        found = rows(store)
        assert index_once(store, place.tree).records_inserted == 0
        assert rows(store) == found
        assert sorted(one.path for one in store.sources() if one.gone) == [
            "audit/gone.ndjson",
            "gone.ndjson",
        ]


def test_a_file_that_comes_back(place: Place) -> None:
    """A file that was gone is known again: only what is new in it is read."""
    with closing(upgrade(place)) as store:
        before = store.count(Query())
        place.write("gone.ndjson", lines(*range(100, 150)) + EMPTY + lines(900))
        assert index_once(store, place.tree).records_inserted == 1
        assert store.count(Query()) == before + 1


def test_a_file_that_goes_before_it_is_read(place: Place) -> None:
    """The entries of a file that is deleted during the rebuild come from the old index."""
    before = content_of(place.database)
    with closing(SqliteStore(place.database)) as store:
        scan_sources(store, place.tree)
        with closing(store.rebuild()) as rebuild:
            (place.logs / "app.ndjson").unlink()
            rebuild_once(rebuild, place.tree)
    assert sorted(map(str, content_of(place.database))) == sorted(map(str, before))


def test_a_file_that_is_renamed_before_it_is_read(place: Place) -> None:
    """Its entries are those of the file, once."""
    with closing(SqliteStore(place.database)) as store:
        scan_sources(store, place.tree)
        with closing(store.rebuild()) as rebuild:
            place.rename("app.ndjson", "app-1.ndjson")
            rebuild_once(rebuild, place.tree)
        assert store.count(Query()) == 181
        assert max(rows(store).values()) == 1


def test_lines_since(place: Place) -> None:
    """Lines that arrive while the index is outdated are found after the swap."""
    with closing(SqliteStore(place.database)) as store:
        place.append("app.ndjson", lines(500))
        place.write("new.ndjson", lines(501))
        index_once(store, place.tree)
        assert store.count(Query()) == 181
        with closing(store.rebuild()) as rebuild:
            rebuild_once(rebuild, place.tree)
        assert store.count(Query()) == 183
        assert store.count(Query(field="n", value="501")) == 1


def test_what_was_pruned_stays_away(tmp_path: Path) -> None:
    """Entries that retention had deleted from the old index do not come back."""
    with Place(tmp_path) as place:
        record = b'{"timestamp":"2026-02-0%d","n":%d}\n'
        place.write("app.ndjson", b"".join(record % (n + 1, n) for n in range(9)))
        place.index()
        cutoff_ms = 1_770_249_600_000  # 5 February 2026
        for _ in place.store.expire(Cutoffs(cutoff_ms, cutoff_ms)):
            pass
        assert place.numbers() == [4, 5, 6, 7, 8]
    downgrade(place.database)
    with closing(upgrade(place)) as store:
        assert store.count(Query()) == 5


def test_a_kill(place: Place) -> None:
    """What a killed rebuild has left is deleted, and the next one begins again."""
    before = content_of(place.database)
    with closing(SqliteStore(place.database)) as store:
        rebuild = store.rebuild()
        next(rebuild.carry_over())
        left = place.database.with_name("index.db.rebuild")
        content = left.read_bytes()
        rebuild.close()
        left.write_bytes(content)
    with closing(SqliteStore(place.database, alone=True)) as store:
        assert not left.exists()
        assert store.status().is_outdated
        assert store.count(Query()) == len(before)
    upgrade(place).close()
    assert sorted(map(str, content_of(place.database))) == sorted(map(str, before))


def test_a_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old index stays and answers if the new one cannot be written."""

    def fail(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    with closing(SqliteStore(place.database)) as store:
        monkeypatch.setattr("mikroscope.stores.sqlite.write.writer.put_segment", fail)
        monkeypatch.setattr("mikroscope.stores.sqlite.write.fresh.put_fresh", fail)
        with closing(store.rebuild()) as rebuild, pytest.raises(StorageFullError):
            rebuild_once(rebuild, place.tree)
        assert store.count(Query()) == 181
        assert not place.database.with_name("index.db.rebuild").exists()


def test_a_damaged_entry(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, and the old index is kept under another name."""
    with closing(apsw.Connection(str(place.database))) as connection:
        connection.execute(
            "UPDATE entries SET data = x'0102030405' WHERE source = (SELECT id FROM sources "
            "WHERE path = 'gone.ndjson') AND line = 7"
        )
    with caplog.at_level(logging.ERROR), closing(upgrade(place)) as store:
        assert store.count(Query()) == 180
        assert list(place.database.parent.glob("index.db.damaged-*"))


def test_a_server_keeps_it(place: Place) -> None:
    """A server does not set it aside; one of an older format it does, as before."""
    with closing(open_store(place.database, "server")) as store:
        assert store.status().is_outdated
        assert len(store.search(Query(), PageRequest(5)).entries) == 5
    with closing(apsw.Connection(str(place.database))) as connection:
        connection.pragma("user_version", 4)
    with (
        closing(SqliteStore(place.database, write=False)) as reader,
        pytest.raises(IndexFormatError, match="format 4, expected 6"),
    ):
        reader.count(Query())
    with closing(open_store(place.database, "server")) as store:
        assert not store.status().is_outdated
        assert store.count(Query()) == 0
        assert list(place.database.parent.glob("index.db.old-format-*"))


def test_a_reader_follows(place: Place) -> None:
    """A reader that was opened before the swap answers from the new index after it."""
    with closing(SqliteStore(place.database, write=False)) as reader:
        old = reader.search(Query(), PageRequest(10))
        upgrade(place).close()
        new = reader.search(Query(), PageRequest(10))
        assert [one.data for one in new.entries] == [one.data for one in old.entries]
        second = reader.search(Query(), PageRequest(10, old.next_cursor))
        assert not {bytes(one.data) for one in old.entries} & {
            bytes(one.data) for one in second.entries
        }


def test_no_backup_of_it(place: Place, tmp_path: Path) -> None:
    """A backup waits for the new index: this version could not restore the old one."""
    with pytest.raises(IndexFormatError):
        snapshot.snapshot_to(place.database, tmp_path / "copy.db")


def test_a_rebuild_by_its_address(place: Place) -> None:
    """`mikroscope index --rebuild` also copies the entries without a file."""
    with closing(begin_rebuild(place.database)) as rebuild:
        rebuild_once(rebuild, place.tree)
    assert len(content_of(place.database)) == 181
