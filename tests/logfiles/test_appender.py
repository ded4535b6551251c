"""Lines are appended whole, or not at all."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mikroscope.errors import StorageFullError, StoreError
from mikroscope.logfiles.appender import LogAppender
from tests.helpers.stores import run_python


@pytest.fixture
def writer(tmp_path: Path) -> LogAppender:
    """A writer below an empty root."""
    return LogAppender(tmp_path)


def test_lines_are_appended(tmp_path: Path, writer: LogAppender) -> None:
    """An append makes directories, and returns the stats before and after, and the end."""
    done = [writer.append("d/e/a.ndjson", line) for line in (b"one\n", b"two\nthree\n")]
    writer.close()
    assert (tmp_path / "d/e/a.ndjson").read_bytes() == b"one\ntwo\nthree\n"
    assert [(one.before.size, one.after.size, one.tail) for one in done] == [
        (0, 4, b"one\n"),
        (4, 14, b"one\ntwo\nthree\n"),
    ]


def test_what_is_appended_can_be_read_at_once(tmp_path: Path, writer: LogAppender) -> None:
    """Appended lines can be read at once."""
    writer.append("a.ndjson", b"one\n")
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\n"
    writer.close()


def test_half_a_line_keeps_a_line_of_its_own(tmp_path: Path, writer: LogAppender) -> None:
    """A record after an unfinished line, as a crash leaves it, begins on a new line."""
    (tmp_path / "a.ndjson").write_bytes(b'{"a":1}\n{"hal')
    writer.append("a.ndjson", b'{"b":2}\n')
    writer.append("a.ndjson", b'{"c":3}\n')
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b'{"a":1}\n{"hal\n{"b":2}\n{"c":3}\n'


def test_a_file_that_was_renamed_is_not_written_any_more(
    tmp_path: Path, writer: LogAppender
) -> None:
    """After a rename the next lines go to a new file under the old name."""
    writer.append("a.ndjson", b"one\n")
    (tmp_path / "a.ndjson").rename(tmp_path / "a.ndjson.1")
    assert writer.append("a.ndjson", b"two\n").before.size == 0
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"two\n"
    assert (tmp_path / "a.ndjson.1").read_bytes() == b"one\n"


def test_a_file_that_was_deleted_is_made_anew(tmp_path: Path, writer: LogAppender) -> None:
    """After a delete the next lines go to a new file, in a new directory if needed."""
    writer.append("d/a.ndjson", b"one\n")
    (tmp_path / "d/a.ndjson").unlink()
    (tmp_path / "d").rmdir()
    writer.append("d/a.ndjson", b"two\n")
    writer.close()
    assert (tmp_path / "d/a.ndjson").read_bytes() == b"two\n"


def test_a_file_that_was_cut_is_written_at_its_end(tmp_path: Path, writer: LogAppender) -> None:
    """After a truncation the next lines follow the new end, without a hole."""
    writer.append("a.ndjson", b"one\n")
    os.truncate(tmp_path / "a.ndjson", 0)
    assert writer.append("a.ndjson", b"two\n").before.size == 0
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"two\n"


def test_many_files_do_not_use_up_the_descriptors(tmp_path: Path, writer: LogAppender) -> None:
    """The writer keeps only some files open, and every file gets its lines."""
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(2):
        for number in range(200):
            writer.append(f"{number}.ndjson", b"%d\n" % turn)
    assert len(os.listdir("/proc/self/fd")) <= before + 64
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert {file.read_bytes() for file in tmp_path.glob("*.ndjson")} == {b"0\n1\n"}


def make_directory(file: Path) -> None:
    """Put a directory in place of the file."""
    file.mkdir()


def make_parent_a_file(file: Path) -> None:
    """Put a file in place of the parent directory."""
    file.parent.rmdir()
    file.parent.write_bytes(b"")


@pytest.mark.parametrize("block", [make_directory, make_parent_a_file])
def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, writer: LogAppender, block: Callable[[Path], None]
) -> None:
    """The error names the file and the system's reason."""
    (tmp_path / "d").mkdir()
    block(tmp_path / "d/a.ndjson")
    with pytest.raises(StoreError, match=r"^d/a\.ndjson cannot be written: .+"):
        writer.append("d/a.ndjson", b"one\n")


def test_lines_can_be_taken_back(tmp_path: Path, writer: LogAppender) -> None:
    """After a rollback the file is as before and can be written again."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    writer.truncate("a.ndjson", size)
    writer.append("a.ndjson", b"three\n")
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\nthree\n"


def test_lines_are_taken_back_from_the_file_they_went_to(
    tmp_path: Path, writer: LogAppender
) -> None:
    """A rollback finds a file that was renamed, and touches no other file."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    (tmp_path / "a.ndjson").rename(tmp_path / "b.ndjson")
    writer.truncate("a.ndjson", size)
    writer.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"b.ndjson": b"one\n"}


def test_lines_are_taken_back_from_a_file_that_is_not_open_any_more(
    tmp_path: Path, writer: LogAppender
) -> None:
    """A rollback works on a file that the writer has closed meanwhile."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    writer.close()
    writer.truncate("a.ndjson", size)
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\n"


def test_taking_back_makes_no_file_and_no_file_longer(tmp_path: Path, writer: LogAppender) -> None:
    """A rollback neither makes a file nor makes one longer, whatever happened to it."""
    (tmp_path / "a.ndjson").write_bytes(b"one\n")
    for name in ("a.ndjson", "b.ndjson"):
        writer.truncate(name, 100)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.ndjson": b"one\n"}


FULL_DISK = """
import sys
from pathlib import Path
from mikroscope.errors import StorageFullError
from mikroscope.logfiles.appender import LogAppender
writer = LogAppender(Path(sys.argv[1]))
line = b'{"pad":"' + b"x" * 990 + b'"}\\n'
written = 0
try:
    while written < 10_000_000:
        writer.append("a.ndjson", line * 3)
        written += 3
except StorageFullError as error:
    print(written, "|", error)
content = Path(sys.argv[1], "a.ndjson").read_bytes()
assert content == line * written, (len(content), len(line) * written)
"""


def test_a_file_at_its_size_limit_is_left_whole(tmp_path: Path) -> None:
    """At a file size limit the partial append is rolled back; the error says why."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    written, _, error = run_python(limit + FULL_DISK, tmp_path).partition(" | ")
    assert written == "99"
    assert error == "a.ndjson cannot be written: File too large"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """On a full disk the partial append is rolled back; the error says why."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        written, _, error = run_python(FULL_DISK, tmp_path).partition(" | ")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert 100 < int(written) < 205
    assert error == "a.ndjson cannot be written: No space left on device"


def test_a_link_is_not_followed(tmp_path: Path, writer: LogAppender) -> None:
    """A link at the place of a file is refused, also if it replaces a file that is open."""
    (tmp_path / "target").write_text("theirs\n")
    (tmp_path / "a.ndjson").symlink_to(tmp_path / "target")
    writer.append("b.ndjson", b"one\n")
    (tmp_path / "b.ndjson").rename(tmp_path / "moved")
    (tmp_path / "b.ndjson").symlink_to(tmp_path / "moved")
    for name in ("a.ndjson", "b.ndjson"):
        with pytest.raises(StoreError, match="it is a link, expected a file: remove the link"):
            writer.append(name, b"two\n")
    assert (tmp_path / "target").read_text() == "theirs\n"
    assert (tmp_path / "moved").read_text() == "one\n"


def test_a_full_disk_is_an_error_of_its_own(
    writer: LogAppender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk has its own error, so that a client knows to try again."""

    def write(_descriptor: int, _content: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageFullError, match="No space left on device"):
        writer.append("a.ndjson", b"one\n")
    writer.close()


def test_durable_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A durable append syncs the file, and for a new file the directories; another one nothing."""
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    LogAppender(tmp_path).append("d/a.ndjson", b"one\n")
    assert synced == []
    durable = LogAppender(tmp_path, durable=True)
    durable.append("d/e/b.ndjson", b"one\n")
    assert synced == ["d/e/b.ndjson", "d/e", "d", "."]
    durable.append("d/e/b.ndjson", b"two\n")
    assert synced[4:] == ["d/e/b.ndjson"]


def test_lines_that_do_not_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fails, a durable append leaves nothing in the file and says why."""
    durable = LogAppender(tmp_path, durable=True)
    durable.append("a.ndjson", b"one\n")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"a\.ndjson cannot be written: Input/output error"):
        durable.append("a.ndjson", b"two\n")
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\n"
