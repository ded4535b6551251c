"""Turns a `logging.LogRecord` into the fields of a MikroScope record."""

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from mikroscope.logging.json_text import text_of, to_json

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]

OWN_NAMES = frozenset(
    ("timestamp", "level", "logger", "message", "process", "thread", "task", "error", "stack_info")
)
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# The server's severities, so that records of all loggers are counted together.
_BANDS = ((50, "FATAL"), (40, "ERROR"), (30, "WARN"), (20, "INFO"), (10, "DEBUG"))
_STANDARD = dict(_BANDS)
_WORDS = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_LARGEST_SHOWN = 1000  # characters of a record that cannot be encoded


def encode_record(record: logging.LogRecord, constants: Mapping[str, object]) -> bytes:
    """Return a record as a JSON object on one line, in UTF-8. Never raises."""
    try:
        return to_json(fields_of(record, constants))
    except Exception as error:
        return to_json(_unreadable(record, error))


def fields_of(record: logging.LogRecord, constants: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a record: those of `logging`, those of the call, and `constants`.

    The call's `extra` overrides `constants`; a name in `extra` that is one of OWN_NAMES goes into
    the object `extra`. If the message is a dict, as structlog's is, it overrides all of these.
    """
    fields: dict[str, Any] = {
        "timestamp": iso_time(record.created),
        "level": _level_of(record),
        **constants,
        "logger": record.name,
        "process": record.process,
        "thread": record.threadName,
    }
    task = getattr(record, "taskName", None)
    if task is not None:
        fields["task"] = task
    event_dict = record.msg if isinstance(record.msg, dict) else None
    if event_dict is None:
        fields["message"] = _message_of(record)
    _add_exception(fields, record.exc_info, record.exc_text)
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    _add_extra(fields, constants, record)
    if event_dict is not None:
        _add_event_dict(fields, event_dict)
    return fields


def iso_time(seconds: float) -> str:
    """Return epoch seconds as ISO 8601 in UTC with milliseconds and Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _level_of(record: logging.LogRecord) -> str:
    """Return Python's five levels by number, others by name, unnamed ones by the nearest below."""
    number, name = record.levelno, str(record.levelname).upper()
    standard = _STANDARD.get(number)
    if standard is not None:
        return standard
    if name and not name.startswith("LEVEL ") and name != "NOTSET":
        return name
    return next((band for bound, band in _BANDS if number >= bound), "TRACE")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not match the format; show both
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _add_exception(fields: dict[str, Any], info: object, text: str | None) -> None:
    """Set `error` from `exc_info`, or from the traceback text that another handler has cached."""
    known = _exception_info(info)
    if known is not None:
        kind, error, trace = known
        fields["error"] = {
            "type": kind.__qualname__,
            "message": text_of(error),
            "stack": text or _stack_of(kind, error, trace),
        }
    elif text:
        fields["error"] = {"stack": text}


def _exception_info(info: object) -> ExceptionInfo | None:
    if isinstance(info, BaseException):
        return type(info), info, info.__traceback__
    if isinstance(info, tuple) and len(info) == 3 and isinstance(info[1], BaseException):
        return type(info[1]), info[1], info[2]
    return None


def _stack_of(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
    except Exception:
        return f"<{kind.__qualname__} whose traceback cannot be shown>"


def _add_extra(
    fields: dict[str, Any], constants: Mapping[str, object], record: logging.LogRecord
) -> None:
    clashes: dict[str, object] = {}
    for name, value in vars(record).items():
        if name in _KNOWN or name.startswith("_"):
            continue
        target = clashes if name in fields and name not in constants else fields
        target[name] = value
    if clashes:
        fields["extra"] = clashes


def _add_event_dict(fields: dict[str, Any], event_dict: dict[Any, Any]) -> None:
    """Merge the fields of a message that is a dict, such as structlog's."""
    rest = dict(event_dict)
    info = rest.pop("exc_info", None)
    if info:
        _add_exception(fields, sys.exc_info() if info is True else info, None)
    fields.update(rest)
    level = fields["level"]
    if isinstance(level, str):
        fields["level"] = _WORDS.get(level.upper(), level.upper())


def _unreadable(record: logging.LogRecord, error: Exception) -> dict[str, str]:
    """Return what can be said of a record whose own content raised an exception."""
    return {
        "level": "ERROR",
        "logger": text_of(getattr(record, "name", None)),
        "message": text_of(getattr(record, "msg", None))[:_LARGEST_SHOWN],
        "error": f"this record cannot be encoded: {text_of(error)[:_LARGEST_SHOWN]}",
    }
