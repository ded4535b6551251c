"""Posts JSON to a webhook: with a time limit, and again where trying again can help."""

import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import suppress
from functools import cache
from typing import Any

from mikroscope.errors import MikroScopeError

logger = logging.getLogger(__name__)

_RETRIED = frozenset((408, 429))  # and every 5xx


class DeliveryError(MikroScopeError):
    """A webhook did not take what was posted; the text says why, and names no URL."""


class DeliveryCancelledError(DeliveryError):
    """Nobody waits for this delivery any more."""


class _RefusedError(DeliveryError):
    """An answer that another try would not change."""


class Cancellation:
    """Ends what waits for it: from any thread, at once and for good."""

    def __init__(self) -> None:
        self._cancelled: Future[str] = Future()

    def cancel(self, reason: str) -> None:
        """A second time does nothing."""
        with suppress(InvalidStateError):
            self._cancelled.set_result(reason)

    def check(self) -> None:
        """Raise DeliveryCancelledError if it was cancelled."""
        if self._cancelled.done():
            raise DeliveryCancelledError(f"was given up: {self._cancelled.result()}")

    def pause(self, seconds: float) -> None:
        """Return after this time, however long, or when cancelled."""
        wait((self._cancelled,), min(seconds, threading.TIMEOUT_MAX))

    def wait_for(self, done: "Future[Any]", seconds: float) -> None:
        """Return when this is done, or as `pause`."""
        wait((done, self._cancelled), seconds, FIRST_COMPLETED)


def deliver(
    url: str,
    body: bytes,
    *,
    timeout_s: float,
    attempts: int,
    backoff_s: float,
    cancellation: Cancellation,
) -> None:
    """Post until it is taken (2xx), refused, or the attempts are used up.

    An attempt takes `timeout_s` at the most, whatever the other side does. Between two attempts
    there is a pause, doubling from `backoff_s`. Raises DeliveryError.
    """
    for attempt in range(1, attempts + 1):
        try:
            _post(url, body, timeout_s, cancellation)
            return
        except (_RefusedError, DeliveryCancelledError):
            raise
        except DeliveryError as error:
            if attempt == attempts:
                tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                raise DeliveryError(f"{error} ({tries})") from error
            logger.info("webhook attempt %d of %d failed: %s", attempt, attempts, error)
            cancellation.pause(backoff_s * 2 ** (attempt - 1))


def _post(url: str, body: bytes, timeout_s: float, cancellation: Cancellation) -> None:
    cancellation.check()
    attempt = _Attempt(url, body, timeout_s)
    cancellation.wait_for(attempt.status, timeout_s)
    if not attempt.status.done():
        attempt.abandon()
        cancellation.check()
        raise DeliveryError(f"gave no answer within {timeout_s:g} s")
    status = attempt.status.result()
    if status in _RETRIED or status >= 500:
        raise DeliveryError(f"answered with status {status}")
    if not 200 <= status < 300:
        raise _RefusedError(f"answered with status {status}")


class _Attempt:
    """One POST, in a thread of its own, so that it can be left at any moment.

    The time limits of HTTP libraries are for a single read or write, and looking up a name has
    none at all. A connection that is left is shut down, and that ends the thread.
    """

    def __init__(self, url: str, body: bytes, timeout_s: float) -> None:
        self.status: Future[int] = Future()
        self._url = url
        self._body = body
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._is_abandoned = False
        threading.Thread(target=self._run, name="mikroscope-webhook", daemon=True).start()

    def abandon(self) -> None:
        """Wait for it no longer."""
        with self._lock:
            self._is_abandoned = True
            for connection in self._connections:
                _shut_down(connection)

    def _run(self) -> None:
        try:
            self.status.set_result(self._ask())
        except Exception as error:
            self.status.set_exception(error)
        finally:
            with self._lock:
                for connection in self._connections:
                    connection.close()
                self._connections.clear()

    def _ask(self) -> int:
        import httpx  # only who sends alerts needs it

        try:
            # The answer's body does not matter, so it is not waited for.
            with (
                httpx.Client(timeout=self._timeout_s, verify=_trusted()) as client,
                client.stream(
                    "POST",
                    self._url,
                    content=self._body,
                    headers={"content-type": "application/json", "user-agent": "mikroscope"},
                    extensions={"trace": self._trace},
                ) as answer,
            ):
                return answer.status_code
        except httpx.TimeoutException:
            raise DeliveryError(f"gave no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise DeliveryError(f"cannot be reached: {error}") from None

    def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Keep hold of each connection that is made: a copy, for TLS takes the socket over."""
        if not event.endswith(".connect_tcp.complete"):
            return
        made = details["return_value"].get_extra_info("socket").dup()
        with self._lock:
            self._connections.append(made)
            if self._is_abandoned:
                _shut_down(made)


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that the system trusts (also by SSL_CERT_FILE), and those of certifi."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)
