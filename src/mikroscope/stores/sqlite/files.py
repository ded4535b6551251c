"""Manages the files of an index on disk: locks, damage marks, and replacing the database."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec
from zstandard import ZstdError

from mikroscope.errors import (
    DamagedIndexError,
    MikroScopeError,
    NotAnIndexError,
    StorageFullError,
    StoreError,
)
from mikroscope.records.parsing import NotARecordError

logger = logging.getLogger(__name__)

MODE = 0o640  # of an index: owner and group, like the log files
_COMPANIONS = ("-wal", "-shm")  # SQLite's own files next to a database
_INDEX_SUFFIXES = frozenset((".db", ".db3", ".sqlite", ".sqlite3"))
# SQLite does not check the content of a line: one that cannot be unpacked or parsed is damage, too.
DAMAGE = (
    *(apsw.CorruptError, apsw.NotADBError, ZstdError, NotARecordError, msgspec.DecodeError),
    UnicodeDecodeError,
)


def resolve_link(path: Path) -> Path:
    """Return the target of a link to an index, which is locked and replaced instead of the link."""
    return path.resolve() if os.path.islink(path) else path  # not Path.is_symlink: it may raise


def sibling(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to an index: the index's name plus a suffix."""
    return path.with_name(f"{path.name}{suffix}")


def size_bytes(path: Path) -> int:
    """The size of an index: of the file and of its write-ahead log."""
    both = (path, sibling(path, "-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


def create(path: Path) -> None:
    """Create an empty file for an index, unless there is one; others may not read it.

    SQLite gives its files next to it the same mode.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE))


def lock(path: Path, *, to_restore: bool = False) -> int:
    """Lock `<db>.lock` and return its descriptor. Raises StoreError if another process holds it.

    The error says what to do, for a server and for a restore. The system releases the lock when the
    process ends, even after a crash.
    """
    descriptor = os.open(sibling(path, ".lock"), os.O_RDWR | os.O_CREAT, MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder or 'unknown'}"
        if to_restore:
            text = f"A server ({who}) is using this index. Stop it before restoring to {path}"
            raise StoreError(text) from None
        raise _in_use(path, who) from None
    os.ftruncate(descriptor, 0)  # the process id is for the error message above
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def lock_file(path: Path) -> int:
    """Lock the index file itself, against a server that knows it by another name.

    Returns the descriptor, or raises StoreError. Close it only after the file's connections:
    SQLite's own locks end with any descriptor of the file that this process closes.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        who = "which knows the file by another name, or whose lock file is gone"
        raise _in_use(path, who) from None
    return descriptor


def unlock(descriptor: int) -> None:
    """Release a lock returned by `lock` or `lock_file`."""
    os.close(descriptor)


def _in_use(path: Path, who: str) -> StoreError:
    return StoreError(
        f"another MikroScope server ({who}) uses {path}: stop it, or set a different --db"
    )


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Keep other processes from replacing the index within this context."""
    with _directory_lock(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Keep other processes from opening the index within this context, to replace it safely.

    The file and its write-ahead log have to change together: a log does not record which file it
    belongs to, so SQLite would apply the old file's log to a new one. Connections that are already
    open keep using the old file.
    """
    with _directory_lock(path, fcntl.LOCK_EX):
        yield


@contextmanager
def translating_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the system into StoreError; mark damage for the next start."""
    try:
        yield
    except MikroScopeError:
        raise
    except DAMAGE as error:
        raise damaged(path, error) from error
    except (apsw.FullError, apsw.IOError) as error:
        raise StorageFullError(f"{path} cannot be written: {error}") from error
    except (apsw.Error, OSError) as error:
        raise StoreError(f"{path} cannot be used: {error}") from error


def damaged(path: Path, error: Exception) -> DamagedIndexError:
    """Return the error for a damaged index.

    Damage that opening the file may not reveal is marked by a file next to it, so that the next
    start rebuilds the index.
    """
    if isinstance(error, apsw.NotADBError):  # this shows whenever it is opened
        return NotAnIndexError(
            f"{path} is not an SQLite file: pass another --db, or replace it with "
            "'mikroscope index --rebuild'"
        )
    mark = sibling(path, ".damaged")
    if not mark.exists():
        logger.error("the index %s is damaged: %s", path, error)
        with contextlib.suppress(OSError):
            mark.touch()
    return DamagedIndexError(damage_text(path, f" ({error})"))


def damage_text(path: Path, what: str = "") -> str:
    """Return the text that an index is damaged, and what to do about it."""
    return (
        f"the index {path} is damaged{what}: restart the server, or rebuild it with "
        "'mikroscope index --rebuild' or POST /api/reindex"
    )


def is_marked_damaged(path: Path) -> bool:
    """Return True if damage was found in this index and it was not replaced since."""
    return sibling(path, ".damaged").exists()


def may_be_an_index(path: Path) -> bool:
    """Return True if a damaged file looks like an index, by its name or SQLite's files next to it.

    Anything else was probably passed as --db by mistake, and must not be moved or replaced.
    """
    is_named_so = path.suffix.lower() in _INDEX_SUFFIXES
    return is_named_so or any(sibling(path, one).exists() for one in _COMPANIONS)


def set_aside(path: Path, why: str) -> Path:
    """Rename an index, with its SQLite files, to a name with the time in it; return that path."""
    aside = sibling(path, f".{why}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            sibling(path, suffix).rename(sibling(aside, suffix))
    path.rename(aside)
    sibling(path, ".damaged").unlink(missing_ok=True)
    return aside


def put_in_place(new: Path, path: Path, keep_damaged: bool) -> None:
    """Replace the index at `path` by `new`; call it within `exclusive_lock`.

    `new` must not have a write-ahead log any more. With `keep_damaged` the old file is set aside.
    """
    if keep_damaged:
        logger.error("the damaged index was renamed to %s", set_aside(path, "damaged"))
    for suffix in _COMPANIONS:
        sibling(path, suffix).unlink(missing_ok=True)
    new.rename(path)
    sibling(path, ".damaged").unlink(missing_ok=True)


@contextmanager
def _directory_lock(path: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
