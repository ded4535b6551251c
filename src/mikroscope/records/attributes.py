"""Derives an entry's attributes (time, level, message, event, correlation, audit) from its fields.

Every function here only reads `fields`. `docs/reference.md` documents the rules for users.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mikroscope.records.conventions import (
    CORRELATION_FIELDS,
    INGESTED_AT,
    LEVEL_KEYS,
    MESSAGE_KEYS,
    TIME_KEYS,
    Key,
    json_text,
)
from mikroscope.records.fields import BOOLEAN_WORDS, field_text, field_values, scalar_text
from mikroscope.records.levels import DEFAULT_LEVEL, SEVERITIES, level_named
from mikroscope.records.parsing import Fields
from mikroscope.records.templates import template_of
from mikroscope.records.timestamps import is_unset, parse_time

MISSING = "(missing)"
TEMPLATE_FIELD = "@template"
"""The name of a field that every record has: the template of its message, or of its event."""
DEFAULT_EVENT = "log.event"
# Each key of a table with the first part of its name: most records have few of them.
_TIME_KEYS = [(key, key.name.partition(".")[0]) for key in TIME_KEYS]
_LEVEL_KEYS = [(key, key.name.partition(".")[0]) for key in LEVEL_KEYS]
_MESSAGE_KEYS = [(key, key.name.partition(".")[0]) for key in MESSAGE_KEYS]
CORRELATION_KEYS = [(name, name.partition(".")[0]) for name in CORRELATION_FIELDS]
"""CORRELATION_FIELDS, each with the first part of its name."""
_DAY_LENGTH = 12  # characters of a date: 2026-02-18, 18 Feb 2026
_FIRST_EPOCH = 100_000_000  # seconds, of 1973; smaller numbers are dates: 20260218
_FIRST_EPOCH_MS = _FIRST_EPOCH * 1000
_ZERO_TRACE = 16  # zeros that make up an id without a value


def _first_parts(names: Iterable[str]) -> frozenset[str]:
    """Return the keys one of which a record has if it has one of these fields."""
    return frozenset(part for name in names for part in (name, name.partition(".")[0]))


_TIME_STARTS = _first_parts(key.name for key in TIME_KEYS)
LEVEL_STARTS = _first_parts(key.name for key in LEVEL_KEYS)
"""Keys one of which a record has if its level is not DEFAULT_LEVEL."""
MESSAGE_STARTS = _first_parts(key.name for key in MESSAGE_KEYS)
"""Keys one of which a record has if it has a message."""
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

    A small number, such as how long a request took, counts only if no other field of a logger does.
    Values that stand for no time (`timestamps.is_unset`) are skipped, and so are others that are
    no time; the first of these is named in the result.
    """
    if _TIME_STARTS.isdisjoint(fields):
        return NO_TIME
    name = "timestamp" if "timestamp" in fields else "time"
    milliseconds = parse_time(fields[name]) if name in fields else None
    if milliseconds is not None and milliseconds >= _FIRST_EPOCH_MS:
        return FoundTime(milliseconds, name, fields[name], "")
    return _search_time(fields)


def _search_time(fields: Fields) -> FoundTime:
    unreadable, doubtful = "", None
    for name, value in _time_values(fields):
        milliseconds = parse_time(value)
        if milliseconds is None:
            if not unreadable and not is_unset(value):
                unreadable = name
        elif doubtful and name == INGESTED_AT:
            break
        elif not (
            (milliseconds <= 0 and is_unset(value))
            or (name == "date" and unreadable != "time" and _is_day(value))
        ):
            found = FoundTime(milliseconds, name, value, unreadable)
            if milliseconds >= _FIRST_EPOCH_MS or name == "timestamp" or not _is_small(value):
                return found
            doubtful = doubtful or found
    if doubtful:
        return doubtful
    return FoundTime(None, "", None, unreadable) if unreadable else NO_TIME


def _time_values(fields: Fields) -> Iterator[tuple[str, object]]:
    """Yield name and value of each field that holds a time, in the order of TIME_KEYS."""
    for (name, beside), first in _TIME_KEYS:
        if name in fields:
            if not beside or not fields.keys().isdisjoint(beside):
                yield name, fields[name]
        elif first in fields:
            for value in field_values(fields, name):
                yield name, value


def _is_day(value: object) -> bool:
    """Return True for a day without a time of day: a due date, say, not when a line was logged.

    It counts beside a `time` that cannot be read, which is the time of that day.
    """
    if isinstance(value, str):
        return len(value) <= _DAY_LENGTH and ":" not in value and not _is_epoch(value)
    return _is_small(value)


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < _FIRST_EPOCH


def _is_epoch(text: str) -> bool:
    return text.isdecimal() and int(text) >= _FIRST_EPOCH


def time_of(fields: Fields) -> tuple[int, str] | None:
    """Return epoch milliseconds and the name of the field they came from; None without a time."""
    found = find_time(fields)
    return None if found.milliseconds is None else (found.milliseconds, found.name)


def level_of(fields: Fields) -> str:
    """Return the text in `level` in upper case, else a severity, else INFO.

    A text in `level` is never mapped to one of the six severities, because clients filter by the
    name their logger wrote. Other conventions (numbers, `severity`, …) map to TRACE … FATAL: a name
    that means none of them counts only where no other field, such as its number, does.
    """
    level = fields.get("level")
    if type(level) is str and (level := level_named(level)):
        return level
    if LEVEL_STARTS.isdisjoint(fields):
        return DEFAULT_LEVEL
    own_name = ""
    for found in _readings(fields, _LEVEL_KEYS):
        if found in SEVERITIES:
            return found
        own_name = own_name or found
    return own_name or DEFAULT_LEVEL


def message_of(fields: Fields) -> str:
    """Return `message`, else the field of the logger's convention, else an empty string.

    A value that is not a string is returned as JSON text.
    """
    message = fields.get("message")
    if type(message) is str:
        return message
    if message is not None:
        return json_text(message)
    if MESSAGE_STARTS.isdisjoint(fields):
        return ""
    return next(_readings(fields, _MESSAGE_KEYS), "")


def _readings(fields: Fields, keys: Iterable[tuple[Key, str]]) -> Iterator[str]:
    """Yield what the fields of a table mean, in its order."""
    for (name, read, beside), first in keys:
        if first not in fields and name not in fields:
            continue
        if beside and fields.keys().isdisjoint(beside):
            continue
        for value in (fields[name],) if name in fields else field_values(fields, name):
            found = read(value)
            if found is not None:
                yield found


def event_of(fields: Fields) -> str:
    """Return `event` if it is a non-empty string, else the message, else `log.event`."""
    event = fields.get("event")
    if type(event) is str and event:
        return event
    return message_of(fields) or DEFAULT_EVENT


def entry_template(fields: Fields) -> str:
    """Return the text of the record's own field TEMPLATE_FIELD, else its message's template.

    Without a message it is the template of its event.
    """
    own = field_text(fields, TEMPLATE_FIELD)
    return template_of(message_of(fields) or event_of(fields)) if own is None else own


def correlation_of(fields: Fields) -> str | None:
    """Return the first usable value of CORRELATION_FIELDS as text; None without one."""
    if CORRELATION_STARTS.isdisjoint(fields):
        return None
    for name, first in CORRELATION_KEYS:
        if first not in fields and name not in fields:
            continue
        for value in (fields[name],) if name in fields else field_values(fields, name):
            text = correlation_text(value)
            if text is not None:
                return text
    return None


def correlation_text(value: object) -> str | None:
    """Return an id as text; None for null, booleans, objects, arrays, and ids that are unset.

    Those are the empty string, and the zeros of a trace that is none (W3C Trace Context).
    """
    if type(value) is str:
        text = value
    elif value is None or isinstance(value, bool):
        return None
    else:
        text = scalar_text(value) or ""
    if not text or (
        text[0] == text[-1] == "0" and len(text) >= _ZERO_TRACE and not text.strip("0-")
    ):
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
