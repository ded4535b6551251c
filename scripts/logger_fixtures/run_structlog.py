"""Lines of structlog: every level, both kinds of time, bound values, errors."""

from typing import Any

import structlog  # type: ignore[import-not-found, unused-ignore]
from clock import frozen_clock  # type: ignore[import-not-found, unused-ignore]

tick = frozen_clock()

LEVELS = ("debug", "info", "warning", "error", "critical")
ISO = structlog.processors.TimeStamper(fmt="iso")


def logger(*processors: Any) -> Any:
    chain = [structlog.contextvars.merge_contextvars, *processors]
    return structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[*chain, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


def log(target: Any, level: str, event: str, **fields: Any) -> None:
    tick()
    getattr(target, level)(event, **fields)


def log_exception(target: Any, event: str) -> None:
    try:
        raise ValueError("card declined")
    except ValueError:
        log(target, "exception", event)


def main() -> None:
    level = structlog.processors.add_log_level
    usual = logger(level, ISO, structlog.processors.format_exc_info)
    for name in LEVELS:
        log(usual, name, f"a line at {name}")
    log(usual.bind(request_id="req-1", tenant="tenant-007"), "info", "from a bound logger")
    log_exception(usual, "charge failed")
    with structlog.contextvars.bound_contextvars(correlation_id="c-1"):
        log(usual, "info", "with a context variable")

    floats = logger(level, structlog.processors.TimeStamper())
    for name in LEVELS:
        log(floats, name, f"float time at {name}")

    zoneless = structlog.processors.TimeStamper(fmt="iso", utc=False)
    log(logger(level, zoneless), "info", "time without a zone")
    log(logger(level), "info", "no time")
    log(logger(ISO), "warning", "no level")
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    nested = logger(level, ISO, structlog.processors.ExceptionRenderer(frames))
    log_exception(nested, "a nested traceback")
    renamed = logger(level, ISO, structlog.processors.EventRenamer("message", "_event"))
    log(renamed, "info", "event renamed to message", _event="order.placed")
    log(logger(structlog.stdlib.add_log_level_number, level, ISO), "error", "with a level number")


if __name__ == "__main__":
    main()
