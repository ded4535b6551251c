"""Who holds what all connections share, and who gives it up first."""

from typing import Generic, TypeVar

_Connection = TypeVar("_Connection")


class Bodies(Generic[_Connection]):
    """How many bytes there are of bodies that are not complete; belongs to the event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: dict[_Connection, int] = {}  # the oldest body first

    def add(self, connection: _Connection, size: int) -> None:
        """More of a connection's body has come."""
        self._held[connection] = self._held.get(connection, 0) + size
        self._bytes += size

    def drop(self, connection: _Connection) -> None:
        """Its body is complete, or given up."""
        self._bytes -= self._held.pop(connection, 0)

    def excess(self) -> _Connection | None:
        """While they are too many bytes: whose body is to be given up, the oldest one."""
        return next(iter(self._held)) if self._bytes > self._max_bytes else None
