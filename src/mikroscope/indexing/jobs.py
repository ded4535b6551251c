"""Jobs: work that one thread does step by step, between other work."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from mikroscope.errors import StoreError

SHARE = 1  # between two steps, other work has at least this many times the last step's time


class _Job(NamedTuple):
    steps: Iterator[object]
    done: "Future[Any]"


class Jobs:
    """A queue of iterators, each item of which is a step. It has no lock of its own.

    `add` may be called from any thread under its owner's lock; `step` and `cancel` belong to the
    thread that does the work. `now` is a monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: deque[_Job] = deque()
        self._next_at = 0.0

    def add(self, steps: Iterator[object]) -> "Future[Any]":
        """Queue a job; its future gets what the generator returns, or the exception it raises."""
        job = _Job(steps, Future())
        self._waiting.append(job)
        return job.done

    def due_at(self) -> float | None:
        """Return when the next step is due; None without a job."""
        return self._next_at if self._waiting else None

    def step(self) -> None:
        """Take the next step, if it is due."""
        began = self._now()
        if not self._waiting or began < self._next_at:
            return
        if not _take_step(self._waiting[0]):
            self._waiting.popleft()
        ended = self._now()
        self._next_at = ended + (ended - began) * SHARE

    def cancel(self) -> None:
        """Give up all jobs; their futures fail with StoreError."""
        while self._waiting:
            job = self._waiting.popleft()
            if isinstance(job.steps, Generator):
                job.steps.close()
            job.done.set_exception(_stopping())


def refused() -> "Future[Any]":
    """Return the future of a job that is not accepted any more."""
    done: Future[Any] = Future()
    done.set_exception(_stopping())
    return done


def _stopping() -> StoreError:
    return StoreError("the server is stopping")


def _take_step(job: _Job) -> bool:
    """Take a step; return False when the job is done."""
    try:
        next(job.steps)
    except StopIteration as end:
        job.done.set_result(end.value)
    except Exception as error:
        job.done.set_exception(error)
    else:
        return True
    return False
