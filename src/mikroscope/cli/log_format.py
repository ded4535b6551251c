"""How the server's own log is written: as text for people, or as NDJSON for programs."""

import logging
import sys
from datetime import UTC, datetime

import msgspec

from mikroscope.server.middleware.access_log import FIELDS

_HANDLER = "mikroscope-stderr"


class NdjsonFormatter(logging.Formatter):
    """One JSON object a line: timestamp (ISO 8601, UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to_stderr() -> None:
    """Have what this process logs written there as text, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    for talkative in ("uvicorn", "watchfiles", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def use_ndjson() -> None:
    """Have it written as NDJSON from now on."""
    for handler in logging.getLogger().handlers:
        if handler.get_name() == _HANDLER:
            handler.setFormatter(NdjsonFormatter())
