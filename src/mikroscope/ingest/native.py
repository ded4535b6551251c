"""Parses the body of MikroScope's own ingest format into lines to append to a log file."""

import re
from io import BytesIO

import msgspec

from mikroscope.errors import IngestError
from mikroscope.ingest.batch import IngestBatch
from mikroscope.records.parsing import (
    MAX_NESTING,
    Fields,
    NotARecordError,
    check_nesting,
    parse_json,
)

MAX_RECORDS = 100_000  # of one request
_encode_lines = msgspec.json.Encoder().encode_lines
_BOM = b"\xef\xbb\xbf"
_EXPECTED = 'expected [{…}], {"logs": [{…}]}, one record {…}, or one record per line'
_LINES_TYPE = re.compile(r".+/(x-)?(ndjson|jsonl|json-?lines|stream\+json)")
_KINDS: dict[type, str] = {str: "a string", bool: "a boolean", type(None): "null"}
_PLACE = re.compile(r": line 1 (column \d+) \(char \d+\)$")


def make_batch(body: bytes, producer: str, received_at: str, content_type: str = "") -> IngestBatch:
    """Parse a body and set `producerId` and `ingestedAt` in each record.

    The body is `[{…}]`, `{"logs": [{…}]}`, any other object as a single record, or NDJSON: one
    record per line, if `content_type` says so or if the body has several lines and is not one JSON
    text. Items that are not objects are counted as rejected; the others are accepted. `received_at`
    is ISO 8601 in UTC, and its day is part of the file's name. Raises IngestError; then no part of
    the body is taken.
    """
    items = _parse_items(body.removeprefix(_BOM), content_type)
    records: list[Fields] = [item for item in items if isinstance(item, dict)]
    for record in records:
        record["producerId"] = producer
        record["ingestedAt"] = received_at
    content = _encode_lines(records)
    _check_nesting(records, content)
    path = f"ingest/{producer}/{received_at[:10]}.ndjson"
    return IngestBatch(path, content, len(records), len(items) - len(records), records)


def _check_nesting(records: list[Fields], content: bytes) -> None:
    # Few brackets in all records together mean that no single one is nested too deeply.
    if content.count(b"{") + content.count(b"[") <= MAX_NESTING:
        return
    try:
        for record, line in zip(records, content.splitlines(), strict=True):
            check_nesting(record, line)
    except NotARecordError as error:
        raise IngestError(f"a record is {error}") from None


def _parse_items(body: bytes, content_type: str) -> list[object]:
    if _is_lines_type(content_type):
        return _parse_lines(body)
    try:
        payload, _ = parse_json(body)
    except NotARecordError as error:
        if not body.strip() or _looks_like_lines(body):
            return _parse_lines(body)
        raise _invalid_json(str(error)) from None
    items = _items_of(payload)
    if len(items) > MAX_RECORDS:
        raise _too_many(str(len(items)))
    return items


def _items_of(payload: object) -> list[object]:
    if isinstance(payload, list):
        return payload
    if not isinstance(payload, dict):
        raise _wrong_shape(f"got {_KINDS.get(type(payload), 'a number')}")
    if not payload:
        raise _wrong_shape("got an object without fields")
    logs = payload.get("logs", [payload])
    if not isinstance(logs, list):
        raise _wrong_shape("'logs' is not an array")
    return logs


# --- one record per line ------------------------------------------------------------------------


def _is_lines_type(content_type: str) -> bool:
    name = content_type.partition(";")[0].strip().lower()
    return _LINES_TYPE.fullmatch(name) is not None


def _looks_like_lines(body: bytes) -> bool:
    """Return whether the first of several lines is a JSON text of its own."""
    first, _, rest = body.lstrip().partition(b"\n")
    if not rest.strip():
        return False
    try:
        parse_json(first)
    except NotARecordError:
        return False
    return True


def _parse_lines(body: bytes) -> list[object]:
    """Return the value of each line that is not blank."""
    items: list[object] = []
    for number, raw in enumerate(BytesIO(body), 1):
        line = raw.rstrip()
        if not line:
            continue
        if len(items) == MAX_RECORDS:
            raise _too_many(f"more than {MAX_RECORDS}")
        try:
            items.append(parse_json(line)[0])
        except NotARecordError as error:
            text = _PLACE.sub(r" at \1", str(error))
            raise _invalid_json(f"line {number} is {text}") from None
    if not items:
        raise _invalid_json(f"the body is empty, {_EXPECTED}")
    return items


# --- errors -------------------------------------------------------------------------------------


def invalid_json(reason: str) -> str:
    """Return the text of the error for a body that is not JSON."""
    return f"Invalid JSON payload: {reason.removeprefix('not JSON: ')}"


def _invalid_json(reason: str) -> IngestError:
    return IngestError(invalid_json(reason))


def _wrong_shape(what: str) -> IngestError:
    return IngestError(f"Invalid ingest payload: {what}, {_EXPECTED}")


def _too_many(count: str) -> IngestError:
    text = f"Payload too large: {count} records, send at most {MAX_RECORDS} per request"
    return IngestError(text, 413)
