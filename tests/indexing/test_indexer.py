"""The indexer moves files into the store, reads only new lines, and survives failures."""

import gzip
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from mikroscope.errors import StorageFullError, StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.line_warnings import MAX_WARNINGS
from mikroscope.logfiles.reader import Chunk, LineReader
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.query.model import Query
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.write.writer import Writer
from tests.helpers.stores import (
    CountingTree,
    FlakyStore,
    Place,
    all_entries,
    line,
    lines,
    number_of,
    place_in,
    rows,
    run_python,
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A directory of logs with an index next to it."""
    yield from place_in(tmp_path)


@pytest.fixture
def slow_place(tmp_path: Path) -> Iterator[Place]:
    """The same place, indexed a few records at a time."""
    yield from place_in(tmp_path, batch_bytes=2_000)


# --- all of it ----------------------------------------------------------------------------


def test_every_record_is_indexed_with_its_file_and_line(place: Place) -> None:
    """Every record is indexed with its file and line number; blank lines count as lines."""
    place.write("a.ndjson", b'{"a":1}\n\n{"a":2}\n')
    place.write("d/b.jsonl", b'{"b":1}\n')
    stats = place.index()
    assert sorted(rows(place.store)) == [
        ("a.ndjson", 1, b'{"a":1}'),
        ("a.ndjson", 3, b'{"a":2}'),
        ("d/b.jsonl", 1, b'{"b":1}'),
    ]
    assert (stats.files_scanned, stats.lines_scanned, stats.records_inserted) == (2, 3, 3)


def test_an_empty_tree_is_no_trouble(place: Place) -> None:
    """Indexing an empty tree does nothing."""
    assert place.index().files_scanned == 0
    assert not place.indexer.backlog


def test_an_empty_file_is_indexed_when_it_grows(place: Place) -> None:
    """An empty file is not opened until it grows."""
    place.write("a.ndjson", b"")
    place.index()
    assert place.opened_by(place.index) == []
    place.append("a.ndjson", lines(1))
    place.index()
    assert place.numbers() == [1]


def test_a_packed_file_is_indexed(place: Place) -> None:
    """A compressed file is indexed under its own name."""
    place.write("a.ndjson.gz", gzip.compress(lines(1, 2)))
    place.index()
    assert place.by_path() == {"a.ndjson.gz": [1, 2]}


def test_batches_of_any_size_give_the_same(place: Place, tmp_path: Path) -> None:
    """The batch size changes only the number of transactions."""
    for number in range(5):
        size = 300 * (number % 2)
        place.write(f"{number}.ndjson", lines(*range(number * 10, number * 10 + 10), size=size))
    place.index()
    want = rows(place.store)
    for batch_bytes in (1, 70, 1_000):
        store = SqliteStore(tmp_path / f"{batch_bytes}.db")
        for _ in Indexer(store, place.tree, batch_bytes).run():
            pass
        assert rows(store) == want
        store.close()


def test_a_step_is_bounded(slow_place: Place) -> None:
    """A step reads a limited amount, so that other work can run between steps."""
    slow_place.write("a.ndjson", lines(*range(100)))
    slow_place.indexer.scan()
    while not slow_place.indexer.stats.records_inserted:
        slow_place.indexer.step()
    assert 0 < slow_place.indexer.stats.records_inserted < 20
    assert slow_place.indexer.backlog


def test_what_is_left_to_read_is_told(slow_place: Place) -> None:
    """The indexer reports the bytes left to read, down to zero."""
    content = lines(*range(50))
    slow_place.write("a.ndjson", content)
    left = [len(content), *(slow_place.indexer.pending_bytes() for _ in slow_place.indexer.run())]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0


def test_what_is_left_of_packed_files_is_never_less_than_nothing(slow_place: Place) -> None:
    """The bytes left of compressed files are never negative."""
    slow_place.write("a.ndjson.gz", gzip.compress(lines(*range(50), size=500)))
    assert all(slow_place.indexer.pending_bytes() >= 0 for _ in slow_place.indexer.run())


# --- only what is new ---------------------------------------------------------------------


def test_a_second_run_opens_nothing(place: Place) -> None:
    """A second run does not open unchanged files."""
    for number in range(10):
        place.write(f"{number}.ndjson", lines(number))
    place.index()
    assert place.opened_by(place.index) == []


def test_a_restart_opens_nothing(place: Place) -> None:
    """A restart does not open files that the index knows."""
    place.write("a.ndjson", lines(1, 2))
    place.write("b.log", lines(3))
    place.index()
    place.restart()
    place.tree.walk()  # the index does not store whether a .log file has JSON
    assert place.opened_by(place.index) == []
    assert place.numbers() == [1, 2, 3]


def test_of_a_thousand_files_only_the_one_that_grew_is_opened(place: Place) -> None:
    """Of a thousand files, only the one that grew is opened."""
    for number in range(1_000):
        place.write(f"{number % 20}/{number}.ndjson", lines(number))
    place.index()
    place.append("7/507.ndjson", lines(9_999))
    assert set(place.opened_by(place.index)) == {"7/507.ndjson"}
    assert place.store.count(Query()) == 1_001


def test_only_new_lines_are_read(place: Place) -> None:
    """Only new lines are read."""
    place.write("a.ndjson", lines(*range(100)))
    place.index()
    place.append("a.ndjson", lines(100, 101))
    stats = place.index()
    assert (stats.lines_scanned, stats.records_inserted) == (2, 2)
    assert place.numbers() == list(range(102))


def test_a_new_file_is_found(place: Place) -> None:
    """A new file is found, even in a new directory."""
    place.index()
    place.write("d/e/a.ndjson", lines(1))
    place.index()
    assert place.numbers() == [1]


def test_a_restart_in_the_middle_of_a_file_goes_on_there(slow_place: Place) -> None:
    """After a restart in the middle of a file, reading and line numbers continue there."""
    content = lines(*range(60))
    slow_place.write("a.ndjson", content)
    while True:
        slow_place.restart()
        slow_place.indexer.scan()
        before = slow_place.store.count(Query())
        while slow_place.indexer.backlog and slow_place.store.count(Query()) == before:
            slow_place.indexer.step()
        if slow_place.store.count(Query()) == before:
            break
    found = sorted((entry.line_number, number_of(entry)) for entry in slow_place.entries())
    assert found == [(number + 1, number) for number in range(60)]


# --- the last line ------------------------------------------------------------------------


def test_half_a_line_waits_for_its_end(place: Place) -> None:
    """An unfinished last line waits for its end and is not a parse error."""
    place.write("a.ndjson", lines(1) + b'{"n":2}')
    stats = place.index()
    assert (place.numbers(), stats.parse_errors) == ([1], 0)
    place.append("a.ndjson", b"\n")
    place.index()
    assert place.numbers() == [1, 2]


def test_a_line_written_in_three_pieces_is_one_record(place: Place) -> None:
    """A line written in three pieces is one record, even if a run comes in between."""
    whole = line(1, size=3_000)
    for piece in (whole[:10], whole[10:2_000], whole[2_000:]):
        place.append("a.ndjson", piece)
        place.index()
    assert place.numbers() == [1]


def test_a_one_shot_run_takes_a_last_line_without_line_end(place: Place) -> None:
    """A one-shot run indexes a last line without a line end if it is a record."""
    place.write("a.ndjson", lines(1) + b'{"n":2}')
    place.write("b.ndjson", lines(3) + b'{"n":')
    stats = place.index(final=True)
    assert (place.numbers(), stats.parse_errors) == ([1, 2, 3], 0)


def test_a_one_shot_run_takes_the_line_that_an_earlier_run_has_left(place: Place) -> None:
    """A one-shot run indexes the last line left by an earlier run, even in an unchanged file."""
    place.write("a.ndjson", lines(1) + b'{"n":2}')
    place.index()
    place.index(final=True)
    assert place.numbers() == [1, 2]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_a_line_taken_without_its_end_is_not_taken_again(
    place: Place, end: bytes, final: bool
) -> None:
    """A line indexed without its line end is not indexed again when the end arrives."""
    place.write("a.ndjson", lines(1) + b'{"n":2}')
    place.index(final=True)
    place.append("a.ndjson", end)
    place.index(final)
    place.append("a.ndjson", lines(3, 4))
    place.index(final)
    assert [(e.line_number, number_of(e)) for e in reversed(place.entries())] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]


def test_a_one_shot_run_twice_finds_nothing_new(place: Place) -> None:
    """A second one-shot run does not count the last line again."""
    place.write("a.ndjson", lines(1) + b'{"n":2}')
    place.index(final=True)
    assert place.index(final=True).records_inserted == 0


# --- parse errors -------------------------------------------------------------------------


def test_a_line_that_is_no_record_costs_nothing_else(place: Place) -> None:
    """A line that is not a record is counted, and its neighbours keep their line numbers."""
    place.write("a.ndjson", lines(1) + b"plain text\n" + lines(3) + b"[]\n" + lines(5))
    stats = place.index()
    found = sorted((entry.line_number, number_of(entry)) for entry in place.entries())
    assert found == [(1, 1), (3, 3), (5, 5)]
    assert (stats.lines_scanned, stats.records_inserted, stats.parse_errors) == (5, 3, 2)


def test_a_line_that_is_no_record_is_told_with_its_file_and_line(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names file and line of a line that is not a record."""
    place.write("d/a.ndjson", lines(1) + b"42\n")
    place.index()
    assert caplog.messages == ["d/a.ndjson:2: a JSON number, expected an object"]


def test_many_lines_that_are_no_records_do_not_flood_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The log reports bad lines once per file; the counter counts each."""
    place.write("a.ndjson", b"plain text\n" * 100)
    place.write("b.ndjson", b"plain text\n")
    assert place.index().parse_errors == 101
    assert len(caplog.messages) == MAX_WARNINGS + 1
    assert "only counted" in caplog.messages[MAX_WARNINGS - 1]


def test_parse_errors_are_counted_once(place: Place) -> None:
    """The next run does not count the same parse errors again."""
    place.write("a.ndjson", b"plain text\n")
    assert [place.index().parse_errors for _ in range(2)] == [1, 0]


def test_a_line_that_is_too_long_is_counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is too long is counted, and its neighbours are kept."""
    monkeypatch.setattr("mikroscope.logfiles.reader.MAX_LINE_BYTES", 500)
    place.write("a.ndjson", lines(1) + line(2, size=1_000) + lines(3))
    stats = place.index()
    found = sorted((entry.line_number, number_of(entry)) for entry in place.entries())
    assert (found, stats.parse_errors) == ([(1, 1), (3, 3)], 1)


# --- a store that fails -------------------------------------------------------------------


def run_until_done(indexer: Indexer) -> int:
    """Index everything, retrying after each failure; return the number of failures."""
    failures = 0
    while True:
        try:
            for _ in indexer.run():
                pass
        except StoreError:
            failures += 1
            assert failures < 50
        else:
            return failures


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
@pytest.mark.parametrize("refresh_fails", [False, True], ids=["", "sources-too"])
@pytest.mark.parametrize("loss", [1, 2, 3, 7])
def test_a_batch_that_is_not_committed_is_read_again(
    slow_place: Place, loss: int, late: bool, refresh_fails: bool
) -> None:
    """A batch that fails to commit is read again; no line is lost or duplicated."""
    for number in range(4):
        slow_place.write(f"{number}.ndjson", lines(*range(number * 10, number * 10 + 10)))
    store = FlakyStore(slow_place.store, [loss], late=late, refresh_fails=refresh_fails)
    indexer = slow_place.index_with(store)
    assert run_until_done(indexer) >= 1
    assert slow_place.numbers() == list(range(40))
    assert indexer.stats.records_inserted <= 40  # the previous batch may not be durable yet


def test_a_batch_that_cannot_be_made_is_read_again(slow_place: Place) -> None:
    """If a file fails while a batch is filled, all files of the batch are read again."""

    class Tree(CountingTree):
        fails = True

        def open(
            self, path: str, offset: int = 0, line: int = 0, open_bytes: int = 0
        ) -> LineReader:
            if path == "b.ndjson" and self.fails:
                raise RuntimeError("a defect")
            return super().open(path, offset, line, open_bytes)

    slow_place.write("a.ndjson", lines(1))
    slow_place.write("b.ndjson", lines(2))
    tree = Tree(slow_place.logs)
    indexer = Indexer(slow_place.store, tree)
    with pytest.raises(RuntimeError):
        list(indexer.run())
    tree.fails = False
    list(indexer.run())
    assert slow_place.numbers() == [1, 2]
    assert indexer.stats.records_inserted == 2


def test_a_file_that_fails_in_the_middle_is_read_on_from_there(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that fails in the middle is later read from there, and its earlier lines are kept."""

    class Reader(LineReader):
        broken = True

        def read(self, limit: int, final: bool = False) -> Chunk:
            if self.broken and self._offset:
                raise OSError(5, "Input/output error")
            return super().read(60, final)

    class Tree(CountingTree):
        def open(
            self, path: str, offset: int = 0, line: int = 0, open_bytes: int = 0
        ) -> LineReader:
            return Reader(self.root / path, offset, line, open_bytes)

    place.write("a.ndjson", lines(*range(10)))
    indexer = Indexer(place.store, Tree(place.logs))
    list(indexer.run())
    assert 0 < place.store.count(Query()) < 10
    assert "a.ndjson: cannot be read: Input/output error" in caplog.messages
    Reader.broken = False
    place.append("a.ndjson", lines(10))
    list(indexer.run())
    assert place.numbers() == list(range(11))


def test_a_damaged_packed_file_gives_what_can_be_unpacked_once(place: Place) -> None:
    """A damaged compressed file is unpacked as far as possible and reopened only after a change."""
    place.write("a.ndjson.gz", gzip.compress(lines(1, 2)) + b"junk that is no gzip")
    place.index()
    assert place.numbers() == [1, 2]
    assert place.opened_by(place.index) == []


def test_a_packed_file_is_read_on_when_its_end_comes(place: Place) -> None:
    """The rest of a compressed file that was still being written is read when it is complete."""
    whole = gzip.compress(lines(*range(2_500)))
    place.write("a.ndjson.gz", whole[: len(whole) // 2])
    place.index()
    assert 0 < place.store.count(Query()) < 2_500
    place.write("a.ndjson.gz", whole)
    place.index()
    assert place.store.count(Query()) == 2_500


@pytest.mark.parametrize("size", [0, 3, 30])
def test_a_packed_file_that_is_written_anew_does_not_stop_the_others(
    place: Place, size: int
) -> None:
    """A compressed file that is being rewritten does not stop the other files."""
    whole = gzip.compress(lines(1, 2, 3))
    place.write("a.ndjson.gz", whole)
    place.index()
    place.write("a.ndjson.gz", whole[:size])
    place.write("b.ndjson", lines(4))
    place.index()
    assert place.numbers("b.ndjson") == [4]
    place.write("a.ndjson.gz", whole)
    place.index()
    assert place.numbers() == [1, 2, 3, 4]


def test_a_file_that_vanishes_before_it_is_read_costs_nothing(slow_place: Place) -> None:
    """A file that vanishes before it is read does not stop the others."""
    for name in ("a", "b", "c"):
        slow_place.write(f"{name}.ndjson", lines(1))
    slow_place.indexer.scan()
    (slow_place.logs / "b.ndjson").unlink()
    slow_place.index()
    assert slow_place.by_path() == {"a.ndjson": [1], "c.ndjson": [1]}


UNREADABLE = """
import logging, sys, tempfile
from pathlib import Path
from tests.helpers.stores import Place, lines
import mikroscope.stores.sqlite.store, mikroscope.stores.sqlite.read.groups
become_nobody()
logging.disable()
with tempfile.TemporaryDirectory() as directory, Place(Path(directory)) as place:
"""


def test_a_file_without_read_permission_is_read_when_it_has_some() -> None:
    """A file without read permission is read once it is readable; its neighbours do not wait."""
    program = """
    shut = place.write("shut.ndjson", lines(1))
    place.write("open.ndjson", lines(2))
    shut.chmod(0)
    place.index()
    before = place.numbers()
    shut.chmod(0o600)
    place.index()
    print(before, place.numbers())
"""
    assert run_python(UNREADABLE + program) == "[2] [1, 2]"


def test_a_file_that_loses_its_permission_keeps_its_entries() -> None:
    """A file that loses its read permission keeps its entries and is continued once readable."""
    program = """
    shut = place.write("shut.ndjson", lines(1))
    place.index()
    place.append("shut.ndjson", lines(2))
    shut.chmod(0)
    place.index()
    before = place.numbers()
    shut.chmod(0o600)
    place.index()
    print(before, place.by_path())
"""
    assert run_python(UNREADABLE + program) == "[1] {'shut.ndjson': [1, 2]}"


# --- another process ----------------------------------------------------------------------


def test_two_processes_on_one_index_take_turns(slow_place: Place) -> None:
    """Two processes on one index invalidate each other's batches but duplicate nothing."""
    other_store = SqliteStore(slow_place.database)
    other = slow_place.index_with(other_store)
    for number in range(3):
        slow_place.write(f"{number}.ndjson", lines(*range(number * 10, number * 10 + 10)))
    runs = [slow_place.indexer.run(), other.run()]
    while runs:
        runs = [run for run in runs if next(run, "done") is None]
    assert slow_place.numbers() == list(range(30))
    total = slow_place.indexer.stats.records_inserted + other.stats.records_inserted
    assert total == 30
    other_store.close()


def test_what_another_process_has_indexed_is_known(place: Place) -> None:
    """Lines that another process has indexed are not read again."""
    other_store = SqliteStore(place.database)
    other = place.index_with(other_store)
    place.write("a.ndjson", lines(1, 2))
    list(other.run())
    place.append("a.ndjson", lines(3))
    place.index()
    place.index()
    assert place.numbers() == [1, 2, 3]
    other_store.close()


def test_a_move_that_another_process_saw_first_is_no_trouble(place: Place) -> None:
    """A rename that another process saw first has the same result for both."""
    place.write("a.ndjson", lines(1, 2))
    place.index()
    other_store = SqliteStore(place.database)
    other = place.index_with(other_store)
    place.rename("a.ndjson", "b.ndjson")
    place.write("a.ndjson", lines(3))
    list(other.run())
    place.index()
    assert place.by_path() == {"a.ndjson": [3], "b.ndjson": [1, 2]}
    other_store.close()


# --- before anything else -----------------------------------------------------------------


def test_index_now_reads_the_named_files_only(slow_place: Place) -> None:
    """`index_now` reads only the named files and leaves the backlog for later."""
    slow_place.write("backlog.ndjson", lines(*range(100, 150)))
    slow_place.indexer.scan()
    slow_place.write("now.ndjson", lines(*range(20)))
    slow_place.indexer.index_now({"now.ndjson"})
    assert slow_place.by_path() == {"now.ndjson": list(range(20))}
    assert slow_place.indexer.backlog
    slow_place.index()
    assert slow_place.numbers("backlog.ndjson") == list(range(100, 150))


def test_index_now_finds_what_was_appended_after_a_rotation(place: Place) -> None:
    """`index_now` finds appended lines after a rotation replaced the named file."""
    place.write("a.ndjson", lines(1, 2))
    place.index()
    place.rename("a.ndjson", "a-1.ndjson")
    place.write("a.ndjson", lines(3))
    place.indexer.index_now({"a.ndjson"})
    assert place.by_path() == {"a-1.ndjson": [1, 2], "a.ndjson": [3]}


def test_index_now_finds_a_file_that_was_renamed_meanwhile(place: Place) -> None:
    """`index_now` indexes lines that were appended before the file was renamed."""
    place.write("a.ndjson", lines(1))
    place.index()
    place.append("a.ndjson", lines(2))
    place.rename("a.ndjson", "a-1.ndjson")
    place.indexer.index_now({"a.ndjson"})
    assert place.by_path() == {"a-1.ndjson": [1, 2]}


def test_index_now_beside_another_process_is_complete(place: Place) -> None:
    """`index_now` retries while another process writes, until its files are indexed."""
    other_store = SqliteStore(place.database)
    other = place.index_with(other_store)
    for number in range(5):
        place.write("b.ndjson", lines(*range(100, 101 + number)))
        list(other.run())
        place.append("a.ndjson", lines(number))
        place.indexer.index_now({"a.ndjson"})
        assert place.numbers("a.ndjson") == list(range(number + 1))
    other_store.close()


def test_index_now_says_when_it_fails(place: Place) -> None:
    """`index_now` raises its failure, and no line counts as indexed."""
    place.write("a.ndjson", lines(1))
    store = FlakyStore(place.store, [1], refresh_fails=True)
    indexer = place.index_with(store)
    with pytest.raises(StoreError):
        indexer.index_now({"a.ndjson"})
    assert indexer.indexed_bytes("a.ndjson") == 0
    indexer.index_now({"a.ndjson"})
    assert place.numbers() == [1]


def test_how_far_a_file_is_indexed_is_told(place: Place) -> None:
    """The indexer reports how many bytes of a file are indexed; 0 for an unknown one."""
    place.write("a.ndjson", lines(1) + b"half")
    place.index()
    assert place.indexer.indexed_bytes("a.ndjson") == len(lines(1))
    assert place.indexer.indexed_bytes("b.ndjson") == 0


# --- notices ------------------------------------------------------------------------------


def test_a_known_file_that_grew_needs_no_look_at_the_tree(place: Place) -> None:
    """A known file that grew is queued without a scan of the tree."""
    place.write("a.ndjson", lines(1))
    place.index()
    place.append("a.ndjson", lines(2))
    assert place.indexer.touch({"a.ndjson"})
    assert place.indexer.backlog
    place.indexer.step()
    assert place.numbers() == [1, 2]


def test_a_known_file_that_did_not_change_is_left_alone(place: Place) -> None:
    """A notice about an unchanged file does nothing."""
    place.write("a.ndjson", lines(1))
    place.index()
    assert place.indexer.touch({"a.ndjson"})
    assert not place.indexer.backlog


def test_what_is_new_gone_or_another_file_needs_a_look_at_the_tree(place: Place) -> None:
    """A notice about a new, deleted or replaced file needs a scan of the tree."""
    for name in ("gone", "other"):
        place.write(f"{name}.ndjson", lines(1))
    place.index()
    (place.logs / "gone.ndjson").unlink()
    place.write("next.ndjson", lines(2))
    place.rename("next.ndjson", "other.ndjson")
    place.write("new.ndjson", lines(3))
    for name in ("gone", "other", "new"):
        assert not place.indexer.touch({f"{name}.ndjson"})


def test_a_file_found_to_be_another_one_asks_for_a_scan(place: Place) -> None:
    """A file that turns out to be another one asks for a scan, as after a truncation."""
    place.write("a.ndjson", lines(1, 2, 3))
    place.index()
    place.write("a.ndjson", lines(4))
    assert place.indexer.touch({"a.ndjson"})
    place.indexer.step()
    assert place.indexer.rotated
    place.index()
    assert place.numbers() == [4]
    assert not place.indexer.rotated


def test_a_one_shot_run_sorts_out_a_rotation_that_happens_meanwhile(slow_place: Place) -> None:
    """A one-shot run handles a rotation during the run and leaves nothing for the next."""
    slow_place.write("0.ndjson", lines(100))
    slow_place.write("a.ndjson", lines(*range(10)))
    slow_place.index()
    slow_place.append("0.ndjson", lines(*range(101, 120)))
    slow_place.append("a.ndjson", lines(10, 11))
    run = slow_place.indexer.run()
    next(run)
    slow_place.rename("a.ndjson", "b.ndjson")
    slow_place.write("a.ndjson", lines(12))
    list(run)
    assert slow_place.by_path() == {
        "0.ndjson": list(range(100, 120)),
        "a.ndjson": [12],
        "b.ndjson": list(range(12)),
    }


def test_an_ordinary_run_says_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """An ordinary run logs no warning."""
    place.write("a.ndjson", lines(1))
    with caplog.at_level(logging.INFO):
        place.index()
        place.append("a.ndjson", lines(2))
        place.index()
    assert [entry.source_file for entry in all_entries(place.store)] == ["a.ndjson"] * 2
    assert caplog.messages == []


# --- what is done between two batches -----------------------------------------------------


def test_a_commit_that_fails_while_something_else_is_done(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose failure shows in the work of another job is not lost: it is read again."""
    slow_place.write("a.ndjson", lines(*range(100), size=200))
    run = slow_place.indexer.run()
    next(run)  # there is nothing to collect
    write: Any = Writer._write

    def fail() -> None:
        raise apsw.FullError("database or disk is full")

    def write_some(*given: object) -> Callable[[], None]:
        write(*given)
        return fail

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write", write_some)
        next(run)
    with pytest.raises(StorageFullError):
        list(slow_place.store.compact())
    for _ in run:
        pass
    assert slow_place.numbers() == list(range(100))


def test_what_another_process_has_written_shows_while_something_else_is_done(place: Place) -> None:
    """A clean-up that takes over what another process has indexed leaves the indexer to find it."""
    place.write("a.ndjson", lines(1))
    place.index()
    place.write("b.ndjson", lines(2))
    with closing(SqliteStore(place.database)) as other:
        for _ in place.index_with(other).run():
            pass
    list(place.store.compact())
    place.index()
    assert place.numbers() == [1, 2]


def test_what_is_packed_before_a_commit_can_be_read_after_a_kill(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary is written with what is packed with it, also between two batches."""
    monkeypatch.setattr("mikroscope.stores.sqlite.compression.MIN_SAMPLE_LINES", 10)
    place.write("a.ndjson", lines(*range(5)))
    place.index()
    monkeypatch.setattr("mikroscope.stores.sqlite.write.sealer.SEAL_ENTRIES", 1)
    batch = place.store.begin()
    content = lines(*range(100, 900)).rstrip()
    batch.add(batch.open_source("b.ndjson"), 1, content, Checkpoint())
    batch.prepare().result()  # trains a dictionary
    list(place.store.compact())
    with closing(SqliteStore(place.database, write=False)) as other:
        assert len(all_entries(other)) == 5
