"""The one connection that writes: commits batches, and has entries deleted."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from mikroscope.errors import StaleBatchError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.records.attributes import level_of, time_of
from mikroscope.records.parsing import parse_line
from mikroscope.stores.base import Cutoffs, Deleted
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.compression import TIME_PLACE, Dictionary, Packer, restore_time
from mikroscope.stores.sqlite.rows import (
    AUDIT,
    DAY_MINUTES,
    DOCUMENT,
    FULL_FRAME,
    MINUTE_MS,
    make_row,
    parse_row,
    with_key,
)
from mikroscope.stores.sqlite.schema import (
    KEY_BITS,
    KEY_MASK,
    MAX_KEY,
    file_identity,
    mark_days_changed,
    open_writer,
)
from mikroscope.stores.sqlite.write import deletion
from mikroscope.stores.sqlite.write.batch import (
    DISCARDED,
    GONE,
    Preparation,
    Replaced,
    SqliteBatch,
    moved,
)
from mikroscope.stores.sqlite.write.encoding import EncodedBatch
from mikroscope.stores.sqlite.write.keys import assign_keys, keys_alone, newest_key

_SOURCE_COLUMNS = (
    "id, path, state, offset, line, head, tail, device, inode, size, mtime_ns, holds_audit"
)
_PUT_SOURCE = f"""
INSERT INTO sources({_SOURCE_COLUMNS}, first_key, last_key)
VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET path = excluded.path, state = excluded.state,
    offset = excluded.offset, line = excluded.line, head = excluded.head, tail = excluded.tail,
    device = excluded.device, inode = excluded.inode, size = excluded.size,
    mtime_ns = excluded.mtime_ns, holds_audit = max(holds_audit, excluded.holds_audit),
    first_key = min(first_key, excluded.first_key), last_key = max(last_key, excluded.last_key)
"""
# One statement writes all rows of a batch, without Python: a carray is read by SQLite itself. It
# holds one value a row, so the columns stand in it side by side (`preparing.ROW`).
_PUT_ENTRIES = """
INSERT INTO entries SELECT
    CAST(substr(value, 1, 16) AS INTEGER), CAST(substr(value, 27, 10) AS INTEGER),
    CAST(substr(value, 17, 10) AS INTEGER), CAST(substr(value, 43, 1) AS INTEGER),
    CAST(substr(value, 37, 6) AS INTEGER), substr(value, 44)
FROM carray(?)
"""
_PUT_DOCUMENTS = """
INSERT INTO terms(rowid, document)
SELECT CAST(substr(value, 1, 16) AS INTEGER), substr(value, 17) FROM carray(?)
"""

# Of how many parts of the inverted index a larger one is made. Each term is looked up in every
# part, so there should be few; but in a bulk load every entry would be merged again and again.
_MERGE_FEW, _MERGE_MANY = 8, 16
_BULK_ENTRIES = 5_000  # in one batch

_PROBES = (
    "SELECT * FROM entries ORDER BY key DESC LIMIT 1",
    "SELECT * FROM entries ORDER BY key LIMIT 1",
    "SELECT * FROM minutes ORDER BY minute DESC LIMIT 1",
    "SELECT rowid FROM terms WHERE terms MATCH 'a' ORDER BY rowid DESC LIMIT 1",
    "SELECT * FROM levels",
)


class Writer:
    """Owns the writing connection. Every method belongs to the one thread that writes."""

    def __init__(self, path: Path, replaced: Replaced | None = None) -> None:
        self._replaced = replaced
        self._path = path
        self._connection = open_writer(path)
        self.identity = file_identity(path)
        self._committer = ThreadPoolExecutor(1, "mikroscope-commit")
        self._committing: Future[object] | None = None
        self._spill_ms = 0
        self._merge_at = 0
        self._dictionaries: dict[int, Dictionary] = {}
        self._load()

    def sources(self) -> list[Source]:
        """Every source that was not discarded."""
        self.settle()
        rows = self._connection.execute(
            f"SELECT {_SOURCE_COLUMNS} FROM sources WHERE state != ?",  # noqa: S608
            (DISCARDED,),
        )
        return [_source(row) for row in rows]

    def batch(self) -> SqliteBatch:
        """Begin a batch."""
        return SqliteBatch(self._preparation)

    def commit(self, batch: SqliteBatch, wait: bool = True) -> None:
        """Write a batch, all or nothing. After a failure the state is as last committed.

        The large part of it needs nothing of Python: without `wait` it is done in another thread,
        while the caller makes the next batch ready.
        """
        self.settle()
        try:
            with self._rollback_on_error():
                self._connection.execute("BEGIN IMMEDIATE")
                self._check_alone(batch)
                finish = self._write(batch)
                if wait:
                    finish()
                else:
                    self._committing = self._committer.submit(finish)
        except BaseException:
            self._load()
            raise
        self._preparation.new_dictionaries.clear()

    def settle(self) -> None:
        """Return when the batch before is durable and visible. Raises if that has failed."""
        committing, self._committing = self._committing, None
        if committing is None:
            return
        try:
            with self._rollback_on_error():
                committing.result()
        except BaseException:
            self._load()
            raise

    def purge(self, limit: int) -> bool:
        """Delete up to `limit` entries of a discarded source, and at last the source."""
        with self._deleting() as deleter:
            return deletion.purge(self._connection, deleter, limit)

    def prune(self, cutoffs: Cutoffs, position: int, limit: int) -> tuple[Deleted, int | None]:
        """Delete about `limit` entries that are too old, from a key on."""
        with self._deleting() as deleter:
            return deletion.prune(self._connection, deleter, cutoffs, position, limit)

    def tidy(self) -> bool:
        """Give a little room back to the file system."""
        with self._deleting():
            return deletion.tidy(self._connection)

    def probe(self) -> None:
        """Read a little of everything. Raises apsw.CorruptError where that shows damage."""
        for question in _PROBES:
            self._connection.execute(question).fetchall()

    def empty_log(self) -> None:
        """Write everything into the one file."""
        self.settle()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection."""
        try:
            self.settle()
        finally:
            self._committer.shutdown()
            self._connection.close()

    # --- inside a transaction ---------------------------------------------------------------

    @contextmanager
    def _deleting(self) -> Iterator[deletion.Deleter]:
        """A transaction of its own. Raises StaleBatchError if the index was replaced."""
        self.settle()
        with self._rollback_on_error():
            self._connection.execute("BEGIN IMMEDIATE")
            self._check_not_replaced()
            documents = self._preparation.documents
            yield deletion.Deleter(self._connection, self._dictionary, documents)
            self._connection.execute("COMMIT")

    @contextmanager
    def _rollback_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _write(self, batch: SqliteBatch) -> Callable[[], None]:
        """Write all but entries and documents; what is returned writes these, and commits."""
        execute_many = self._connection.executemany
        encoded = batch.whole()
        self._write_names(encoded)
        if encoded is not None:
            self._place(encoded)
            self._merge(_MERGE_MANY if len(encoded.rows) > _BULK_ENTRIES else _MERGE_FEW)
            self._connection.execute(
                "UPDATE meta SET value = value + ? WHERE name = 'field_values'",
                (encoded.field_values,),
            )
            execute_many(
                "INSERT INTO minutes VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET entries = entries + excluded.entries",
                [(*minute, entries) for minute, entries in encoded.minutes.items() if entries],
            )
            mark_days_changed(
                self._connection, {minute // DAY_MINUTES for minute, _, _ in encoded.minutes}
            )
            execute_many(
                "INSERT OR IGNORE INTO levels VALUES(?)",
                {(level,) for _, level, _ in encoded.minutes},
            )
        execute_many(_PUT_SOURCE, self._source_rows(batch, encoded))
        rows = tuple(encoded.rows) if encoded else ()
        documents = tuple(encoded.documents) if encoded else ()

        def finish() -> None:
            if rows:
                self._connection.execute(_PUT_ENTRIES, (apsw.carray(rows),))
                self._connection.execute(_PUT_DOCUMENTS, (apsw.carray(documents),))
            self._connection.execute("COMMIT")

        return finish

    def _place(self, encoded: EncodedBatch) -> None:
        """Give rows and documents their final keys.

        Where the first one stands behind all there is, they have them: so logs that come in the
        order of time cost nothing here.
        """
        times = encoded.times
        if not times:
            return
        spilled = encoded.spilled
        if newest_key(self._connection) >= times[0] << KEY_BITS:
            own, _ = keys_alone(times)
            keys, spilled = assign_keys(self._connection, times)
            for place, key in enumerate(keys):
                if key != own[place]:
                    encoded.rows[place] = with_key(encoded.rows[place], key)
                    encoded.documents[place] = with_key(encoded.documents[place], key)
        for place in spilled:
            self._spill(encoded, place)

    def _merge(self, parts: int) -> None:
        """From how many parts on FTS5 merges; it remembers that by itself."""
        if parts != self._merge_at:
            self._connection.execute(
                "INSERT INTO terms(terms, rank) VALUES('automerge', ?)", (parts,)
            )
            self._merge_at = parts

    def _write_names(self, encoded: EncodedBatch | None) -> None:
        """What the preparation of this batch, or of one that was given up, has brought."""
        preparation = self._preparation
        names = preparation.documents.drain_new_fields()
        if encoded is not None:
            names |= encoded.names
        self._connection.executemany(
            "INSERT OR IGNORE INTO fields VALUES(?)",
            [(name,) for name in names if len(name) <= terms.MAX_VALUE],
        )
        for dictionary in preparation.new_dictionaries:
            self._connection.execute(
                "INSERT INTO dictionaries VALUES(?, ?)", (dictionary.number, dictionary.content)
            )
            self._dictionaries[dictionary.number] = dictionary
        self._set_meta("next_source", preparation.next_source)

    def _spill(self, encoded: EncodedBatch, place: int) -> None:
        """An entry whose millisecond is full: its key does not tell its time any more."""
        row = parse_row(encoded.rows[place])
        behind = (row.key >> KEY_BITS) - encoded.times[place]
        if behind > self._spill_ms:
            self._spill_ms = behind
            self._set_meta("spill_ms", behind)
        if not (encoded.has_taken_times or encoded.has_timeless):
            return
        line = self._dictionaries[row.dictionary].unpack(row.data, bool(row.flags & FULL_FRAME))
        if TIME_PLACE in line:
            raw = restore_time(line, encoded.times[place])
            data, is_full = self._dictionaries[row.dictionary].pack(raw)
            flags = row.flags & AUDIT | is_full * FULL_FRAME
            encoded.rows[place] = make_row(row._replace(data=data, flags=flags))
            return
        fields, _ = parse_line(line)
        if time_of(fields) is None:  # the key is all that tells its time, so it counts there
            level, is_audit = level_of(fields), bool(row.flags & AUDIT)
            minute = encoded.times[place] // MINUTE_MS, level, is_audit
            moved(encoded.minutes, minute, row.key >> KEY_BITS)
            document = self._preparation.documents.make(
                fields, level, is_audit, row.key >> KEY_BITS, None
            )
            encoded.documents[place] = DOCUMENT % (row.key, document)

    def _source_rows(
        self, batch: SqliteBatch, encoded: EncodedBatch | None
    ) -> list[tuple[object, ...]]:
        spans = encoded.spans if encoded else {}
        audit_sources = encoded.audit_sources if encoded else set()
        rows = []
        for number, (source, state) in batch.sources.items():
            first_key, last_key = MAX_KEY, 0
            if number in spans:
                first_ms, last_ms = spans[number]
                first_key = first_ms << KEY_BITS
                last_key = last_ms + self._spill_ms << KEY_BITS | KEY_MASK
            rows.append((*_source_row(source, state), number in audit_sources, first_key, last_key))
        return rows

    def _dictionary(self, number: int) -> Dictionary:
        """Also one that another process has trained meanwhile."""
        if number not in self._dictionaries:
            select = "SELECT dictionary FROM dictionaries WHERE id = ?"
            content: Any = self._connection.execute(select, (number,)).get
            self._dictionaries[number] = Dictionary(number, content)
        return self._dictionaries[number]

    def _set_meta(self, name: str, value: int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    # --- state --------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over what is committed."""
        self._merge_at = 0  # whatever was rolled back
        connection = self._connection
        with connection:  # one snapshot
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            contents = connection.execute("SELECT id, dictionary FROM dictionaries ORDER BY id")
            dictionaries = [Dictionary(number, content) for number, content in contents]
            self._data_version = connection.pragma("data_version")
        self._spill_ms = meta["spill_ms"]
        self._dictionaries = {one.number: one for one in [Dictionary(0, b""), *dictionaries]}
        packer = Packer(self._dictionaries[len(dictionaries)], len(dictionaries) + 1)
        self._preparation = Preparation(packer, meta["next_source"], self._replaced)

    def _check_not_replaced(self) -> None:
        if file_identity(self._path) != self.identity:
            raise StaleBatchError(f"{self._path} was replaced")

    def _check_alone(self, batch: SqliteBatch) -> None:
        """Raise StaleBatchError if another connection has committed since the batch was begun."""
        self._check_not_replaced()
        loaded = batch.preparation is self._preparation
        if not loaded or self._connection.pragma("data_version") != self._data_version:
            raise StaleBatchError("another process has written to the index meanwhile")


def _source(row: tuple[Any, ...]) -> Source:
    number, path, state, offset, line, head, tail, device, inode, size, mtime_ns, audit = row
    checkpoint = Checkpoint(
        offset=offset,
        line=line,
        head=head,
        tail=tail,
        device=device,
        inode=inode,
        size=size,
        mtime_ns=mtime_ns,
    )
    return Source(number, path, checkpoint, state == GONE, bool(audit))


def _source_row(source: Source, state: int) -> tuple[object, ...]:
    checkpoint = source.checkpoint
    return (
        source.id,
        source.path,
        state,
        checkpoint.offset,
        checkpoint.line,
        checkpoint.head,
        checkpoint.tail,
        checkpoint.device,
        checkpoint.inode,
        checkpoint.size,
        checkpoint.mtime_ns,
    )
