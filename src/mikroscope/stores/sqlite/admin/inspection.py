"""What can be told of an index, changing nothing: who uses it, and whether it is whole."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import msgspec

from mikroscope.errors import DamagedIndexError, StoreError
from mikroscope.query.model import Entry, PageRequest, Query
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.rebuild import SUFFIX
from mikroscope.stores.sqlite.admin.snapshot import count_whole
from mikroscope.stores.sqlite.files import may_be_an_index as may_be_an_index
from mikroscope.stores.sqlite.schema import connect
from mikroscope.stores.sqlite.store import SqliteStore

_ASIDE = ("damaged", "old-format", "before-restore")


class Content(msgspec.Struct, frozen=True):
    """What is in an index that was found whole; `newest` is the entry with the latest time."""

    entries: int
    newest: Entry | None


class Rebuilding(msgspec.Struct, frozen=True):
    """A new index beside this one; `holder` is the process that makes it, None if that is gone."""

    path: Path
    holder: str | None


def engine_version() -> str:
    """The SQLite that is used."""
    return apsw.sqlite_lib_version()


def holder_of(path: Path) -> str | None:
    """The process whose server uses the index; None if there is none. Raises StoreError."""
    lock = files.sibling(path, ".lock")
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{lock} cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


def rebuilding(path: Path) -> Rebuilding | None:
    """A rebuild that goes on, or what one has left that was killed."""
    new = files.sibling(path, SUFFIX)
    return Rebuilding(new, holder_of(new)) if new.exists() else None


def restoring(path: Path) -> Path | None:
    """What a restore is making, or has left that was killed."""
    new = files.sibling(path, ".restoring")
    return new if new.exists() else None


def files_of(path: Path) -> list[Path]:
    """The files that a server writes to."""
    return [path, *(files.sibling(path, suffix) for suffix in ("-wal", "-shm", ".lock"))]


def set_aside(path: Path) -> list[Path]:
    """Earlier indexes that were kept under other names."""
    found = [one for why in _ASIDE for one in path.parent.glob(f"{path.name}.{why}-*Z")]
    return sorted(found)


def log_bytes(path: Path) -> int:
    """How much was written that is not in the file itself yet."""
    with contextlib.suppress(FileNotFoundError):
        return files.sibling(path, "-wal").stat().st_size
    return 0


def examine(path: Path) -> Content:
    """Look through all of an index. Raises StoreError, also DamagedIndexError."""
    if files.is_marked_damaged(path):
        raise DamagedIndexError(f"somebody has come across damage in {path}")
    with _left_as_found(path):
        try:
            entries = count_whole(path)
        except files.DAMAGE as error:
            raise DamagedIndexError(f"{path} is damaged: {error}") from error
        except apsw.Error as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        with closing(SqliteStore(path, write=False)) as store:
            newest = store.search(Query(), PageRequest(limit=1)).entries
    return Content(entries, newest[0] if newest else None)


@contextmanager
def _left_as_found(path: Path) -> Iterator[None]:
    """Who only reads leaves an empty log behind; who may write, and closes last, removes it."""
    had_log = files.sibling(path, "-wal").exists()
    try:
        yield
    finally:
        if not had_log:
            with contextlib.suppress(apsw.Error, OSError), closing(connect(path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
