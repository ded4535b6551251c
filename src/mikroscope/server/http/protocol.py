"""HTTP connections with time limits; what cannot be understood is answered in JSON, too."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mikroscope.server.http.connections import ConnectionTable
from mikroscope.server.middleware.cors import CorsMiddleware
from mikroscope.server.responses import RETRY, error_response

MAX_HEAD_BYTES = 65_536
MAX_URL_BYTES = 32_768
_LOOKS_AT_READING = 10  # within the time for it


class TimeLimits(NamedTuple):
    """Seconds that a client may take."""

    head: float = 10.0
    """For a request's head, from the connection or the head's first byte on."""
    body_gap: float = 10.0
    """Between two parts of a body."""
    body: float = 60.0
    """For a whole body."""
    idle: int = 30
    """Between two requests."""
    reading: float = 30.0
    """Without taking any of an answer."""


DEFAULT_LIMITS = TimeLimits()


def make_protocol(
    limits: TimeLimits, cors: CorsMiddleware, max_connections: int, max_body_bytes: int
) -> type[HttpToolsProtocol]:
    """The class of a server's connections; `max_body_bytes` is for all bodies not complete yet."""
    table = ConnectionTable[_Connection](max_connections, max_body_bytes)
    return type("Connection", (_Connection,), {"limits": limits, "cors": cors, "table": table})


class _Answer:
    """One answer on its way to the transport: its head goes together with the body's first part.

    Uvicorn writes them one after the other, which takes two calls of the system and two packets.
    """

    def __init__(
        self,
        cycle: RequestResponseCycle,
        transport: asyncio.Transport,
        on_complete: Callable[[], None],
    ) -> None:
        self._cycle = cycle
        self._transport = transport
        self._on_complete = on_complete
        self._may_hold = True
        self._head = b""

    def write(self, data: bytes) -> None:
        """Hold the first part of the answer back, pass on everything else."""
        if self._may_hold and self._cycle.response_started:  # else it is `100 Continue`
            self._may_hold = False
            self._head = data
            return
        head, self._head = self._head, b""
        self._transport.write(head + data if head else data)

    def finish(self) -> None:
        """The answer is complete."""
        self._flush()
        self._on_complete()

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is about to end."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")


class _Connection(HttpToolsProtocol):
    """Uvicorn's, watched: a request that comes in whole costs no timer."""

    limits: TimeLimits
    cors: CorsMiddleware
    table: "ConnectionTable[_Connection]"

    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _left = 0  # of an answer that is not taken at once
    _taken_at = 0.0
    _in_head = True  # a new connection is expected to send one
    _in_body = False
    _head_bytes = 0
    _body_until = 0.0

    # --- what comes in --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start(self.limits.head)
        self.table.silent[self] = None
        if len(self.connections) > self.table.max_connections:
            self._evict()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._stop_write_timer()
        self.table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._in_head
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
        if self.transport.is_closing():
            self._stop()
        elif self._in_head:
            self._watch_head(is_new=not before)
        elif self._in_body:
            self._watch_body()
            self._hold_body(len(data))
        elif not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:  # what has come is no request: a line end, the rest of a body
            self._start(self.limits.idle)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        answer = _Answer(self.cycle, self.transport, self.on_response_complete)
        self.cycle.transport = answer  # type: ignore[assignment]
        self.cycle.on_response = answer.finish
        self.table.begin_request(self)
        self._in_head = False
        self._head_bytes = 0
        self._in_body = True
        self._body_until = self.loop.time() + self.limits.body

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False
        self.table.drop_body(self)

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses."""
        if len(getattr(self, "url", b"")) > MAX_URL_BYTES:
            self._refuse(414, f"the URL is longer than {MAX_URL_BYTES} bytes")
        else:
            self._refuse(400, "this is no HTTP request that can be read")

    def _watch_head(self, is_new: bool) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
        elif is_new or self._timer is None:
            self._start(self.limits.head)

    def _watch_body(self) -> None:
        left = self._body_until - self.loop.time()
        self._start(max(0.0, min(self.limits.body_gap, left)))

    def _hold_body(self, size: int) -> None:
        if self.cycle.response_complete:  # nobody reads it
            self.table.drop_body(self)
            return
        self.table.add_body(self, size)
        while (oldest := self.table.oldest_excess_body()) is not None:
            text = "the server holds too many bodies that do not come to their end: try again"
            oldest._refuse(503, text, RETRY)

    def _evict(self) -> None:
        """One connection, this one if all others are worked for, gives way."""
        first = self.table.eviction_candidate() or self
        if self.table.has_body(first):
            first._refuse(503, "the server has too many connections: try again", RETRY)
        else:
            self.table.remove(first)
            first.transport.abort()

    # --- what goes out --------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_write_timer()  # all before was taken
        self._watch_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()
        else:
            self._rest()

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.get_write_buffer_size():
            super().timeout_keep_alive_handler()
            return
        self._watch_reading()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.limits.idle, self.timeout_keep_alive_handler
        )

    def _rest(self) -> None:
        """Idle, if there is no other request and nothing left to be taken."""
        if self.timeout_keep_alive_task is not None and self._write_timer is None:
            self.table.idle[self] = None

    def _watch_reading(self) -> None:
        """Until all that was written is taken; each part that is taken gives new time."""
        if self._write_timer is None:
            self._left = self.transport.get_write_buffer_size()
            self._taken_at = self.loop.time()
            self.table.idle.pop(self, None)
            self.table.reading[self] = None
            self._look_soon()

    def _look_soon(self) -> None:
        seconds = self.limits.reading / _LOOKS_AT_READING
        self._write_timer = self.loop.call_later(seconds, self._look_at_reading)

    def _look_at_reading(self) -> None:
        self._write_timer = None
        left, now = self.transport.get_write_buffer_size(), self.loop.time()
        if left < self._left:
            self._left, self._taken_at = left, now
        # Over TLS not all that is left is told.
        waits = left or self.flow.write_paused
        if waits and now - self._taken_at >= self.limits.reading:
            self.transport.abort()
        elif waits:
            self._look_soon()
        else:
            self.table.reading.pop(self, None)
            self._rest()

    def _close(self) -> None:
        self.transport.close()
        self._watch_reading()

    def _late(self) -> None:
        """The client has not sent in time what it began to send, or nothing at all."""
        if self._in_head and not self._head_bytes:
            self._close()
        elif self._in_head or not self.cycle.response_started:
            self._refuse(408, "the request did not come to its end in time")
        else:
            self._close()

    def _refuse(self, status: int, text: str, retry: Mapping[str, str] | None = None) -> None:
        """Answer in place of the app, and close."""
        self._stop()
        self.table.remove(self)
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self._close()
                return
            self.cycle.disconnected = True  # the app may end, but answers no more
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
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
