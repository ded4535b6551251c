"""Which key means what in the logs of real loggers.

A convention is recognised by its key, never by guessing from the value; `docs/reference.md` lists
them.
"""

from bisect import bisect_right
from collections.abc import Callable

import msgspec

from mikroscope.records.levels import SEVERITY_OF_NAME

# In the order they are asked; `ingestedAt` is ours, so it comes after what the logger said.
TIME_FIELDS = (
    "timestamp",
    "time",
    "ts",
    "@timestamp",
    "@t",
    "asctime",
    "datetime",
    "timeUnixNano",
    "observedTimeUnixNano",
    "__REALTIME_TIMESTAMP",
    "date",
    "ingestedAt",
)


def _level_name(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    name = value.strip().upper()
    return SEVERITY_OF_NAME.get(name, name)


def _banded(lowest: str, *bands: tuple[float, str]) -> Callable[[object], str | None]:
    """A reader of numbers: the band a number falls into, `lowest` below the first one."""
    bounds = [bound for bound, _ in bands]
    names = [lowest, *(name for _, name in bands)]

    def read(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return names[bisect_right(bounds, value)]

    return read


_google_number = _banded(
    "INFO", (100, "DEBUG"), (200, "INFO"), (400, "WARN"), (500, "ERROR"), (600, "FATAL")
)
_syslog_number = _banded("FATAL", (3, "ERROR"), (4, "WARN"), (5, "INFO"), (7, "DEBUG"))


def _google_severity(value: object) -> str | None:
    return _google_number(value) or _level_name(value)


def _syslog_priority(value: object) -> str | None:
    if isinstance(value, str):
        return _syslog_number(float(value)) if value.isdecimal() else None
    return _syslog_number(value)


LEVEL_CONVENTIONS: tuple[tuple[str, Callable[[object], str | None]], ...] = (
    ("levelname", _level_name),  # python-json-logger
    ("level_name", _level_name),  # Monolog
    ("severityText", _level_name),  # OpenTelemetry
    ("severity", _google_severity),  # Google Cloud
    ("log.level", _level_name),  # ECS, dotted or nested
    ("@l", _level_name),  # Serilog CLEF
    (  # pino, bunyan
        "level",
        _banded("TRACE", (20, "DEBUG"), (30, "INFO"), (40, "WARN"), (50, "ERROR"), (60, "FATAL")),
    ),
    (  # Python's logging
        "levelno",
        _banded("TRACE", (10, "DEBUG"), (20, "INFO"), (30, "WARN"), (40, "ERROR"), (50, "FATAL")),
    ),
    (  # Logback
        "level_value",
        _banded("TRACE", (10_000, "DEBUG"), (20_000, "INFO"), (30_000, "WARN"), (40_000, "ERROR")),
    ),
    (  # OpenTelemetry: bands of four, 0 is "unspecified"
        "severityNumber",
        _banded(
            "INFO",
            (1, "TRACE"),
            (5, "DEBUG"),
            (9, "INFO"),
            (13, "WARN"),
            (17, "ERROR"),
            (21, "FATAL"),
        ),
    ),
    ("PRIORITY", _syslog_priority),  # journald
)


def json_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _any_text(value: object) -> str | None:
    return None if value is None else json_text(value)


def _only_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _docker_log(value: object) -> str | None:
    return value.removesuffix("\n").removesuffix("\r") if isinstance(value, str) else None


def _journald_message(value: object) -> str | None:
    if isinstance(value, list):  # journald writes a text that is no UTF-8 as its bytes
        try:
            return bytes(value).decode("utf-8", "replace")
        except (TypeError, ValueError):
            return json_text(value)
    return _any_text(value)


def _otel_body(value: object) -> str | None:
    if isinstance(value, dict) and isinstance(value.get("stringValue"), str):
        return str(value["stringValue"])
    return _any_text(value)


MESSAGE_CONVENTIONS: tuple[tuple[str, Callable[[object], str | None]], ...] = (
    ("msg", _any_text),  # pino, bunyan, zap, slog, logrus
    ("MESSAGE", _journald_message),
    ("textPayload", _only_text),  # Google Cloud
    ("@m", _only_text),  # Serilog CLEF, rendered
    ("@mt", _only_text),  # Serilog CLEF, template
    ("body", _otel_body),  # OpenTelemetry
    ("log", _docker_log),  # Docker, Fluent Bit
    ("fields.message", _only_text),  # Rust tracing
    ("event", _only_text),  # structlog
)
