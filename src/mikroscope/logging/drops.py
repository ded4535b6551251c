"""Counts lost records, and how many of them have been reported to the server.

A record is lost when the handler dropped it or the server refused it for good.
"""

import os
import threading
from typing import Any, NamedTuple

from mikroscope.logging.fields import iso_time

LOGGER = "mikroscope.logging"
EVENT = "logs.dropped"


class Counts(NamedTuple):
    """The records of one handler in this process, by what became of them."""

    sent: int
    """Acknowledged by the server."""
    waiting: int
    """In the buffer or being sent."""
    dropped: int
    """Lost because the buffer was full or the handler was closed."""
    refused: int
    """Lost because the server would never accept them."""


class Drops(NamedTuple):
    """Lost records since a moment."""

    dropped: int
    refused: int
    since: float
    """When the first of them was lost; epoch seconds."""

    @property
    def total(self) -> int:
        """All lost records, for either reason."""
        return self.dropped + self.refused


class DropCounter:
    """Counts lost records. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.dropped = 0
        self.refused = 0
        self._reported = Drops(0, 0, 0.0)
        self._since = 0.0

    def add(self, now: float, dropped: int = 0, refused: int = 0) -> None:
        """Count records lost at `now`, in epoch seconds."""
        if dropped + refused == 0:
            return
        with self._lock:
            if self.unreported is None:
                self._since = now
            self.dropped += dropped
            self.refused += refused

    @property
    def unreported(self) -> Drops | None:
        """The lost records that the server does not know of; None if there are none."""
        with self._lock:
            dropped = self.dropped - self._reported.dropped
            refused = self.refused - self._reported.refused
            return Drops(dropped, refused, self._since) if dropped + refused else None

    def mark_reported(self, drops: Drops, now: float) -> None:
        """Record that the server knows of `drops`; those counted since are dated `now`."""
        with self._lock:
            dropped = self._reported.dropped + drops.dropped
            refused = self._reported.refused + drops.refused
            self._reported = Drops(dropped, refused, 0.0)
            self._since = now


def drop_record(drops: Drops, now: float) -> dict[str, Any]:
    """Return the record that reports drops to the server."""
    return {
        "timestamp": iso_time(now),
        "level": "WARN",
        "logger": LOGGER,
        "event": EVENT,
        "message": f"log records lost before they could be sent: {drops.total} "
        f"(buffer full: {drops.dropped}, refused by the server: {drops.refused})",
        "dropped": drops.total,
        "droppedBufferFull": drops.dropped,
        "droppedRefused": drops.refused,
        "droppedSince": iso_time(drops.since),
        "process": os.getpid(),
    }
