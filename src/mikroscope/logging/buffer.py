"""Holds the lines that wait to be sent: bounded, and never waited for."""

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mikroscope.logging.drops import Losses


class Bounds(NamedTuple):
    """How much may wait, and how much makes a request."""

    max_buffer_records: int
    max_buffer_bytes: int
    batch_records: int
    batch_bytes: int


class Buffer:
    """Many threads put, one takes. When it is full the oldest lines leave, and are counted.

    The lock is re-entrant and the bell a `SimpleQueue` (whose `put` may interrupt itself), so that
    a signal handler or a `__del__` that logs while its thread is in here does no harm.
    """

    def __init__(self, bounds: Bounds, losses: Losses) -> None:
        self._bounds = bounds
        self._losses = losses
        self._lock = threading.RLock()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._taken = 0
        self._taken_from = 0
        self.put_total = 0
        """How many lines have ever been put."""
        self.is_due = False
        """Whether there is a reason not to wait for more."""

    def __len__(self) -> int:
        """How many lines wait or are on their way."""
        return len(self._lines) + self._taken

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._lines

    def put(self, line: bytes, urgent: bool) -> None:
        """Add a line, and ring if whoever takes should look."""
        with self._lock:
            is_first = not self._lines
            self._lines.append(line)
            self._bytes += len(line)
            self.put_total += 1
            self._drop_oldest()
            due = urgent or self._has_batch()
            rings = is_first or (due and not self.is_due)
            self.is_due = self.is_due or due
        if rings:
            self.ring()

    def take(self, batch_bytes: int) -> list[bytes]:
        """The oldest lines, as many as a request of that size may have, but one at least.

        They count as waiting until `settle`.
        """
        batch: list[bytes] = []
        size = 0
        with self._lock:
            self._taken_from = self.put_total - len(self._lines)
            self._taken = len(self._lines)  # for `has_any_before`: at no moment are they nowhere
            while self._lines and len(batch) < self._bounds.batch_records:
                size += len(self._lines[0]) + 1
                if batch and size > batch_bytes:
                    break
                batch.append(self._pop())
            self._taken = len(batch)
            self.is_due = self._has_batch()
        return batch

    def settle(self) -> bool:
        """What was taken has been sent, or given up; False if `clear` has counted it already."""
        with self._lock:
            was_there, self._taken = self._taken > 0, 0
        return was_there

    def has_any_before(self, number: int) -> bool:
        """Whether any of the first `number` lines waits or is on its way.

        Without the lock: a signal handler that waits for this may have interrupted who holds it.
        """
        waits = self.put_total - len(self._lines) < number
        return waits or (self._taken > 0 and self._taken_from < number)

    def ring(self) -> None:
        """Wake whoever waits."""
        self._bell.put(None)

    def wait(self, seconds: float | None) -> bool:
        """Return True at a ring, False when the time is over; without a time, at a ring only.

        A ring while nobody waits is kept.
        """
        try:
            self._bell.get(timeout=seconds)
        except Empty:
            return False
        return True

    def clear(self) -> int:
        """Forget all lines, also those on their way; how many they were."""
        with self._lock:
            count = len(self)
            self._lines.clear()
            self._bytes = self._taken = 0
        return count

    def _has_batch(self) -> bool:
        enough = len(self._lines) >= self._bounds.batch_records
        return enough or self._bytes >= self._bounds.batch_bytes

    def _pop(self) -> bytes:
        line = self._lines.popleft()
        self._bytes -= len(line)
        return line

    def _drop_oldest(self) -> None:
        before = len(self._lines)
        while (
            len(self._lines) > self._bounds.max_buffer_records
            or self._bytes > self._bounds.max_buffer_bytes
        ):
            self._pop()
        dropped = before - len(self._lines)
        if dropped:
            self._losses.add(time.time(), dropped=dropped)
