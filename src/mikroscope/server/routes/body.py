"""Reads the body of a request, up to a limit."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from mikroscope.errors import IngestError
from mikroscope.ingest.encoding import body_too_large


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises IngestError if it is longer than `limit` bytes or incomplete."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise body_too_large(limit)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise body_too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise IngestError("the body ended too early") from None
    except asyncio.CancelledError:  # by a graceful stop whose time is over
        raise IngestError("the server is stopping, and the body is incomplete", 503) from None
    return b"".join(parts)
