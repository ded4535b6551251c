"""Tells the supervisor that started this process how it is: systemd's protocol of sd_notify(3)."""

import logging
import socket
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)

_BEATS = 2  # in the watchdog's time, as systemd recommends


class SystemdNotifier:
    """Who wants to be told; without `NOTIFY_SOCKET` in the environment nobody, and nothing is sent.

    The variables are taken out of the environment: what this process starts is not to speak for it.
    `process` is our id: a watchdog that is meant for another process is none of our business.
    """

    def __init__(
        self, env: MutableMapping[str, str], process: int, monotonic: Callable[[], float]
    ) -> None:
        address = env.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog_us = env.pop("WATCHDOG_USEC", "")
        meant_for_us = env.pop("WATCHDOG_PID", str(process)) == str(process)
        self.watchdog_interval_s: float | None = None  # None: no watchdog waits for a beat
        if self._address and meant_for_us and watchdog_us.isdecimal() and int(watchdog_us):
            self.watchdog_interval_s = int(watchdog_us) / 1_000_000 / _BEATS
        self._monotonic = monotonic
        self._next_beat = 0.0

    def ready(self, status: str) -> None:
        """Requests are answered now; `status` is a line for people."""
        self._send(f"READY=1\nSTATUS={status}")

    def ping_watchdog(self, is_well: Callable[[], bool]) -> None:
        """Feed the watchdog, if it is time and all is well; it is not asked more often."""
        now = self._monotonic()
        if self.watchdog_interval_s is None or now < self._next_beat:
            return
        if is_well():
            self._next_beat = now + self.watchdog_interval_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun; it may take a while."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message.encode(), self._address)
        except OSError as error:  # no reason to stop serving
            logger.warning("NOTIFY_SOCKET cannot be written: %s", error.strerror)
