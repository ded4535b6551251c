"""Posts bodies to one server over a persistent connection, and returns its answers."""

import base64
import encodings.idna  # noqa: F401 -- else our thread imports it, and a fork during that breaks it
import gzip
import json
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

PATH = "/api/ingest"
IDLE_S = 20.0  # after which we close a connection, before the server does so after 30
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON = 300  # characters


class Answer(NamedTuple):
    """The parts of an HTTP response that decide what happens next."""

    status: int
    retry_after_s: float | None
    is_ingest: bool
    """True if an ingest endpoint answered, rather than a proxy or another server."""
    reason: str


class SendError(Exception):
    """There was no answer; the text says why."""

    def __init__(self, reason: str, maybe_taken: bool) -> None:
        super().__init__(reason)
        self.maybe_taken = maybe_taken
        """True if the whole request was sent, so the server may have acted on it."""


class Target(NamedTuple):
    """The address to post to."""

    scheme: str
    host: str
    port: int | None
    path: str


def parse_url(url: str) -> Target:
    """Return the ingest endpoint for a server's URL, which may include the endpoint's path.

    Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: expected http://HOST:PORT or https://HOST:PORT, got {url!r}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "url: expected no user, query or fragment; "
            "pass credentials as token, or as username and password"
        )
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: expected a port from 0 to 65535, got {url!r}") from error
    path = parts.path.rstrip("/")
    path = path if path.endswith(PATH) else path + PATH
    return Target(parts.scheme, parts.hostname, port, path)


def authorization(
    token: str | None, username: str | None, password: str | None
) -> dict[str, str | bytes]:
    """Return the header for a bearer token or a Basic auth user, if any. Raises ValueError."""
    if (username is None) != (password is None):
        raise ValueError("username and password: expected both or neither")
    if token is not None and username is not None:
        raise ValueError("token, username: expected only one of them, got both")
    if token is not None:
        return {"authorization": b"Bearer " + _token_bytes(token)}
    if username is not None:
        if ":" in username:
            raise ValueError("username: expected a name without a colon")
        return {"authorization": b"Basic " + base64.b64encode(f"{username}:{password}".encode())}
    return {}


class Transport:
    """Posts to one server over one connection. Not thread-safe."""

    def __init__(
        self,
        target: Target,
        headers: Mapping[str, str | bytes],
        ca_file: str | None,
        compress: bool,
    ) -> None:
        self._target = target
        self._headers: dict[str, str | bytes] = {
            "content-type": "application/json",
            "user-agent": "mikroscope-logging",
            **({"content-encoding": "gzip"} if compress else {}),
            **headers,
        }
        self._compress = compress
        self._context = _context(ca_file) if target.scheme == "https" else None
        self._connection: HTTPConnection | None = None
        self._used_at = 0.0
        self._inherited: list[HTTPConnection | None] = []

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Send a body and read the answer. Raises SendError.

        The timeout applies to each step: connecting, sending, and reading.
        """
        packed = gzip.compress(body, 6) if self._compress else body
        try:
            connection = self._connect(timeout_s)
            answer = self._exchange(connection, packed)
        except SendError:
            self.close()
            raise
        self._used_at = time.monotonic()
        return answer

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """Leave the connection to the parent; the first thing to call in a forked child.

        Only the descriptor is closed. The objects are kept alive, because closing them may need
        locks that the parent's thread held and that no thread here would ever release.
        """
        connection, self._connection = self._connection, None
        sock = connection.sock if connection is not None else None
        if sock is not None and sock.fileno() >= 0:
            os.close(sock.detach())
        self._inherited.append(connection)  # a reference, so that it is never finalized

    def _connect(self, timeout_s: float) -> HTTPConnection:
        connection = self._connection
        if connection is not None and connection.sock and self._is_fresh(connection.sock):
            connection.sock.settimeout(timeout_s)
            return connection
        self.close()
        connection = self._new_connection(timeout_s)
        self._connection = connection
        try:
            connection.connect()
        except (OSError, HTTPException, ValueError) as error:
            raise SendError(f"no connection: {error}", maybe_taken=False) from None
        return connection

    def _is_fresh(self, sock: socket.socket) -> bool:
        """Return True if a connection can be reused: used recently, and not closed by the server.

        Between requests, anything to read means that the server has closed it.
        """
        if time.monotonic() - self._used_at > IDLE_S:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            return not selector.select(0)

    def _new_connection(self, timeout_s: float) -> HTTPConnection:
        host, port = self._target.host, self._target.port
        if self._context is None:
            return HTTPConnection(host, port, timeout=timeout_s)
        return HTTPSConnection(host, port, timeout=timeout_s, context=self._context)

    def _exchange(self, connection: HTTPConnection, body: bytes) -> Answer:
        unsent: Exception | None = None
        try:
            connection.request("POST", self._target.path, body, self._headers)
        except (OSError, HTTPException) as error:
            unsent = error  # a server that refuses a large body answers before reading all of it
        try:
            response = connection.getresponse()
            content = response.read(_MAX_ANSWER_BYTES)
        except (OSError, HTTPException, ValueError) as error:
            if unsent is not None:
                raise SendError(f"sending failed: {unsent}", maybe_taken=False) from None
            text = str(error) or type(error).__name__
            raise SendError(f"no answer: {text}", maybe_taken=True) from None
        # A connection with part of a request or of an answer left cannot be reused.
        if unsent is not None or not response.isclosed():
            self.close()
        return _answer(response, content)


def _answer(response: HTTPResponse, content: bytes) -> Answer:
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        payload = None
    fields = payload if isinstance(payload, dict) else {}
    reason = fields.get("error")
    return Answer(
        response.status,
        retry_after(response.getheader("retry-after"), time.time),
        isinstance(fields.get("accepted"), int),
        reason[:_MAX_REASON] if isinstance(reason, str) else "",
    )


def retry_after(value: str | None, now: Callable[[], float]) -> float | None:
    """Return the seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3).

    None if there is no header or it is invalid.
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except ValueError:
        return None


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"ca_file: expected certificates in PEM, got {ca_file}: {error}") from None


def _token_bytes(token: str) -> bytes:
    if not isinstance(token, str) or not token.isprintable() or token != token.strip() or not token:
        raise ValueError("token: expected printable text without spaces around it")
    return token.encode()
