"""Lines of the standard library's logging with the JSON formatters that people write for it."""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from clock import frozen_clock  # type: ignore[import-not-found, unused-ignore]

tick = frozen_clock()

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
Shape = Callable[[logging.Formatter, logging.LogRecord], dict[str, Any]]


class JsonLines(logging.Formatter):
    """Writes what `shape` makes of a record, and the traceback and the stack if it has them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def format(self, record: logging.LogRecord) -> str:
        line = self.shape(self, record)
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = self.formatStack(record.stack_info)
        return json.dumps(line)


def by_attribute(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    return {
        "asctime": formatter.formatTime(record),
        "name": record.name,
        "levelname": record.levelname,
        "process": record.process,
        "message": record.getMessage(),
    }


def by_number(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    return {
        "asctime": formatter.formatTime(record),
        "levelno": record.levelno,
        "message": record.getMessage(),
    }


def by_custom(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC)
    return {"time": moment.isoformat(), "level": record.levelname, "msg": record.getMessage()}


def logger(name: str, shape: Shape) -> logging.Logger:
    made = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(shape))
    made.addHandler(handler)
    made.setLevel(1)
    return made


def log(target: logging.Logger, level: int, message: str, *args: object, **options: Any) -> None:
    tick()
    target.log(level, message, *args, **options)


def log_exception(target: logging.Logger, message: str) -> None:
    try:
        raise ValueError("card declined")
    except ValueError:
        log(target, logging.ERROR, message, exc_info=True)


def main() -> None:
    named = logger("shop", by_attribute)
    for level in LEVELS:
        log(named, level, "a line at %s", logging.getLevelName(level))
    log_exception(named, "charge failed")
    log(named, logging.INFO, "with its stack", stack_info=True)
    log(named.getChild("billing"), logging.INFO, "from a child")
    numbers = logger("numbers", by_number)
    for level in (5, *LEVELS, 45):
        log(numbers, level, f"number {level}")
    custom = logger("custom", by_custom)
    for level in LEVELS:
        log(custom, level, f"plain level {logging.getLevelName(level)}")
    log_exception(custom, "refund failed")


if __name__ == "__main__":
    main()
