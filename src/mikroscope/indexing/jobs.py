"""Work that is done a step at a time, in another's thread, when there is time for it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from mikroscope.errors import StoreError

SHARE = 1  # between two steps, others have this many times what the last one took


class _Job(NamedTuple):
    step: Callable[[], bool]
    done: "Future[None]"


class Jobs:
    """A queue of them. `step` belongs to one thread, `add` to any."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: deque[_Job] = deque()
        self._next = 0.0

    def add(self, step: Callable[[], bool]) -> "Future[None]":
        """Have `step` called until it returns False; the future fails with what it raises."""
        done: Future[None] = Future()
        self._waiting.append(_Job(step, done))
        return done

    def due(self) -> float | None:
        """When the next step is due; None if there is none."""
        return self._next if self._waiting else None

    def step(self) -> None:
        """Take the next step, if it is due."""
        began = self._now()
        if not self._waiting or began < self._next:
            return
        chore = self._waiting[0]
        if not _goes_on(chore):
            self._waiting.popleft()
        ended = self._now()
        self._next = ended + (ended - began) * SHARE

    def cancel(self) -> None:
        """Do no more; those who wait get a StoreError."""
        while self._waiting:
            self._waiting.popleft().done.set_exception(_stopping())


def refused() -> "Future[None]":
    """The future of what is not done any more."""
    done: Future[None] = Future()
    done.set_exception(_stopping())
    return done


def _stopping() -> StoreError:
    return StoreError("the server is stopping")


def _goes_on(chore: _Job) -> bool:
    try:
        if chore.step():
            return True
        chore.done.set_result(None)
    except Exception as error:
        chore.done.set_exception(error)
    return False
