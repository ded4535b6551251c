"""Provides MikroScopeHandler, the `logging.Handler` for applications."""

import logging
import math
import os
import weakref
from collections.abc import Mapping

from mikroscope.logging.buffer import Bounds
from mikroscope.logging.delivery import Backoff
from mikroscope.logging.drops import Counts
from mikroscope.logging.fields import OWN_NAMES, encode_record
from mikroscope.logging.sender import Pace, Sender
from mikroscope.logging.transport import Transport, authorization, parse_url

_handlers: "weakref.WeakSet[MikroScopeHandler]" = weakref.WeakSet()


class MikroScopeHandler(logging.Handler):
    """Sends records to a MikroScope server, in batches, from a background thread.

    Logging never waits for the server and never raises into the application. Records wait in a
    bounded buffer; when it is full, the oldest are dropped and counted, and the number is reported
    to the server later. Formatters are not used: each field is sent by itself.
    `docs/sending-logs.md` documents the guarantees and the names of the fields.

    - `url`: the server, such as `http://127.0.0.1:4310`; `https://` verifies it against the
      system's certificates, or against those in `ca_file` (PEM).
    - `token`: a producer's token; or `username` and `password` for Basic auth.
    - `fields`: fields to add to every record, such as `{"service": "shop"}`.
    - `max_buffer_records`, `max_buffer_bytes`: limits of the buffer, and roughly of its memory.
    - `batch_records`, `batch_bytes`: limits of one request; the server's default limit is 1 MiB.
    - `linger_s`: how long a record may wait to share a request with others. ERROR and above do
      not wait.
    - `timeout_s`: limit for connecting and for each step of a request.
    - `backoff_s`, `max_backoff_s`: the pause before the second attempt, and the longest pause.
    - `flush_timeout_s`: how long `flush()` and `close()`, and so the end of the program, may wait.
    - `compress`: send bodies with gzip.

    All times are in seconds. Raises ValueError for invalid arguments.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:4310",
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        fields: Mapping[str, object] | None = None,
        level: int | str = logging.NOTSET,
        max_buffer_records: int = 100_000,
        max_buffer_bytes: int = 16 * 1024 * 1024,
        batch_records: int = 1000,
        batch_bytes: int = 512 * 1024,
        linger_s: float = 0.5,
        timeout_s: float = 10.0,
        backoff_s: float = 0.25,
        max_backoff_s: float = 30.0,
        flush_timeout_s: float = 5.0,
        ca_file: str | None = None,
        compress: bool = False,
    ) -> None:
        bounds = Bounds(max_buffer_records, max_buffer_bytes, batch_records, batch_bytes)
        pace = Pace(linger_s, timeout_s, flush_timeout_s, Backoff(backoff_s, max_backoff_s))
        _require_counts(bounds._asdict())
        _require_seconds({"timeout_s": timeout_s, "backoff_s": backoff_s}, "more than 0")
        _require_seconds({"max_backoff_s": max_backoff_s}, "more than 0")
        _require_seconds({"linger_s": linger_s, "flush_timeout_s": flush_timeout_s}, "0 or more")
        _require_free(fields or {})
        target = parse_url(url)
        headers = authorization(token, username, password)
        transport = Transport(target, headers, ca_file, compress)
        super().__init__(level)
        self._fields = dict(fields or {})
        self._flush_timeout_s = flush_timeout_s
        self._flush_failed_at: int | None = None
        self._sender = Sender(transport, url, bounds, pace, self._fields)
        _handlers.add(self)
        # A handler that is garbage-collected without close() still sends what it holds. At exit
        # `logging.shutdown` closes the handlers, so the finalizer need not run then.
        weakref.finalize(self, self._sender.close_soon, flush_timeout_s).atexit = False

    @property
    def counts(self) -> Counts:
        """The number of records logged in this process: sent, waiting, dropped and refused."""
        return self._sender.counts()

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit a record, without `logging`'s lock: `str()` of its values may be slow."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the buffer."""
        try:
            if not self._sender.is_current_thread:  # its own records would cause endless sending
                line = encode_record(record, self._fields)
                level = record.levelno
                self._sender.put(line, isinstance(level, int) and level >= logging.ERROR)
        except Exception:
            self.handleError(record)

    def flush(self, timeout_s: float | None = None) -> bool:  # type: ignore[override] # None there
        """Wait until all records logged so far are sent or lost; return False on timeout.

        The default timeout is `flush_timeout_s`.
        """
        done = self._sender.flush(self._flush_timeout_s if timeout_s is None else timeout_s)
        self._flush_failed_at = None if done else self.counts.sent
        return done

    def close(self) -> None:
        """Send what waits, for at most `flush_timeout_s`; say on stderr how many records are lost.

        If nothing was sent since a `flush()` timed out, it does not wait a second time:
        `logging.shutdown` calls both.
        """
        is_futile = self._sender.has_thread and self._flush_failed_at == self.counts.sent
        self._sender.close(0.0 if is_futile else self._flush_timeout_s)
        super().close()


def _require_counts(numbers: Mapping[str, int]) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"{name}: expected a whole number above 0, got {value!r}")


def _require_seconds(numbers: Mapping[str, float], least: str) -> None:
    for name, value in numbers.items():
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if not is_number or value < 0 or (value == 0 and least != "0 or more"):
            raise ValueError(f"{name}: expected a number of seconds, {least}, got {value!r}")


def _require_free(fields: Mapping[str, object]) -> None:
    if not isinstance(fields, Mapping):
        raise ValueError(f"fields: expected a dict, got {fields!r}")
    taken = sorted(OWN_NAMES.intersection(fields))
    if taken:
        raise ValueError(f"fields: expected no name that the handler sets itself, got {taken[0]!r}")


def _after_fork() -> None:
    """Reset each handler in a forked child; it starts its own thread when it is used there."""
    for handler in list(_handlers):
        handler._sender.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
