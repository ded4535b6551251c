"""Sends buffered lines in batches from one background thread."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mikroscope.logging.buffer import Bounds, Buffer
from mikroscope.logging.delivery import Backoff, Delivery
from mikroscope.logging.drops import Counts, DropCounter
from mikroscope.logging.stderr import StderrWarnings
from mikroscope.logging.transport import IDLE_S, Transport

_REPORT_DROPS_S = 10.0  # between two reports of drops while the buffer is never empty
_HURRIED_S = 0.25  # between two attempts while a caller waits in flush() or close()
_LEAST_TIMEOUT_S = 0.1
_LAST = -1000  # a priority below all others, since other finalizers may still log
_NAME = "mikroscope-logging"


class Pace(NamedTuple):
    """The sender's times, in seconds."""

    linger: float
    """How long a line may wait for others to share its request."""
    timeout: float
    """The limit for connecting, for each step of a request, and for its answer."""
    closing: float
    """How long the end of the process may be delayed."""
    backoff: Backoff


class Sender:
    """Sends lines from a thread that starts with the first line and ends with `close`.

    `put` never waits for the server. State shared by threads is in `Buffer` and `DropCounter`; the
    rest are single values that one side sets and the other reads.
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
        self._reset()

    def _reset(self) -> None:
        self._stderr = StderrWarnings()
        self._drops = DropCounter()
        self._buffer = Buffer(self._bounds, self._drops)
        self._delivery = Delivery(
            self._transport,
            self._where,
            self._pace.backoff,
            self._drops,
            self._stderr,
            self._constants,
            pause=self._pause,
            timeout_s=self._timeout_s,
        )
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._settled = threading.Condition()
        self._deadline: float | None = None  # set by close; time.monotonic
        self._hurry_to = 0  # a caller of flush() waits for this many lines, counted from the first
        self._is_nudged = False
        self._rests_until = 0.0  # the end of a pause that only a nudge shortens; time.monotonic
        self._drops_reported_at = 0.0

    def reset_after_fork(self) -> None:
        """Start over in a forked child: the lines that wait here are the parent's to send.

        All state is replaced, because a thread of the parent may have held its locks.
        """
        self._transport.forget()
        is_closed = self._deadline is not None
        self._reset()
        self._deadline = 0.0 if is_closed else None

    # --- for the application's threads ----------------------------------------------------------

    def put(self, line: bytes, urgent: bool) -> None:
        """Queue a line; an urgent one is sent at once, together with those before it."""
        if self._deadline is not None:
            self._drops.add(time.time(), dropped=1)
            self._stderr.warn("closed", "records logged after close() are lost")
            return
        self._buffer.put(line, urgent)
        if self._thread is None:
            self._start()

    @property
    def has_thread(self) -> bool:
        """True if the background thread was started; otherwise `close` sends what waits."""
        return self._thread is not None

    @property
    def is_current_thread(self) -> bool:
        """True if the caller is the background thread."""
        return self._thread is threading.current_thread()

    def counts(self) -> Counts:
        """Return the number of lines by what became of them."""
        drops = self._drops
        return Counts(self._delivery.sent, len(self._buffer), drops.dropped, drops.refused)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every line put so far is sent or lost; return False on timeout.

        Returns at once if the next attempt is known to come after the timeout.
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
        """Send what waits, for at most that long; count the rest as lost and say so on stderr."""
        if self._deadline is not None:
            return
        self.close_soon(timeout_s)
        if self._thread is None:
            self._run()  # nothing was ever put, or no thread could be started
        elif not self.is_current_thread:
            self._thread.join(max(timeout_s, _LEAST_TIMEOUT_S))
        self._drops.add(time.time(), dropped=self._buffer.clear())
        unreported = self._drops.unreported
        if unreported is not None:
            text = f"log records lost because {self._where} did not accept them: {unreported.total}"
            self._stderr.warn("end", text)

    def close_soon(self, timeout_s: float) -> None:
        """Let the thread end when all is sent or the time is over; return without waiting."""
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
            except RuntimeError:  # too many threads, or the interpreter is shutting down
                self._thread = None
        _at_end_of_worker(self.close, self._pace.closing)

    def _nudge(self) -> None:
        """Wake the thread and cut short its pause between two attempts."""
        self._is_nudged = True
        self._buffer.wake()

    def _has_settled(self, target: int) -> bool:
        return not self._buffer.has_any_before(target)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._settle(self._delivery.deliver(batch))
                self._report_drops()
            except Exception as error:  # a bug must not stop all further sending
                self._settle(len(batch))
                self._stderr.warn("bug", f"sending failed: {type(error).__name__}: {error}")
        self._transport.close()

    def _next_batch(self) -> list[bytes]:
        """Wait until a batch is due and return it; an empty one means the end."""
        while self._buffer.is_empty and self._deadline is None:
            if not self._buffer.wait(IDLE_S):
                self._transport.close()  # before the server does, see IDLE_S
                self._buffer.wait(None)
        self._gather()
        self._is_nudged = False
        if self._is_over():
            return []
        largest = self._delivery.largest_body or self._bounds.batch_bytes
        return self._buffer.take(min(largest, self._bounds.batch_bytes))

    def _gather(self) -> None:
        """Wait for more lines, unless there are enough, one is urgent, or a caller waits."""
        end = time.monotonic() + self._pace.linger
        while not self._buffer.is_due and not self._is_hurried():
            left = end - time.monotonic()
            if left <= 0 or not self._buffer.wait(left):
                return

    def _settle(self, given_up: int) -> None:
        """End the batch, count the lines given up, and wake callers of `flush`.

        A signal handler that waits in `flush` may have interrupted a log call that holds the
        buffer's lock. So no other lock may be taken while holding `_settled`, or both would block
        forever.
        """
        if self._buffer.settle():
            self._drops.add(time.time(), dropped=given_up)
        with self._settled:
            self._settled.notify_all()

    def _report_drops(self) -> None:
        """Report drops when nothing else is to be sent, otherwise every _REPORT_DROPS_S."""
        now = time.monotonic()
        if self._is_over() or self._drops.unreported is None:
            return
        if self._buffer.is_empty or now - self._drops_reported_at >= _REPORT_DROPS_S:
            self._drops_reported_at = now
            self._delivery.report_drops()

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _is_hurried(self) -> bool:
        return self._deadline is not None or self._buffer.has_any_before(self._hurry_to)

    def _pause(self, seconds: float, may_hurry: bool) -> bool:
        """Wait between two attempts; return True if it is time to give up. A nudge ends it."""
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
        """Announce the pause to callers of `flush`, who need not wait for its end."""
        with self._settled:
            self._rests_until = until
            self._settled.notify_all()

    def _timeout_s(self) -> float:
        if self._deadline is None:
            return self._pace.timeout
        left = self._deadline - time.monotonic()
        return max(_LEAST_TIMEOUT_S, min(self._pace.timeout, left))


def _at_end_of_worker(close: Callable[[float], None], timeout_s: float) -> None:
    """Make a child of `multiprocessing` close at its end, because it skips `atexit`."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close, args=(timeout_s,), exitpriority=_LAST)
