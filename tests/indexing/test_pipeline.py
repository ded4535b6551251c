"""Helper processes prepare a large backlog, and the index is the same as without them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope.indexing import pipeline as loading
from tests.helpers.stores import FlakyStore, Place, lines, place_in, rows

pytestmark = pytest.mark.process

BATCH_BYTES = 4_096


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place where any backlog counts as large, on a machine with a second core."""
    monkeypatch.setattr(loading, "PARALLEL_BYTES", 1)
    monkeypatch.setattr(loading, "can_start", lambda: True)
    yield from place_in(tmp_path, BATCH_BYTES)


def fill(place: Place, records: int = 600) -> None:
    """Write one file that takes many batches, and some that share one."""
    place.write("large.ndjson", lines(*range(records), size=60))
    for number in range(20):
        place.write(f"small/{number}.ndjson", lines(records + number))
    place.write("bad.ndjson", b'{"n":1\n[]\n' + lines(records + 20))


def assert_once(place: Place, records: int) -> None:
    """Assert that the index has each record exactly once, under its own line number."""
    assert place.numbers() == list(range(records))
    assert set(rows(place.store).values()) == {1}


def test_everything_is_indexed_once(place: Place) -> None:
    """The helper processes index and count every record as a single process does."""
    fill(place)
    stats = place.index()
    assert_once(place, 621)
    assert (stats.records_inserted, stats.lines_scanned, stats.parse_errors) == (621, 623, 2)
    assert stats.files_scanned == 22
    assert place.index().lines_scanned == 0


def test_other_processes_help(place: Place) -> None:
    """Helper processes run only while there is a backlog."""
    fill(place)
    steps = place.indexer.run()
    next(steps)
    assert place.indexer._pipeline.is_parallel
    for _ in steps:
        pass
    assert not place.indexer._pipeline.is_parallel


def test_small_backlogs_pay_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small backlog starts no helper process."""
    monkeypatch.setattr(loading, "PARALLEL_BYTES", 10 << 20)
    fill(place)
    steps = place.indexer.run()
    next(steps)
    assert not place.indexer._pipeline.is_parallel


def test_process_that_is_killed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """If a helper process is killed, the indexer does its task itself and logs the failure."""
    fill(place)
    steps = place.indexer.run()
    next(steps)
    workers = place.indexer._pipeline._pool
    assert workers is not None
    for process in workers._processes:
        process.kill()
    for _ in steps:
        pass
    assert_once(place, 621)
    assert "this process alone prepares lines from now on" in caplog.text


def test_what_is_ingested_comes_first(place: Place) -> None:
    """During a backlog, a record sent over HTTP is searchable as soon as it is written."""
    fill(place)
    place.write("ingest/p/day.ndjson", b"")
    steps = place.indexer.run()
    next(steps)
    for number in range(621, 631):
        place.append("ingest/p/day.ndjson", lines(number))
        place.indexer.index_now({"ingest/p/day.ndjson"})
        assert place.numbers("ingest/p/day.ndjson") == list(range(621, number + 1))
        next(steps, None)
    for _ in steps:
        pass
    assert_once(place, 631)


def test_ingest_into_a_file_that_is_under_way(place: Place) -> None:
    """Ingest into a file that is being read ahead makes the whole file searchable in line order."""
    place.write("large.ndjson", lines(*range(600), size=60))
    steps = place.indexer.run()
    next(steps)
    place.append("large.ndjson", lines(600))
    place.indexer.index_now({"large.ndjson"})
    assert_once(place, 601)


def test_batches_that_fail(place: Place) -> None:
    """A failed commit loses no records, whenever the store reports it."""
    fill(place)
    for late in (False, True):
        store = FlakyStore(place.store, {2, 5, 6}, late=late)
        indexer = place.index_with(store)
        for _ in range(10):
            try:
                for _ in indexer.run():
                    pass
                break
            except Exception as error:
                assert "on fire" in str(error)  # noqa: PT017 - the run starts again
        indexer.close()
    assert_once(place, 621)


def test_another_process_that_writes(place: Place, tmp_path: Path) -> None:
    """Of two processes on one index, the slower one reads only lines the other did not index."""
    fill(place)
    steps = place.indexer.run()
    next(steps)
    with Place(tmp_path, BATCH_BYTES) as other:
        next(other.indexer.run())
        for _ in steps:
            pass
        for _ in other.indexer.run():
            pass
        other.indexer.close()
    assert_once(place, 621)


def test_rotation_in_the_midst_of_a_load(place: Place) -> None:
    """A file that is renamed and re-created while it is read ahead is read to its end."""
    place.write("app.ndjson", lines(*range(600), size=60))
    steps = place.indexer.run()
    next(steps)
    place.rename("app.ndjson", "app.ndjson.1")
    place.write("app.ndjson", lines(600))
    for _ in steps:
        pass
    place.index()
    assert_once(place, 601)
    assert Counter(place.by_path()["app.ndjson"]) == {600: 1}
