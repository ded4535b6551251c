"""Delivers notifications: repeats attempts that failed, in an event loop of its own."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mikroscope.alerts.channels.webhook import THREAD_NAME, DeliveryError, RefusedError

logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


async def deliver(
    post: Callable[[], Awaitable[None]],
    *,
    attempts: int,
    backoff_s: float,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `post` until it succeeds, is refused, or the attempts are used up.

    Between two attempts there is a pause; it begins at `backoff_s` and doubles. Raises
    DeliveryError.
    """
    for attempt in range(1, attempts + 1):
        try:
            await post()
            return
        except RefusedError:
            raise
        except DeliveryError as error:
            if attempt == attempts:
                tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                raise DeliveryError(f"{error} ({tries})") from error
            logger.info("webhook attempt %d of %d failed: %s", attempt, attempts, error)
        await pause(backoff_s * 2 ** (attempt - 1))


class DeliveryThread:
    """Runs coroutines in an event loop, in a thread that starts with the first of them.

    Methods may be called from any other thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, coroutine: Coroutine[Any, Any, _Result]) -> "Future[_Result]":
        """Begin to run a coroutine. Cancelling the future cancels the coroutine.

        After `close` the future is cancelled already. Raises RuntimeError or OSError if the system
        has no thread or no file descriptor left.
        """
        with self._lock:
            if self._is_closed:
                coroutine.close()
                cancelled: Future[_Result] = Future()
                cancelled.cancel()
                return cancelled
            try:
                loop = self._loop or self._start()
            except Exception:
                coroutine.close()
                raise
            return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def close(self) -> None:
        """Cancel everything that is under way; return when the thread has ended."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if self._loop is None or self._thread is None:
            return
        if not was_closed:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        loop.set_default_executor(_DaemonThreads())
        thread = threading.Thread(target=self._run, args=(loop,), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._wait_for_stop())  # the runner then cancels what is under way

    async def _wait_for_stop(self) -> None:
        await self._stop.wait()


class _DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own.

    The loop looks up names here. A lookup that hangs cannot be cancelled; in the threads of an
    ordinary pool it would also block the exit of the process.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*args, **kwargs))
                except Exception as error:
                    future.set_exception(error)

        threading.Thread(target=run, name="mikroscope-lookup", daemon=True).start()
        return future
