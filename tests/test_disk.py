"""Disks: free space, prepared directories, durable JSON files, and errors of a full disk."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from mikroscope.disk import (
    free_bytes,
    prepare_directory,
    sync,
    translating_errors,
    write_json,
)
from mikroscope.errors import MikroScopeError, StorageFullError


def test_free_bytes(tmp_path: Path) -> None:
    """The free space of a directory is a number of bytes."""
    free = free_bytes(tmp_path)
    assert free is not None
    assert free > 0


def test_free_bytes_of_a_missing_directory(tmp_path: Path) -> None:
    """The free space of a directory that does not exist is unknown."""
    assert free_bytes(tmp_path / "missing") is None


def test_prepare_creates_the_directory(tmp_path: Path) -> None:
    """A missing directory is created with its parents, and the probe is deleted."""
    prepare_directory(tmp_path / "a" / "b", "logs", 0)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_prepare_refuses_a_file(tmp_path: Path) -> None:
    """A file in place of the directory is an error that names it."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(
        MikroScopeError, match=f"the logs directory cannot be {path}: {path} is a file"
    ):
        prepare_directory(path, "logs", 0)


def test_prepare_refuses_a_nearly_full_disk(tmp_path: Path) -> None:
    """Less free space than the reserve is an error that names the option to change."""
    with pytest.raises(StorageFullError, match="lower --min-free-bytes"):
        prepare_directory(tmp_path, "logs", 1 << 60)


def test_sync(tmp_path: Path) -> None:
    """A file and a directory can be synced; a missing path is an OSError."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    sync(path)
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "missing")


def test_write_json(tmp_path: Path) -> None:
    """The file is complete, readable by its owner only, and the only file left."""
    path = tmp_path / "deeper" / "one.json"
    write_json(path, {"n": 1})
    write_json(path, {"n": 2})
    assert json.loads(path.read_bytes()) == {"n": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["one.json"]


def failing_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every fsync fail with an error number."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)


def test_write_json_to_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that does not fit keeps the old file, and leaves no part of the new one."""
    path = tmp_path / "one.json"
    write_json(path, {"n": 1})
    failing_with(errno.ENOSPC, monkeypatch)
    with pytest.raises(StorageFullError, match="cannot be written: No space left on device"):
        write_json(path, {"n": 2})
    assert json.loads(path.read_bytes()) == {"n": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["one.json"]


def test_write_json_below_a_file(tmp_path: Path) -> None:
    """A directory that cannot be created is an error that names the file to be written."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "one.json"
    with pytest.raises(MikroScopeError, match=rf"^{path} cannot be written: "):
        write_json(path, {})


def test_write_json_where_directories_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot sync directories does not make the write fail."""

    def refuse(path: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("mikroscope.disk.sync", refuse)
    write_json(tmp_path / "one.json", {"n": 1})
    assert json.loads((tmp_path / "one.json").read_bytes()) == {"n": 1}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_is_a_storage_full_error(number: int) -> None:
    """A full disk, a full quota and a file at its limit are StorageFullErrors naming the place."""
    with (
        pytest.raises(StorageFullError, match="not enough space for /backups"),
        translating_errors(Path("/backups")),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_name_their_file() -> None:
    """Any other OSError is a MikroScopeError with the file and the system's reason."""
    with (
        pytest.raises(MikroScopeError, match=r"^/logs/a: Permission denied$") as caught,
        translating_errors(Path("/backups")),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "/logs/a")
    assert not isinstance(caught.value, StorageFullError)


def test_our_own_errors_pass() -> None:
    """An error that is a MikroScopeError already is not changed."""
    error = MikroScopeError("as it is")
    with pytest.raises(MikroScopeError) as caught, translating_errors(Path("/backups")):
        raise error
    assert caught.value is error
