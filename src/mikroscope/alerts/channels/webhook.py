"""The webhook channel: one POST with a time limit, whose errors do not show the URL."""

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mikroscope.errors import MikroScopeError
from mikroscope.records.printable import printable

if TYPE_CHECKING:
    import httpx

THREAD_NAME = "mikroscope-webhooks"
"""The name of the thread that calls `post`."""

_LINE_S = 1.0  # for the beginning of an answer's body
_LINE_BYTES = 300
_RETRIED = frozenset((408, 429))  # and every 5xx
_KEY_LENGTH = 6  # shorter parts of a URL are no keys


class DeliveryError(MikroScopeError):
    """The webhook did not accept a notification; the text says why and contains no URL."""


class RefusedError(DeliveryError):
    """The webhook gave an answer that another attempt would not change."""


async def post(url: str, body: bytes, timeout_s: float) -> None:
    """Post once; return when the head of an answer with a 2xx status has arrived.

    The time limit covers everything from looking up the name to that head, and the beginning of the
    body of another answer. Redirects are not followed. Raises DeliveryError with the status and
    the first line of the answer, RefusedError where another attempt cannot help.
    """
    logging.getLogger("httpx").addFilter(_drop_urls)
    status, line = await _answer(url, body, timeout_s)
    line = _without_keys(line, url)
    text = f"answered with status {status}" + (f": {line}" if line else "")
    if status in _RETRIED or status >= 500:
        raise DeliveryError(text)
    if not 200 <= status < 300:
        raise RefusedError(text)


async def _answer(url: str, body: bytes, timeout_s: float) -> tuple[int, str]:
    """Post; return the status, and unless that is a success the first line of the answer."""
    import httpx  # a server that sends no alerts does not load it

    headers = {"content-type": "application/json", "user-agent": "mikroscope"}
    connections: list[Any] = []

    async def trace(event: str, details: Mapping[str, Any]) -> None:
        if event.endswith(".connect_tcp.complete"):
            connections.append(details["return_value"])

    try:
        client = httpx.AsyncClient(timeout=None, verify=_trusted())  # noqa: S113 -- limited below
        async with (
            asyncio.timeout(timeout_s),
            client,
            client.stream(
                "POST", url, content=body, headers=headers, extensions={"trace": trace}
            ) as answer,
        ):
            line = "" if answer.is_success else await _first_line(answer)
            return answer.status_code, line
    except TimeoutError:
        raise DeliveryError(f"gave no answer within {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise DeliveryError(f"cannot be reached: {_reason(error)}") from None
    finally:
        for connection in connections:  # httpcore leaves one open whose TLS handshake is cancelled
            await connection.aclose()


async def _first_line(answer: "httpx.Response") -> str:
    """Return the first line of an answer's body, as far as it comes soon and is short."""
    import httpx

    content = b""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_LINE_S):
            async for part in answer.aiter_bytes(_LINE_BYTES):
                content += part
                if len(content) >= _LINE_BYTES or b"\n" in content.strip():
                    break
    lines = content[:_LINE_BYTES].decode("utf-8", "replace").strip().splitlines()
    return printable(lines[0].strip()) if lines else ""


def _without_keys(line: str, url: str) -> str:
    """Return the line of an answer without the parts of the URL that may be keys.

    Some servers answer "Cannot POST /services/T0/B0/key".
    """
    parts = urlsplit(url)
    words = re.split(r"[/&=?]", f"{parts.path}?{parts.query}")
    keys = [word for word in words if len(word) >= _KEY_LENGTH and not word.isalpha()]
    hidden = [url, parts.path, parts.query, parts.username, parts.password, *keys]
    for part in sorted(filter(None, hidden), key=len, reverse=True):
        for spelling in (part, unquote(part)):
            line = line.replace(spelling, "…") if len(spelling) > 1 else line
    return line


def _drop_urls(record: logging.LogRecord) -> bool:
    """Keep httpx, here, from logging the URL of each request: it may hold a key."""
    return record.threadName != THREAD_NAME


def _reason(error: BaseException) -> str:
    """Return the text of the system's error below httpx's, which often only says that it failed."""
    text = str(error) or type(error).__name__
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno:
            # asyncio adds the address to the text of a connection that is refused.
            text = os.strerror(inner.errno) if isinstance(inner, ConnectionError) else str(inner)
        inner = inner.__cause__ or inner.__context__
        if isinstance(inner, BaseExceptionGroup):  # one error for each address of the host
            inner = inner.exceptions[0]
    return text


@cache
def _trusted() -> ssl.SSLContext:
    """Trust the system's certificates (also those of SSL_CERT_FILE) and certifi's."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
