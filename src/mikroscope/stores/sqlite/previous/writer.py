"""What takes the place of the writer while an index of format 5 waits for its replacement."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import apsw
import msgspec

from mikroscope.errors import StaleBatchError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.records.parsing import Fields
from mikroscope.stores.base import BatchResult, Executor
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.schema import (
    PREVIOUS_VERSION,
    check_version,
    connect,
    decode_checkpoint,
    file_identity,
)
from mikroscope.stores.sqlite.write.batch import DISCARDED, GONE

_PROBES = (
    "SELECT * FROM entries ORDER BY key DESC LIMIT 1",
    "SELECT * FROM entries ORDER BY key LIMIT 1",
    "SELECT * FROM minutes ORDER BY minute DESC LIMIT 1",
    "SELECT * FROM dictionaries",
    "SELECT * FROM levels",
)


class PreviousBatch:
    """Changes of sources; lines are left to the rebuild, which reads them from the files."""

    def __init__(self, next_source: int) -> None:
        self.next_source = next_source
        self.sources: dict[int, Source | None] = {}
        """By number; None for a discarded one."""

    def open_source(self, path: str) -> Source:
        """Create a source with nothing indexed yet."""
        source = Source(self.next_source, path, Checkpoint())
        self.next_source += 1
        self.update_source(source)
        return source

    def update_source(self, source: Source) -> None:
        """Change the path, checkpoint or `gone` of a source."""
        self.sources[source.id] = source

    def discard_source(self, source: Source) -> None:
        """Forget a source."""
        self.sources[source.id] = None

    def add(
        self,
        source: Source,
        first_line: int,
        lines: bytes,
        checkpoint: Checkpoint,
        records: Sequence[Fields] | None = None,
    ) -> None:
        """Note the checkpoint behind some lines."""
        self.update_source(msgspec.structs.replace(source, checkpoint=checkpoint))

    def remove_line(self, source: Source, line: int) -> None:
        """Leave the entries of a line: the rebuild reads the line as it is then."""

    def prepare(self, executor: Executor | None = None) -> "Future[BatchResult]":
        """Return that nothing was added: the rebuild counts the lines."""
        future: Future[BatchResult] = Future()
        future.set_result(BatchResult(lines=0, records=0, problems=[]))
        return future


class PreviousWriter:
    """Keeps in memory how far the files are known; the index itself is only read.

    A rebuild takes the sources from here, so it finds files that were renamed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = file_identity(path)
        with contextlib.closing(connect(path, apsw.SQLITE_OPEN_READONLY)) as connection:
            check_version(connection, path, (PREVIOUS_VERSION,))
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            rows: Any = connection.execute(
                "SELECT id, path, checkpoint, state, holds_audit FROM sources WHERE state != ?",
                (DISCARDED,),
            )
            found = [
                Source(number, path, decode_checkpoint(checkpoint), state == GONE, bool(audit))
                for number, path, checkpoint, state, audit in rows
            ]
        self._sources = {source.id: source for source in found}
        self._next_source = int(meta["next_source"])

    def sources(self) -> list[Source]:
        """Return every source that is not discarded. Any thread may call this."""
        return list(self._sources.values())

    def begin(self) -> PreviousBatch:
        """Begin a batch."""
        return PreviousBatch(self._next_source)

    def commit(self, batch: PreviousBatch) -> None:
        """Take over the sources of a batch. Raises StaleBatchError if the index was replaced."""
        if file_identity(self._path) != self.identity:
            raise StaleBatchError(f"{self._path} was replaced")
        self._next_source = max(self._next_source, batch.next_source)
        sources = dict(self._sources)
        for number, source in batch.sources.items():
            if source is None:
                sources.pop(number, None)
            else:
                sources[number] = source
        self._sources = sources

    def probe(self) -> None:
        """Read a little of everything. Raises apsw.CorruptError where that shows damage."""
        with contextlib.closing(connect(self._path, apsw.SQLITE_OPEN_READONLY)) as connection:
            for question in _PROBES:
                connection.execute(question).fetchall()

    def close(self) -> None:
        """Forget what is known of the sources."""
        self._sources = {}


def is_previous(path: Path) -> bool:
    """Return whether a file is an index of format 5. Raises errors of SQLite."""
    if files.is_marked_damaged(path) or not path.exists():
        return False
    with contextlib.closing(connect(path, apsw.SQLITE_OPEN_READONLY)) as connection:
        return bool(connection.pragma("user_version") == PREVIOUS_VERSION)
