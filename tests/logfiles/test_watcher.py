"""Where the system reports changes of files, their lines are indexed within moments."""

import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mikroscope.indexing.writer_thread import WriterThread
from mikroscope.logfiles.appender import LogAppender
from mikroscope.logfiles.tree import LogTree
from mikroscope.logfiles.watcher import Watcher
from tests.helpers.stores import SUFFIXES, Place, lines, place_in
from tests.helpers.waiting import wait_until

HOUR_S = 3_600.0


def test_it_is_found_out_whether_changes_are_told(tmp_path: Path) -> None:
    """The watcher tests events with a change of its own; the notice names no log file."""
    told: list[set[str]] = []
    watcher = Watcher(LogTree(tmp_path, SUFFIXES), told.append)
    watcher.start()
    wait_until(lambda: bool(told))
    watcher.stop()
    assert set().union(*told) == set()
    assert list(tmp_path.iterdir()) == []


class Notices:
    """A watcher on a place, and the notices that it has sent."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seen: set[str] = set()
        self.probes = 0
        self.worker = WriterThread(
            place.indexer,
            LogAppender(place.logs),
            interval_s=HOUR_S,
            flush_s=HOUR_S,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            monotonic=time.monotonic,
        )
        self.watcher = Watcher(place.tree, self._notice)
        self.worker.start()
        self.watcher.start()
        wait_until(lambda: self.worker.run.runs == 1)
        self.wait_until_told()

    def _notice(self, paths: set[str]) -> None:
        self.seen |= paths
        self.worker.files_changed(paths)

    def wait_until_told(self) -> None:
        """Make a change and wait for its notice, so that all earlier changes are reported, too."""
        self.probes += 1
        prefix, numbers = f"probe-{self.probes}-", count()

        def probed() -> bool:
            self.place.write(f"{prefix}{next(numbers)}.ndjson", b"")
            return any(path.startswith(prefix) for path in list(self.seen))

        wait_until(probed)

    def stop(self) -> None:
        """Stop both threads."""
        self.watcher.stop()
        self.worker.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A directory of logs with an index next to it."""
    yield from place_in(tmp_path)


@pytest.fixture
def notices(place: Place) -> Iterator[Notices]:
    """A running watcher; the interval alone would find changes only after an hour."""
    place.write("a.ndjson", lines(1, 2))
    notices = Notices(place)
    yield notices
    notices.stop()


def test_what_is_appended_is_found(notices: Notices) -> None:
    """The watcher reports appended lines although the interval is an hour."""
    for number in range(3, 6):
        notices.place.append("a.ndjson", lines(number))
        wait_until(lambda: notices.place.numbers() == list(range(1, number + 1)))  # noqa: B023


def test_a_new_file_is_found(notices: Notices) -> None:
    """The watcher reports new files, even in new directories."""
    notices.place.write("d/e/b.ndjson", lines(3))
    wait_until(lambda: notices.place.numbers() == [1, 2, 3])


def test_a_rotation_is_found(notices: Notices) -> None:
    """After a rotation, both files have their own entries."""
    place = notices.place
    place.rename("a.ndjson", "a-1.ndjson")
    place.append("a.ndjson", lines(3))
    wait_until(lambda: place.by_path() == {"a-1.ndjson": [1, 2], "a.ndjson": [3]})


def test_a_truncation_is_found(notices: Notices) -> None:
    """After a truncation, the file's new content replaces the old entries."""
    notices.place.write("a.ndjson", lines(3))
    wait_until(lambda: notices.place.numbers() == [3])


def test_a_name_that_is_not_utf8_does_not_end_the_watch(
    notices: Notices, caplog: pytest.LogCaptureFixture
) -> None:
    """After a name that is not UTF-8, the watcher restarts and reports later changes."""
    (notices.place.tree.root / os.fsdecode(b"x\xff.ndjson")).write_bytes(b"{}\n")
    wait_until(lambda: bool(caplog.messages))
    numbers = iter(range(10, 100_000))

    def is_told() -> bool:
        notices.place.append("a.ndjson", lines(next(numbers)))
        return "a.ndjson" in notices.seen

    notices.seen.clear()
    wait_until(is_told)


def test_files_that_are_not_read_are_not_told(notices: Notices) -> None:
    """The watcher does not report files that are not log files, which may change constantly."""
    notices.place.write("other.txt", b"x")
    notices.place.append("other.txt", b"y")
    notices.wait_until_told()
    assert not any("other" in path for path in notices.seen)


def test_a_root_that_cannot_be_watched_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A root that cannot be watched is reported without an exception, and scans continue."""
    watcher = Watcher(LogTree(tmp_path / "missing", SUFFIXES), lambda _: None)
    watcher.start()
    wait_until(lambda: bool(caplog.messages))
    watcher.stop()
    assert caplog.messages[0].startswith("watching files failed, falling back to scans: ")


def test_a_watcher_that_never_began_can_be_stopped(place: Place) -> None:
    """A watcher that was never started can be stopped."""
    Watcher(place.tree, lambda _: None).stop()


# --- what is easily overlooked ------------------------------------------------------------

SOON_S = 10.0


def found_soon(notices: Notices, *numbers: int) -> None:
    """Wait until these records are found besides the two that were there."""
    want = sorted([1, 2, *numbers])
    wait_until(lambda: notices.place.numbers() == want, deadline_s=SOON_S)


@pytest.mark.parametrize("content", [b"", b"\n\n", b'{"n":', b"\0" * 3_000])
def test_the_first_line_of_a_log_file(notices: Notices, content: bytes) -> None:
    """A `.log` file that is not JSON yet is read as soon as its first line is there."""
    notices.place.write("app.log", content)
    wait_until(lambda: "app.log" in notices.seen)
    notices.wait_until_told()
    (notices.place.logs / "app.log").write_bytes(content.removesuffix(b'{"n":') + lines(3))
    found_soon(notices, 3)


def test_a_log_file_of_text_that_is_replaced(notices: Notices) -> None:
    """A `.log` file of plain text that begins again with JSON is read."""
    file = notices.place.write("app.log", b"plain text, quite a lot of it, on one line\n")
    notices.wait_until_told()
    file.write_bytes(lines(3))
    found_soon(notices, 3)


@pytest.mark.parametrize("name", ["b.ndjson", "d/b.ndjson", "d/e/f/b.log"])
def test_a_file_that_is_moved_into_the_tree(notices: Notices, tmp_path: Path, name: str) -> None:
    """A file that was written elsewhere is read when it comes, and read on."""
    outside = tmp_path / "new"
    outside.write_bytes(lines(3))
    (notices.place.logs / name).parent.mkdir(parents=True, exist_ok=True)
    outside.rename(notices.place.logs / name)
    found_soon(notices, 3)
    notices.place.append(name, lines(4))
    found_soon(notices, 3, 4)


def test_a_directory_that_is_moved_into_the_tree(notices: Notices, tmp_path: Path) -> None:
    """A directory comes with its files, and lines that are appended later are found."""
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "b.ndjson").write_bytes(lines(3))
    (tmp_path / "new").rename(notices.place.logs / "moved")
    found_soon(notices, 3)
    notices.place.append("moved/deep/b.ndjson", lines(4))
    found_soon(notices, 3, 4)


def test_a_directory_that_was_created_a_moment_ago(notices: Notices) -> None:
    """A file is found however soon after its directory it is made, and read on."""
    for number in range(3, 9):
        notices.place.write(f"d{number}/e/b.ndjson", lines(number))
    found_soon(notices, *range(3, 9))
    for number in range(3, 9):
        notices.place.append(f"d{number}/e/b.ndjson", lines(number + 10))
    found_soon(notices, *range(3, 9), *range(13, 19))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory outside the tree."""
    directory = tmp_path / "outside"
    directory.mkdir()
    return directory


def add(file: Path, *numbers: int) -> None:
    """Append records to a file outside the tree."""
    with file.open("ab") as opened:
        opened.write(lines(*numbers))


def test_a_linked_file(notices: Notices, outside: Path) -> None:
    """Lines of a file outside are found, through rotation and a link that is pointed elsewhere."""
    add(outside / "app.log", 3)
    link = notices.place.logs / "app.log"
    link.symlink_to(outside / "app.log")
    found_soon(notices, 3)
    add(outside / "app.log", 4)
    found_soon(notices, 3, 4)
    (outside / "app.log").rename(outside / "app.log.1")
    add(outside / "app.log.1", 5)
    add(outside / "app.log", 6)
    found_soon(notices, 3, 4, 5, 6)
    add(outside / "other.log", 7)
    (outside / "link").symlink_to(outside / "other.log")
    (outside / "link").rename(link)
    found_soon(notices, 3, 4, 5, 6, 7)
    add(outside / "other.log", 8)
    found_soon(notices, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("exists", [True, False])
def test_the_first_line_of_a_linked_file(notices: Notices, outside: Path, exists: bool) -> None:
    """It is found in a file that was empty before, or was not there."""
    if exists:
        (outside / "app.log").touch()
    (notices.place.logs / "app.log").symlink_to(outside / "app.log")
    notices.wait_until_told()
    notices.wait_until_told()
    add(outside / "app.log", 3)
    found_soon(notices, 3)


@pytest.mark.parametrize("moves", [True, False])
def test_the_directory_of_a_linked_file_is_exchanged(
    notices: Notices, outside: Path, moves: bool
) -> None:
    """A new directory under the old path is watched like the old one."""
    (outside / "a").mkdir()
    add(outside / "a" / "app.log", 3)
    (notices.place.logs / "app.log").symlink_to(outside / "a" / "app.log")
    found_soon(notices, 3)
    notices.wait_until_told()
    exchange(outside / "a", moves, 4)
    found_soon(notices, 3, 4)
    add(outside / "a" / "app.log", 5)
    found_soon(notices, 3, 4, 5)


@pytest.mark.parametrize("moves", [True, False])
def test_a_linked_directory_is_exchanged(notices: Notices, outside: Path, moves: bool) -> None:
    """Likewise for a directory that a link leads to."""
    (outside / "a").mkdir()
    add(outside / "a" / "app.log", 3)
    (notices.place.logs / "web").symlink_to(outside / "a")
    found_soon(notices, 3)
    notices.wait_until_told()
    exchange(outside / "a", moves, 4)
    found_soon(notices, 3, 4)
    add(outside / "a" / "app.log", 5)
    found_soon(notices, 3, 4, 5)


def exchange(directory: Path, moves: bool, number: int) -> None:
    """Put a directory with one record in the place of this one, which is moved away or deleted."""
    with (directory / "app.log").open():  # so that its inode is not used again
        if moves:
            directory.rename(directory.with_name("old"))
        else:
            shutil.rmtree(directory)
        directory.mkdir()
        add(directory / "app.log", number)


def test_what_still_comes_to_a_file_that_was_linked(notices: Notices, outside: Path) -> None:
    """A link is pointed elsewhere, and its old file goes on: that is watched as well."""
    for name in ("a", "b"):
        (outside / name).mkdir()
    add(outside / "a" / "app.log", 3)
    link = notices.place.logs / "app.log"
    link.symlink_to(outside / "a" / "app.log")
    found_soon(notices, 3)
    add(outside / "b" / "app.log", 4)
    (outside / "link").symlink_to(outside / "b" / "app.log")
    (outside / "link").rename(link)
    found_soon(notices, 3, 4)
    notices.wait_until_told()
    add(outside / "a" / "app.log", 5)
    found_soon(notices, 3, 4, 5)


def test_a_log_file_of_text_that_is_rewritten_in_place(notices: Notices) -> None:
    """It is looked at, although it is longer than before."""
    file = notices.place.write("app.log", b"starting\n")
    notices.wait_until_told()
    file.write_bytes(lines(3, 4))
    found_soon(notices, 3, 4)


def test_an_empty_linked_log_file(notices: Notices, outside: Path) -> None:
    """The first line of a linked `.log` file is found, also after it was rotated."""
    file = outside / "app.log"
    file.touch()
    (notices.place.logs / "app.log").symlink_to(file)
    wait_until(lambda: "app.log" in notices.seen)
    notices.wait_until_told()
    add(file, 3)
    found_soon(notices, 3)
    add(file, 4)
    file.rename(outside / "app.log.1")
    file.touch()
    found_soon(notices, 3, 4)
    add(file, 5)
    found_soon(notices, 3, 4, 5)


def test_a_chain_of_links(notices: Notices, outside: Path) -> None:
    """A change of a link in the middle is found, too."""
    (outside / "a").mkdir()
    add(outside / "a" / "app.log", 3)
    (outside / "middle.log").symlink_to("a/app.log")
    (notices.place.logs / "app.log").symlink_to(outside / "middle.log")
    found_soon(notices, 3)
    add(outside / "a" / "app.log", 4)
    found_soon(notices, 3, 4)
    add(outside / "new.log", 5)
    notices.wait_until_told()
    (outside / "link").symlink_to("new.log")
    (outside / "link").rename(outside / "middle.log")
    found_soon(notices, 3, 4, 5)
    add(outside / "new.log", 6)
    found_soon(notices, 3, 4, 5, 6)


def test_a_linked_directory(notices: Notices, outside: Path) -> None:
    """Files of a linked directory are found, also new ones in new directories behind it."""
    add(outside / "app.ndjson", 3)
    link = notices.place.logs / "pods"
    link.symlink_to(outside)
    found_soon(notices, 3)
    add(outside / "app.ndjson", 4)
    found_soon(notices, 3, 4)
    (outside / "d").mkdir()
    add(outside / "d" / "new.ndjson", 5)
    found_soon(notices, 3, 4, 5)
    add(outside / "d" / "new.ndjson", 6)
    found_soon(notices, 3, 4, 5, 6)


def test_links_that_were_there_before(place: Place, outside: Path) -> None:
    """Links that were there at the start are watched from then on."""
    (outside / "d").mkdir()
    add(outside / "app.ndjson", 1)
    add(outside / "d" / "web.ndjson", 2)
    (place.logs / "app.ndjson").symlink_to(outside / "app.ndjson")
    (place.logs / "d").symlink_to(outside / "d")
    notices = Notices(place)
    try:
        for number in range(3, 9, 2):
            add(outside / "app.ndjson", number)
            found_soon(notices, *range(3, number + 1))
            add(outside / "d" / "web.ndjson", number + 1)
            found_soon(notices, *range(3, number + 2))
    finally:
        notices.stop()


def test_other_files_beside_a_linked_one_are_not_told(notices: Notices, outside: Path) -> None:
    """Files beside a linked one that have nothing to do with it cost no scan."""
    add(outside / "app.ndjson", 3)
    (notices.place.logs / "app.ndjson").symlink_to(outside / "app.ndjson")
    found_soon(notices, 3)
    add(outside / "app.ndjson", 4)
    found_soon(notices, 3, 4)
    notices.seen.clear()
    add(outside / "syslog", 5)
    add(outside / "app.ndjson", 6)
    found_soon(notices, 3, 4, 6)
    assert {path for path in notices.seen if not path.startswith("probe")} <= {"app.ndjson", ""}
