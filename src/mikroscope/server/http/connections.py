"""What connections share: descriptors, memory for bodies; and which one is closed first."""

from collections.abc import Collection
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")


class ConnectionTable(Generic[ConnectionT]):
    """The connections that wait for their clients, longest wait first.

    Clients of `silent` ones have sent no request yet, those of `idle` ones have no request now, and
    those of `reading` ones are reading a response. Belongs to the event loop.
    """

    def __init__(self, max_connections: int, max_body_bytes: int) -> None:
        self.max_connections = max_connections
        self.silent: dict[ConnectionT, None] = {}
        self.idle: dict[ConnectionT, None] = {}
        self.reading: dict[ConnectionT, None] = {}
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._bodies: dict[ConnectionT, int] = {}

    def add_body(self, connection: ConnectionT, size: int) -> None:
        """Count `size` more bytes of an incomplete body."""
        self._bodies[connection] = self._bodies.get(connection, 0) + size
        self._body_bytes += size

    def drop_body(self, connection: ConnectionT) -> None:
        """Stop counting a body: it is complete or abandoned."""
        self._body_bytes -= self._bodies.pop(connection, 0)

    def begin_request(self, connection: ConnectionT) -> None:
        """The head of a request is complete: its connection is neither silent nor idle."""
        self.silent.pop(connection, None)
        self.idle.pop(connection, None)

    def remove(self, connection: ConnectionT) -> None:
        """Forget a connection."""
        self.begin_request(connection)
        self.reading.pop(connection, None)
        self.drop_body(connection)

    def has_body(self, connection: ConnectionT) -> bool:
        """Return whether a body of this connection is incomplete."""
        return connection in self._bodies

    def oldest_excess_body(self) -> ConnectionT | None:
        """While bodies take too many bytes: the connection of the oldest one."""
        too_many = self._body_bytes > self._max_body_bytes
        return next(iter(self._bodies)) if too_many else None

    def eviction_candidate(self) -> ConnectionT | None:
        """The connection to close in favour of a new one; None if all are busy.

        It is the one that has waited longest in the largest group, so a flood of connections of one
        kind displaces itself, whatever it does, and no other client.
        """
        groups = (self.silent, self.idle, self._bodies, self.reading)
        largest: Collection[ConnectionT] = max(groups, key=_size)
        return next(iter(largest), None)


def _size(group: Collection[object]) -> int:
    return len(group)
