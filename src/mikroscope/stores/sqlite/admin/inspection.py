"""Reports on an index without changing it: who uses it, what lies beside it, if it is intact."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from mikroscope.errors import DamagedIndexError, StoreError
from mikroscope.query.model import PageRequest, Query
from mikroscope.stores.administration import IndexContent, Leftovers, UnfinishedRebuild
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.rebuild import SUFFIX
from mikroscope.stores.sqlite.admin.snapshot import RESTORING, verify
from mikroscope.stores.sqlite.schema import connect
from mikroscope.stores.sqlite.store import SqliteStore

_REASONS = ("damaged", "old-format", "other-zone", "before-restore")


def engine() -> str:
    """The SQLite in use."""
    return f"SQLite {apsw.sqlite_lib_version()}"


def owner(path: Path) -> str | None:
    """The process that holds the lock of an index; None if there is none. Raises StoreError."""
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


def written_files(path: Path) -> list[Path]:
    """The files that a server writes."""
    return [path, *(files.sibling(path, suffix) for suffix in ("-wal", "-shm", ".lock"))]


def leftovers(path: Path) -> Leftovers:
    """Return what lies next to an index, or is still in its write-ahead log. Raises StoreError."""
    new, staged = files.sibling(path, SUFFIX), files.sibling(path, RESTORING)
    return Leftovers(
        rebuild=UnfinishedRebuild(new, owner(new)) if new.exists() else None,
        restore=staged if staged.exists() else None,
        renamed=_renamed(path),
        unmerged_bytes=_size(files.sibling(path, "-wal")),
    )


def _renamed(path: Path) -> list[Path]:
    return sorted(one for why in _REASONS for one in path.parent.glob(f"{path.name}.{why}-*Z"))


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def examine(path: Path) -> IndexContent | None:
    """Read and check all of an index; None if there is none, or an empty file, which becomes one.

    Raises StoreError, also DamagedIndexError and IndexFormatError.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise StoreError(f"{path} is not a file")
    if not path.stat().st_size:
        return None
    if files.is_marked_damaged(path):
        raise DamagedIndexError(f"damage was found in {path} earlier")
    with _left_as_found(path):
        entries = verify(path)
        with closing(SqliteStore(path, write=False)) as store:
            newest = store.search(Query(), PageRequest(limit=1)).entries
    return IndexContent(entries, newest[0] if newest else None)


@contextmanager
def _left_as_found(path: Path) -> Iterator[None]:
    """Remove the empty log that reading leaves: a connection that may write does, closing last."""
    had_log = files.sibling(path, "-wal").exists()
    try:
        yield
    finally:
        if not had_log:
            with contextlib.suppress(apsw.Error, OSError), closing(connect(path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
