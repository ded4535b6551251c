"""Makes the line of text that shows a log entry in a notification."""

from mikroscope.alerts.redaction import Redactor
from mikroscope.query.model import Entry
from mikroscope.records.attributes import DEFAULT_EVENT
from mikroscope.records.parsing import NotARecordError, parse_json
from mikroscope.records.printable import printable

_LONGEST_WORD = 40  # of a time or a level


def line_of(entry: Entry, redactor: Redactor) -> str:
    """Return time, level and message of an entry, on one line and without secrets.

    Without a message it is the event, and without that the whole record.
    """
    raw = bytes(entry.data)
    try:
        record = parse_json(raw)[0]
    except NotARecordError:
        record = {}
    message = entry.message.strip()
    if not message:
        message = entry.event if entry.event != DEFAULT_EVENT else raw.decode("utf-8", "replace")
    words = [printable(word[:_LONGEST_WORD]) for word in (entry.timestamp, entry.level)]
    return " ".join((*words, printable(redactor.mask(message, record))))
