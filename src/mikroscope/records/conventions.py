"""Maps the keys that well-known loggers use for time, level and message.

A convention is recognised by its key, never guessed from the value. The comment at each key names
the logger or the format it comes from; `docs/reference.md` lists them for users.
"""

from bisect import bisect_right
from collections.abc import Callable

import msgspec

from mikroscope.records.levels import SEVERITY_OF_NAME

# In order of precedence.
TIME_FIELDS = (
    "timestamp",  # winston, python-json-logger, Google Cloud, tracing
    "time",  # pino, bunyan, slog, logrus, Docker
    "ts",  # zap
    "@timestamp",  # ECS, Logstash, Logback
    "@t",  # Serilog CLEF
    "asctime",  # Python's logging
    "datetime",  # Monolog
    "timeUnixNano",  # OpenTelemetry
    "observedTimeUnixNano",  # OpenTelemetry, where the source gave no time
    "__REALTIME_TIMESTAMP",  # journald, in microseconds
    "date",  # Fluent Bit
    "ingestedAt",  # set by MikroScope on ingest, so the logger's own time comes first
)


def _level_name(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    name = value.strip().upper()
    return SEVERITY_OF_NAME.get(name, name)


def _banded(lowest: str, *bands: tuple[float, str]) -> Callable[[object], str | None]:
    """Make a function that names the band a number falls into.

    Each band is (its lowest number, its name), in ascending order; numbers below the first band are
    `lowest`. The function returns None for anything that is not a number.
    """
    bounds = [bound for bound, _ in bands]
    names = [lowest, *(name for _, name in bands)]

    def read(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return names[bisect_right(bounds, value)]

    return read


# Google Cloud's LogSeverity: 0 is DEFAULT, 300 is NOTICE; both are INFO here.
_google_number = _banded(
    "INFO", (100, "DEBUG"), (200, "INFO"), (400, "WARN"), (500, "ERROR"), (600, "FATAL")
)
# RFC 5424, where a lower number is more severe: 0–2 are emergency, alert and critical.
_syslog_number = _banded("FATAL", (3, "ERROR"), (4, "WARN"), (5, "INFO"), (7, "DEBUG"))


def _google_severity(value: object) -> str | None:
    return _google_number(value) or _level_name(value)


def _syslog_priority(value: object) -> str | None:
    if isinstance(value, str):  # journald exports every number as text
        return _syslog_number(float(value)) if value.isdecimal() else None
    return _syslog_number(value)


# In order of precedence; a string in `level` has been tried before any of these.
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
    (  # OpenTelemetry: four numbers for each severity; 0 is "unspecified"
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
    """Return a string unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _any_text(value: object) -> str | None:
    return None if value is None else json_text(value)


def _only_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _docker_log(value: object) -> str | None:
    # Docker keeps the line feed that ended the line.
    return value.removesuffix("\n").removesuffix("\r") if isinstance(value, str) else None


def _journald_message(value: object) -> str | None:
    if isinstance(value, list):  # journald exports text that is not UTF-8 as a list of bytes
        try:
            return bytes(value).decode("utf-8", "replace")
        except (TypeError, ValueError):
            return json_text(value)
    return _any_text(value)


def _otel_body(value: object) -> str | None:
    if isinstance(value, dict) and isinstance(value.get("stringValue"), str):  # OTLP's AnyValue
        return str(value["stringValue"])
    return _any_text(value)


# In order of precedence; `message` has been tried before any of these.
MESSAGE_CONVENTIONS: tuple[tuple[str, Callable[[object], str | None]], ...] = (
    ("msg", _any_text),  # pino, bunyan, zap, slog, logrus
    ("MESSAGE", _journald_message),  # journald
    ("textPayload", _only_text),  # Google Cloud
    ("@m", _only_text),  # Serilog CLEF, rendered
    ("@mt", _only_text),  # Serilog CLEF, template
    ("body", _otel_body),  # OpenTelemetry
    ("log", _docker_log),  # Docker, Fluent Bit
    ("fields.message", _only_text),  # Rust tracing
    ("event", _only_text),  # structlog
)
