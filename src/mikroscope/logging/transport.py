"""Posts bodies to one server over a connection that is kept, and says what came of it."""

import base64
import encodings.idna  # noqa: F401 -- or the thread imports it, and a fork meanwhile breaks it
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
IDLE_S = 20.0  # after which a connection is closed: before the server does, after 30
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON = 300  # characters


class Answer(NamedTuple):
    """What the server said."""

    status: int
    retry_after_s: float | None
    is_ingest: bool
    """Whether it is the answer of an ingest endpoint, and not of whatever else is there."""
    reason: str


class SendError(Exception):
    """No answer; the text says why."""

    def __init__(self, reason: str, maybe_taken: bool) -> None:
        super().__init__(reason)
        self.maybe_taken = maybe_taken
        """Whether the whole request was sent, so that the server may have acted on it."""


class Target(NamedTuple):
    """Where to post to."""

    scheme: str
    host: str
    port: int | None
    path: str


def parse_url(url: str) -> Target:
    """The ingest endpoint of a server, by its URL with or without that path. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: expected http://HOST:PORT or https://HOST:PORT, got {url!r}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "url: expected no user, query or fragment in it; "
            "credentials are the arguments token, or username and password"
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
    """The header for a bearer token or a Basic auth user. Raises ValueError."""
    if (username is None) != (password is None):
        raise ValueError("username and password: expected both or neither")
    if token is not None and username is not None:
        raise ValueError("token, username: expected one way to sign in, got both")
    if token is not None:
        return {"authorization": b"Bearer " + _token_bytes(token)}
    if username is not None:
        if ":" in username:
            raise ValueError("username: expected no colon in it")
        return {"authorization": b"Basic " + base64.b64encode(f"{username}:{password}".encode())}
    return {}


class Transport:
    """Used by one thread."""

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
        """Send a body, and read the answer; each step may take the time. Raises SendError."""
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
        """Leave the connection to the parent process: in a forked child, before all else.

        Only the descriptor is closed. The objects are kept, because the parent's thread may have
        been inside of them, with locks that nobody here would ever release.
        """
        connection, self._connection = self._connection, None
        sock = connection.sock if connection is not None else None
        if sock is not None and sock.fileno() >= 0:
            os.close(sock.detach())
        self._inherited.append(connection)

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
        """Not unused for long, and with nothing to read: that would be the server's good-bye."""
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
            unsent = error  # a server that refuses a large body answers before it has read it
        try:
            response = connection.getresponse()
            content = response.read(_MAX_ANSWER_BYTES)
        except (OSError, HTTPException, ValueError) as error:
            if unsent is not None:
                raise SendError(f"it could not be sent: {unsent}", maybe_taken=False) from None
            text = str(error) or type(error).__name__
            raise SendError(f"no answer: {text}", maybe_taken=True) from None
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
    """The seconds that a Retry-After header asks for, in either form; None if there are none."""
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
