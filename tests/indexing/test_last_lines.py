"""Last lines without a line feed: when they are indexed, and what becomes of their entries."""

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mikroscope.errors import StoreError
from mikroscope.indexing import quiet_files
from mikroscope.indexing.once import index_once, rebuild_once
from mikroscope.indexing.quiet_files import QUIET_S, QuietFiles
from mikroscope.logfiles.tree import LogTree
from mikroscope.query.model import Entry
from mikroscope.stores import begin_rebuild
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.stores import FlakyStore, Place, line, lines, number_of, place_in, rows
from tests.helpers.waiting import wait_until
from tests.helpers.workplace import INGEST, Workplace, done, some, submit

LOG = "app.ndjson"
OPEN = line(2)[:-1]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A file whose last record has no line feed, indexed."""
    for place in place_in(tmp_path):
        place.write(LOG, lines(1) + OPEN)
        place.index(final=True)
        assert place.numbers() == [1, 2]
        yield place


def by_line(place: Place) -> dict[int, Entry]:
    """Return the entries by line number; there is one file."""
    entries = place.entries()
    found = {entry.line_number: entry for entry in entries}
    assert len(found) == len(entries)
    return found


# --- what becomes of the entry ------------------------------------------------------------


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize(
    ("more", "want"),
    [
        (b"\n", {1: 1, 2: 2}),
        (b"\r\n" + line(3), {1: 1, 2: 2, 3: 3}),
        (b"x\n", {1: 1}),
        (b"x\n" + line(3), {1: 1, 3: 3}),
        (b',"n":7}\n' + line(3), {1: 1, 3: 3}),
        (b"\n\n" + line(3), {1: 1, 2: 2, 4: 3}),
        (b"x", {1: 1, 2: 2}),
        (b"\0" * 3_000 + b"\n" + line(3), {1: 1, 2: 2, 3: 3}),
    ],
)
def test_a_line_that_goes_on(
    place: Place, more: bytes, want: dict[int, int], final: bool, restarts: bool
) -> None:
    """Its entry is what the line became: once, or none with a parse error; the others follow."""
    place.append(LOG, more)
    if restarts:
        place.restart()
    stats = place.index(final)
    assert {number: number_of(entry) for number, entry in by_line(place).items()} == want
    assert stats.parse_errors == (more.startswith((b"x\n", b",")))
    assert place.index(final).lines_scanned == 0


def test_an_entry_that_only_gets_its_line_feed_stays_the_same(place: Place) -> None:
    """Its id does not change, and nothing is written for it."""
    before = {entry.id for entry in place.entries()}
    place.append(LOG, b"\n")
    assert place.index().records_inserted == 0
    assert {entry.id for entry in place.entries()} == before


def test_a_longer_record(tmp_path: Path) -> None:
    """A record of which a part is a record, too, gives one entry in the end."""
    with Place(tmp_path) as place:
        place.write(LOG, b'{"n":1}')
        place.index(final=True)
        place.append(LOG, b"  ")
        place.index(final=True)
        place.append(LOG, b"\0\0\n")
        place.index(final=True)
        assert list(rows(place.store)) == [(LOG, 1, b'{"n":1}')]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_what_a_power_loss_leaves(place: Place, end: bytes) -> None:
    """A record after the NUL bytes that follow one without its line feed: both are there once."""
    place.append(LOG, bytes(4096))
    place.index(final=True)
    assert place.numbers() == [1, 2]
    place.append(LOG, line(3)[:-1] + end)
    place.index(final=True)
    assert [entry.line_number for entry in place.entries()].count(2) == 2
    assert place.numbers() == [1, 2, 3]
    place.append(LOG, b"\n" + line(4))
    place.index()
    assert place.numbers() == [1, 2, 3, 4]


@pytest.mark.parametrize("failures", [[1], [2], [1, 2]])
def test_a_failure_while_an_entry_is_replaced(place: Place, failures: list[int]) -> None:
    """A commit that fails leaves the old entry; the next one has the new line."""
    place.append(LOG, b"x\n" + line(3))
    indexer = place.index_with(FlakyStore(place.store, failures))
    for _ in failures:
        try:
            list(indexer.run())
        except StoreError:
            assert place.numbers() in ([1, 2], [1, 3])
    list(indexer.run())
    assert place.numbers() == [1, 3]


def test_another_process_is_faster(place: Place) -> None:
    """A line that another process has indexed, without its line feed or later, stays single."""
    place.append(LOG, b"\n" + line(3)[:-1])
    with closing(SqliteStore(place.database)) as store:
        index_once(store, LogTree(place.logs, (".ndjson",)))
    place.append(LOG, b"\n" + line(4)[:-1])
    place.index(final=True)
    assert place.numbers() == [1, 2, 3, 4]


# --- rotation -----------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b"\n", b"\n" + line(3)])
def test_rename(place: Place, more: bytes) -> None:
    """A file that is renamed keeps the entry, also when its program goes on there."""
    place.rename(LOG, "app.ndjson.1")
    place.append("app.ndjson.1", more)
    place.append(LOG, line(4))
    place.index(final=True)
    assert place.numbers() == [1, 2, *([3] if len(more) > 1 else []), 4]


def test_rename_and_something_else(place: Place) -> None:
    """A line that goes on in the renamed file is replaced there."""
    place.rename(LOG, "app.ndjson.1")
    place.append("app.ndjson.1", b"x\n")
    place.append(LOG, line(4))
    place.index()
    assert place.by_path() == {"app.ndjson.1": [1], LOG: [4]}


@pytest.mark.parametrize("pack", [True, False])
def test_copy_and_truncate(place: Place, pack: bool) -> None:
    """The entry goes to the copy; what continues the line in the truncated file is an error."""
    content = (place.logs / LOG).read_bytes()
    if pack:
        place.write("app.ndjson.1.gz", gzip.compress(content))
    else:
        place.write("app.ndjson.1", content)
    place.write(LOG, b"x\n" + line(4))
    assert place.index().parse_errors == 1
    assert place.numbers() == [1, 2, 4]


def test_packed_with_its_line_feed(place: Place) -> None:
    """A file that goes on and is packed before it is read again is read to its end."""
    content = (place.logs / LOG).read_bytes() + b"\n" + lines(3, 4)
    (place.logs / LOG).unlink()
    place.write("app.ndjson.gz", gzip.compress(content))
    place.index()
    assert place.by_path() == {"app.ndjson.gz": [1, 2, 3, 4]}


def test_the_only_line_of_a_file(tmp_path: Path) -> None:
    """A file that holds nothing else is recognised when it is renamed."""
    with Place(tmp_path) as place:
        place.write(LOG, OPEN)
        place.index(final=True)
        place.rename(LOG, "app.ndjson.1")
        place.write(LOG, line(3))
        place.index()
        assert place.by_path() == {"app.ndjson.1": [2], LOG: [3]}


# --- rebuild ------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b"\n" + line(3), b"x\n" + line(3)])
def test_a_rebuild_in_between(place: Place, more: bytes) -> None:
    """A rebuild takes the line as it is, and reads on like the index that it replaces."""
    rebuild = begin_rebuild(place.database)
    rebuild_once(rebuild, place.tree)
    rebuild.close()
    place.indexer.follow_replacement()
    place.append(LOG, more)
    place.index()
    assert place.numbers() == [1, *([] if more.startswith(b"x") else [2]), *([3] if more else [])]


def test_a_line_that_goes_on_during_a_rebuild(place: Place) -> None:
    """What a line became while the new index was filled is what the new index has."""
    rebuild = begin_rebuild(place.database)

    def watch(steps: Iterator[None], _indexer: object) -> None:
        for _ in steps:
            pass
        place.append(LOG, b"x\n" + line(3) + line(4)[:-1])

    rebuild_once(rebuild, place.tree, watch)
    rebuild.close()
    place.indexer.follow_replacement()
    place.index()
    assert place.numbers() == [1, 3, 4]


# --- a running server ---------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as quiet after a moment."""
    monkeypatch.setattr(quiet_files, "QUIET_S", 0.2)


def test_a_start_reads_it_at_once(workplace: Workplace) -> None:
    """The first reading of a start includes last lines, whatever the interval."""
    for interval_s in (None, 3_600.0):
        workplace.write(f"{interval_s}.ndjson", lines(1) + OPEN)
        worker = workplace.work(interval_s=interval_s)
        worker.caught_up.result(timeout=30)
        assert workplace.numbers(f"{interval_s}.ndjson") == [1, 2]
        worker.stop()


def test_a_start_reads_what_the_last_run_has_left(workplace: Workplace) -> None:
    """Also in a file that has not changed since."""
    workplace.write(LOG, lines(1) + OPEN)
    workplace.index()
    workplace.work(interval_s=None).caught_up.result(timeout=30)
    assert workplace.numbers() == [1, 2]


def test_a_running_server_waits_until_the_file_is_quiet(workplace: Workplace, soon: None) -> None:
    """A line that is not complete waits, without any further event, until nothing is written."""
    workplace.write(LOG, lines(1))
    worker = workplace.work_ready()
    began = time.monotonic()
    for piece in (OPEN[:5], OPEN[5:]):
        workplace.append(LOG, piece)
        worker.files_changed({LOG})
    wait_until(lambda: workplace.numbers() == [1, 2])
    assert time.monotonic() - began >= 0.2
    workplace.append(LOG, b"\n" + line(3)[:-1])
    worker.files_changed({LOG})
    wait_until(lambda: workplace.numbers() == [1, 2, 3])


def test_a_file_that_was_written_meanwhile_is_not_quiet(workplace: Workplace, soon: None) -> None:
    """A change without a file-system event is read, and the wait begins again."""
    workplace.write(LOG, lines(1))
    worker = workplace.work_ready()
    workplace.append(LOG, OPEN)
    worker.files_changed({LOG})
    time.sleep(0.1)
    workplace.append(LOG, b"\n" + line(3)[:-1])
    wait_until(lambda: workplace.numbers() == [1, 2, 3])


def test_a_failure_does_not_forget_it(workplace: Workplace, soon: None) -> None:
    """A line whose commit fails is read again."""
    workplace.write(LOG, lines(1))
    store = FlakyStore(workplace.store, [2, 3, 4])
    worker = workplace.work_ready(store)
    workplace.append(LOG, OPEN)
    worker.files_changed({LOG})
    wait_until(lambda: workplace.numbers() == [1, 2])
    assert store.raised == 3


def test_a_record_sent_to_a_file_with_such_a_line(workplace: Workplace) -> None:
    """A record sent over HTTP begins on a line of its own, and both are there once."""
    workplace.write(INGEST, lines(1) + OPEN)
    worker = workplace.work()
    worker.caught_up.result(timeout=30)
    done(submit(worker, some(3)))
    done(submit(worker, some(4)))
    assert workplace.content() == lines(1, 2, 3, 4)
    assert [(n, data) for _, n, data in sorted(rows(workplace.store))] == [
        (n, line(n)[:-1]) for n in (1, 2, 3, 4)
    ]


def test_files_become_quiet_in_their_order() -> None:
    """Each file is due so long after its last change; what is taken is not due again."""
    files = QuietFiles()
    assert files.due_at() is None
    files.ended(["a", "b"], 10.0)
    files.ended(["a"], 11.0)
    assert files.due_at() == 10.0 + QUIET_S
    assert files.take(10.0 + QUIET_S) == ["b"]
    assert (files.take(11.0), files.due_at()) == ([], 11.0 + QUIET_S)
    assert files.take(20.0) == ["a"]


# --- a program without O_APPEND -----------------------------------------------------------


class Writer:
    """A program that opens its log without O_APPEND, so that it never goes back."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb", buffering=0)
        self.numbers = 0

    def write(self, records: int, size: int = 0) -> None:
        """Write the next records."""
        for _ in range(records):
            self.numbers += 1
            self._file.write(line(self.numbers, size))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def copy_and_truncate(place: Place, generations: int, look: Callable[[], object]) -> None:
    """Rotate by copy: `.1` becomes `.2` and so on."""
    for number in range(generations, 0, -1):
        if (place.logs / f"{LOG}.{number}").exists():
            place.rename(f"{LOG}.{number}", f"{LOG}.{number + 1}")
    look()
    place.write(f"{LOG}.1", (place.logs / LOG).read_bytes())
    look()
    with (place.logs / LOG).open("r+b") as file:
        file.truncate(0)
    look()


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("size", [0, 700])
@pytest.mark.parametrize("records", [1, 40])
def test_truncation_under_a_program_without_o_append(
    tmp_path: Path, records: int, size: int, looks: bool, restarts: bool
) -> None:
    """Each truncation leaves a hole; no record is lost or doubled, however often it happens."""
    with ExitStack() as opened:
        place = opened.enter_context(Place(tmp_path))
        writer = opened.enter_context(closing(Writer(place.logs / LOG)))
        for generation in range(4):
            writer.write(records, size)
            if restarts:
                place.restart()
            place.index()
            assert place.numbers() == list(range(1, writer.numbers + 1))
            writer.write(2, size)
            if not looks:
                place.index()
            copy_and_truncate(place, generation, place.index if looks else lambda: None)
        writer.write(1, size)
        place.index()
        assert place.numbers() == list(range(1, writer.numbers + 1))
        assert len(place.by_path()) == 5


def test_a_hole_is_no_backlog(tmp_path: Path) -> None:
    """What is left to read of a file with a hole is what follows the hole."""
    with Place(tmp_path) as place:
        with (place.logs / LOG).open("wb") as file:
            file.truncate(100 << 30)
            file.seek(100 << 30)
            file.write(lines(1, 2))
        place.indexer.scan()
        assert place.indexer.pending_bytes() < 1 << 20
        place.index()
        assert (place.numbers(), place.indexer.pending_bytes()) == ([1, 2], 0)
