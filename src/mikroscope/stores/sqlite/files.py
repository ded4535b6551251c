"""The files of an index on disk: who may use them, which are whole, and what stands beside them."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import apsw
from zstandard import ZstdError

from mikroscope.errors import DamagedIndexError, MikroScopeError, StorageFullError, StoreError
from mikroscope.records.parsing import NotARecordError

logger = logging.getLogger(__name__)

# What SQLite keeps beside a database file.
_COMPANIONS = ("-wal", "-shm")
_INDEX_SUFFIXES = frozenset((".db", ".db3", ".sqlite", ".sqlite3"))
# SQLite does not know what is in a line: one that cannot be unpacked or read is damaged as well.
DAMAGE = (apsw.CorruptError, apsw.NotADBError, ZstdError, NotARecordError)


def resolve_link(path: Path) -> Path:
    """What a link to an index leads to: that is locked and replaced, and never the link."""
    return path.resolve() if path.is_symlink() else path


def sibling(path: Path, suffix: str) -> Path:
    """A file that belongs to an index: its name and a suffix."""
    return path.with_name(f"{path.name}{suffix}")


def size_bytes(path: Path) -> int:
    """The size of an index: of the file and of its write-ahead log."""
    both = (path, sibling(path, "-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


def lock(path: Path) -> int:
    """Hold `<db>.lock`; the system lets go of it when the process ends, however it ends."""
    descriptor = os.open(sibling(path, ".lock"), os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreError(
            f"another MikroScope server (process {holder or 'unknown'}) uses {path}: "
            "stop it, or give this one another --db"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def unlock(descriptor: int) -> None:
    """Let go of what `lock` holds."""
    os.close(descriptor)


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Nobody puts another file in the place of this one meanwhile."""
    with _directory_lock(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Nobody opens the index meanwhile: its log and the file itself change together.

    A write-ahead log does not say whose it is. One that a new file finds under its name would be
    taken for its own; one that is open already goes on with the old file, whatever its name.
    """
    with _directory_lock(path, fcntl.LOCK_EX):
        yield


@contextmanager
def translating_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as ours. Damage is remembered beside the index, for the next start."""
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
    """The error for an index in which SQLite has found damage.

    Damage that opening it might not show is marked beside it, for the next start.
    """
    mark = sibling(path, ".damaged")
    if not isinstance(error, apsw.NotADBError) and not mark.exists():
        logger.error("the index %s is damaged: %s", path, error)
        with contextlib.suppress(OSError):
            mark.touch()
    return DamagedIndexError(damage_text(path, f" ({error})"))


def damage_text(path: Path, what: str = "") -> str:
    """That an index is damaged, and what to do."""
    return (
        f"the index {path} is damaged{what}: restart the server, or rebuild it with "
        "'mikroscope index --rebuild' or POST /api/reindex"
    )


def is_marked_damaged(path: Path) -> bool:
    """Whether somebody has come across damage in this index."""
    return sibling(path, ".damaged").exists()


def may_be_an_index(path: Path) -> bool:
    """Whether a damaged file may be taken for an index, by its name or by what stands beside it.

    Anything else was named by mistake, and nobody may touch it.
    """
    is_named_so = path.suffix.lower() in _INDEX_SUFFIXES
    return is_named_so or any(sibling(path, one).exists() for one in _COMPANIONS)


def set_aside(path: Path, why: str) -> Path:
    """Give an index another name, with the time in it; returns that name."""
    aside = sibling(path, f".{why}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            sibling(path, suffix).rename(sibling(aside, suffix))
    path.rename(aside)
    sibling(path, ".damaged").unlink(missing_ok=True)
    return aside


def put_in_place(new: Path, path: Path, keep_damaged: bool) -> None:
    """Replace an index, within `exclusive_lock`; `new` has no write-ahead log any more."""
    if keep_damaged:
        logger.error("the damaged index is kept as %s", set_aside(path, "damaged"))
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
