"""A pool of helper processes, so that all cores work: work in, results out.

Work is a callable without arguments; it and its result are pickled. The processes are plain ones
that talk over pipes. Those of `multiprocessing` would import the main module of the program that
uses this package a second time.
"""

import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, cast

from mikroscope.errors import MikroScopeError

logger = logging.getLogger(__name__)

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from mikroscope.indexing.process_pool import main; main()"
)
_NICENESS = 5  # queries go first


Work = Callable[[], Any]


class ProcessPoolError(MikroScopeError):
    """A helper process failed or ended before its work was done."""


class _Failure:
    """An exception of the work; pickled in place of a result."""

    def __init__(self, error: Exception) -> None:
        self.text = f"{type(error).__name__}: {error}"


class _Process:
    """One helper process, with the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", _PROGRAM, *sys.path]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._work = cast(IO[bytes], self._process.stdin)
        self._results = cast(IO[bytes], self._process.stdout)

    def run(self, work: Work) -> Any:
        """Have the process do the work, and return its result. Raises ProcessPoolError."""
        try:
            _send(work, self._work)
            result = _receive(self._results)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ProcessPoolError(f"a helper process has ended: {error!r}") from error
        if isinstance(result, _Failure):
            raise ProcessPoolError(f"a helper process failed: {result.text}")
        return result

    def kill(self) -> None:
        """Kill the process, whatever it does."""
        self._process.kill()

    def reap(self) -> None:
        """Wait for the end of the process and close its pipes."""
        self._process.wait()
        self._results.close()
        with suppress(OSError):  # unsent bytes have no reader any more
            self._work.close()


class ProcessPool:
    """An executor with `size` helper processes. `submit` may be called from any thread."""

    def __init__(self, size: int) -> None:
        self._processes = [_Process() for _ in range(size)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        # One thread a process sends it work and waits for the result.
        self._threads = ThreadPoolExecutor(size, "mikroscope-pool")

    def submit(self, work: Work, /) -> "Future[Any]":
        """Start the work; the future fails with ProcessPoolError if no result comes back."""
        return self._threads.submit(self._run, work)

    def close(self) -> None:
        """Kill the processes, whatever they do."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.reap()

    def _run(self, work: Work) -> Any:
        process = self._idle.get()
        try:
            return process.run(work)
        finally:
            self._idle.put(process)


def can_start() -> bool:
    """Return whether there is a second core, and an interpreter to start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) > 1 and bool(sys.executable) and not getattr(sys, "frozen", False)


def main() -> None:
    """Run as a helper process: do the work that comes in until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides
    with suppress(OSError):  # a hardened systemd unit forbids it
        os.nice(_NICENESS)
    gc.disable()  # the work makes no reference cycles
    incoming, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while True:
        try:
            work = _receive(incoming)
        except EOFError:
            return
        try:
            result = work()
        except Exception as error:
            logger.exception("the work failed")
            result = _Failure(error)
        del work
        try:
            _send(result, results)
        except BrokenPipeError:  # the parent process was killed
            return
        del result


def _send(message: Any, pipe: IO[bytes]) -> None:
    """Send one message: its length in eight bytes, then its pickle."""
    content = pickle.dumps(message, protocol=5)
    pipe.write(len(content).to_bytes(8))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """Receive the next message. Raises EOFError if it is incomplete."""
    size = int.from_bytes(pipe.read(8))
    content = pipe.read(size)
    if not size or len(content) < size:
        raise EOFError("the other end has closed the pipe")
    return pickle.loads(content)  # noqa: S301 - from a process of our own
