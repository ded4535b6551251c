"""The one connection that writes: batches of entries and checkpoints, and deletion."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from time import time_ns
from typing import Any

import apsw
import msgspec

from mikroscope.errors import StaleBatchError
from mikroscope.records import audit_of, is_audit_path, level_of, parse_line, time_of
from mikroscope.stores.base import Batch, Checkpoint, Line, Source
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.packing import SAMPLE_EVERY, SAMPLE_LINES, Dictionary, Packer
from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK, MAX_MS, open_writer

Row = tuple[int, int, int, int, int, int, bytes]
_ACTIVE, _GONE, _DISCARDED = range(3)
_MINUTE_MS = 60_000
_SOURCE_COLUMNS = "id, path, state, offset, line, head, tail, device, inode, size, mtime_ns"


class SqliteBatch:
    """Rows made ready in memory, so that the transaction that writes them is short."""

    def __init__(self, writer: "Writer") -> None:
        self._writer = writer
        self.rows: list[Row] = []
        self.documents: list[tuple[int, bytes]] = []
        self.minutes: dict[tuple[int, str, bool], int] = {}
        self.sources: dict[int, tuple[Source, int]] = {}
        self.dictionaries: list[Dictionary] = []

    @property
    def records(self) -> int:
        """How many entries were added so far."""
        return len(self.rows)

    def add(self, source: Source, lines: Iterator[Line], checkpoint: Checkpoint) -> int:
        """Entries of one source, and how far that brings it; returns how many."""
        before = len(self.rows)
        waiting = list(islice(lines, SAMPLE_LINES)) if self._writer.packer.wants_sample else []
        self._choose_dictionary(waiting)
        self._add_rows(source, chain(waiting, lines))
        self.update_source(msgspec.structs.replace(source, checkpoint=checkpoint))
        return len(self.rows) - before

    def open_source(self, path: str) -> Source:
        """A source that has nothing indexed yet."""
        source = Source(self._writer.take_source_id(), path, Checkpoint())
        self.update_source(source)
        return source

    def update_source(self, source: Source) -> None:
        """Another path, checkpoint or `gone` for a source."""
        self.sources[source.id] = source, _GONE if source.gone else _ACTIVE

    def discard_source(self, source: Source) -> None:
        """Forget a source; its entries leave with `Store.purge`."""
        self.sources[source.id] = source, _DISCARDED

    def _choose_dictionary(self, lines: list[Line]) -> None:
        packer = self._writer.packer
        packer.observe([line.raw for line in lines])
        dictionary = packer.train()
        if dictionary is not None:
            self.dictionaries.append(dictionary)
            self._writer.add_dictionary(dictionary)

    def _add_rows(self, source: Source, lines: Iterable[Line]) -> None:
        writer, minutes = self._writer, self.minutes
        packer, make_document = writer.packer, writer.documents.make
        pack, dictionary = packer.current.pack, packer.current.number
        path_is_audit, now_ms = is_audit_path(source.path), writer.now_ms()
        arrival = writer.next_id
        raw_bytes = packed_bytes = 0
        for line in lines:
            fields, raw = line.fields, line.raw
            milliseconds, time_field = time_of(fields) or (now_ms, None)
            level = level_of(fields)
            audit = audit_of(fields, path_is_audit)
            if not 0 <= milliseconds <= MAX_MS:
                milliseconds = 0 if milliseconds < 0 else MAX_MS
            key = milliseconds << KEY_BITS | arrival & KEY_MASK
            packed = pack(raw)
            self.rows.append((key, arrival, source.id, line.number, audit, dictionary, packed))
            self.documents.append((key, make_document(fields, source.id, level, audit, time_field)))
            minute = milliseconds // _MINUTE_MS, level, audit
            minutes[minute] = minutes.get(minute, 0) + 1
            raw_bytes += len(raw)
            packed_bytes += len(packed)
            if not arrival % SAMPLE_EVERY:
                packer.observe([raw])
            arrival += 1
        packer.count(arrival - writer.next_id, raw_bytes, packed_bytes)
        writer.next_id = arrival


class Writer:
    """Owns the writing connection. Every method belongs to the one thread that writes."""

    def __init__(self, path: Path) -> None:
        self._connection = open_writer(path)
        self._load()

    def now_ms(self) -> int:
        """The time of a record that tells none: that of its indexing."""
        return time_ns() // 1_000_000

    def take_source_id(self) -> int:
        """A number no other source has, or ever had."""
        self._next_source += 1
        return self._next_source - 1

    def sources(self) -> list[Source]:
        """Every source that was not discarded."""
        rows = self._connection.execute(
            f"SELECT {_SOURCE_COLUMNS} FROM sources WHERE state != ?",  # noqa: S608
            (_DISCARDED,),
        )
        return [_source(row) for row in rows]

    def batch(self) -> Batch:
        """Begin a batch."""
        return SqliteBatch(self)

    def commit(self, batch: SqliteBatch) -> None:
        """Write a batch, all or nothing. After a failure the state is as last committed."""
        try:
            with self._transaction():
                self._check_alone()
                self._write(batch)
        except BaseException:
            self._load()
            raise

    def purge(self, limit: int) -> bool:
        """Delete up to `limit` entries of a discarded source, and at last the source."""
        discarded = "SELECT id FROM sources WHERE state = ? LIMIT 1"
        found = self._connection.execute(discarded, (_DISCARDED,)).fetchone()
        if found is None:
            return False
        token = terms.expression([[terms.encode_tokens([terms.source_token(found[0])])]])
        with self._transaction():
            rows: Any = self._connection.execute(
                "SELECT rowid FROM terms WHERE terms MATCH ? ORDER BY rowid LIMIT ?",
                (token, limit),
            )
            keys = [key for (key,) in rows]
            self._delete(keys)
            if len(keys) < limit:
                self._connection.execute("DELETE FROM sources WHERE id = ?", found)
        return True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    # --- inside a transaction ---------------------------------------------------------------

    def _write(self, batch: SqliteBatch) -> None:
        connection = self._connection
        batch.rows.sort(key=itemgetter(0))  # FTS5 starts a new segment whenever a key goes back
        batch.documents.sort(key=itemgetter(0))
        self._insert(batch.rows, batch.documents)
        connection.executemany(
            "INSERT INTO minutes VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET entries = entries + excluded.entries",
            [(*minute, entries) for minute, entries in batch.minutes.items()],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO levels VALUES(?)", [(key[1],) for key in batch.minutes]
        )
        connection.executemany(
            "INSERT OR IGNORE INTO fields VALUES(?)",
            [(name,) for name in self.documents.take_new_names() if len(name) <= terms.MAX_VALUE],
        )
        connection.executemany(
            "INSERT INTO dictionaries VALUES(?, ?)",
            [(dictionary.number, dictionary.content) for dictionary in batch.dictionaries],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO sources VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_source_row(source, state) for source, state in batch.sources.values()],
        )
        connection.executemany(
            "UPDATE meta SET value = ? WHERE name = ?",
            [(self.next_id, "next_id"), (self._next_source, "next_source")],
        )

    def _insert(self, rows: Sequence[Row], documents: Sequence[tuple[int, bytes]]) -> None:
        insert_row = "INSERT INTO entries VALUES(?, ?, ?, ?, ?, ?, ?)"
        insert_document = "INSERT INTO terms(rowid, document) VALUES(?, ?)"
        connection = self._connection
        try:
            with connection:
                connection.executemany(insert_row, rows)
        except apsw.ConstraintError:
            # More than 2**21 records of one millisecond: look for a free key for each.
            for row, (_, document) in zip(rows, documents, strict=True):
                key = self._free_key(row[0])
                connection.execute(insert_row, (key, *row[1:]))
                connection.execute(insert_document, (key, document))
            return
        connection.executemany(insert_document, documents)

    def _free_key(self, key: int) -> int:
        """The key itself, or the first behind the last one of its millisecond that is free."""
        if not self._exists(key):
            return key
        last = "SELECT max(key) FROM entries WHERE key BETWEEN ? AND ?"
        while True:
            end = key | KEY_MASK
            key = self._connection.execute(last, (key, end)).get + 1
            if not self._exists(key):
                return key

    def _exists(self, key: int) -> bool:
        found = self._connection.execute("SELECT 1 FROM entries WHERE key = ?", (key,))
        return found.fetchone() is not None

    def _delete(self, keys: list[int]) -> None:
        connection = self._connection
        minutes: dict[tuple[int, str, int], int] = {}
        for key in keys:
            row: Any = connection.execute(
                "SELECT audit, dictionary, data FROM entries WHERE key = ?", (key,)
            ).fetchone()
            audit, number, data = row
            fields, _ = parse_line(self._dictionaries[number].unpack(data))
            minute = (key >> KEY_BITS) // _MINUTE_MS, level_of(fields), audit
            minutes[minute] = minutes.get(minute, 0) + 1
        connection.executemany("DELETE FROM terms WHERE rowid = ?", [(key,) for key in keys])
        connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in keys])
        where = "minute = ? AND level = ? AND audit = ?"
        connection.executemany(
            f"UPDATE minutes SET entries = entries - ? WHERE {where}",  # noqa: S608
            [(entries, *minute) for minute, entries in minutes.items()],
        )
        connection.executemany(
            f"DELETE FROM minutes WHERE {where} AND entries <= 0",  # noqa: S608
            list(minutes),
        )

    # --- state --------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over what is committed."""
        connection = self._connection
        with connection:  # one snapshot
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            contents = connection.execute("SELECT id, dictionary FROM dictionaries ORDER BY id")
            dictionaries = [Dictionary(number, content) for number, content in contents]
            self._data_version = connection.pragma("data_version")
        self.next_id: int = meta["next_id"]
        self._next_source: int = meta["next_source"]
        self._dictionaries = {0: Dictionary(0, b"")}
        self._dictionaries |= {one.number: one for one in dictionaries}
        self.packer = Packer(self._dictionaries[len(dictionaries)], len(dictionaries) + 1)
        self.documents = terms.Documents()

    def add_dictionary(self, dictionary: Dictionary) -> None:
        """Make a dictionary known before it is committed."""
        self._dictionaries[dictionary.number] = dictionary

    def _check_alone(self) -> None:
        """Raise StaleBatchError if another connection has committed since `_load`."""
        if self._connection.pragma("data_version") != self._data_version:
            raise StaleBatchError("another process has written to the index meanwhile")


def _source(row: tuple[int, str, int, int, int, bytes, bytes, int, int, int, int]) -> Source:
    number, path, state, offset, line, head, tail, device, inode, size, mtime_ns = row
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
    return Source(number, path, checkpoint, state == _GONE)


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
