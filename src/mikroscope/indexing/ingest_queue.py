"""What was accepted over HTTP and waits to be written, in the order of its arrival."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from mikroscope.errors import IngestError
from mikroscope.ingest.batch import Lines

MAX_PENDING_BYTES = 64 << 20
MAX_ROUND_BYTES = 4 << 20  # of requests that are committed together

OnDone = Callable[[Exception | None], None]
"""Is told that lines can be found, or why they cannot be and are in no file."""


class PendingWrite(NamedTuple):
    """Lines that wait to be written; `on_done` is None where nobody waits for them."""

    lines: Lines
    on_done: OnDone | None


class IngestQueue:
    """A bounded queue. It has no lock of its own."""

    def __init__(self) -> None:
        self._pending: deque[PendingWrite] = deque()
        self._bytes = 0
        self._taken: list[PendingWrite] = []
        self.waiting = 0
        """How many of those that wait have somebody who waits for them."""

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, submission: PendingWrite) -> None:
        """Another one. Raises IngestError (503) if too much is waiting already."""
        if self._bytes >= MAX_PENDING_BYTES:
            raise IngestError("the ingest queue is full: try again in a moment", 503)
        size = len(submission.lines.content)
        if self._bytes + size > MAX_ROUND_BYTES:  # what lines say takes several times their room
            submission = _to_be_parsed(submission)
        self._pending.append(submission)
        self._bytes += size
        self.waiting += submission.on_done is not None

    def take(self) -> list[PendingWrite]:
        """The first ones, no more than one transaction should hold; `done` is to follow."""
        size = 0
        while self._pending and size < MAX_ROUND_BYTES:
            submission = self._pending.popleft()
            self._taken.append(submission)
            size += len(submission.lines.content)
            self.waiting -= submission.on_done is not None
        self._bytes -= size
        return self._taken

    def done(self) -> None:
        """What was taken is written, or given back."""
        self._taken = []

    def requeue(self, submissions: list[PendingWrite]) -> None:
        """Some that were taken are to be tried again, before all others."""
        self._pending.extendleft(_to_be_parsed(one) for one in reversed(submissions))
        self._bytes += sum(len(one.lines.content) for one in submissions)

    def pending(self) -> tuple[int, int]:
        """How many, and how many records, are accepted and not written yet."""
        waiting = [*self._taken, *self._pending]
        return len(waiting), sum(one.lines.accepted for one in waiting)


def _to_be_parsed(submission: PendingWrite) -> PendingWrite:
    """The same, with nothing kept of what its lines say."""
    return submission._replace(lines=submission.lines._replace(records=None))
