"""Defines the tables of an index file, the format of an entry's key, and opens connections."""

import contextlib
from collections.abc import Collection
from pathlib import Path

import apsw
import msgspec

from mikroscope.errors import IndexFormatError, StoreError
from mikroscope.logfiles.sources import Checkpoint
from mikroscope.records.zones import default_zone_name
from mikroscope.stores.sqlite import files

# Increment whenever a table or a term changes: older indexes are then rebuilt from the files.
VERSION = 6
PREVIOUS_VERSION = 5  # is read until an index of this version has replaced it
APPLICATION_ID = 0x4D534350  # "MSCP"

# An entry's key is its time: epoch milliseconds, then its position by arrival among the entries of
# that millisecond. It is at most 2**53, so that it can be the public id. More than 2,048 entries of
# one millisecond spill into the next ones; their times are kept beside the keys.
KEY_BITS = 11
KEY_MASK = (1 << KEY_BITS) - 1
MAX_KEY = (1 << 53) - 1
MAX_MS = (MAX_KEY >> KEY_BITS) - (1 << 20)  # in 2109; keys of times outside 1970..2109 are clamped

# A line may hold several records. The column `line` has the number of the line, and above these
# bits which of its records the entry is, from 0 on.
PART_SHIFT = 36
LINE_MASK = (1 << PART_SHIFT) - 1

DAY_MS = 86_400_000
MINUTE_MS = 60_000
PAGE_BYTES = 8_192
PLACE_BITS = 16  # of the row id of a column or a block, below the number of its segment
BUSY_MS = 15_000  # how long a connection waits for another one's lock

# All ASCII punctuation is part of a token: `terms` makes the documents, with spaces only between
# tokens.
_PUNCTUATION = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
_TOKENIZER = "ascii tokenchars '{}'".format(_PUNCTUATION.replace("'", "''"))

_SCHEMA = f"""
CREATE TABLE fresh(
    id INTEGER PRIMARY KEY AUTOINCREMENT, is_audit INTEGER NOT NULL, entries INTEGER NOT NULL,
    first_key INTEGER NOT NULL, last_key INTEGER NOT NULL, dictionary INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE partitions(
    id INTEGER PRIMARY KEY AUTOINCREMENT, is_audit INTEGER NOT NULL, first_day INTEGER NOT NULL,
    last_day INTEGER NOT NULL, entries INTEGER NOT NULL, next_ordinal INTEGER NOT NULL,
    is_merged INTEGER NOT NULL, names BLOB NOT NULL);
CREATE TABLE segments(
    id INTEGER PRIMARY KEY AUTOINCREMENT, part INTEGER NOT NULL, first_ordinal INTEGER NOT NULL,
    entries INTEGER NOT NULL, deleted INTEGER NOT NULL, is_audit INTEGER NOT NULL,
    is_posted INTEGER NOT NULL, is_exact INTEGER NOT NULL,
    first_key INTEGER NOT NULL, last_key INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    head BLOB NOT NULL);
CREATE TABLE columns(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE blocks(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE masks(segment INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE segment_sources(
    source INTEGER NOT NULL, segment INTEGER NOT NULL, first_line INTEGER NOT NULL,
    last_line INTEGER NOT NULL, PRIMARY KEY(source, segment)) WITHOUT ROWID;
CREATE INDEX sources_of_segment ON segment_sources(segment);
CREATE TABLE minutes(
    minute INTEGER NOT NULL, level TEXT NOT NULL, audit INTEGER NOT NULL, entries INTEGER NOT NULL,
    PRIMARY KEY(minute, level, audit)) WITHOUT ROWID;
CREATE TABLE levels(level TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fields(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE templates(template TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sources(
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, state INTEGER NOT NULL,
    checkpoint BLOB NOT NULL, last_line INTEGER NOT NULL, holds_audit INTEGER NOT NULL);
CREATE TABLE dictionaries(id INTEGER PRIMARY KEY, dictionary BLOB NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES('next_source', 1), ('commits', 0), ('field_values', 0),
    ('pruned_normal_ms', 0), ('pruned_audit_ms', 0), ('changes', 0), ('newest_key', -1),
    ('is_limited', 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


def create_terms(connection: apsw.Connection, part: int) -> None:
    """Create the inverted index of a partition."""
    connection.execute(
        f"CREATE VIRTUAL TABLE terms_{part} USING fts5(document, content='', columnsize=0, "
        f"""detail=none, tokenize="{_TOKENIZER.replace('"', '""')}")"""
    )
    for setting, value in (("hashsize", 32 << 20), ("usermerge", 2), ("automerge", 16)):
        connection.execute(
            f"INSERT INTO terms_{part}(terms_{part}, rank) VALUES(?, ?)",
            (setting, value),
        )


def first_row(segment: int) -> int:
    """Return the row id of the first column or block of a segment."""
    return segment << PLACE_BITS


def day_of(milliseconds: int) -> int:
    """Return the number of the UTC day since 1970."""
    return milliseconds // DAY_MS


encode_checkpoint = msgspec.msgpack.Encoder().encode
decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


def clamp(milliseconds: int) -> int:
    """Return the nearest time that a key can represent."""
    return min(max(milliseconds, 0), MAX_MS)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path; None if there is none.

    They differ after a rebuild, which replaces the file.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def open_writer(path: Path) -> apsw.Connection:
    """Open the connection that writes; create the file and its tables if they do not exist.

    Raises StoreError if `path` is not an index of this version.
    """
    files.create(path)
    connection = connect(path)
    try:
        if connection.pragma("user_version") == 0 and not connection.pragma("schema_version"):
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        if not connection.pragma("schema_version"):
            _create_tables(connection)
        check_version(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_tables(connection: apsw.Connection) -> None:
    """Create the tables unless another process does.

    Only for a new file: the caller keeps other processes from replacing it, and one that is about
    to replace an index holds its lock and waits for the caller.
    """
    connection.execute("BEGIN IMMEDIATE")
    if not connection.pragma("schema_version"):
        connection.execute(_SCHEMA)
        connection.execute("INSERT INTO meta VALUES('zone', ?)", (default_zone_name(),))
    connection.execute("COMMIT")


def check_version(
    connection: apsw.Connection, path: Path, allowed: Collection[int] = (VERSION,)
) -> None:
    """Raise StoreError unless the file is an index of this version, or of one that is allowed."""
    if not connection.pragma("schema_version"):
        raise StoreError(
            f"there is no index in {path} yet: create it with 'mikroscope index' or "
            "'mikroscope serve'"
        )
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreError(
            f"{path} is an SQLite file, but not an index of MikroScope: move it away, "
            "or set --db to another file"
        )
    version = connection.pragma("user_version")
    if version not in allowed:
        raise IndexFormatError(
            f"{path} has index format {version}, expected {VERSION}: "
            "rebuild it with 'mikroscope index --rebuild', or start the server, which does so"
        )


def zone_of(path: Path) -> str:
    """Return the default zone in which the times of an index were read."""
    with contextlib.closing(connect(path, apsw.SQLITE_OPEN_READONLY)) as connection:
        return zone_in(connection)


def zone_in(connection: apsw.Connection) -> str:
    """Return the default zone of an open index."""
    return str(connection.execute("SELECT value FROM meta WHERE name = 'zone'").get or "UTC")


def connect(path: Path | str, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    """Open a connection that waits up to BUSY_MS while another one holds a lock."""
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(BUSY_MS)
    return connection
