"""Maps the keys that well-known loggers and servers use for time, level, message, id and errors.

A convention is recognised by its key, never guessed from the value. The comment at each key names
who writes it; `docs/reference.md` lists them for users. A name with dots is a path into nested
objects, or the key itself.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mikroscope.records.levels import SEVERITIES, level_named, severity_of

Reader = Callable[[object], str | None]


class TimeKey(NamedTuple):
    """A field that holds the time; with `beside`, only in records that have one of these too."""

    name: str
    beside: tuple[str, ...] = ()


class Key(NamedTuple):
    """A field, and what its value means: None where it means nothing.

    With `beside`, it means that only in records that have one of these fields too.
    """

    name: str
    read: Reader
    beside: tuple[str, ...] = ()


# --- time, in order of precedence -----------------------------------------------------------

INGESTED_AT = "ingestedAt"
TIME_KEYS = (
    TimeKey("timestamp"),  # winston, python-json-logger, Google Cloud, tracing, GELF, PostgreSQL
    TimeKey("time"),  # pino, bunyan, slog, logrus, Docker, log4rs, MySQL, LoggerJSON, RabbitMQ
    TimeKey("ts"),  # zap, Caddy, go-kit, klog, Zeek
    TimeKey("@timestamp"),  # ECS, Logstash, Logback, hclog
    TimeKey("@t"),  # Serilog CLEF
    TimeKey("asctime"),  # Python's logging
    TimeKey("datetime"),  # Monolog
    TimeKey("timeUnixNano"),  # OpenTelemetry
    TimeKey("observedTimeUnixNano"),  # OpenTelemetry, where the source gave no time
    TimeKey("__REALTIME_TIMESTAMP"),  # journald, in microseconds
    TimeKey("date"),  # Fluent Bit, log4net, consola
    TimeKey("Timestamp"),  # Serilog JsonFormatter, .NET console
    TimeKey("t", ("lvl", "ctx", "sev")),  # log15, MongoDB, CockroachDB compact
    TimeKey("record.time.timestamp"),  # loguru
    TimeKey("record.time.repr"),
    TimeKey("instant", ("level", "loggerName", "thread")),  # Log4j
    TimeKey("timeMillis"),  # Log4j 2.0 to 2.10
    TimeKey("timeStamp"),  # scribe, Azure services
    TimeKey("at", ("sev",)),  # katip
    TimeKey("startTime", ("categoryName",)),  # log4js
    TimeKey("_meta.date"),  # tslog
    TimeKey("log_time"),  # Twisted
    TimeKey("mulog/timestamp"),  # μ/log
    TimeKey("date_time"),  # ClickHouse
    TimeKey("timestampSeconds"),  # Google Cloud's agents, beside timestampNanos
    TimeKey("time_iso8601"),  # nginx, by the names of its variables
    TimeKey("time_local"),
    TimeKey("StartUTC"),  # Traefik
    TimeKey("start_time", ("response_flags", "upstream_host")),  # Envoy, Istio
    TimeKey("eventTime", ("eventSource", "eventName")),  # AWS CloudTrail
    TimeKey("EventTime", ("SeverityValue", "SourceModuleName")),  # NXLog
    TimeKey("TimeGenerated"),  # Azure Monitor
    TimeKey("requestReceivedTimestamp"),  # Kubernetes audit
    TimeKey("ISODATE"),  # syslog-ng
    TimeKey("timereported"),  # rsyslog
    TimeKey("timegenerated"),
    TimeKey("unixTime", ("hostIdentifier", "calendarTime")),  # osquery
    TimeKey("syslog.timestamp"),  # LoggerJSON for Datadog
    TimeKey("created", ("relativeCreated",)),  # Python's LogRecord as it is
    TimeKey(INGESTED_AT),  # set by MikroScope on ingest, so the logger's own time comes first
)
TIME_FIELDS = tuple(key.name for key in TIME_KEYS)


# --- level ----------------------------------------------------------------------------------


def _level_name(value: object) -> str | None:
    return severity_of(level_named(value)) or None if isinstance(value, str) else None


def _severity(value: object) -> str | None:
    """Read a name of a severity; another text means something else, under a name so general."""
    found = _level_name(value)
    return found if found in SEVERITIES else None


def _banded(lowest: str, *bands: tuple[float, str]) -> Reader:
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


def _name_or(number: Reader) -> Reader:
    """Make a function that reads a name, a number, or a number as text."""

    def read(value: object) -> str | None:
        if isinstance(value, str) and value.isdecimal():
            return number(float(value))
        return number(value) or _level_name(value)

    return read


def _up_to(highest: int, read: Reader) -> Reader:
    """Make a function that reads no number above `highest`: it is another logger's."""

    def limited(value: object) -> str | None:
        return read(value) if isinstance(value, int) and value <= highest else None

    return limited


def _monolog(value: object) -> str | None:
    is_its_own = isinstance(value, int) and value >= 100  # PSR-3: 100 is DEBUG, 600 is EMERGENCY
    return _MONOLOG(value) if is_its_own else None


_PINO = _banded("TRACE", (20, "DEBUG"), (30, "INFO"), (40, "WARN"), (50, "ERROR"), (60, "FATAL"))
_PYTHON = _banded("TRACE", (10, "DEBUG"), (20, "INFO"), (30, "WARN"), (40, "ERROR"), (50, "FATAL"))
# Google Cloud's LogSeverity: 0 is DEFAULT, 300 is NOTICE; both are INFO here.
_GOOGLE = _banded(
    "INFO", (100, "DEBUG"), (200, "INFO"), (400, "WARN"), (500, "ERROR"), (600, "FATAL")
)


def _google_severity(value: object) -> str | None:
    return _GOOGLE(value) or _severity(value)


_MONOLOG = _banded("DEBUG", (200, "INFO"), (300, "WARN"), (400, "ERROR"), (500, "FATAL"))

# RFC 5424, where a lower number is more severe: 0 to 2 are emergency, alert and critical.
_SYSLOG = _banded("FATAL", (3, "ERROR"), (4, "WARN"), (5, "INFO"), (7, "DEBUG"))
# OpenTelemetry: four numbers for each severity; 0 is "unspecified".
_OTEL = _banded(
    "INFO", (1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL")
)
_LOGBACK = _banded(
    "TRACE", (10_000, "DEBUG"), (20_000, "INFO"), (30_000, "WARN"), (40_000, "ERROR")
)
_AZURE = _banded("TRACE", (1, "INFO"), (2, "WARN"), (3, "ERROR"), (4, "FATAL"))
_NXLOG = _banded("DEBUG", (2, "INFO"), (3, "WARN"), (4, "ERROR"), (5, "FATAL"))
_NEXTCLOUD = _banded("DEBUG", (1, "INFO"), (2, "WARN"), (3, "ERROR"), (4, "FATAL"))
_CONSOLA = _banded("ERROR", (1, "WARN"), (2, "INFO"), (4, "DEBUG"), (5, "TRACE"))

# In order of precedence; a string in `level` has been tried before any of these.
LEVEL_KEYS = (
    Key("levelname", _level_name),  # python-json-logger
    Key("level_name", _severity),  # Monolog
    Key("severityText", _level_name),  # OpenTelemetry
    Key("severity_text", _severity),  # OpenTelemetry's SDK for Python
    Key("SeverityText", _severity),  # OpenTelemetry's data model, ClickHouse
    Key("severity_label", _level_name),  # Logstash's syslog input
    Key("severity", _google_severity),  # Google Cloud, Ruby, LoggerJSON, CockroachDB, GitLab
    Key("error_severity", _level_name),  # PostgreSQL
    Key("log.level", _level_name),  # ECS, dotted or nested
    Key("@l", _level_name),  # Serilog CLEF
    Key("Level", _severity),  # Serilog JsonFormatter
    Key("LogLevel", _level_name),  # .NET console
    Key("record.level.name", _level_name),  # loguru
    Key("level.levelStr", _level_name),  # log4js
    Key("level.name", _severity),
    Key("log_level.name", _level_name),  # Twisted
    Key("lvl", _severity),  # log15, InfluxDB
    Key("@level", _level_name),  # hclog: Terraform, Vault, Consul, Nomad
    Key("@fields.level", _level_name),  # winston's format for Logstash
    Key("loglevel", _severity),
    Key("logLevel", _severity),
    Key("log_level", _severity),
    Key("_meta.logLevelName", _level_name),  # tslog
    Key("context.logLevel", _name_or(_PINO)),  # roarr
    Key("sev", _severity),  # katip, CockroachDB compact
    Key("s", _severity, ("ctx",)),  # MongoDB
    Key("label", _severity, ("err_code", "err_symbol")),  # MySQL
    Key("priority", _severity, ("rule", "output_fields")),  # Falco
    Key("status", _severity, ("ddsource",)),  # Datadog
    Key("level", _up_to(7, _SYSLOG), ("short_message",)),  # GELF
    Key("level", _up_to(4, _NEXTCLOUD), ("remoteAddr",)),  # Nextcloud
    Key("level", _up_to(5, _CONSOLA), ("args",)),  # consola
    Key("level", _monolog, ("channel", "datetime")),  # Monolog
    Key("level", _PINO),  # pino, bunyan, ougai
    Key("levelno", _PYTHON),  # Python's logging
    Key("level_value", _LOGBACK),  # Logback
    Key("levelValue", _LOGBACK),  # scribe
    Key("record.level.no", _PYTHON),  # loguru
    Key("severityNumber", _OTEL),  # OpenTelemetry
    Key("severity_number", _OTEL),
    Key("SeverityNumber", _OTEL),
    Key("severityLevel", _AZURE),  # Application Insights
    Key("SeverityValue", _NXLOG),  # NXLog
    Key("syslogseverity-text", _level_name),  # rsyslog
    Key("syslogseverity", _name_or(_SYSLOG)),
    Key("syslog.severity", _name_or(_SYSLOG)),  # LoggerJSON for Datadog
    Key("PRIORITY", _name_or(_SYSLOG)),  # journald as text, syslog-ng as name
)

# --- message --------------------------------------------------------------------------------


def json_text(value: object) -> str:
    """Return a string unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _any_text(value: object) -> str | None:
    return None if value is None else json_text(value)


def _only_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _line(value: object) -> str | None:
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


def _arguments(value: object) -> str | None:
    """Join what was given to a function that logs, as it prints them."""
    return " ".join(map(json_text, value)) if isinstance(value, list) and value else None


_OTEL_FIELDS = (
    *("timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "traceId"),
    *("severity_number", "severity_text", "observed_timestamp", "attributes", "resource"),
)

# In order of precedence; `message` has been tried before any of these.
MESSAGE_KEYS = (
    Key("msg", _any_text),  # pino, bunyan, zap, slog, logrus, MongoDB, MySQL
    Key("MESSAGE", _journald_message),  # journald, syslog-ng
    Key("textPayload", _only_text),  # Google Cloud
    Key("jsonPayload.message", _only_text),
    Key("@m", _only_text),  # Serilog CLEF, rendered
    Key("@mt", _only_text),  # Serilog CLEF, template
    Key("@message", _only_text),  # hclog
    Key("RenderedMessage", _only_text),  # Serilog JsonFormatter
    Key("MessageTemplate", _only_text),
    Key("Message", _only_text),  # .NET console, NXLog
    Key("formattedMessage", _only_text),  # Logback JsonEncoder
    Key("short_message", _only_text),  # GELF
    Key("record.message", _only_text),  # loguru
    Key("body", _otel_body, _OTEL_FIELDS),  # OpenTelemetry
    Key("Body", _otel_body, ("SeverityText", "SeverityNumber")),
    Key("data", _arguments, ("categoryName",)),  # log4js
    Key("args", _arguments, ("tag",)),  # consola
    Key("0", _only_text, ("_meta",)),  # tslog
    Key("log_text", _only_text),  # Twisted
    Key("log_format", _only_text),
    Key("mulog/event-name", _only_text),  # μ/log
    Key("event.message", _only_text),  # CockroachDB
    Key("output", _only_text, ("rule",)),  # Falco
    Key("event", _only_text),  # structlog
    Key("fields.message", _only_text),  # Rust tracing
    Key("body", _only_text),  # OpenTelemetry, without its other fields
    Key("log", _line),  # Docker, Fluent Bit
    Key("message_type", _only_text, ("task_uuid",)),  # eliot
    Key("action_type", _only_text, ("task_uuid",)),
)

# --- id of a request or trace ---------------------------------------------------------------

# In order of precedence; the first one is the attribute's own field.
CORRELATION_FIELDS = (
    "correlationId",
    "requestId",
    "reqId",  # pino, Nextcloud
    "request_id",  # Ruby, Go, Python
    "req_id",  # bunyan
    "req.id",  # pino-http
    "correlation_id",  # GitLab, Python
    "trace_id",  # OpenTelemetry's log bridges
    "traceId",  # OpenTelemetry, Logback, Micrometer
    "trace.id",  # ECS
    "@tr",  # Serilog CLEF
    "otelTraceID",  # OpenTelemetry for Python
    "logging.googleapis.com/trace",  # Google Cloud
    "dd.trace_id",  # Datadog
    "TraceId",  # OpenTelemetry's data model
    "record.extra.request_id",  # loguru
    "extra.request_id",  # Monolog
    "Properties.RequestId",  # Serilog JsonFormatter
    "Properties.TraceId",
    "mdc.traceId",  # Logback JsonEncoder
    "contextMap.traceId",  # Log4j
    "_request_id",  # GELF
    "_trace_id",
)

# --- error and stack ------------------------------------------------------------------------

_ERROR_FIELDS = frozenset(
    (
        *("error", "err", "errors", "reason", "errorMessage", "errorType"),  # most; AWS Lambda
        *("exception", "Exception", "exceptions", "exc_info", "exc_text"),
        *("stack", "stacks", "stacktrace", "stack_trace", "stackTrace", "stack_info"),
        *("traceback", "backtrace", "thrown", "throwable", "cause", "causes", "failure"),
        *("error.type", "error.message", "error.stack_trace", "error.stack", "error.kind"),  # ECS
        *("exception.type", "exception.message", "exception.stacktrace"),  # OpenTelemetry
        *("errorVerbose", "errorCauses"),  # zap
        *("@x", "log_failure", "full_message", "text"),  # Serilog, Twisted, GELF, loguru
        *("detail", "hint", "statement"),  # PostgreSQL
    )
)
TEXT_FIELDS = _ERROR_FIELDS | {"message", "msg"}
"""Fields at any depth whose words can be searched, besides those of the entry's message.

A list of texts counts as one text, and of an object, or of each in a list, the ERROR_PARTS do.
"""
ERROR_PARTS = TEXT_FIELDS | {
    *("type", "name", "class", "className", "kind", "code", "value", "title", "fullName"),
    *("exc_type", "exc_value", "exc_notes", "exceptionType", "commonElementCount"),
    *("frames", "frame", "trace", "stepArray", "stack_frames", "extendedStackTrace", "suppressed"),
    *("file", "fileName", "filename", "function", "method", "methodName", "module", "func"),
    *("source", "values", "aggregateErrors", "wrap"),  # zerolog's file, Sentry, pino, eris
}
"""Fields of an exception, and of the frames of its stack, whose words can be searched."""
