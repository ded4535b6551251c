"""Holds lines until they are sent: bounded, and adding one never blocks."""

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mikroscope.logging.drops import DropCounter


class Bounds(NamedTuple):
    """Limits of the buffer, and of one request."""

    max_buffer_records: int
    max_buffer_bytes: int
    batch_records: int
    batch_bytes: int


class Buffer:
    """A queue of lines: any thread may put, one thread takes.

    When it is full, the oldest lines are dropped and counted. The lock is re-entrant and the
    wake-up signal a `SimpleQueue` (whose `put` is re-entrant, too), so that a signal handler or a
    `__del__` may log while it interrupts a thread in here.
    """

    def __init__(self, bounds: Bounds, drops: DropCounter) -> None:
        self._bounds = bounds
        self._drops = drops
        self._lock = threading.RLock()
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._taken = 0
        self._taken_from = 0
        self.put_total = 0
        """The number of lines put so far."""
        self.is_due = False
        """True if the lines should be sent without waiting for more."""

    def __len__(self) -> int:
        """Return the number of lines that wait or are being sent."""
        return len(self._lines) + self._taken

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to take."""
        return not self._lines

    def put(self, line: bytes, urgent: bool) -> None:
        """Add a line; wake the taking thread if it is the first one or a batch is due."""
        with self._lock:
            is_first = not self._lines
            self._lines.append(line)
            self._bytes += len(line)
            self.put_total += 1
            self._drop_oldest()
            due = urgent or self._has_batch()
            # Waking costs more than adding a line, so it is done once for each state of the buffer.
            wakes = is_first or (due and not self.is_due)
            self.is_due = self.is_due or due
        if wakes:
            self.wake()

    def take(self, batch_bytes: int) -> list[bytes]:
        """Remove and return the oldest lines that fit into a request of that size, at least one.

        They count as waiting until `settle`.
        """
        batch: list[bytes] = []
        size = 0
        with self._lock:
            self._taken_from = self.put_total - len(self._lines)
            # `has_any_before` reads without the lock: each line must count at every moment.
            self._taken = len(self._lines)
            while self._lines and len(batch) < self._bounds.batch_records:
                size += len(self._lines[0]) + 1
                if batch and size > batch_bytes:  # a single line may exceed the limit
                    break
                batch.append(self._pop())
            self._taken = len(batch)
            self.is_due = self._has_batch()
        return batch

    def settle(self) -> bool:
        """End the current batch, sent or lost; False if `clear` has counted it already."""
        with self._lock:
            had_batch, self._taken = self._taken > 0, 0
        return had_batch

    def has_any_before(self, number: int) -> bool:
        """Return True if any of the first `number` lines put still waits or is being sent.

        Does not lock: a signal handler that waits for this may have interrupted the lock's holder.
        """
        waits = self.put_total - len(self._lines) < number
        return waits or (self._taken > 0 and self._taken_from < number)

    def wake(self) -> None:
        """Wake the thread in `wait`, or let its next `wait` return at once."""
        self._wakeups.put(None)

    def wait(self, seconds: float | None) -> bool:
        """Wait for `wake`; return False on timeout. None waits without a timeout."""
        try:
            self._wakeups.get(timeout=seconds)
        except Empty:
            return False
        return True

    def clear(self) -> int:
        """Remove all lines, those being sent included, and return their number."""
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
            self._drops.add(time.time(), dropped=dropped)
