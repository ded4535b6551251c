"""Formats the server's own log on stderr: text for people, or NDJSON for programs."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from mikroscope.records.printable import printable, printable_json, printable_lines

_HANDLER = "mikroscope-stderr"


class TextFormatter(logging.Formatter):
    """Formats a record as text; what a message quotes from logs cannot act on the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- of the base class
        """Return the line without a traceback."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback."""
        return printable_lines(super().formatException(ei))


class NdjsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line.

    Its fields are timestamp (ISO 8601, UTC), level, logger, message, those of the log call, and
    `error` with the traceback, if any.
    """

    def __init__(self) -> None:
        from mikroscope.server.middleware.access_log import FIELDS  # only a server loads Starlette

        super().__init__()
        self._fields_key = FIELDS

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, self._fields_key, {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return printable_json(msgspec.json.encode(line, enc_hook=str)).decode()


def log_to_stderr() -> None:
    """Write this process's log to stderr as text, from INFO up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    for verbose in ("uvicorn", "watchfiles", "httpx"):
        logging.getLogger(verbose).setLevel(logging.WARNING)


def use_ndjson() -> None:
    """Switch the log on stderr to NDJSON."""
    for handler in logging.getLogger().handlers:
        if handler.get_name() == _HANDLER:
            handler.setFormatter(NdjsonFormatter())
