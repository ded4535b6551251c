"""The payload of an ingest request: from a body to the lines that are appended to a file."""

import gzip
import zlib
from datetime import datetime
from io import BytesIO
from typing import NamedTuple

import msgspec

from mikroscope.errors import IngestError
from mikroscope.records import MAX_NESTING, Fields, NotARecordError, check_nesting, parse_json

_encode_lines = msgspec.json.Encoder().encode_lines


class Lines(NamedTuple):
    """Records of one request, ready to be appended."""

    path: str
    """The file, relative to the logs root."""
    content: bytes
    """Whole lines."""
    accepted: int
    rejected: int
    records: list[Fields] | None = None
    """What each line says, as `parse_line` would tell; None where that was not kept."""


def make_lines(body: bytes, producer: str, received_at: str) -> Lines:
    """Read `[{…}]` or `{"logs": [{…}]}` and set `producerId` and `ingestedAt` in each record.

    Items that are no objects are rejected, the others taken. `received_at` is ISO 8601 in UTC;
    its day names the file. Raises IngestError.
    """
    items = _parse_items(body)
    records: list[Fields] = [item for item in items if isinstance(item, dict)]
    for record in records:
        record["producerId"] = producer
        record["ingestedAt"] = received_at
    content = _encode_lines(records)
    _check_nesting(records, content)
    path = f"ingest/{producer}/{received_at[:10]}.ndjson"
    return Lines(path, content, len(records), len(items) - len(records), records)


def unpack_body(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as its `content-encoding` says. Raises IngestError, also for more than `limit`."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise IngestError(f"content-encoding is {encoding!r}, expected gzip or none", 415)
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as packed:
            content = packed.read(limit + 1)
    except EOFError:
        raise IngestError("the gzip body ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise IngestError(f"the body is not gzip: {error}") from None
    if len(content) > limit:
        raise body_too_large(limit)
    return content


def body_too_large(limit: int) -> IngestError:
    """The error for a body above the limit."""
    return IngestError(f"the body is larger than {limit} bytes: send fewer logs at a time", 413)


def receipt_time(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and Z."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _check_nesting(records: list[Fields], content: bytes) -> None:
    if content.count(b"{") + content.count(b"[") <= MAX_NESTING:  # of all of them together
        return
    try:
        for record, line in zip(records, content.splitlines(), strict=True):
            check_nesting(record, line)
    except NotARecordError as error:
        raise IngestError(f"a log is {error}") from None


def _parse_items(body: bytes) -> list[object]:
    if not body.strip():
        raise IngestError('the body is empty, expected [{…}] or {"logs": [{…}]}')
    try:
        payload, _ = parse_json(body)
    except NotARecordError as error:
        raise IngestError(f"the body cannot be read as JSON: {error}") from None
    items = payload.get("logs") if isinstance(payload, dict) else payload
    if not isinstance(items, list):
        raise IngestError('the body has another shape than [{…}] or {"logs": [{…}]}')
    return items
