"""A raw line becomes the fields of a record, and what MikroScope derives from them.

Which field holds the time, the level and the message in the logs of real loggers is listed in
`docs/reference.md`; a convention is recognised by its key, never by guessing from the value.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import msgspec

from mikroscope.timestamps import parse_time

Fields = dict[str, Any]

MISSING = "(missing)"
DEFAULT_LEVEL = "INFO"
DEFAULT_EVENT = "log.event"
MAX_NESTING = 500  # levels of objects and arrays
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

_decode = msgspec.json.Decoder().decode
_AUDIT_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class NotARecordError(ValueError):
    """A line that is not a JSON object; its text says why."""


# --- a line -------------------------------------------------------------------------------


def parse_line(raw: bytes) -> tuple[Fields, bytes]:
    """The fields of one line, and the line as valid UTF-8 JSON text. Raises NotARecordError."""
    fields, raw = parse_json(raw)
    if type(fields) is not dict:
        raise NotARecordError(f"a JSON {_kind(fields)}, expected an object")
    check_nesting(fields, raw)
    return fields, raw


def check_nesting(value: object, raw: bytes) -> None:
    """Raise NotARecordError for more than MAX_NESTING levels.

    How deep the parser itself can go depends on the stack below it; what is taken once must be
    taken again by whoever reads it later.
    """
    if len(raw) <= 2 * MAX_NESTING or raw.count(b"{") + raw.count(b"[") <= MAX_NESTING:
        return
    level = [value]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return
    raise NotARecordError(f"nested too deeply, expected {MAX_NESTING} levels at most")


def _containers(value: object) -> list[object]:
    values: Iterable[object] = value.values() if isinstance(value, dict) else ()
    values = value if isinstance(value, list) else values
    return [inner for inner in values if isinstance(inner, dict | list)]


def parse_json(raw: bytes) -> tuple[Any, bytes]:
    """A JSON text's value, and the text as valid UTF-8.

    That is the text itself, except that bytes which are no UTF-8 become U+FFFD. Of a key that
    stands twice the last one counts. Raises NotARecordError.
    """
    try:
        return _decode(raw), raw
    except RecursionError:
        raise NotARecordError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_unusual(raw)


def _parse_unusual(raw: bytes) -> tuple[Any, bytes]:
    """What the fast parser refuses though it is JSON: lone surrogates, numbers out of range.

    Such a number is kept as its digits; a lone surrogate becomes `?` in the fields only.
    """
    text = raw.decode("utf-8", "replace")
    try:
        fields = json.loads(
            text, parse_float=_float, parse_int=_int, parse_constant=_refuse_constant
        )
        clean = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        return _decode(clean), text.encode("utf-8", "replace")
    except RecursionError:
        raise NotARecordError("nested too deeply") from None
    except NotARecordError:
        raise
    except ValueError as error:
        raise NotARecordError(f"not JSON: {error}") from None


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= 300 else digits


def _refuse_constant(name: str) -> NoReturn:
    raise NotARecordError(f"not JSON: {name} is no JSON value")


def _kind(value: object) -> str:
    kinds: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


# --- scalars and fields -------------------------------------------------------------------


def scalar_text(value: object) -> str | None:
    """The text that field filters compare; None for arrays and objects.

    Strings as they are, `true`, `false`, `null`, and numbers as ECMAScript prints them
    (Number::toString of ECMA-262), so that `1.0` and `1` are both `1`; integers keep every digit.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    return None


def _float_text(number: float) -> str:
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:
        return "0" if number == 0 else mantissa.removesuffix(".0")
    power = int(exponent)
    if power > 20 or power < -6:
        return f"{mantissa}e{power:+d}"
    sign, digits = "-" if number < 0 else "", mantissa.lstrip("-").replace(".", "")
    if power > 0:
        return f"{sign}{digits.ljust(power + 1, '0')}"
    return f"{sign}0.{'0' * (-power - 1)}{digits}"


def field_values(fields: Fields, name: str) -> Iterator[object]:
    """Every value that stands under `name`: the key itself, then `a.b` inside nested objects."""
    if name in fields:
        yield fields[name]
    start = name.find(".")
    while start != -1:
        inner = fields.get(name[:start])
        if isinstance(inner, dict):
            yield from field_values(inner, name[start + 1 :])
        start = name.find(".", start + 1)


def field_text(fields: Fields, name: str) -> str | None:
    """The text of the first scalar under `name`, or None."""
    texts = (scalar_text(value) for value in field_values(fields, name))
    return next((text for text in texts if text is not None), None)


# --- what is derived ----------------------------------------------------------------------


def time_of(fields: Fields) -> tuple[int, str] | None:
    """Epoch milliseconds and the name of the field that told them; None if no field did."""
    for name in TIME_FIELDS:
        value = fields.get(name)
        if value is not None:
            milliseconds = parse_time(value)
            if milliseconds is not None:
                return milliseconds, name
    return None


def level_of(fields: Fields) -> str:
    """A text in `level` upper-cased as it is; other conventions map to TRACE … FATAL; or INFO."""
    level = fields.get("level")
    if type(level) is str and level:
        return level.upper()
    for name, read in _LEVEL_CONVENTIONS:
        for value in field_values(fields, name):
            found = read(value)
            if found:
                return found
    return DEFAULT_LEVEL


def message_of(fields: Fields) -> str:
    """`message`, or what the logger's convention says; JSON text if it is not a string."""
    message = fields.get("message")
    if type(message) is str:
        return message
    if message is not None:
        return _json_text(message)
    for name, read in _MESSAGE_CONVENTIONS:
        for value in field_values(fields, name):
            found = read(value)
            if found is not None:
                return found
    return ""


def event_of(fields: Fields) -> str:
    """`event` if it is a text, else the message, else `log.event`."""
    event = fields.get("event")
    if type(event) is str and event:
        return event
    return message_of(fields) or DEFAULT_EVENT


def correlation_of(fields: Fields) -> str | None:
    """`correlationId`, else `requestId`; None where neither has a usable value."""
    return correlation_text(fields.get("correlationId")) or correlation_text(
        fields.get("requestId")
    )


def correlation_text(value: object) -> str | None:
    """The text of an id: null, booleans, objects and the empty string are none."""
    if value is None or isinstance(value, bool):
        return None
    return scalar_text(value) or None


def audit_of(fields: Fields, path_is_audit: bool) -> bool:
    """The record's own word (`audit`), else whether the path says so."""
    value = fields.get("audit")
    if value is None:
        return path_is_audit
    text = scalar_text(value)
    return _AUDIT_WORDS.get(text.strip().lower(), path_is_audit) if text else path_is_audit


def is_audit_path(path: str) -> bool:
    """Whether a path below the logs root has a directory named `audit`, in any case."""
    return "audit" in path.lower().split("/")[:-1]


# --- conventions of loggers ---------------------------------------------------------------

_LEVEL_NAMES = {
    "VERBOSE": "TRACE",
    "INFORMATION": "INFO",
    "INFORMATIONAL": "INFO",
    "NOTICE": "INFO",
    "DEFAULT": "INFO",
    "WARNING": "WARN",
    "ERR": "ERROR",
    "SEVERE": "ERROR",
    "CRITICAL": "FATAL",
    "CRIT": "FATAL",
    "ALERT": "FATAL",
    "EMERGENCY": "FATAL",
    "EMERG": "FATAL",
    "PANIC": "FATAL",
    "DPANIC": "FATAL",
}


def _level_name(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    name = value.strip().upper()
    return _LEVEL_NAMES.get(name, name)


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


_LEVEL_CONVENTIONS: tuple[tuple[str, Callable[[object], str | None]], ...] = (
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


def _json_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _any_text(value: object) -> str | None:
    return None if value is None else _json_text(value)


def _only_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _docker_log(value: object) -> str | None:
    return value.removesuffix("\n").removesuffix("\r") if isinstance(value, str) else None


def _journald_message(value: object) -> str | None:
    if isinstance(value, list):  # journald writes a text that is no UTF-8 as its bytes
        try:
            return bytes(value).decode("utf-8", "replace")
        except (TypeError, ValueError):
            return _json_text(value)
    return _any_text(value)


def _otel_body(value: object) -> str | None:
    if isinstance(value, dict) and isinstance(value.get("stringValue"), str):
        return str(value["stringValue"])
    return _any_text(value)


_MESSAGE_CONVENTIONS: tuple[tuple[str, Callable[[object], str | None]], ...] = (
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
