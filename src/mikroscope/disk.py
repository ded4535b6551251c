"""Disks: free space, directories that can be written, durable writes, and errors of a full disk."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mikroscope.errors import ConfigurationError, MikroScopeError, StorageFullError

PROBE_PREFIX = ".mikroscope-probe-"
NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Error numbers of a write that does not fit on the disk, into the quota or into the file."""


def free_bytes(directory: Path) -> int | None:
    """Return the space this user may still fill; None if the system does not report it."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(directory).free
    return None


def require_no_file(directory: Path, flag: str) -> None:
    """Raise ConfigurationError if there is a file where a flag names a directory."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise ConfigurationError(f"{directory.absolute()} is a file; {flag} takes a directory")


def require_no_directory(file: Path, flag: str) -> None:
    """Raise ConfigurationError if there is a directory where a flag names a file."""
    if os.path.isdir(file):
        raise ConfigurationError(f"{file.absolute()} is a directory; {flag} takes a file")


def prepare_directory(
    directory: Path, purpose: str, min_free_bytes: int, *, may_be_full: bool = False
) -> bool:
    """Create a directory if it is missing, write a probe to it, and check its free space.

    Returns whether it was missing. With `may_be_full` a lack of space is no error. Raises
    MikroScopeError naming the directory and what is wrong.
    """
    was_missing = not os.path.exists(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=PROBE_PREFIX) as probe:
            probe.write(b"probe")
            probe.flush()
    except (FileExistsError, NotADirectoryError) as error:
        file = next(one for one in (directory, *directory.parents) if os.path.exists(one))
        raise MikroScopeError(
            f"the {purpose} directory cannot be {directory.absolute()}: {file.absolute()} is a file"
        ) from error
    except OSError as error:
        if may_be_full and error.errno in NO_SPACE:
            return was_missing
        raise MikroScopeError(
            f"the {purpose} directory {directory} cannot be written: {error.strerror}"
        ) from error
    free = free_bytes(directory)
    if free is not None and free < min_free_bytes and not may_be_full:
        raise StorageFullError(
            f"the {purpose} directory {directory} has {free} bytes free, expected at least "
            f"{min_free_bytes}: free some space, or lower --min-free-bytes"
        )
    return was_missing


def sync(path: Path) -> None:
    """Make a file's content, or the names in a directory, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: object) -> None:
    """Replace a JSON file atomically and durably; only its owner may read it (mode 0600).

    Missing directories are created. Raises MikroScopeError, StorageFullError if it does not fit;
    the old file is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        kind = StorageFullError if error.errno in NO_SPACE else MikroScopeError
        raise kind(f"{path} cannot be written: {error.strerror}") from error
    with contextlib.suppress(OSError):  # not every file system can sync a directory
        sync(path.parent)


@contextmanager
def translating_errors(place: Path) -> Iterator[None]:
    """Raise StorageFullError where `place` does not fit on its disk, MikroScopeError for any
    other OSError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFullError(
                f"there is not enough space for {place} ({error.strerror}); nothing was kept"
            ) from error
        named = f"{error.filename}: " if error.filename else ""
        raise MikroScopeError(f"{named}{error.strerror or error}") from error
