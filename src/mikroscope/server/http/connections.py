"""What connections share: descriptors, memory for bodies; and which one is closed first."""

from collections.abc import Collection
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")


class ConnectionTable(Generic[ConnectionT]):
    """The connections that wait for their clients, longest wait first.

    Clients of `silent` ones have sent no request yet, those of `idle` ones have no request now, and
    those of `reading` ones are reading a response. Belongs to the event loop.
    """

    def __init__(
        self, max_connections: int, max_body_bytes: int, max_unread_bytes: int = 1 << 26
    ) -> None:
        self.max_connections = max_connections
        self.silent: dict[ConnectionT, None] = {}
        self.idle: dict[ConnectionT, None] = {}
        self.reading: dict[ConnectionT, int] = {}
        self._max_unread_bytes = max_unread_bytes
        self._unread_bytes = 0
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

    def set_unread(self, connection: ConnectionT, size: int) -> None:
        """Note that `size` bytes of responses wait for this client to read them."""
        self._unread_bytes += size - self.reading.get(connection, 0)
        self.reading[connection] = size

    def drop_unread(self, connection: ConnectionT) -> None:
        """The client has read everything, or is gone."""
        self._unread_bytes -= self.reading.pop(connection, 0)

    def begin_request(self, connection: ConnectionT) -> None:
        """The head of a request is complete: its connection is neither silent nor idle."""
        self.silent.pop(connection, None)
        self.idle.pop(connection, None)

    def remove(self, connection: ConnectionT) -> None:
        """Forget a connection."""
        self.begin_request(connection)
        self.drop_unread(connection)
        self.drop_body(connection)

    def has_body(self, connection: ConnectionT) -> bool:
        """Return whether a body of this connection is incomplete."""
        return connection in self._bodies

    def oldest_excess_body(self) -> ConnectionT | None:
        """While bodies take too many bytes: the connection of the oldest one."""
        too_many = self._body_bytes > self._max_body_bytes
        return next(iter(self._bodies)) if too_many else None

    def oldest_excess_reader(self) -> ConnectionT | None:
        """While unread responses take too many bytes: the client that has read for longest.

        A single client may read a response of any size.
        """
        too_many = self._unread_bytes > self._max_unread_bytes and len(self.reading) > 1
        return next(iter(self.reading)) if too_many else None

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
