"""Lines of python-json-logger: its defaults, asctime, levelno, and renamed fields."""

import logging
import sys
from typing import Any

from clock import frozen_clock  # type: ignore[import-not-found, unused-ignore]
from pythonjsonlogger.json import (  # type: ignore[import-not-found, unused-ignore]
    JsonFormatter,
)

tick = frozen_clock()

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
NOTICE = 25


def logger(name: str, *args: Any, **options: Any) -> logging.Logger:
    made = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(*args, **options))
    made.addHandler(handler)
    made.setLevel(1)
    return made


def log(target: logging.Logger, level: int, message: object, **options: Any) -> None:
    tick()
    target.log(level, message, **options)


def log_exception(target: logging.Logger, message: str) -> None:
    try:
        raise ValueError("card declined")
    except ValueError:
        log(target, logging.ERROR, message, exc_info=True)


def main() -> None:
    logging.addLevelName(NOTICE, "NOTICE")
    log(logger("bare"), logging.WARNING, "message alone")
    log_names(logger("shop", "%(asctime)s %(levelname)s %(name)s %(message)s"))
    log_numbers(logger("numbers", "%(asctime)s %(levelno)s %(message)s"))
    log_options()


def log_names(usual: logging.Logger) -> None:
    for level in (*LEVELS, NOTICE):
        log(usual, level, f"a line at {logging.getLevelName(level)}")
    log(usual, logging.INFO, "with fields", extra={"orderId": "ORD-000001", "tenant": 7})
    trace = {"otelTraceID": "0af7651916cd43dd8448eb211c80319c"}
    log(usual, logging.INFO, "with a trace", extra=trace)
    log_exception(usual, "charge failed")
    log(usual, logging.INFO, {"message": "from a mapping", "items": 3})
    log(usual.getChild("billing"), logging.INFO, "from a child")


def log_numbers(numbers: logging.Logger) -> None:
    for level in (*LEVELS, NOTICE):
        log(numbers, level, f"number of {logging.getLevelName(level)}")


def log_options() -> None:
    both = logger("both", "%(asctime)s %(levelname)s %(levelno)s %(process)d %(message)s")
    log(both, logging.WARNING, "name and number")
    log(logger("iso", "{levelname}{message}", style="{", timestamp=True), logging.INFO, "ISO time")
    fields = ["asctime", "levelname", "message"]
    names = {"levelname": "level", "asctime": "timestamp"}
    renamed = logger("renamed", fields, rename_fields=names)
    log(renamed, logging.WARNING, "renamed to level and timestamp")


if __name__ == "__main__":
    main()
