"""Finds the records inside of a line that only carries them.

Docker writes what a program prints as a string in `log`, and journald in `MESSAGE`: where that is a
JSON object, it is the record. A collector's file exporter writes one line of OTLP JSON
(opentelemetry-proto, logs.proto) for many log records.
"""

from itertools import islice
from typing import Any

import msgspec

from mikroscope.records.attributes import find_time
from mikroscope.records.parsing import Fields, NotARecordError, parse_line

OTLP_KEY = "resourceLogs"
DOCKER_KEY = "log"
JOURNALD_KEY = "MESSAGE"
# What Docker itself adds to a line; `time` is kept where the record inside has none.
_DOCKER_FIELDS = frozenset(("log", "stream", "time"))
# An app's own record, in which `log` is one field of many.
_OWN_FIELDS = ("message", "msg", "MESSAGE", "textPayload", "body", "event", "level")
_TIME_NAMES = ("time", "@timestamp")
# A line with these alone is OTLP even where it holds no log record: the last two come from ingest.
_AROUND_OTLP = {OTLP_KEY, "producerId", "ingestedAt"}
_encode = msgspec.json.Encoder().encode

Record = tuple[Fields, bytes]


def unwrap(fields: Fields, raw: bytes) -> list[Record]:
    """Return the records of a line, each with its text; the line itself if it is one.

    Only a line with one of the three keys can hold others.
    """
    if isinstance(fields.get(OTLP_KEY), list):
        return _otlp_records(fields) or ([] if fields.keys() <= _AROUND_OTLP else [(fields, raw)])
    inner = None
    if DOCKER_KEY in fields:
        if not any(name in fields for name in _OWN_FIELDS):
            inner = _inner_record(fields, DOCKER_KEY, _DOCKER_FIELDS)
    elif JOURNALD_KEY in fields:
        inner = _inner_record(fields, JOURNALD_KEY, frozenset((JOURNALD_KEY,)))
    return [(fields, raw)] if inner is None else unwrap(*inner)


def _inner_record(outer: Fields, key: str, left_out: frozenset[str]) -> Record | None:
    """Return the JSON object in a field as a record, with what else the line says of it."""
    text = outer[key]
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        fields, raw = parse_line(text.strip().encode())
    except NotARecordError:
        return None
    more = {name: outer[name] for name in outer if name not in left_out and name not in fields}
    if key == DOCKER_KEY and "time" in outer and find_time(fields).milliseconds is None:
        # A time that the record itself has is not set, or cannot be read: it stays as it is.
        free = (name for name in _TIME_NAMES if name not in fields)
        more.update((name, outer["time"]) for name in islice(free, 1))
    if not more:
        return fields, raw
    fields = {**fields, **more}
    return fields, _encode(fields)


# --- OTLP -----------------------------------------------------------------------------------


def _otlp_records(fields: Fields) -> list[Record]:
    """Return the log records of a line; attributes of resource, scope and record are fields.

    So is what else the line says, such as the producer that sent it.
    """
    records = []
    more = {name: value for name, value in fields.items() if name != OTLP_KEY}
    for resource_logs in _objects(fields[OTLP_KEY]):
        resource = _attributes(_object(resource_logs.get("resource")))
        scopes = resource_logs.get("scopeLogs", resource_logs.get("instrumentationLibraryLogs"))
        for scope_logs in _objects(scopes):
            scope = _scope(_object(scope_logs.get("scope")))
            for log_record in _objects(scope_logs.get("logRecords")):
                record = _otlp_record(log_record, {**more, **resource, **scope})
                records.append((record, _encode(record)))
    return records


def _otlp_record(log_record: Fields, around: Fields) -> Fields:
    """Return a log record with its attributes, and what is around it, as fields of its own.

    The fields that OTLP names come first, then the record's attributes: an attribute with the name
    of one of these is called `attributes.<name>`.
    """
    record = {name: value for name, value in log_record.items() if name != "attributes"}
    if "body" in record:
        record["body"] = _value(record["body"])
    for name, value in _attributes(log_record).items():
        record[f"attributes.{name}" if name in record else name] = value
    return {**record, **{name: around[name] for name in around if name not in record}}


def _scope(scope: Fields) -> Fields:
    names = {f"scope.{key}": scope[key] for key in ("name", "version") if scope.get(key)}
    return {**names, **_attributes(scope)}


def _attributes(holder: Fields) -> Fields:
    """Return a holder's attributes by name, with plain JSON values."""
    return {
        pair["key"]: _value(pair.get("value"))
        for pair in _objects(holder.get("attributes"))
        if isinstance(pair.get("key"), str)
    }


def _value(any_value: object) -> object:
    """Return the plain JSON value of an AnyValue; 64-bit integers are strings in OTLP JSON."""
    if not isinstance(any_value, dict) or len(any_value) != 1:
        return any_value or None
    [(kind, value)] = any_value.items()
    if kind == "intValue":
        return int(value) if isinstance(value, str) and _is_integer(value) else value
    if kind in ("arrayValue", "kvlistValue"):
        values = value.get("values", []) if isinstance(value, dict) else value
        if not isinstance(values, list):  # the text of what lies too deep
            return values
        if kind == "arrayValue":
            return [_value(one) for one in values]
        return {str(pair.get("key")): _value(pair.get("value")) for pair in _objects(values)}
    return value if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue") else any_value


def _is_integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 20


def _object(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[Fields]:
    return [one for one in _list(value) if isinstance(one, dict)]
