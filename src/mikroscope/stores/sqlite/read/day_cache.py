"""Remembers how often the values of a field occur on a day, for as long as that day stays as it is.

Who looks at logs asks for the same counts again and again, and all days but one do not change.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

MAX_VALUES_OF_DAY = 4_000  # a day of a field with more is not remembered
MAX_VALUES = 200_000  # in all: some tens of megabytes

Value = TypeVar("Value", str, bytes)


class DayState(NamedTuple):
    """A day of one index file; `changed` is another number after each change of that day."""

    file: tuple[int, int] | None
    day: int
    changed: int


_Key = tuple[DayState, tuple[str, ...]]


class DayCountCache:
    """May be used by any thread."""

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
        """The counts of a day's values, which `count` gives where they are not known.

        None if there are too many values. `what` says of what.
        """
        key = state, what
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                known: Mapping[Value, int] | None = self._known[key]
                return known
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
