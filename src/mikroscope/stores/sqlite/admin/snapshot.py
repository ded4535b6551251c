"""Copies an index while others write to it, verifies a copy, and puts one in an index's place."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from mikroscope.errors import DamagedIndexError, NotAnIndexError, StorageFullError, StoreError
from mikroscope.query.model import Query
from mikroscope.stores.administration import SnapshotContent
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin.damage import find_damage
from mikroscope.stores.sqlite.read.access import Reading, open_reader
from mikroscope.stores.sqlite.schema import check_version
from mikroscope.stores.sqlite.store import SqliteStore

RESTORING = ".restoring"


def snapshot_to(path: Path, target: Path) -> SnapshotContent:
    """Write the last committed state of the index to a new file; return what that holds.

    Neither readers nor writers wait meanwhile. The copy is compact, however much free space
    deleted entries have left in the original. Raises StoreError, StorageFullError if the disk of
    the copy is full.
    """
    with files.translating_errors(path):
        reading = open_reader(path)
    with closing(reading):
        check_version(reading.sql, path)
        try:
            reading.sql.execute("VACUUM INTO ?", (str(target),))
            _require_rest(path, reading)
        except files.DAMAGE as error:
            raise files.damaged(path, error) from error
        except (apsw.FullError, apsw.IOError) as error:
            raise StorageFullError(f"{target} cannot be written: {error}") from error
        except apsw.Error as error:
            raise StoreError(f"{path} cannot be copied to {target}: {error}") from error
    shutil.copymode(path, target)
    return _content(target)


def _require_rest(path: Path, reading: Reading) -> None:
    """Raise StoreError if the file was not at rest, but had to be while it was read."""
    if reading.is_torn():
        raise StoreError(f"{path} was changed while it was read: run this again")


def _content(copy: Path) -> SnapshotContent:
    """Return what a copy holds that no other process uses; afterwards it is a single file."""
    store = SqliteStore(copy)
    try:
        return SnapshotContent(store.sources(), store.count(Query()))
    finally:
        store.seal()
        _leave_log_mode(copy)


def _leave_log_mode(copy: Path) -> None:
    """A file in write-ahead mode could only be read where files can be made beside it."""
    with files.translating_errors(copy), closing(apsw.Connection(str(copy))) as connection:
        connection.pragma("journal_mode", "delete")


def verify(path: Path) -> int:
    """Read all of an index, check it, and return its number of entries; nothing is written.

    Raises IndexFormatError if it has another format, DamagedIndexError if anything in it is wrong,
    StoreError if it cannot be read. Damage is not marked beside the file.
    """
    try:
        with closing(open_reader(path)) as reading:
            check_version(reading.sql, path)
            damage = find_damage(reading.sql)
            _require_rest(path, reading)
    except apsw.NotADBError as error:
        raise NotAnIndexError(f"{path} is not an SQLite file") from error
    except files.DAMAGE as error:
        damage = str(error)
    except apsw.Error as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if damage is not None:
        raise DamagedIndexError(f"{path} is damaged: {damage}")
    with closing(SqliteStore(path, write=False)) as store:
        return store.count(Query())


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A path for the file that is to become the index; no server can start meanwhile.

    Raises StoreError if a server uses the index. A file left at that path is deleted at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = files.lock(path, to_restore=True)
    staged = files.sibling(path, RESTORING)
    try:
        staged.unlink(missing_ok=True)
        yield staged
    finally:
        staged.unlink(missing_ok=True)
        files.unlock(lock)


def restore_from(staged: Path, path: Path) -> Path | None:
    """Make the staged file the index; one that was there is renamed, and that name returned."""
    with files.translating_errors(path), files.exclusive_lock(path):
        renamed = files.set_aside(path, "before-restore") if path.exists() else None
        files.put_in_place(staged, path, keep_damaged=False)
    return renamed
