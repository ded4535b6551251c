"""What a record of MikroScope says of a `logging.LogRecord`."""

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
# The names other loggers' levels map to, so that all of them are counted together.
_BANDS = ((50, "FATAL"), (40, "ERROR"), (30, "WARN"), (20, "INFO"), (10, "DEBUG"))
_STANDARD = dict(_BANDS)
_WORDS = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_LARGEST_SHOWN = 1000  # characters of a record that cannot be read


def encode_record(record: logging.LogRecord, constants: Mapping[str, object]) -> bytes:
    """One JSON object in UTF-8, in one line. Never raises for what a record holds."""
    try:
        return to_json(fields_of(record, constants))
    except Exception as error:
        return to_json(_unreadable(record, error))


def fields_of(record: logging.LogRecord, constants: Mapping[str, object]) -> dict[str, Any]:
    """The fields: what `logging` knows, what the call added, and `constants` where it did not.

    A name given by `extra` that is one of OWN_NAMES goes into the object `extra`. A message that
    is a dict (structlog's, say) is the record itself: its names go before ours.
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
    said = record.msg if isinstance(record.msg, dict) else None
    if said is None:
        fields["message"] = _message_of(record)
    _add_exception(fields, record.exc_info, record.exc_text)
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    _add_extra(fields, constants, record)
    if said is not None:
        _add_said(fields, said)
    return fields


def iso_time(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds and Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _level_of(record: logging.LogRecord) -> str:
    """Python's own five by their number, others by their name; a number without a name by its
    band."""
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
    except Exception:  # arguments that do not fit: better the parts than nothing
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _add_exception(fields: dict[str, Any], info: object, text: str | None) -> None:
    """`error`, from what `exc_info` holds or from the text that another handler has kept."""
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


def _add_said(fields: dict[str, Any], said: dict[Any, Any]) -> None:
    """The fields of a message that is a dict."""
    rest = dict(said)
    info = rest.pop("exc_info", None)
    if info:
        _add_exception(fields, sys.exc_info() if info is True else info, None)
    fields.update(rest)
    level = fields["level"]
    if isinstance(level, str):
        fields["level"] = _WORDS.get(level.upper(), level.upper())


def _unreadable(record: logging.LogRecord, error: Exception) -> dict[str, str]:
    """For a record that somebody has broken: whatever can be told of it."""
    return {
        "level": "ERROR",
        "logger": text_of(getattr(record, "name", None)),
        "message": text_of(getattr(record, "msg", None))[:_LARGEST_SHOWN],
        "error": f"this record cannot be read: {text_of(error)[:_LARGEST_SHOWN]}",
    }
