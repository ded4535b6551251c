"""The pool of processes runs tasks and returns their results."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import pytest

from mikroscope.indexing.process_pool import ProcessPool, ProcessPoolError
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.process


@dataclass
class Square:
    """A small task."""

    number: int

    def __call__(self) -> int:
        """Return the square."""
        return self.number**2


@dataclass
class Large:
    """A task that is larger than a pipe's buffer, with a result as large."""

    content: bytes

    def __call__(self) -> bytes:
        """Return the same bytes."""
        return self.content


class Process:
    """A task that reports which process runs it."""

    def __call__(self) -> int:
        """Return the id of the process."""
        return os.getpid()


class Failing:
    """A task that raises."""

    def __call__(self) -> None:
        """Raise."""
        raise ValueError("seven is no even number")


class Dying:
    """Ends its process."""

    def __call__(self) -> None:
        """End the process."""
        os._exit(3)


class Endless:
    """A task that does not end by itself."""

    def __call__(self) -> None:
        """Sleep."""
        time.sleep(3_600)


@pytest.fixture
def workers() -> Iterator[ProcessPool]:
    """Two processes."""
    some = ProcessPool(2)
    yield some
    some.close()


def is_gone(process: int) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_each_task_has_its_own_result(workers: ProcessPool) -> None:
    """Each task returns its own result, whichever process runs it."""
    results = [workers.submit(Square(number)) for number in range(50)]
    assert [result.result() for result in results] == [number**2 for number in range(50)]


def test_other_processes_do_it(workers: ProcessPool) -> None:
    """Tasks run in other processes."""
    found = {workers.submit(Process()).result() for _ in range(4)}
    assert os.getpid() not in found
    assert len(found) <= 2


def test_large_tasks_and_results(workers: ProcessPool) -> None:
    """A task and a result that exceed the pipe's buffer pass in both directions at once."""
    contents = [os.urandom(3_000_000) for _ in range(6)]
    results = [workers.submit(Large(content)) for content in contents]
    assert [result.result() for result in results] == contents


def test_task_that_fails(workers: ProcessPool) -> None:
    """A task that fails returns its error, and its process continues."""
    with pytest.raises(ProcessPoolError, match="ValueError: seven is no even number"):
        workers.submit(Failing()).result()
    assert workers.submit(Square(3)).result() == 9


def test_process_that_dies(workers: ProcessPool) -> None:
    """When a process dies, its task fails, and so do the tasks sent to it later."""
    with pytest.raises(ProcessPoolError, match="has ended"):
        workers.submit(Dying()).result()


def test_close_ends_the_processes() -> None:
    """Closing the pool ends its processes, even one that is running a task."""
    workers = ProcessPool(2)
    processes = {workers.submit(Process()).result() for _ in range(4)}
    running = [workers.submit(Endless()) for _ in range(3)]
    workers.close()
    for result in running:
        with pytest.raises((ProcessPoolError, CancelledError)):
            result.result(timeout=60)
    assert all(is_gone(process) for process in processes)


def test_processes_end_with_who_started_them() -> None:
    """The processes end with the process that started them, even if that one is killed."""
    program = (
        "import os, signal; from mikroscope.indexing.process_pool import ProcessPool; "
        "from tests.indexing.test_process_pool import Process; "
        "print(ProcessPool(1).submit(Process()).result(), flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(lambda: is_gone(int(done.stdout)))


def test_who_asked_is_killed() -> None:
    """A worker whose parent was killed ends without printing an error."""
    command = [sys.executable, "-c", "from mikroscope.indexing.process_pool import main; main()"]
    task = pickle.dumps(Square(3))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(len(task).to_bytes(8) + task)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
