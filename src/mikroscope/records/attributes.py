"""Derives an entry's attributes (time, level, message, event, correlation, audit) from its fields.

Every function here only reads `fields`. `docs/reference.md` documents the rules for users.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mikroscope.records.conventions import (
    CORRELATION_FIELDS,
    LEVEL_KEYS,
    MESSAGE_KEYS,
    TIME_KEYS,
    Key,
    json_text,
)
from mikroscope.records.fields import BOOLEAN_WORDS, field_values, scalar_text
from mikroscope.records.levels import DEFAULT_LEVEL, level_named
from mikroscope.records.parsing import Fields
from mikroscope.records.timestamps import is_unset, parse_time

MISSING = "(missing)"
DEFAULT_EVENT = "log.event"
_ZERO_TRACE = 16  # zeros that make up an id without a value


def _first_parts(names: Iterable[str]) -> frozenset[str]:
    """Return the keys one of which a record has if it has one of these fields."""
    return frozenset(part for name in names for part in (name, name.partition(".")[0]))


_TIME_STARTS = _first_parts(key.name for key in TIME_KEYS)
_LEVEL_STARTS = _first_parts(key.name for key in LEVEL_KEYS)
_MESSAGE_STARTS = _first_parts(key.name for key in MESSAGE_KEYS)
CORRELATION_STARTS = _first_parts(CORRELATION_FIELDS)
"""Keys one of which a record has if it has a correlation."""


class FoundTime(NamedTuple):
    """The time of a record; `name` and `value` are the field that it came from."""

    milliseconds: int | None
    """Epoch milliseconds; None if no field holds a time."""
    name: str
    value: object
    unreadable: str
    """The name of the first field that should hold a time and cannot be read; usually empty."""


NO_TIME = FoundTime(None, "", None, "")


def find_time(fields: Fields) -> FoundTime:
    """Return the time of a record: the first one that a field of TIME_KEYS holds.

    Values that stand for no time (`timestamps.is_unset`) are skipped, and so are others that are
    no time; the first of these is named in the result.
    """
    unreadable = ""
    if _TIME_STARTS.isdisjoint(fields):
        return NO_TIME
    for name, beside in TIME_KEYS:
        values = (fields[name],) if name in fields else _nested_values(fields, name)
        for value in values:
            if beside and not any(one in fields for one in beside):
                continue
            milliseconds = parse_time(value)
            if milliseconds is None:
                if not unreadable and not is_unset(value):
                    unreadable = name
            elif milliseconds > 0 or not is_unset(value):
                return FoundTime(milliseconds, name, value, unreadable)
    return FoundTime(None, "", None, unreadable) if unreadable else NO_TIME


def time_of(fields: Fields) -> tuple[int, str] | None:
    """Return epoch milliseconds and the name of the field they came from; None without a time."""
    found = find_time(fields)
    return None if found.milliseconds is None else (found.milliseconds, found.name)


def level_of(fields: Fields) -> str:
    """Return the text in `level` in upper case, else a severity, else INFO.

    A text in `level` is never mapped to one of the six severities, because clients filter by the
    name their logger wrote. Other conventions (numbers, `severity`, …) map to TRACE … FATAL.
    """
    level = fields.get("level")
    if type(level) is str and (level := level_named(level)):
        return level
    if _LEVEL_STARTS.isdisjoint(fields):
        return DEFAULT_LEVEL
    return next(_readings(fields, LEVEL_KEYS), DEFAULT_LEVEL)


def message_of(fields: Fields) -> str:
    """Return `message`, else the field of the logger's convention, else an empty string.

    A value that is not a string is returned as JSON text.
    """
    message = fields.get("message")
    if type(message) is str:
        return message
    if message is not None:
        return json_text(message)
    if _MESSAGE_STARTS.isdisjoint(fields):
        return ""
    return next(_readings(fields, MESSAGE_KEYS), "")


def _readings(fields: Fields, keys: Iterable[Key]) -> Iterator[str]:
    """Yield what the fields of a table mean, in its order."""
    for name, read, beside in keys:
        if beside and not any(one in fields for one in beside):
            continue
        for value in (fields[name],) if name in fields else _nested_values(fields, name):
            found = read(value)
            if found is not None:
                yield found


def _nested_values(fields: Fields, name: str) -> Iterable[object]:
    return field_values(fields, name) if "." in name else ()


def event_of(fields: Fields) -> str:
    """Return `event` if it is a non-empty string, else the message, else `log.event`."""
    event = fields.get("event")
    if type(event) is str and event:
        return event
    return message_of(fields) or DEFAULT_EVENT


def correlation_of(fields: Fields) -> str | None:
    """Return the first usable value of CORRELATION_FIELDS as text; None without one."""
    if CORRELATION_STARTS.isdisjoint(fields):
        return None
    for name in CORRELATION_FIELDS:
        for value in (fields[name],) if name in fields else _nested_values(fields, name):
            text = correlation_text(value)
            if text is not None:
                return text
    return None


def correlation_text(value: object) -> str | None:
    """Return an id as text; None for null, booleans, objects, arrays, and ids that are unset.

    Those are the empty string, and the zeros of a trace that is none (W3C Trace Context).
    """
    if value is None or isinstance(value, bool):
        return None
    text = scalar_text(value)
    if not text or (text[0] == "0" and len(text) >= _ZERO_TRACE and not text.strip("0-")):
        return None
    return text


def audit_of(fields: Fields, path_is_audit: bool) -> bool:
    """Return the field `audit` as a boolean; where it is missing or unclear, `path_is_audit`."""
    value = fields.get("audit")
    if value is None:
        return path_is_audit
    text = scalar_text(value)
    return BOOLEAN_WORDS.get(text.strip().lower(), path_is_audit) if text else path_is_audit


def is_audit_path(path: str) -> bool:
    """Return True if a directory on the path, relative to the logs root, is named `audit`.

    The name is case-insensitive.
    """
    return "audit" in path.lower().split("/")[:-1]
