"""Copies an index while others write to it, examines a copy, and puts one in an index's place."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
from zstandard import ZstdError

from mikroscope.errors import DamagedIndexError, StorageFullError, StoreError
from mikroscope.logfiles.sources import Source
from mikroscope.query.model import Query
from mikroscope.records.parsing import NotARecordError, parse_line
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.compression import Dictionary, restore_time
from mikroscope.stores.sqlite.rows import FULL_FRAME
from mikroscope.stores.sqlite.schema import KEY_BITS, open_reader, require_index
from mikroscope.stores.sqlite.store import SqliteStore

_ENTRIES = "SELECT key, flags, dictionary, data FROM entries"


def copy_index(path: Path, target: Path) -> None:
    """Write one state of the index, the newest that was committed, to a new file.

    Nobody who reads or writes is kept waiting. The copy is compact, whatever room deleted entries
    have left in the original. Raises StoreError, StorageFullError if the copy has no room.
    """
    require_index(path)
    with files.translating_errors(path), files.shared_lock(path):
        connection = open_reader(path)
    with closing(connection):
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        except files.DAMAGE as error:
            raise files.damaged(path, error) from error
        except (apsw.FullError, apsw.IOError) as error:
            raise StorageFullError(f"{target} cannot be written: {error}") from error
        except apsw.Error as error:
            raise StoreError(f"{path} cannot be copied to {target}: {error}") from error


def count_whole(path: Path) -> int:
    """Look through a whole index, and count its entries; it is only read.

    Raises StoreError if it is of another format, DamagedIndexError if anything in it is wrong.
    """
    require_index(path)
    with files.shared_lock(path), closing(open_reader(path)) as connection:
        found = find_damage(connection)
    if found is not None:
        raise DamagedIndexError(f"{path} is damaged: {found}")
    with closing(SqliteStore(path, write=False)) as store:
        return store.count(Query())


def find_damage(connection: apsw.Connection) -> str | None:
    """What is wrong in the tables, the inverted index or an entry; None if all is well."""
    connection.execute("BEGIN")  # one state for all questions
    try:
        rows = connection.execute("PRAGMA integrity_check(1)").fetchall()
        found = "; ".join(str(text) for (text,) in rows)
        return _find_damaged_entry(connection) if found == "ok" else found
    except (*files.DAMAGE, apsw.SQLError) as error:
        return str(error)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _find_damaged_entry(connection: apsw.Connection) -> str | None:
    """SQLite knows nothing of what is in a line: each is unpacked and read as a query does it."""
    dictionaries = {0: Dictionary(0, b"")}
    for number, content in connection.execute("SELECT id, dictionary FROM dictionaries"):
        dictionaries[number] = Dictionary(number, content)
    entries = 0
    for key, flags, number, data in connection.execute(_ENTRIES):
        entries += 1
        try:
            line = dictionaries[number].unpack(data, flags >= FULL_FRAME)
            parse_line(restore_time(line, key >> KEY_BITS))
        except (KeyError, IndexError, TypeError, ZstdError, NotARecordError) as error:
            return f"entry {key} cannot be read: {error}"
    counted: int = connection.execute("SELECT total(entries) FROM minutes").get
    return None if entries == counted else f"{entries} entries, of which {counted:.0f} are counted"


class Copied(NamedTuple):
    """What a copy holds; without a copy there is no number of entries."""

    sources: list[Source]
    entries: int | None


def look_into(copy: Path) -> Copied:
    """What a copy, which nobody else uses, holds; it can be read where nothing may be written."""
    store = SqliteStore(copy)
    try:
        return Copied(store.sources(), store.count(Query()))
    finally:
        store.seal()
        _leave_log_mode(copy)


@contextmanager
def replacement_of(path: Path) -> Iterator[Path]:
    """A place for a file that is to become the index at `path`; no server can start meanwhile.

    Raises StoreError if a server uses the index. What is left in that place is removed at last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = files.lock(path)
    new = files.sibling(path, ".restoring")
    try:
        new.unlink(missing_ok=True)
        yield new
    finally:
        new.unlink(missing_ok=True)
        files.unlock(lock)


def put_index(new: Path, path: Path) -> Path | None:
    """Make a file the index; what was there gets another name, which is returned."""
    with files.translating_errors(path), files.exclusive_lock(path):
        aside = files.set_aside(path, "before-restore") if path.exists() else None
        files.put_in_place(new, path, keep_damaged=False)
    return aside


def _leave_log_mode(copy: Path) -> None:
    """Who reads a file with a write-ahead log has to write beside it."""
    with files.translating_errors(copy), closing(apsw.Connection(str(copy))) as connection:
        connection.pragma("journal_mode", "delete")
