"""The one connection that writes: it commits batches and deletes entries."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from mikroscope.errors import StaleBatchError
from mikroscope.logfiles.sources import Source
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
    LINE_MASK,
    MAX_KEY,
    decode_checkpoint,
    encode_checkpoint,
    file_identity,
    mark_days_changed,
    open_writer,
)
from mikroscope.stores.sqlite.write import deletion
from mikroscope.stores.sqlite.write.batch import (
    DISCARDED,
    GONE,
    Replaced,
    SqliteBatch,
    WriterState,
    move_to_minute,
)
from mikroscope.stores.sqlite.write.encoding import EncodedBatch
from mikroscope.stores.sqlite.write.keys import assign_keys, keys_alone, newest_key

_PUT_SOURCE = """
INSERT INTO sources(id, path, state, checkpoint, last_line, holds_audit, first_key, last_key)
VALUES(?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET path = excluded.path, state = excluded.state,
    checkpoint = excluded.checkpoint, last_line = max(last_line, excluded.last_line),
    holds_audit = max(holds_audit, excluded.holds_audit),
    first_key = min(first_key, excluded.first_key), last_key = max(last_key, excluded.last_key)
"""
_LINES_PRESENT = f"""
SELECT e.line & {LINE_MASK} AS number FROM sources s
JOIN entries e ON e.key BETWEEN s.first_key AND s.last_key
WHERE s.id = ? AND e.source = s.id AND number BETWEEN ? AND ?
"""  # noqa: S608
# One statement writes all rows of a batch without Python, since SQLite reads a carray by itself. A
# carray has one value a row, so that value holds all columns (`rows.ROW`).
_PUT_ENTRIES = """
INSERT INTO entries SELECT
    CAST(substr(value, 1, 16) AS INTEGER), CAST(substr(value, 36, 10) AS INTEGER),
    CAST(substr(value, 17, 19) AS INTEGER), CAST(substr(value, 52, 1) AS INTEGER),
    CAST(substr(value, 46, 6) AS INTEGER), substr(value, 53)
FROM carray(?)
"""
_PUT_DOCUMENTS = """
INSERT INTO terms(rowid, document)
SELECT CAST(substr(value, 1, 16) AS INTEGER), substr(value, 17) FROM carray(?)
"""

# How many parts of the inverted index FTS5 merges into one. A term is looked up in every part, so
# there should be few of them; but in a bulk load each entry would be merged again and again.
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
    """Owns the writing connection. Every method belongs to the writing thread."""

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
        """Return every source that is not discarded."""
        self.settle()
        rows = self._connection.execute(
            "SELECT id, path, checkpoint, state, holds_audit FROM sources WHERE state != ?",
            (DISCARDED,),
        )
        return [
            Source(number, path, decode_checkpoint(checkpoint), state == GONE, bool(audit))
            for number, path, checkpoint, state, audit in rows
        ]

    def begin(self) -> SqliteBatch:
        """Begin a batch."""
        return SqliteBatch(self._state)

    def reload(self) -> None:
        """Finish the commit under way and take over the committed state; open batches go stale."""
        self.settle()
        self._load()

    def commit(self, batch: SqliteBatch, wait: bool = True) -> None:
        """Write a batch, all or nothing. After a failure the state is as last committed.

        Most of the work does not hold Python's lock: without `wait` another thread does it while
        the caller prepares the next batch.
        """
        encoded = batch.whole()
        self.settle()
        try:
            with self._rollback_on_error():
                self._connection.execute("BEGIN IMMEDIATE")
                self._check_alone(batch)
                finish = self._write(batch, encoded)
                if wait:
                    finish()
                else:
                    self._committing = self._committer.submit(finish)
        except BaseException:
            self._load()
            raise
        self._state.new_dictionaries.clear()
        self._state.committed(batch)

    def settle(self) -> None:
        """Wait until the previous batch is durable and visible. Raises what went wrong with it."""
        committing, self._committing = self._committing, None
        if committing is None:
            return
        try:
            with self._rollback_on_error():
                committing.result()
        except BaseException:
            self._load()
            raise

    def collect(self) -> Deleted | None:
        """Delete some entries of a discarded source, and at last the source; None if all is done.

        Raises StaleBatchError if the index was replaced.
        """
        with self._deleting() as deleter:
            return deletion.collect(self._connection, deleter)

    def expire(self, cutoffs: Cutoffs, position: int) -> tuple[Deleted, int | None]:
        """Delete some expired entries from a key on; also return the next key, None at the end.

        Raises StaleBatchError if the index was replaced.
        """
        with self._deleting() as deleter:
            return deletion.expire(self._connection, deleter, cutoffs, position)

    def compact(self) -> bool:
        """Give some space back or merge some of the inverted index; False if all is done.

        Raises StaleBatchError if the index was replaced.
        """
        with self._deleting():
            return deletion.compact(self._connection)

    def probe(self) -> None:
        """Read a little of everything. Raises apsw.CorruptError where that shows damage."""
        for question in _PROBES:
            self._connection.execute(question).fetchall()

    def empty_log(self) -> None:
        """Move the whole write-ahead log into the file."""
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
        """Run in a transaction. Raises StaleBatchError if the index was replaced."""
        self.settle()
        with self._rollback_on_error():
            self._connection.execute("BEGIN IMMEDIATE")
            self._check_not_replaced()
            yield self._deleter()
            self._connection.execute("COMMIT")

    def _deleter(self) -> deletion.Deleter:
        return deletion.Deleter(self._connection, self._dictionary, self._state.terms)

    @contextmanager
    def _rollback_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _write(self, batch: SqliteBatch, encoded: EncodedBatch | None) -> Callable[[], None]:
        """Write all but entries and documents; the returned function writes these and commits."""
        execute_many = self._connection.executemany
        deletion.remove_lines(self._connection, self._deleter(), batch.removed)
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

        They have them already where the first one is newer than all entries of the index: logs that
        arrive in the order of time cost nothing here.
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
        """Set how many parts of the inverted index FTS5 merges into one; FTS5 remembers it."""
        if parts != self._merge_at:
            self._connection.execute(
                "INSERT INTO terms(terms, rank) VALUES('automerge', ?)", (parts,)
            )
            self._merge_at = parts

    def _write_names(self, encoded: EncodedBatch | None) -> None:
        """Write new fields and dictionaries, also those of batches that were given up."""
        state = self._state
        names = state.terms.drain_new_fields()
        if encoded is not None:
            names |= encoded.names
        self._connection.executemany(
            "INSERT OR IGNORE INTO fields VALUES(?)",
            [(name,) for name in names if len(name) <= terms.MAX_VALUE],
        )
        for dictionary in state.new_dictionaries:
            self._connection.execute(
                "INSERT INTO dictionaries VALUES(?, ?)", (dictionary.number, dictionary.content)
            )
            self._dictionaries[dictionary.number] = dictionary
        self._set_meta("next_source", state.next_source)

    def _spill(self, encoded: EncodedBatch, place: int) -> None:
        """Handle an entry whose millisecond is full: its key no longer gives its time."""
        row = parse_row(encoded.rows[place])
        behind = (row.key >> KEY_BITS) - encoded.times[place]
        if behind > self._spill_ms:
            self._spill_ms = behind
            self._set_meta("spill_ms", behind)
        if not (encoded.has_stripped_times or encoded.has_timeless):
            return
        line = self._dictionaries[row.dictionary].unpack(row.data, bool(row.flags & FULL_FRAME))
        if TIME_PLACE in line:
            raw = restore_time(line, encoded.times[place])
            data, is_full = self._dictionaries[row.dictionary].pack(raw)
            flags = row.flags & AUDIT | is_full * FULL_FRAME
            encoded.rows[place] = make_row(row._replace(data=data, flags=flags))
            return
        fields, _ = parse_line(line)
        if time_of(fields) is None:  # only the key gives its time, so it counts there
            level, is_audit = level_of(fields), bool(row.flags & AUDIT)
            minute = encoded.times[place] // MINUTE_MS, level, is_audit
            move_to_minute(encoded.minutes, minute, row.key >> KEY_BITS)
            document = self._state.terms.encode(fields, level, is_audit, row.key >> KEY_BITS, None)
            encoded.documents[place] = DOCUMENT % (row.key, document)

    def _source_rows(
        self, batch: SqliteBatch, encoded: EncodedBatch | None
    ) -> list[tuple[object, ...]]:
        spans = encoded.spans if encoded else {}
        audit_sources = encoded.audit_sources if encoded else set()
        rows: list[tuple[object, ...]] = []
        for number, (source, state) in batch.sources.items():
            first_key, last_key = MAX_KEY, 0
            if number in spans:
                first_ms, last_ms = spans[number]
                first_key = first_ms << KEY_BITS
                last_key = last_ms + self._spill_ms << KEY_BITS | KEY_MASK
            rows.append(
                (
                    *(source.id, source.path, state, encode_checkpoint(source.checkpoint)),
                    *(batch.last_lines.get(number, 0), number in audit_sources),
                    *(first_key, last_key),
                )
            )
        return rows

    def _lines_present(self, source: int, first: int, last: int) -> set[int]:
        """Read all entries of the source's time span: lines are rarely added twice."""
        self.settle()
        rows: Any = self._connection.execute(_LINES_PRESENT, (source, first, last))
        return {line for (line,) in rows}

    def _dictionary(self, number: int) -> Dictionary:
        """Return a dictionary, also one that another process has trained."""
        if number not in self._dictionaries:
            select = "SELECT dictionary FROM dictionaries WHERE id = ?"
            content: Any = self._connection.execute(select, (number,)).get
            self._dictionaries[number] = Dictionary(number, content)
        return self._dictionaries[number]

    def _set_meta(self, name: str, value: int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    # --- state --------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over the committed state."""
        self._merge_at = 0  # FTS5's own setting may have been rolled back
        connection = self._connection
        with connection:  # one snapshot
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            contents = connection.execute("SELECT id, dictionary FROM dictionaries ORDER BY id")
            dictionaries = [Dictionary(number, content) for number, content in contents]
            last_lines: Any = dict(connection.execute("SELECT id, last_line FROM sources"))
            self._data_version = connection.pragma("data_version")
        self._spill_ms = meta["spill_ms"]
        self._dictionaries = {one.number: one for one in [Dictionary(0, b""), *dictionaries]}
        packer = Packer(self._dictionaries[len(dictionaries)], len(dictionaries) + 1)
        self._state = WriterState(
            packer, meta["next_source"], last_lines, self._lines_present, self._replaced
        )

    def _check_not_replaced(self) -> None:
        if file_identity(self._path) != self.identity:
            raise StaleBatchError(f"{self._path} was replaced")

    def _check_alone(self, batch: SqliteBatch) -> None:
        """Raise StaleBatchError if another connection has committed since the batch was begun."""
        self._check_not_replaced()
        is_current = batch.state is self._state
        if not is_current or self._connection.pragma("data_version") != self._data_version:
            raise StaleBatchError("another process has written to the index meanwhile")
