"""Opens an index file for reading, also for a user who may not write to it or next to it."""

import contextlib
import errno
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import apsw

from mikroscope.disk import require_no_directory
from mikroscope.errors import StoreError
from mikroscope.records.zones import set_default_zone
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.schema import (
    PREVIOUS_VERSION,
    VERSION,
    check_version,
    connect,
    file_identity,
    zone_in,
)

# What SQLite raises if it can neither use the memory shared with a writer nor create it.
_NOT_SHARED = (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError)

_TRIES = 5
_LOG, _SHARED_MEMORY = "-wal", "-shm"


class Reading:
    """A read-only connection to an index.

    It usually shares memory with writers and sees every commit. If that is impossible, it reads
    the file as one that does not change, or a private copy; `is_current` says until when its
    answers are those of the index.
    """

    def __init__(
        self, path: Path, sql: apsw.Connection, still: "_State | None" = None, copy: str = ""
    ) -> None:
        self.sql = sql
        self.identity = file_identity(path)
        self.is_previous = sql.pragma("user_version") == PREVIOUS_VERSION
        self._path = path
        self._still = still
        self._copy = copy

    def is_current(self) -> bool:
        """Return whether new questions get the answers of what the index holds now."""
        if self._still is not None:
            return _state(self._path) == self._still
        return file_identity(self._path) == self.identity

    def is_torn(self) -> bool:
        """Return whether the file has changed under a connection that relies on its rest."""
        return self._still is not None and not self._copy and not self.is_current()

    def close(self) -> None:
        """Close the connection and delete a private copy."""
        self.sql.close()
        if self._copy:
            shutil.rmtree(self._copy, ignore_errors=True)


class _State(NamedTuple):
    """The state of a file and of its write-ahead log; it changes with each commit."""

    file: tuple[int, ...]
    log: tuple[int, ...]  # () if there is none, or an empty one


def _require_readable(path: Path) -> None:
    """Raise StoreError if there is nothing at `path`, or nothing that this user may read.

    The file is not opened for that: closing it would end all locks that SQLite has on it in this
    process (as by POSIX), and another process could delete the write-ahead log under a server.
    """
    require_no_directory(path, "--db")
    try:
        os.stat(path)
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"No index at {path.absolute()}. Run this where the server runs, or pass --db; "
            "'mikroscope index' creates one from log files"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error


def open_reader(path: Path, may_copy: bool = True) -> Reading:
    """Open an index for reading. Raises StoreError if it is missing, unreadable or no index.

    Nothing is created next to an index of another user. Without `may_copy`, which is for the
    processes that write, the connection always shares memory with writers.
    """
    if not may_copy:
        if not path.exists():
            raise StoreError(f"the index {path} is gone: it is built again from the log files")
        with files.shared_lock(path):
            return Reading(path, _connect(path, str(path)))
    _require_readable(path)
    with _kept_from_replacement(path):
        if _may_share_memory(path):
            with contextlib.suppress(*_NOT_SHARED):
                return Reading(path, _connect(path, str(path)))
        try:
            return _open_still(path)
        except OSError as error:
            raise _unreadable(path, error) from error


def _may_share_memory(path: Path) -> bool:
    """Return whether SQLite may create what is missing next to the index.

    A file that belongs to us could keep the index's owner from opening the index. For root, SQLite
    gives it to that owner.
    """
    return files.sibling(path, _SHARED_MEMORY).exists() or os.geteuid() in (0, path.stat().st_uid)


def _open_still(path: Path) -> Reading:
    """Open the file as it is, or a copy if a part of it is still in its write-ahead log."""
    for _ in range(_TRIES):
        state = _state(path)
        reading = _open_copy(path, state) if state.log else _open_immutable(path, state)
        if reading.is_current():
            return reading
        reading.close()
    raise StoreError(
        f"{path} changes while it is read, and this user ({_user()}) may not use "
        f"{path.name}{_SHARED_MEMORY}: query the server over HTTP, or run this as the server's user"
    )


def _open_immutable(path: Path, state: _State) -> Reading:
    """SQLite needs no memory for locks if it is told that the file does not change."""
    uri = f"{path.absolute().as_uri()}?immutable=1"
    return Reading(path, _connect(path, uri, apsw.SQLITE_OPEN_URI), state)


def _open_copy(path: Path, state: _State) -> Reading:
    directory = tempfile.mkdtemp(prefix="mikroscope-")  # for this user only
    try:
        copy = Path(directory) / "index.db"
        shutil.copyfile(path, copy)
        shutil.copyfile(files.sibling(path, _LOG), files.sibling(copy, _LOG))
        return Reading(path, _connect(path, str(copy)), state, directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _connect(path: Path, name: str, flags: int = 0) -> apsw.Connection:
    connection = connect(name, apsw.SQLITE_OPEN_READONLY | flags)
    try:
        connection.execute("PRAGMA cache_size = -4000")
        check_version(connection, path, (VERSION, PREVIOUS_VERSION))
        set_default_zone(zone_in(connection))  # the one its times were read in
    except BaseException:
        connection.close()
        raise
    return connection


def _state(path: Path) -> _State:
    log: tuple[int, ...] = ()
    with contextlib.suppress(FileNotFoundError):
        log = _stamp(files.sibling(path, _LOG))
    return _State(_stamp(path), log)


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    if not found.st_size:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kept_from_replacement(path: Path) -> AbstractContextManager[None]:
    """Without permission to read the directory no lock is possible; the checks above remain."""
    if os.access(path.absolute().parent, os.R_OK):
        return files.shared_lock(path)
    return contextlib.nullcontext()


def _unreadable(path: Path, error: OSError) -> StoreError:
    """Return the error for an index that cannot be opened, with what is missing."""
    if not isinstance(error, PermissionError):
        place = error.filename2 or error.filename or path
        return StoreError(f"{path} cannot be read: {error.strerror}: {place}")
    closed = Path(error.filename or path).absolute()
    action = "read"
    for directory in reversed(closed.parents):
        if not os.access(directory, os.X_OK):
            closed, action = directory, "enter"
            break
    return StoreError(
        f"user {_user()} may not {action} {closed}{_permissions(closed)}: run this as its owner "
        "or as a member of its group, change its mode, or query the server over HTTP"
    )


def _permissions(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f" (owner {_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o})"


def _user() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
