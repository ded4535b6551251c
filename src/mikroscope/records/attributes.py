"""A raw line becomes the fields of a record, and what MikroScope derives from them.

Which field holds the time, the level and the message in the logs of real loggers is listed in
`docs/reference.md`; a convention is recognised by its key, never by guessing from the value.
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
    for name, read in LEVEL_CONVENTIONS:
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
        return json_text(message)
    for name, read in MESSAGE_CONVENTIONS:
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
    return BOOLEAN_WORDS.get(text.strip().lower(), path_is_audit) if text else path_is_audit


def is_audit_path(path: str) -> bool:
    """Whether a path below the logs root has a directory named `audit`, in any case."""
    return "audit" in path.lower().split("/")[:-1]
