"""Derives an entry's attributes (time, level, message, event, correlation, audit) from its fields.

Every function here only reads `fields`. `docs/reference.md` documents the rules for users.
"""

from mikroscope.records.conventions import (
    LEVEL_CONVENTIONS,
    MESSAGE_CONVENTIONS,
    TIME_FIELDS,
    json_text,
)
from mikroscope.records.fields import BOOLEAN_WORDS, field_values, scalar_text
from mikroscope.records.levels import DEFAULT_LEVEL
from mikroscope.records.parsing import Fields
from mikroscope.records.timestamps import parse_time

MISSING = "(missing)"
DEFAULT_EVENT = "log.event"


def time_of(fields: Fields) -> tuple[int, str] | None:
    """Return epoch milliseconds and the name of the field they came from.

    The first of TIME_FIELDS that holds a valid time wins; None if none does.
    """
    for name in TIME_FIELDS:
        value = fields.get(name)
        if value is not None:
            milliseconds = parse_time(value)
            if milliseconds is not None:
                return milliseconds, name
    return None


def level_of(fields: Fields) -> str:
    """Return the text in `level` in upper case, else a severity, else INFO.

    A text in `level` is never mapped to one of the six severities, because clients filter by the
    name their logger wrote. Other conventions (numbers, `severity`, …) map to TRACE … FATAL.
    """
    level = fields.get("level")
    if type(level) is str and level:
        return level.upper()
    for name, read in LEVEL_CONVENTIONS:
        for value in field_values(fields, name):
            found = read(value)
            if found:
                return found
    return DEFAULT_LEVEL


def message_of(fields: Fields) -> str:
    """Return `message`, else the field of the logger's convention, else an empty string.

    A value that is not a string is returned as JSON text.
    """
    message = fields.get("message")
    if type(message) is str:
        return message
    if message is not None:
        return json_text(message)
    for name, read in MESSAGE_CONVENTIONS:
        for value in field_values(fields, name):
            found = read(value)
            if found is not None:
                return found
    return ""


def event_of(fields: Fields) -> str:
    """Return `event` if it is a non-empty string, else the message, else `log.event`."""
    event = fields.get("event")
    if type(event) is str and event:
        return event
    return message_of(fields) or DEFAULT_EVENT


def correlation_of(fields: Fields) -> str | None:
    """Return `correlationId`, else `requestId`; None if neither has a usable value."""
    return correlation_text(fields.get("correlationId")) or correlation_text(
        fields.get("requestId")
    )


def correlation_text(value: object) -> str | None:
    """Return an id as text; None for null, booleans, objects, arrays and the empty string."""
    if value is None or isinstance(value, bool):
        return None
    return scalar_text(value) or None


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
