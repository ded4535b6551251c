"""The one connection that writes: it commits batches, and seals and deletes entries."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
from zstandard import ZstdError

from mikroscope.errors import StaleBatchError
from mikroscope.logfiles.sources import Source
from mikroscope.stores.base import Cutoffs, Deleted
from mikroscope.stores.sqlite.cache import PartCache
from mikroscope.stores.sqlite.compression import Dictionary, Packer
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.schema import (
    KEY_BITS,
    decode_checkpoint,
    encode_checkpoint,
    file_identity,
    open_writer,
)
from mikroscope.stores.sqlite.sealing import Sealed
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, SegmentFile, SegmentInfo, StoredSegment
from mikroscope.stores.sqlite.write.batch import (
    DISCARDED,
    GONE,
    Replaced,
    SqliteBatch,
    WriterState,
)
from mikroscope.stores.sqlite.write.deletion import Deleter, mark_changed
from mikroscope.stores.sqlite.write.encoding import LEAST_ENTRIES, EncodedBatch
from mikroscope.stores.sqlite.write.fresh import FreshRows
from mikroscope.stores.sqlite.write.merging import Merger
from mikroscope.stores.sqlite.write.placing import give_keys
from mikroscope.stores.sqlite.write.presence import WITH_LINES, lines_present
from mikroscope.stores.sqlite.write.sealer import Sealer
from mikroscope.stores.sqlite.write.shrinking import Shrinker, TermsBytes
from mikroscope.stores.sqlite.write.storing import Placed, count_up, put_names, put_segment
from mikroscope.stores.sqlite.write.templates import limit_templates

_PUT_SOURCE = """
INSERT INTO sources(id, path, state, checkpoint, last_line, holds_audit)
VALUES(?, ?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET path = excluded.path, state = excluded.state,
    checkpoint = excluded.checkpoint, last_line = max(last_line, excluded.last_line),
    holds_audit = max(holds_audit, excluded.holds_audit)
"""
_BESIDE = f"SELECT {INFO_COLUMNS} FROM segments WHERE last_key >= ? AND first_key <= ?"  # noqa: S608
_NEWEST_DICTIONARY = "SELECT id, dictionary FROM dictionaries ORDER BY id DESC LIMIT 1"
_REACH = 1 << (KEY_BITS + 17)  # keys that entries of one millisecond may take
_CACHE_BYTES = 4 << 20

_PROBES = (
    "SELECT * FROM segments ORDER BY id DESC LIMIT 1",
    "SELECT * FROM segments ORDER BY id LIMIT 1",
    "SELECT * FROM columns ORDER BY id DESC LIMIT 1",
    "SELECT * FROM blocks ORDER BY id DESC LIMIT 1",
    "SELECT * FROM fresh ORDER BY id DESC LIMIT 1",
    "SELECT * FROM minutes ORDER BY minute DESC LIMIT 1",
    "SELECT * FROM partitions",
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
        self._is_closed = False
        self._sealer = Sealer()
        self._newest = -1  # the greatest key
        self._is_ahead = False  # of what the caller knows, who has to ask for the sources
        self._cache = PartCache(_CACHE_BYTES)
        self._load()

    def sources(self) -> list[Source]:
        """Return every source that is not discarded."""
        self.settle()
        if self._is_ahead:
            self.reload()
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
        self._is_ahead = False

    def run_ahead(self) -> None:
        """Make batches stale, also those that are begun before the caller asks for the sources."""
        self._is_ahead = True

    def commit(self, batch: SqliteBatch, wait: bool = True) -> None:
        """Write a batch, all or nothing. After a failure the state is as last committed.

        Most of the work does not hold Python's lock: without `wait` another thread does it while
        the caller prepares the next batch.
        """
        encoded = batch.whole()
        self.settle()
        self._sealer.begin(self._fresh, self._file, self._state.packer.current)
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
        """Wait until the previous batch is durable and visible. Raises what went wrong with it.

        The caller may not be the one that committed the batch and goes on behind it, so that
        batches are stale then.
        """
        committing, self._committing = self._committing, None
        if committing is None:
            return
        try:
            with self._rollback_on_error():
                committing.result()
        except BaseException:
            self.run_ahead()
            self._load()
            raise

    def collect(self) -> Deleted | None:
        """Delete some entries of a discarded source, and at last the source; None if all is done.

        Raises StaleBatchError if the index was replaced.
        """
        with self._changing():
            return self._deleter().collect()

    def expire(self, cutoffs: Cutoffs, position: int) -> tuple[Deleted, int | None]:
        """Delete some expired entries from a segment on; also return the next one, None at the end.

        Raises StaleBatchError if the index was replaced.
        """
        with self._changing():
            return self._deleter().expire(cutoffs, position)

    def shrink(self, max_bytes: int, known: TermsBytes) -> tuple[Deleted | None, int]:
        """Take a step of a Shrinker. Raises StaleBatchError if the index was replaced."""
        with self._changing():
            shrinker = Shrinker(self._connection, self._deleter(), self._fresh, known)
            return shrinker.step(max_bytes)

    def compact(self) -> bool:
        """Seal, merge, or give some space back; False if all is done.

        Raises StaleBatchError if the index was replaced.
        """
        with self._changing():
            current = self._state.packer.current
            sealed = self._sealer.seal_now(self._connection, self._fresh, self._file, current)
            if sealed or Merger(self._connection, self._segment, current).step():
                return True
        # The file is cut to its size when the write-ahead log is moved into it.
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def probe(self) -> None:
        """Read a little of everything. Raises apsw.CorruptError where that shows damage."""
        for question in _PROBES:
            self._connection.execute(question).fetchall()

    def empty_log(self) -> None:
        """Move the whole write-ahead log into the file."""
        self.settle()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection; what would slow the first query down after a start is sealed."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.settle()
            self._seal_rest()
        finally:
            self._committer.shutdown()
            self._sealer.close()
            self._connection.close()

    def _seal_rest(self) -> None:
        if not self._connection.in_transaction and self._fresh.most_entries >= LEAST_ENTRIES:
            with suppress(apsw.Error, ZstdError, StaleBatchError), self._changing():
                current = self._state.packer.current
                while self._sealer.seal_now(
                    self._connection, self._fresh, self._file, current, LEAST_ENTRIES
                ):
                    pass

    # --- inside a transaction ---------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Run in a transaction. Raises StaleBatchError if the index was replaced.

        What another process has committed is taken over first: its dictionaries may have the
        numbers of those that this one has trained and not committed yet. The caller does not know
        its sources then, so that batches are stale.
        """
        self.settle()
        try:
            with self._rollback_on_error():
                self._connection.execute("BEGIN IMMEDIATE")
                self._check_not_replaced()
                if self._connection.pragma("data_version") != self._data_version:
                    self.run_ahead()
                    self._load()
                self._write_dictionaries()
                yield
                self._connection.execute("COMMIT")
        except BaseException:
            self._forget()
            raise
        self._state.new_dictionaries.clear()

    def _deleter(self) -> Deleter:
        return Deleter(self._connection, self._segment, self._fresh)

    @contextmanager
    def _rollback_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _write(self, batch: SqliteBatch, encoded: EncodedBatch | None) -> Callable[[], None]:
        """Write what is small; the returned function writes the rest and commits."""
        if batch.removed:
            self._deleter().remove_lines(batch.removed)
        self._sealer.put_finished(self._connection, self._fresh)
        self._write_names(encoded)
        placed = self._place(encoded) if encoded is not None else []
        if encoded is not None:
            self._connection.execute(
                "UPDATE meta SET value = value + ? WHERE name = 'field_values'",
                (encoded.field_values,),
            )
        self._connection.executemany(_PUT_SOURCE, self._source_rows(batch, encoded))

        def finish() -> None:
            for one in placed:
                limit_templates(self._connection, one.sealed)
                put_segment(self._connection, one)
            if placed:
                mark_changed(self._connection)
            self._connection.execute("COMMIT")

        return finish

    def _place(self, encoded: EncodedBatch) -> list[Placed]:
        """Store the pieces with their keys; return the segments with theirs."""
        self._commits += 1
        self._set_meta("commits", self._commits)
        fresh = [one.lines for one in encoded.fresh]
        parts: list[Sealed | FreshLines] = [*encoded.sealed, *fresh]
        if parts:
            self._assign_keys(parts, encoded.has_keys)
            self._set_meta("newest_key", self._newest)
        for lines, minutes in encoded.fresh:
            lines.commit = self._commits
            count_up(self._connection, minutes, lines.is_audit)
            self._fresh.add(lines)
        for sealed in encoded.sealed:
            count_up(self._connection, sealed.minutes, sealed.is_audit)
        return [Placed(one, [self._commits] * one.entries) for one in encoded.sealed]

    def _assign_keys(self, parts: Sequence[Sealed | FreshLines], have_keys: bool) -> None:
        """Give the entries keys that no other entry has.

        Logs that arrive in the order of time have them already.
        """
        first = min(part.keys[0] for part in parts)
        if not have_keys or first <= self._newest:
            last = max(part.keys[-1] for part in parts)
            rows: Any = self._connection.execute(_BESIDE, (first, last + _REACH)).fetchall()
            others: list[Any] = [self._segment(SegmentInfo(*row)) for row in rows]
            give_keys(parts, [*others, *self._fresh.keys()])
        self._newest = max(self._newest, *(part.keys[-1] for part in parts))

    def _write_names(self, encoded: EncodedBatch | None) -> None:
        """Write new fields and dictionaries, also those of batches that were given up."""
        state = self._state
        if encoded is not None and not encoded.names <= self._names:
            put_names(self._connection, encoded.names - self._names)
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
            self._names |= encoded.names
        self._write_dictionaries()
        self._set_meta("next_source", state.next_source)

    def _write_dictionaries(self) -> None:
        """Write new dictionaries: what is packed with them comes in the same transaction."""
        self._connection.executemany(
            "INSERT INTO dictionaries VALUES(?, ?)",
            [(one.number, one.content) for one in self._state.new_dictionaries],
        )

    def _source_rows(
        self, batch: SqliteBatch, encoded: EncodedBatch | None
    ) -> list[tuple[object, ...]]:
        audit_sources = encoded.audit_sources if encoded else set()
        return [
            (
                *(source.id, source.path, state, encode_checkpoint(source.checkpoint)),
                *(batch.last_lines.get(number, 0), number in audit_sources),
            )
            for number, (source, state) in batch.sources.items()
        ]

    def _lines_present(self, source: int, first: int, last: int) -> set[int]:
        """Return those lines of a source that are entries: lines are rarely added twice."""
        self.settle()
        rows: Any = self._connection.execute(WITH_LINES, (source, last, first)).fetchall()
        segments = [self._segment(SegmentInfo(*row)) for row in rows]
        fresh = [lines for _, lines in self._fresh.lines()]
        return lines_present(segments, fresh, source, range(first, last + 1))

    def _segment(self, info: SegmentInfo) -> StoredSegment:
        return StoredSegment(info, self._file)

    def _set_meta(self, name: str, value: int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    # --- state --------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over the committed state."""
        connection = self._connection
        with connection:  # one snapshot
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            newest: Any = connection.execute(_NEWEST_DICTIONARY).fetchone()
            last_lines: Any = dict(connection.execute("SELECT id, last_line FROM sources"))
            self._data_version = connection.pragma("data_version")
        self._newest, self._commits = meta["newest_key"], meta["commits"]
        self._names: set[str] = set()
        current = Dictionary(*newest) if newest else Dictionary(0, b"")
        packer = Packer(current, current.number + 1)
        self._state = WriterState(
            packer, meta["next_source"], last_lines, self._lines_present, self._replaced
        )
        self._forget()

    def _forget(self) -> None:
        """Forget what may come from a transaction that was rolled back."""
        self._cache.clear()
        self._file = SegmentFile(self._connection, self.identity, self._cache)
        self._fresh = FreshRows(
            self._connection, self._file.dictionary, lambda: self._state.packer.current
        )
        self._sealer.forget()

    def _check_not_replaced(self) -> None:
        if file_identity(self._path) != self.identity:
            raise StaleBatchError(f"{self._path} was replaced")

    def _check_alone(self, batch: SqliteBatch) -> None:
        """Raise StaleBatchError if another connection has committed since the batch was begun."""
        self._check_not_replaced()
        is_current = batch.state is self._state and not self._is_ahead
        if not is_current or self._connection.pragma("data_version") != self._data_version:
            raise StaleBatchError("the index is not as it was when the batch was begun")


_MOST_NAMES = 20_000
