"""What all connections share, descriptors and memory for bodies, and who gives it up first."""

from itertools import chain
from typing import Generic, TypeVar

_Connection = TypeVar("_Connection")


class ConnectionTable(Generic[_Connection]):
    """Which connections wait for their clients, those that wait longest first.

    `silent` ones have had no request yet, `idle` ones have none now, and `reading` ones an answer
    that is being taken. Belongs to the event loop.
    """

    def __init__(self, max_connections: int, max_body_bytes: int) -> None:
        self.max_connections = max_connections
        self.silent: dict[_Connection, None] = {}
        self.idle: dict[_Connection, None] = {}
        self.reading: dict[_Connection, None] = {}
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._bodies: dict[_Connection, int] = {}

    def add_body(self, connection: _Connection, size: int) -> None:
        """More has come of a body that is not complete."""
        self._bodies[connection] = self._bodies.get(connection, 0) + size
        self._body_bytes += size

    def drop_body(self, connection: _Connection) -> None:
        """A body is complete, or given up."""
        self._body_bytes -= self._bodies.pop(connection, 0)

    def begin_request(self, connection: _Connection) -> None:
        """A head is complete."""
        self.silent.pop(connection, None)
        self.idle.pop(connection, None)

    def remove(self, connection: _Connection) -> None:
        """A connection waits no more."""
        self.begin_request(connection)
        self.reading.pop(connection, None)
        self.drop_body(connection)

    def has_body(self, connection: _Connection) -> bool:
        """Whether a connection waits for the rest of a body."""
        return connection in self._bodies

    def oldest_excess_body(self) -> _Connection | None:
        """While there are too many bytes of bodies: whose is to be given up."""
        too_many = self._body_bytes > self._max_body_bytes
        return next(iter(self._bodies)) if too_many else None

    def eviction_candidate(self) -> _Connection | None:
        """Which connection is to give way to others: who has least to lose."""
        return next(chain(self.silent, self.idle, self._bodies, self.reading), None)
