"""Processes that do a part of the work, so that all cores have some: tasks in, results out.

A task is an object with `run`; it and what `run` returns are pickled. The processes are plain ones
that talk over their pipes, not those of `multiprocessing`, which would run the main module of the
program that uses us once more.
"""

import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, Protocol, cast

from mikroscope.errors import MikroScopeError

logger = logging.getLogger(__name__)

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from mikroscope.indexing.process_pool import main; main()"
)
_NICENESS = 5  # whoever asks a question meanwhile goes first


class Task(Protocol):
    """What can be done elsewhere."""

    def run(self) -> Any:
        """Do it."""


class ProcessPoolError(MikroScopeError):
    """A process has ended before its task was done."""


class _Failure:
    """What a task has raised; pickled in place of a result."""

    def __init__(self, error: Exception) -> None:
        self.text = f"{type(error).__name__}: {error}"


class _Process:
    """One of them, with the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", _PROGRAM, *sys.path]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._tasks = cast(IO[bytes], self._process.stdin)
        self._results = cast(IO[bytes], self._process.stdout)

    def do(self, task: Task) -> Any:
        """Have a task done, and wait for that. Raises WorkerError."""
        try:
            _send(task, self._tasks)
            result = _receive(self._results)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ProcessPoolError(f"a process that prepares lines has ended: {error!r}") from error
        if isinstance(result, _Failure):
            raise ProcessPoolError(f"lines could not be prepared: {result.text}")
        return result

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def forget(self) -> None:
        """Let go of what is left of it."""
        self._process.wait()
        self._results.close()
        with suppress(OSError):  # what was to be written still has nobody to read it
            self._tasks.close()


class ProcessPool:
    """Some processes. `submit` may be called from any thread."""

    def __init__(self, size: int) -> None:
        self._processes = [_Process() for _ in range(size)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        # A thread for each: it hands a task over, and waits for what comes back.
        self._threads = ThreadPoolExecutor(size, "mikroscope-worker")

    def submit(self, task: Task) -> "Future[Any]":
        """Have a task done; the future fails with WorkerError if that cannot be."""
        return self._threads.submit(self._do, task)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.forget()

    def _do(self, task: Task) -> Any:
        process = self._idle.get()
        try:
            return process.do(task)
        finally:
            self._idle.put(process)


def can_start() -> bool:
    """Whether there is a second core, and an interpreter to start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) > 1 and bool(sys.executable) and not getattr(sys, "frozen", False)


def main() -> None:
    """The program of a process: do what comes in until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides
    with suppress(OSError):  # a hardened unit of systemd does not let us
        os.nice(_NICENESS)
    gc.disable()  # nothing here is in a circle
    tasks, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while True:
        try:
            task = _receive(tasks)
        except EOFError:
            return
        try:
            result = task.run()
        except Exception as error:
            logger.exception("a task has failed")
            result = _Failure(error)
        del task
        try:
            _send(result, results)
        except BrokenPipeError:  # whoever asked was killed
            return
        del result


def _send(message: Any, pipe: IO[bytes]) -> None:
    """One message: its length as eight bytes, and the pickle."""
    content = pickle.dumps(message, protocol=5)
    pipe.write(len(content).to_bytes(8))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next message. Raises EOFError where it does not come to its end."""
    size = int.from_bytes(pipe.read(8))
    content = pipe.read(size)
    if not size or len(content) < size:
        raise EOFError("the other end has closed the pipe")
    return pickle.loads(content)  # noqa: S301 - from a process of our own
