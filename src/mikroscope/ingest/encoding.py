"""The content-encoding of a body, and its size limit."""

import gzip
import zlib
from io import BytesIO

from mikroscope.errors import IngestError


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
