"""Reading an index as a user who may not write to it: each state in which a server leaves it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mikroscope.errors import StoreError
from mikroscope.query.model import Query
from mikroscope.stores.sqlite import SqliteStore, files
from mikroscope.stores.sqlite.read import access
from tests.helpers.stores import BECOME_NOBODY, Place, count, lines

# Answers each line of standard input, as a user without rights, with the number of entries or the
# error; at the end, with what is left in its directory for temporary files.
READER = """
import os, sys, tempfile
from mikroscope.errors import MikroScopeError
from mikroscope.query.model import Grouping, Query
from mikroscope.stores import open_store
import mikroscope.stores.sqlite.store
tempfile.tempdir = sys.argv[2]
become_nobody()
store = open_store(sys.argv[1], "read")
for _ in sys.stdin:
    try:
        counts = store.aggregate(Query(), Grouping("level")).buckets
        found = len(store.search(Query()).entries)
        assert found == sum(one.count for one in counts), (found, counts)
        print(found, flush=True)
    except MikroScopeError as error:
        print(error, flush=True)
store.close()
print(os.listdir(sys.argv[2]))
"""
NEEDS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
NONE_LEFT = "[]\n"


class Reader:
    """A process of a user who may read the index only."""

    def __init__(self, index: Path) -> None:
        program = [sys.executable, "-c", BECOME_NOBODY + READER]
        self._process = subprocess.Popen(
            [*program, str(index), str(index.parent.parent / "temporary")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> str:
        """Return the number of entries, or the error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def close(self) -> str:
        """End it; return the names of the temporary files that it left."""
        left, _ = self._process.communicate(timeout=60)
        return left


@contextmanager
def read_by_other(index: Path) -> Iterator[Reader]:
    """A reader of an index who may write neither to it nor next to it."""
    index.parent.chmod(0o555)
    for file in index.parent.glob("index.db*"):
        file.chmod(0o444)
    reader = Reader(index)
    try:
        yield reader
    finally:
        reader.close()
        index.parent.chmod(0o755)


def answer(index: Path) -> str:
    """Ask once; nothing may be created or left behind."""
    before = sorted(os.listdir(index.parent))
    with read_by_other(index) as reader:
        found = reader.ask()
        assert reader.close() == NONE_LEFT
    assert sorted(os.listdir(index.parent)) == before
    return found


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that any user may enter; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "temporary").mkdir()
        (directory / "temporary").chmod(0o777)
        (directory / "data").mkdir()
        yield directory


@pytest.fixture
def place(shared: Path) -> Iterator[Place]:
    """An index of two entries whose writer still runs."""
    with Place(shared / "data") as place:
        place.write("a.ndjson", lines(1, 2))
        place.index()
        yield place


def killed(place: Place, shared: Path, *suffixes: str) -> Path:
    """Return a copy of the index as a kill leaves it, with these of SQLite's files next to it."""
    directory = shared / "killed"
    directory.mkdir()
    for suffix in ("", *suffixes):
        name = f"index.db{suffix}"
        shutil.copyfile(place.database.parent / name, directory / name)
    assert not suffixes or (directory / "index.db-wal").stat().st_size
    return directory / "index.db"


def test_beside_a_running_server(place: Place) -> None:
    """While a writer runs, a reader without permission to write sees each commit."""
    with read_by_other(place.database) as reader:
        assert reader.ask() == "2"
        place.append("a.ndjson", lines(3))
        place.index()
        assert reader.ask() == "3"
        assert reader.close() == NONE_LEFT


def test_after_a_clean_stop(place: Place) -> None:
    """An index without a write-ahead log is read as it is."""
    place.store.close()
    assert not files.sibling(place.database, "-wal").exists()
    assert answer(place.database) == "2"


@pytest.mark.parametrize("suffixes", [("-wal", "-shm"), ("-wal",)])
def test_after_a_kill(place: Place, shared: Path, suffixes: tuple[str, ...]) -> None:
    """What is in the write-ahead log only is found, with and without the file of shared memory."""
    assert answer(killed(place, shared, *suffixes)) == "2"


def test_an_empty_write_ahead_log(place: Place) -> None:
    """A reader that could write leaves an empty log behind; the next reader needs no copy."""
    place.store.close()
    files.sibling(place.database, "-wal").touch()
    assert answer(place.database) == "2"


def test_a_server_that_starts_later(place: Place) -> None:
    """A reader that is open while a server starts sees what the server commits."""
    place.store.close()
    with read_by_other(place.database) as reader:
        assert reader.ask() == "2"
        place.database.chmod(0o644)
        place.restart()
        place.append("a.ndjson", lines(3))
        place.index()
        assert reader.ask() == "3"


def test_a_killed_server_that_starts_again(place: Place, shared: Path) -> None:
    """A private copy is given up as soon as the index has changed."""
    index = killed(place, shared, "-wal")
    with read_by_other(index) as reader:
        assert reader.ask() == "2"
        index.chmod(0o644)
        index.with_name("index.db-wal").chmod(0o644)
        with Place(index.parent) as again:
            again.write("b.ndjson", lines(3))
            again.index()
            assert reader.ask() == "3"
            assert reader.close() == NONE_LEFT


def test_an_index_that_is_rebuilt(place: Place, shared: Path) -> None:
    """A reader follows an index that was replaced by another file."""
    place.store.close()
    with read_by_other(place.database) as reader:
        assert reader.ask() == "2"
        with Place(shared / "other") as other:
            other.write("b.ndjson", lines(1, 2, 3, 4))
            other.index()
        other.database.chmod(0o644)
        other.database.replace(place.database)
        assert reader.ask() == "4"


@NEEDS_ROOT
@pytest.mark.parametrize("suffixes", [(), ("-wal",)])
def test_a_directory_that_others_may_write_to(
    place: Place, shared: Path, suffixes: tuple[str, ...]
) -> None:
    """A reader creates no file next to the index of another user, whom it could lock out."""
    index = killed(place, shared, *suffixes) if suffixes else place.database
    place.store.close()
    before = sorted(os.listdir(index.parent))
    index.parent.chmod(0o777)
    index.chmod(0o644)
    reader = Reader(index)
    assert reader.ask() == "2"
    assert reader.close() == NONE_LEFT
    assert sorted(os.listdir(index.parent)) == before


@NEEDS_ROOT
def test_a_directory_that_may_be_entered_only(place: Place) -> None:
    """A directory whose names may not be listed is no obstacle."""
    place.store.close()
    place.database.chmod(0o644)
    place.database.parent.chmod(0o711)
    reader = Reader(place.database)
    assert reader.ask() == "2"
    assert reader.close() == NONE_LEFT


@pytest.mark.parametrize(
    ("shut", "mode", "action"),
    [
        (lambda index: index, 0o200, "read"),
        (lambda index: index.with_name("index.db-wal"), 0o200, "read"),
        (lambda index: index.parent, 0o600, "enter"),
        (lambda index: index.parent.parent, 0o600, "enter"),
    ],
)
def test_what_is_missing(
    place: Place, shared: Path, shut: Callable[[Path], Path], mode: int, action: str
) -> None:
    """The error names the user, the file or directory that is closed, its owner and its mode."""
    index = killed(place, shared, "-wal")
    for one in (index, index.with_name("index.db-wal")):
        one.chmod(0o644)
    closed = shut(index)
    reader = Reader(index)
    closed.chmod(mode)
    text = reader.ask()
    closed.chmod(0o700)
    reader.close()
    assert f"may not {action} {closed} (owner " in text
    assert f"mode {mode:04o}): run this as its owner" in text
    assert "or query the server over HTTP" in text


def test_a_file_that_changes_under_a_reader(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer from a file that has changed is thrown away, and the question repeated."""
    place.store.close()
    monkeypatch.setattr(access, "_may_share_memory", lambda path: False)
    store = SqliteStore(place.database, write=False)
    asked = []

    def question(connection: object) -> int:
        asked.append(connection)
        if len(asked) == 1:
            os.utime(place.database)
            raise ValueError("such as from half a page")
        return len(asked)

    assert store._readers.ask(question) == 2
    assert asked[0] is not asked[1]
    store.close()


def test_a_file_that_never_rests(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that can share nothing with a busy writer gives up with what to do instead."""
    place.store.close()
    monkeypatch.setattr(access, "_may_share_memory", lambda path: False)
    monkeypatch.setattr(access, "check_version", lambda *_: os.utime(place.database))
    store = SqliteStore(place.database, write=False)
    with pytest.raises(StoreError, match=r"changes while it is read.*query the server over HTTP"):
        store.count(Query())
    store.close()


# Prints whether another process may take the lock that excludes all readers: SQLite's "exclusive"
# lock, which covers these bytes of the file (its file format's "lock-byte page").
TAKES_ALL = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000000 + 2)
        print("it is free")
    except BlockingIOError:
        print("it is held")
"""


@pytest.mark.parametrize("write", [True, False])
def test_locks_outlive_an_opening(place: Place, write: bool) -> None:
    """Opening an index leaves the locks of this process in place: to close any descriptor of the
    file would end them, and another process could believe that it is the last one.
    """
    store = SqliteStore(place.database, write=write)
    assert count(store) == 2
    command = [sys.executable, "-c", TAKES_ALL, str(place.database)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "it is held\n"
    store.close()


def test_a_writer_s_own_questions_need_no_copy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server never copies its index, whatever keeps it from opening the file."""
    monkeypatch.setattr(access, "_open_still", lambda path: pytest.fail("it was copied"))
    assert count(place.store) == 2
