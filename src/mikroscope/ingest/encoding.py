"""Decodes the content-encoding of a request body within a size limit."""

import gzip
import zlib
from io import BytesIO

from mikroscope.errors import IngestError


def unpack_body(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body decoded as its `content-encoding` says.

    Raises IngestError, also if the decoded body is larger than `limit` bytes. The limit of a body
    without encoding is the caller's to check.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise IngestError(f"content-encoding is {encoding!r}, expected gzip or none", 415)
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as packed:
            content = packed.read(limit + 1)  # one more byte shows that the limit is exceeded
    except EOFError:
        raise IngestError("the gzip body is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise IngestError(f"the body is not gzip: {error}") from None
    if len(content) > limit:
        raise body_too_large(limit)
    return content


def body_too_large(limit: int) -> IngestError:
    """Return the error for a body of more than `limit` bytes."""
    text = f"Payload too large: the body has more than {limit} bytes, send fewer logs per request"
    return IngestError(text, 413)
