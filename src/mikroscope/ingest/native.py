"""Parses the body of MikroScope's own ingest format into lines to append to a log file."""

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


def make_batch(body: bytes, producer: str, received_at: str) -> IngestBatch:
    """Parse `[{…}]` or `{"logs": [{…}]}` and set `producerId` and `ingestedAt` in each record.

    Items that are not objects are counted as rejected; the others are accepted. `received_at` is
    ISO 8601 in UTC, and its day is part of the file's name. Raises IngestError.
    """
    items = _parse_items(body)
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


def _parse_items(body: bytes) -> list[object]:
    if not body.strip():
        raise IngestError('the body is empty, expected [{…}] or {"logs": [{…}]}')
    try:
        payload, _ = parse_json(body)
    except NotARecordError as error:
        raise IngestError(f"the body is {error}") from None
    items = payload.get("logs") if isinstance(payload, dict) else payload
    if not isinstance(items, list):
        raise IngestError('the body has the wrong shape, expected [{…}] or {"logs": [{…}]}')
    if len(items) > MAX_RECORDS:
        text = f"Payload too large: {len(items)} records, send at most {MAX_RECORDS} per request"
        raise IngestError(text, 413)
    return items
