"""`filesScanned` counts the files that were looked at, whether there was something new or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope.indexing.once import index_once, rebuild_once
from mikroscope.indexing.stats import FilesOfPass
from mikroscope.stores.sqlite import begin_rebuild
from tests.helpers.server import Connect, Serve, health
from tests.helpers.stores import Place, lines, place_in
from tests.helpers.waiting import wait_until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Three files, one of them empty, that take several batches."""
    for place in place_in(tmp_path, batch_bytes=2_000):
        place.write("a.ndjson", lines(*range(50)))
        place.write("d/b.ndjson", lines(*range(50, 100)))
        place.write("empty.ndjson", b"")
        yield place


def step_all(place: Place) -> None:
    """Read and commit until nothing is left."""
    while place.indexer.backlog:
        place.indexer.step()


def test_files_without_news_are_counted(place: Place) -> None:
    """Every scan counts every file, with nothing new too, and an empty one."""
    assert [place.index().files_scanned for _ in range(3)] == [3, 3, 3]
    place.append("a.ndjson", lines(100))
    place.write("c.ndjson", lines(101))
    assert place.index().files_scanned == 4
    (place.logs / "a.ndjson").unlink()
    assert place.index().files_scanned == 3


def test_a_scan_amid_a_pass_counts_nothing_twice(place: Place) -> None:
    """A file that is listed again before everything is read counts once."""
    before = place.indexer.stats.copy()
    place.indexer.scan()
    place.indexer.step()
    assert place.indexer.pending_bytes() > 0
    place.write("c.ndjson", lines(100))
    place.indexer.scan()
    step_all(place)
    assert place.indexer.stats.since(before).files_scanned == 4


def test_files_that_are_read_without_a_scan(place: Place) -> None:
    """A file whose change was announced counts; no other one is looked at."""
    place.index()
    before = place.indexer.stats.copy()
    place.append("a.ndjson", lines(100))
    assert place.indexer.touch({"a.ndjson"})
    step_all(place)
    assert place.indexer.stats.since(before).files_scanned == 1


def test_index_and_rebuild_count_each_file_once(place: Place) -> None:
    """The report of one pass counts each file once, however often the tree was scanned."""
    place.restart()
    assert index_once(place.store, place.tree).files_scanned == 3
    assert index_once(place.store, place.tree).files_scanned == 3
    with begin_rebuild(place.database) as rebuild:
        stats = rebuild_once(rebuild, place.tree)
    assert (stats.files_scanned, stats.records_inserted) == (3, 100)


def test_files_of_a_pass() -> None:
    """Reading a file that a scan has listed counts nothing more; reading another one does."""
    files = FilesOfPass()
    assert [files.add_read(1), files.add_listed(3)] == [1, 3]
    assert [files.add_read(2), files.add_read(2), files.add_read(1)] == [0, 1, 1]
    assert [files.add_listed(3), files.add_listed(5), files.add_listed(2)] == [0, 2, 0]
    assert [files.add_read(1), files.add_read(2)] == [0, 1]


def test_files_in_health_and_reindex(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """`/health` counts the files of each run, and a reindex all files of the tree."""
    (tmp_path / "logs").mkdir()
    for name in "abc":
        (tmp_path / "logs" / f"{name}.ndjson").write_bytes(lines(1, 2))
    client = connect(serve(ingest_interval_ms=250))
    wait_until(lambda: health(client)["ingest"]["runs"] >= 3)
    found = health(client)["ingest"]
    assert found["filesScannedLastRun"] == 3
    assert found["filesScannedTotal"] >= 9
    content = client.post("/api/reindex").json()
    assert (content["report"]["filesScanned"], content["reset"]["entriesDeleted"]) == (3, 6)
