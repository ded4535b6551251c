"""Sends the lines of a buffer in batches, from one background thread."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mikroscope.logging.buffer import Bounds, Buffer
from mikroscope.logging.delivery import Backoff, Delivery
from mikroscope.logging.drops import Counts, Losses
from mikroscope.logging.stderr import Complaints
from mikroscope.logging.transport import IDLE_S, Transport

_TELL_LOSSES_S = 10.0  # between two records of losses, while there is no rest
_HURRIED_S = 0.25  # between two tries while somebody waits in flush() or close()
_LEAST_TIMEOUT_S = 0.1
_LAST = -1000  # what else ends a worker may log
_NAME = "mikroscope-logging"


class Pace(NamedTuple):
    """Seconds."""

    linger: float
    """That a line may wait for others to be sent with."""
    timeout: float
    """For a connection, for each part of a request, and for its answer."""
    closing: float
    """That the end of the process may wait."""
    backoff: Backoff


class Sender:
    """`put` never waits for the server. The thread begins with the first line, and `close` ends it.

    What is shared by threads is in `Buffer` and `Losses`; the rest are single values, which one
    side sets and the other reads.
    """

    def __init__(
        self,
        transport: Transport,
        where: str,
        bounds: Bounds,
        pace: Pace,
        constants: Mapping[str, object],
    ) -> None:
        self._transport = transport
        self._where = where
        self._bounds = bounds
        self._pace = pace
        self._constants = constants
        self._begin()

    def _begin(self) -> None:
        self._complaints = Complaints()
        self._losses = Losses()
        self._buffer = Buffer(self._bounds, self._losses)
        self._delivery = Delivery(
            self._transport,
            self._where,
            self._pace.backoff,
            self._losses,
            self._complaints,
            self._constants,
            pause=self._pause,
            timeout_s=self._timeout_s,
        )
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._settled = threading.Condition()
        self._deadline: float | None = None  # set by close; time.monotonic
        self._hurry_to = 0  # the number of lines that somebody waits for
        self._is_nudged = False
        self._rests_until = 0.0  # a pause that nothing but a nudge shortens
        self._losses_told_at = 0.0

    def start_anew(self) -> None:
        """Forget everything: in a forked child all that waits here is the parent's to send.

        Nothing of the old state is used, because a thread of the parent may have been inside.
        """
        self._transport.forget()
        is_closed = self._deadline is not None
        self._begin()
        self._deadline = 0.0 if is_closed else None

    # --- for the application's threads ----------------------------------------------------------

    def put(self, line: bytes, urgent: bool) -> None:
        """Have a line sent; an urgent one without waiting for others."""
        if self._deadline is not None:
            self._losses.add(time.time(), dropped=1)
            self._complaints.say("closed", "records that come after close() are lost")
            return
        self._buffer.put(line, urgent)
        if self._thread is None:
            self._start()

    @property
    def has_thread(self) -> bool:
        """Whether somebody sends; else `close` has to."""
        return self._thread is not None

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is the background thread."""
        return self._thread is threading.current_thread()

    def counts(self) -> Counts:
        """What has become of the lines."""
        losses = self._losses
        return Counts(self._delivery.sent, len(self._buffer), losses.dropped, losses.refused)

    def flush(self, timeout_s: float) -> bool:
        """Wait until what has been put is sent or lost; False if the time is too short for it.

        If the server is known not to be asked again within that time, it is not waited for.
        """
        target = self._buffer.put_total
        end = time.monotonic() + timeout_s
        self._hurry_to = max(self._hurry_to, target)
        self._nudge()

        def is_over() -> bool:
            rests = not self._is_nudged and self._rests_until > end
            return rests or self._thread is None or self._has_settled(target)

        with self._settled:
            self._settled.wait_for(is_over, timeout_s)
        return self._has_settled(target)

    def close(self, timeout_s: float) -> None:
        """Send for that long what is there; then count the rest as lost, and say so on stderr."""
        if self._deadline is not None:
            return
        self.close_soon(timeout_s)
        if self._thread is None:
            self._run()  # there was nothing to send, or no thread could be started
        elif not self.is_current_thread:
            self._thread.join(max(timeout_s, _LEAST_TIMEOUT_S))
        self._losses.add(time.time(), dropped=self._buffer.clear())
        loss = self._losses.untold
        if loss is not None:
            text = f"log records lost, because {self._where} did not take them: {loss.total}"
            self._complaints.say("end", text)

    def close_soon(self, timeout_s: float) -> None:
        """Have the thread end when all is sent, or the time over; do not wait for it."""
        if self._deadline is None:
            self._deadline = time.monotonic() + timeout_s
            self._nudge()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # too many threads, or the interpreter shuts down
                self._thread = None
        _at_end_of_worker(self.close, self._pace.closing)

    def _nudge(self) -> None:
        self._is_nudged = True
        self._buffer.ring()

    def _has_settled(self, target: int) -> bool:
        return not self._buffer.has_any_before(target)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._settle(self._delivery.deliver(batch))
                self._tell_losses()
            except Exception as error:  # a defect must not end the sending
                self._settle(len(batch))
                self._complaints.say("defect", f"sending failed: {type(error).__name__}: {error}")
        self._transport.close()

    def _next_batch(self) -> list[bytes]:
        """Wait until it is time for one; none at the end."""
        while self._buffer.is_empty and self._deadline is None:
            if not self._buffer.wait(IDLE_S):
                self._transport.close()
                self._buffer.wait(None)
        self._gather()
        self._is_nudged = False
        if self._is_over():
            return []
        largest = self._delivery.largest_body or self._bounds.batch_bytes
        return self._buffer.take(min(largest, self._bounds.batch_bytes))

    def _gather(self) -> None:
        """Wait for more lines, unless there are enough, or one is urgent, or somebody waits."""
        end = time.monotonic() + self._pace.linger
        while not self._buffer.is_due and not self._is_hurried():
            left = end - time.monotonic()
            if left <= 0 or not self._buffer.wait(left):
                return

    def _settle(self, given_up: int) -> None:
        """Be done with the batch, once.

        A signal handler that waits in `flush` may have interrupted a log call, which holds the lock
        of the buffer: no other lock is waited for with `_settled`, or that would never end.
        """
        if self._buffer.settle():
            self._losses.add(time.time(), dropped=given_up)
        with self._settled:
            self._settled.notify_all()

    def _tell_losses(self) -> None:
        """Tell of losses when there is nothing else to do, else now and then."""
        now = time.monotonic()
        if self._is_over() or self._losses.untold is None:
            return
        if self._buffer.is_empty or now - self._losses_told_at >= _TELL_LOSSES_S:
            self._losses_told_at = now
            self._delivery.tell_losses()

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _is_hurried(self) -> bool:
        return self._deadline is not None or self._buffer.has_any_before(self._hurry_to)

    def _pause(self, seconds: float, may_hurry: bool) -> bool:
        """Wait between two tries; True when it is to be given up. A nudge ends it."""
        start = time.monotonic()
        if not may_hurry:
            self._rest(start + seconds)
        while not self._is_nudged:
            hurried = may_hurry and self._is_hurried()
            end = start + (min(seconds, _HURRIED_S) if hurried else seconds)
            if self._deadline is not None and end > self._deadline:
                return True
            left = end - time.monotonic()
            if left <= 0:
                break
            self._buffer.wait(left)
        self._rests_until = 0.0
        self._is_nudged = False
        return self._is_over()

    def _rest(self, until: float) -> None:
        """Let those know who wait in `flush`."""
        with self._settled:
            self._rests_until = until
            self._settled.notify_all()

    def _timeout_s(self) -> float:
        if self._deadline is None:
            return self._pace.timeout
        left = self._deadline - time.monotonic()
        return max(_LEAST_TIMEOUT_S, min(self._pace.timeout, left))


def _at_end_of_worker(close: Callable[[float], None], timeout_s: float) -> None:
    """Have a child of `multiprocessing` close at its end: it ends without `atexit`."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close, args=(timeout_s,), exitpriority=_LAST)
