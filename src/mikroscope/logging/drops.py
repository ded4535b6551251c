"""Counts the records that were lost, and knows how many of them have been told of."""

import os
import threading
from typing import Any, NamedTuple

from mikroscope.logging.fields import iso_time

LOGGER = "mikroscope.logging"
EVENT = "logs.dropped"


class Counts(NamedTuple):
    """What has become of the records of one handler, in this process."""

    sent: int
    """Acknowledged by the server."""
    waiting: int
    """In the buffer or on their way."""
    dropped: int
    """Lost because the buffer was full, or the handler was closed."""
    refused: int
    """Lost because the server would never take them."""


class Loss(NamedTuple):
    """A number of lost records."""

    dropped: int
    refused: int
    since: float
    """When the first of them was lost; epoch seconds."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.dropped + self.refused


class Losses:
    """May be used from all threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.dropped = 0
        self.refused = 0
        self._told = Loss(0, 0, 0.0)
        self._since = 0.0

    def add(self, now: float, dropped: int = 0, refused: int = 0) -> None:
        """Count records that are lost from `now` on; epoch seconds."""
        if dropped + refused == 0:
            return
        with self._lock:
            if self.untold is None:
                self._since = now
            self.dropped += dropped
            self.refused += refused

    @property
    def untold(self) -> Loss | None:
        """The losses that the server has not been told of."""
        with self._lock:
            dropped, refused = self.dropped - self._told.dropped, self.refused - self._told.refused
            return Loss(dropped, refused, self._since) if dropped + refused else None

    def told(self, loss: Loss, now: float) -> None:
        """The server knows of these; what was lost meanwhile counts from `now` on."""
        with self._lock:
            dropped, refused = self._told.dropped + loss.dropped, self._told.refused + loss.refused
            self._told = Loss(dropped, refused, 0.0)
            self._since = now


def loss_record(loss: Loss, now: float) -> dict[str, Any]:
    """The record that tells of a loss."""
    return {
        "timestamp": iso_time(now),
        "level": "WARN",
        "logger": LOGGER,
        "event": EVENT,
        "message": f"log records lost before they could be sent: {loss.total} "
        f"(buffer full: {loss.dropped}, refused by the server: {loss.refused})",
        "dropped": loss.total,
        "droppedBufferFull": loss.dropped,
        "droppedRefused": loss.refused,
        "droppedSince": iso_time(loss.since),
        "process": os.getpid(),
    }
