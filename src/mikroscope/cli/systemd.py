"""Reports this process's state to systemd, by the protocol of sd_notify(3)."""

import logging
import socket
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)

_PINGS = 2  # per watchdog timeout, as systemd recommends


class SystemdNotifier:
    """Sends notifications to systemd; does nothing without `NOTIFY_SOCKET` in the environment.

    The variables are removed from `env`, so that child processes cannot notify in our name.
    `process` is our process id: a `WATCHDOG_PID` other than this means the watchdog is not for us.
    """

    def __init__(
        self, env: MutableMapping[str, str], process: int, monotonic: Callable[[], float]
    ) -> None:
        address = env.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog_us = env.pop("WATCHDOG_USEC", "")
        meant_for_us = env.pop("WATCHDOG_PID", str(process)) == str(process)
        self.watchdog_interval_s: float | None = None  # None: no watchdog expects pings
        if self._address and meant_for_us and watchdog_us.isdecimal() and int(watchdog_us):
            self.watchdog_interval_s = int(watchdog_us) / 1_000_000 / _PINGS
        self._monotonic = monotonic
        self._next_ping = 0.0

    def ready(self, status: str) -> None:
        """Report that the server answers requests; `status` is one line for people."""
        self._send(f"READY=1\nSTATUS={status}")

    def ping_watchdog(self, is_healthy: Callable[[], bool]) -> None:
        """Ping the watchdog if a ping is due and the server is healthy.

        `is_healthy` is called only when a ping is due.
        """
        now = self._monotonic()
        if self.watchdog_interval_s is None or now < self._next_ping:
            return
        if is_healthy():
            self._next_ping = now + self.watchdog_interval_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the server is shutting down, which may take a while."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message.encode(), self._address)
        except OSError as error:  # systemd may kill us, but that is no reason to stop serving
            logger.warning("cannot notify systemd through NOTIFY_SOCKET: %s", error.strerror)
