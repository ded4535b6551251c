"""Where the system reports changes of files, their lines are indexed within moments."""

import os
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
