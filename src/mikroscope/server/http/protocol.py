"""HTTP connections with time and size limits; a request that breaks one gets an error in JSON."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mikroscope.server.http.connections import ConnectionTable
from mikroscope.server.http.parser import Head, RequestParser
from mikroscope.server.middleware.cors import CorsMiddleware
from mikroscope.server.responses import RETRY, error_response

MAX_HEAD_BYTES = 65_536
MAX_URL_BYTES = 32_768
_READING_CHECKS = 10  # within the time limit for reading


class TimeLimits(NamedTuple):
    """Seconds that a client may take for each step."""

    head: float = 10.0
    """To send a request's head, from the start of the connection or the head's first byte."""
    body_gap: float = 10.0
    """Between two parts of a body."""
    body: float = 60.0
    """To send a whole body."""
    idle: int = 30
    """Between two requests."""
    reading: float = 30.0
    """Without reading any part of a response."""


DEFAULT_LIMITS = TimeLimits()
_LONG_HEAD = f"the request's head is longer than {MAX_HEAD_BYTES} bytes"


class _RefusedError(Exception):
    """Raised within the parser for a request that is not taken."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def _size_of(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _check_head(head: Head) -> None:
    """Raise _RefusedError unless a complete head can be taken, by its size, version and host.

    The size is that of what was parsed, so it does not depend on the packets in which it came.
    """
    hosts = sum(name == b"host" for name, _ in head.headers)
    if head.method == b"CONNECT":
        raise _RefusedError(501, "CONNECT is not supported: this server is not a proxy")
    if _size_of(head.url, head.headers) > MAX_HEAD_BYTES:
        raise _RefusedError(431, _LONG_HEAD)
    if head.version not in ("1.0", "1.1"):
        raise _RefusedError(400, f"HTTP/{head.version} is not supported: send HTTP/1.1")
    if hosts > 1 or (hosts == 0 and head.version == "1.1"):
        raise _RefusedError(400, f"expected one Host header, got {hosts or 'none'}")


def make_protocol(
    limits: TimeLimits, cors: CorsMiddleware, max_connections: int, max_body_bytes: int
) -> type[HttpToolsProtocol]:
    """Make the class of a server's connections; its incomplete bodies share `max_body_bytes`."""
    table = ConnectionTable[HttpConnection](max_connections, max_body_bytes)
    return type("Connection", (HttpConnection,), {"limits": limits, "cors": cors, "table": table})


class _LateWrites:
    """A transport that drops what is written after its end.

    A client that resets its connection closes the transport before the protocol hears of it. Until
    then uvicorn writes, which uvloop answers with an error and asyncio with a warning.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class HttpConnection(HttpToolsProtocol):
    """Uvicorn's connection with limits; a request that arrives in one piece needs no timer."""

    limits: TimeLimits
    cors: CorsMiddleware
    table: "ConnectionTable[HttpConnection]"

    _timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _unread = 0  # bytes of a response that the client has not read
    _read_at = 0.0
    _in_head = True  # the client of a new connection must send one
    _in_body = False
    _head_began = False
    _head_bytes = 0  # of an incomplete head, without the part in which it began
    _body_until = 0.0

    # --- receiving ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = _LateWrites(transport)  # type: ignore[assignment]
        self.parser = RequestParser(self)  # type: ignore[assignment]
        self._start(self.limits.head)
        if len(self.connections) > self.table.max_connections:
            self._make_room()
        if not transport.is_closing():
            self.table.silent[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._stop_reading_timer()
        self.table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head, had_begun = self._in_head, self._head_began
        super().data_received(data)
        if self._in_head and had_begun:
            self._head_bytes += len(data)
        if self.transport.is_closing():
            self._stop()
        elif self._in_head:
            self._watch_head(is_new=not was_in_head)
        elif self._in_body:
            self._watch_body()
            self._count_body(len(data))
        elif not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:  # not the start of a request: a line end, the rest of a body
            self._start(self.limits.idle)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._head_began = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            raise _RefusedError(414, f"the URL is longer than {MAX_URL_BYTES} bytes")

    def on_headers_complete(self) -> None:
        _check_head(self.head())
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self.table.begin_request(self)
        self._in_head = self._head_began = False
        self._in_body = True
        self._body_until = self.loop.time() + self.limits.body

    def head(self) -> Head:
        """Return the head of the request that is being parsed."""
        parser = self.parser
        return Head(parser.get_method(), self.url, parser.get_http_version(), self.headers)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_body = False
        self.table.drop_body(self)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot parse, or what one of its callbacks has refused."""
        error = sys.exception()
        reason = error.__context__ if error is not None else None
        if isinstance(reason, _RefusedError):
            self._refuse(reason.status, reason.text)
        else:
            self._refuse(400, "malformed HTTP request")

    def _watch_head(self, is_new: bool) -> None:
        if max(self._head_bytes, self._parsed_head_bytes()) > MAX_HEAD_BYTES:
            self._refuse(431, _LONG_HEAD)
        elif is_new or self._timer is None:
            self._start(self.limits.head)

    def _parsed_head_bytes(self) -> int:
        return _size_of(self.url, self.headers) if self._head_began else 0

    def _watch_body(self) -> None:
        left = self._body_until - self.loop.time()
        self._start(max(0.0, min(self.limits.body_gap, left)))

    def _count_body(self, size: int) -> None:
        if self.cycle.response_complete:  # the app does not read the rest
            self.table.drop_body(self)
            return
        self.table.add_body(self, size)
        while (oldest := self.table.oldest_excess_body()) is not None:
            text = "the server holds too many incomplete request bodies: try again"
            oldest._refuse(503, text, RETRY)

    def _make_room(self) -> None:
        """Close another connection; if all are busy, a few too many are kept for the moment."""
        few_too_many = len(self.connections) <= self.table.max_connections * 5 // 4
        first = self.table.eviction_candidate()
        if first is None and few_too_many:
            return
        first = first or self
        if first is self or self.table.has_body(first):
            first._refuse(503, "the server has too many connections: try again", RETRY)
        else:
            self.table.remove(first)
            first.transport.abort()

    # --- sending --------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_reading_timer()  # the client has read everything before
        self._watch_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()
        else:
            self._mark_idle()

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.get_write_buffer_size():
            super().timeout_keep_alive_handler()
            return
        self._watch_reading()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.limits.idle, self.timeout_keep_alive_handler
        )

    def _mark_idle(self) -> None:
        """Count as idle unless a request is running or a response is still being read."""
        if self.timeout_keep_alive_task is not None and self._reading_timer is None:
            self.table.idle[self] = None

    def _watch_reading(self) -> None:
        """Limit the time to read what was written; each part that is read restarts the limit."""
        if self._reading_timer is None:
            self._read_at = self.loop.time()
            self.table.idle.pop(self, None)
            self._check_reading_soon()
        self._unread = self.transport.get_write_buffer_size()
        self.table.set_unread(self, self._unread)
        while (oldest := self.table.oldest_excess_reader()) is not None:
            self.table.remove(oldest)
            oldest.transport.abort()

    def _check_reading_soon(self) -> None:
        seconds = self.limits.reading / _READING_CHECKS
        self._reading_timer = self.loop.call_later(seconds, self._check_reading)

    def _check_reading(self) -> None:
        self._reading_timer = None
        unread, now = self.transport.get_write_buffer_size(), self.loop.time()
        if unread < self._unread:
            self._unread, self._read_at = unread, now
            self.table.set_unread(self, unread)
        # Over TLS the size of the buffer does not cover everything.
        waits = unread or self.flow.write_paused
        if waits and now - self._read_at >= self.limits.reading:
            self.transport.abort()
        elif waits:
            self._check_reading_soon()
        else:
            self.table.drop_unread(self)
            self._mark_idle()

    def _close(self) -> None:
        self.transport.close()
        self._watch_reading()

    def _time_out(self) -> None:
        """The client has not sent the rest of a request in time, or nothing at all."""
        if self._in_head and not self._head_began:
            self._close()
        elif self._in_head or not self.cycle.response_started:
            self._refuse(408, "request timed out")
        else:
            self._close()

    def _refuse(self, status: int, text: str, retry: Mapping[str, str] | None = None) -> None:
        """Send an error instead of the app's response, and close."""
        self._stop()
        self.table.remove(self)
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self._close()
                return
            self.cycle.disconnected = True  # the app may finish, but its response is dropped
            self.cycle.message_event.set()
        response = error_response(status, text, {"connection": "close", **(retry or {})})
        headers = self.cors.with_headers(response.raw_headers, self._origin())
        head = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + bytes(response.body))
        self._close()

    def _origin(self) -> str | None:
        for name, value in self.headers or []:
            if name == b"origin":
                return value.decode("latin-1")
        return None

    # --- timers ---------------------------------------------------------------------------------

    def _start(self, seconds: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None
