"""The `logging.Handler` that applications use."""

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

    It never waits for the server and never raises into the application: records wait in a bounded
    buffer, and when that is full the oldest are dropped, counted, and told of. A formatter is not
    used: each field goes by itself. `docs/sending-logs.md` has the promises, and what the fields
    are called.

    - `url`: the server, such as `http://127.0.0.1:4310`; `https://` with the certificates the
      system trusts, or those in `ca_file`.
    - `token`: a producer's token; or `username` and `password` for Basic auth.
    - `fields`: what every record shall say, such as `{"service": "shop"}`.
    - `max_buffer_records`, `max_buffer_bytes`: what may wait; it is about what memory is used.
    - `batch_records`, `batch_bytes`: what makes a request; the server's limit is 1 MiB by default.
    - `linger_s`: how long a record may wait for others to be sent with. ERROR and worse never do.
    - `timeout_s`: for a connection, and for each step of a request.
    - `backoff_s`, `max_backoff_s`: the pause before a second try, and the longest one.
    - `flush_timeout_s`: how long `flush()` and `close()`, and so the end of the program, may wait.
    - `compress`: send gzip.

    Raises ValueError for arguments that cannot be right.
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
        weakref.finalize(self, self._sender.close_soon, flush_timeout_s).atexit = False

    @property
    def counts(self) -> Counts:
        """What has become of the records that were logged in this process."""
        return self._sender.counts()

    def handle(self, record: logging.LogRecord) -> bool:
        """As in `logging`, but without a lock: `str()` of what is logged may take long."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the buffer."""
        try:
            if not self._sender.is_current_thread:  # or what it logs would log for ever
                line = encode_record(record, self._fields)
                level = record.levelno
                self._sender.put(line, isinstance(level, int) and level >= logging.ERROR)
        except Exception:
            self.handleError(record)

    def flush(self, timeout_s: float | None = None) -> bool:  # type: ignore[override] # None there
        """Wait until all that was logged before is sent, or lost; False if time runs out.

        Without a time it is `flush_timeout_s`.
        """
        done = self._sender.flush(self._flush_timeout_s if timeout_s is None else timeout_s)
        self._flush_failed_at = None if done else self.counts.sent
        return done

    def close(self) -> None:
        """Send what waits, for `flush_timeout_s` at the most; say on stderr what is lost.

        After a `flush()` in vain (`logging.shutdown` calls both) it does not wait a second time.
        """
        in_vain = self._sender.has_thread and self._flush_failed_at == self.counts.sent
        self._sender.close(0.0 if in_vain else self._flush_timeout_s)
        super().close()


def _require_counts(numbers: Mapping[str, int]) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"{name}: expected a whole number, more than 0, got {value!r}")


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
    """In a child: each handler begins with nothing, and starts its own thread when it is used."""
    for handler in list(_handlers):
        handler._sender.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
