"""Caches how often each value of a field occurs on a day, until that day changes.

Users repeat the same aggregates, and usually only the current day changes between two of them.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

MAX_VALUES_OF_DAY = 4_000  # of one field; a day with more values is not cached
MAX_VALUES = 200_000  # in total: some tens of megabytes

Value = TypeVar("Value", str, bytes)


class DayState(NamedTuple):
    """The state of one day in one index file; `changed` is a new number after each change."""

    file: tuple[int, int] | None
    day: int
    changed: int


_Key = tuple[DayState, tuple[str, ...]]


class DayCountCache:
    """A least-recently-used cache of counts. Thread-safe."""

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._max_values = max_values
        self._known: OrderedDict[_Key, Any] = OrderedDict()
        self._values = 0
        self._lock = threading.Lock()

    def get(
        self,
        state: DayState,
        what: tuple[str, ...],
        count: Callable[[], Iterable[tuple[Value, int]]],
    ) -> Mapping[Value, int] | None:
        """Return the counts of a day's values, calling `count` if they are not cached.

        `what` identifies what is counted, such as the prefixes of a field's tokens. None if there
        are too many values.
        """
        key = state, what
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                known: Mapping[Value, int] | None = self._known[key]
                return known
        # Without the lock: two threads may count the same day, but none waits for another.
        found = dict(islice(count(), MAX_VALUES_OF_DAY + 1))
        counts = found if len(found) <= MAX_VALUES_OF_DAY else None
        with self._lock:
            self._keep(key, counts)
        return counts

    def _keep(self, key: _Key, counts: Mapping[Any, int] | None) -> None:
        if key in self._known:
            return
        self._known[key] = counts
        self._values += _size(counts)
        while self._values > self._max_values:
            _, dropped = self._known.popitem(last=False)
            self._values -= _size(dropped)


def _size(counts: Mapping[Any, int] | None) -> int:
    return 1 + len(counts or ())
