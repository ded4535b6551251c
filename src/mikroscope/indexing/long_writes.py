"""Writes that take long to index: appended at once, and indexed step by step between other work.

They have very many records, or come to a file of which much is not indexed yet.
"""

from typing import NamedTuple

from mikroscope.errors import StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.ingest_queue import PendingWrite
from mikroscope.logfiles.appender import Appended

MAX_IDLE_STEPS = 10  # a step may commit what was read ahead, or be repeated
STEP_COST = 1 << 20  # bytes; as many lines as are indexed in about a tenth of a second


class LongWrite(NamedTuple):
    """Writes to one file that are appended and not indexed to their end."""

    path: str
    writes: list[PendingWrite]
    appended: Appended


class LongWrites:
    """The long writes, one of which takes a step at a time. Belongs to the writing thread.

    Nothing else may be appended to their files meanwhile, so that a write that fails at its
    beginning can be undone.
    """

    def __init__(self, indexer: Indexer) -> None:
        self._indexer = indexer
        self._open: dict[str, LongWrite] = {}
        self._sources: dict[str, int] = {}  # by the path at which the lines were appended
        self._idle_steps: dict[str, int] = {}  # likewise; one after the other

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def paths(self) -> frozenset[str]:
        """The files."""
        return frozenset(self._open)

    def has_backlog(self, path: str, appended: Appended) -> bool:
        """Return whether much of a file was not indexed before something was appended to it."""
        return appended.before.size - self._indexer.indexed_bytes(path) > STEP_COST

    def add(self, write: LongWrite) -> None:
        """Begin a write."""
        self._open[write.path] = write

    def first(self) -> LongWrite:
        """The write that takes the next step."""
        return next(iter(self._open.values()))

    def step(self) -> LongWrite | None:
        """Index some lines of the first write; return it if those were its last ones.

        Raises StoreError.
        """
        write = self.first()
        if (path := self._present_path(write)) is None:
            return self.remove(write)
        before = self._indexer.indexed_bytes(path)
        self._indexer.index_part(path, STEP_COST)
        if (path := self._present_path(write)) is None:
            return self.remove(write)
        if self._indexer.has_indexed(path, write.appended.after.size):
            return self.remove(write)
        self._open[write.path] = self._open.pop(write.path)  # now the others
        self._count_idle_steps(write, is_idle=self._indexer.indexed_bytes(path) == before)
        return None

    def _count_idle_steps(self, write: LongWrite, *, is_idle: bool) -> None:
        """Raise StoreError after a few steps without progress, so that the next ones wait."""
        idle = self._idle_steps[write.path] = (
            self._idle_steps.get(write.path, 0) + 1 if is_idle else 0
        )
        if idle > MAX_IDLE_STEPS:
            raise StoreError(f"{write.path} was written, but its lines cannot be read back")

    def remove(self, write: LongWrite) -> LongWrite:
        """Forget a write."""
        self._sources.pop(write.path, None)
        self._idle_steps.pop(write.path, None)
        return self._open.pop(write.path)

    def _present_path(self, write: LongWrite) -> str | None:
        """Return where the lines are now, since a file may be renamed; None if they are gone."""
        if write.path not in self._sources:
            source = self._indexer.sources.get(write.path)
            if source is None:
                return write.path
            self._sources[write.path] = source.id
        wanted = self._sources[write.path]
        return next((one.path for one in self._indexer.sources.values() if one.id == wanted), None)
