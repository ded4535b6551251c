"""The ingest queue: batches accepted over HTTP and not written yet, in the order of arrival."""

from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from mikroscope.errors import IngestError
from mikroscope.ingest.batch import IngestBatch

MAX_PENDING_BYTES = 64 << 20
MAX_ROUND_BYTES = 4 << 20  # of batches that are committed together
MAX_ROUND_RECORDS = 10_000  # likewise

OnDone = Callable[[Exception | None], None]
"""Called with None when a query finds the records, or with the reason why no file has them."""


class PendingWrite(NamedTuple):
    """A batch to be written; `on_done` is None if no request waits for it."""

    batch: IngestBatch
    on_done: OnDone | None


class IngestQueue:
    """A bounded queue. It has no lock of its own."""

    def __init__(self) -> None:
        self._pending: deque[PendingWrite] = deque()
        self._bytes = 0
        self._taken: list[PendingWrite] = []
        self.waiting = 0
        """The number of pending writes that a request waits for."""

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, write: PendingWrite) -> None:
        """Append a write. Raises IngestError (503) if too many bytes are pending already."""
        if self._bytes >= MAX_PENDING_BYTES:
            raise IngestError("the ingest queue is full: try again in a moment", 503)
        size = len(write.batch.lines)
        if self._bytes + size > MAX_ROUND_BYTES or is_long(write.batch):  # later: keep lines only
            write = _without_records(write)
        self._pending.append(write)
        self._bytes += size
        self.waiting += write.on_done is not None

    def take(self, busy: Collection[str] = ()) -> list[PendingWrite]:
        """Take the first writes, as many as one transaction should hold; `done` must follow.

        Writes to `busy` files stay where they are.
        """
        size = records = 0
        kept: list[PendingWrite] = []
        while self._pending and size < MAX_ROUND_BYTES and records < MAX_ROUND_RECORDS:
            write = self._pending.popleft()
            if write.batch.path in busy:
                kept.append(write)
                continue
            self._taken.append(write)
            size += len(write.batch.lines)
            records += write.batch.accepted
            self.waiting -= write.on_done is not None
        self._pending.extendleft(reversed(kept))
        self._bytes -= size
        return self._taken

    def is_waited_for(self, busy: Collection[str] = ()) -> bool:
        """Return whether a request waits for a write to a file that is not `busy`."""
        if not busy or not self.waiting:
            return self.waiting > 0
        return any(one.on_done is not None and one.batch.path not in busy for one in self._pending)

    def done(self) -> None:
        """Note that the writes taken are written or requeued."""
        self._taken = []

    def requeue(self, writes: list[PendingWrite]) -> None:
        """Put writes that were taken back to the front, to be tried again."""
        self._pending.extendleft(_without_records(one) for one in reversed(writes))
        self._bytes += sum(len(one.batch.lines) for one in writes)

    def pending(self) -> tuple[int, int]:
        """Return how many batches, and how many records, are not written yet."""
        unwritten = [*self._taken, *self._pending]
        return len(unwritten), sum(one.batch.accepted for one in unwritten)


def is_long(batch: IngestBatch) -> bool:
    """Return whether a batch is indexed in several steps, so that others have their turn."""
    return batch.accepted > MAX_ROUND_RECORDS


def _without_records(write: PendingWrite) -> PendingWrite:
    return write._replace(batch=write.batch.without_records())
