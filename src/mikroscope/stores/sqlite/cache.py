"""A cache of unpacked parts of segments, which never change; bounded by their size in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class PartCache:
    """Keeps what was used last, up to a number of bytes; any thread may use it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._parts: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """Return the part with a key; `make` returns it and its size in bytes if it is missing."""
        with self._lock:
            found = self._parts.get(key)
            if found is not None:
                self._parts.move_to_end(key)
                return found[0]
        part, size = make()
        with self._lock:
            if key not in self._parts:
                self._parts[key] = part, size
                self._bytes += size
            while self._bytes > self._most_bytes and len(self._parts) > 1:
                self._bytes -= self._parts.popitem(last=False)[1][1]
        return part

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._parts.clear()
            self._bytes = 0
