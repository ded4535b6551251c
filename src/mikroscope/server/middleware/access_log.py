"""Gives every request an id, counts it, and logs it if that is enabled or if it failed."""

import logging
import os
import re
from collections.abc import Callable, Collection
from itertools import count
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("mikroscope.requests")

FIELDS = "fields"
"""The key of a log call's fields: `logger.info(…, extra={FIELDS: {…}})`."""
PRODUCER = "mikroscope.producer"
"""The key of the producer in a request's scope, once it is known."""

ObserveRequest = Callable[[str, str, int, float], None]
"""Called for each request with its method, its route (or `other`), the status, and seconds."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset(("GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "PATCH"))


class AccessLogMiddleware:
    """Wraps an app; with `log_all` it logs every request, otherwise only those that get 5xx.

    A line contains neither headers nor query nor body, and so no secret.
    """

    def __init__(
        self, app: ASGIApp, paths: Collection[str], log_all: bool, observe: ObserveRequest
    ) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._log_all = log_all
        self._observe = observe
        self._prefix = os.urandom(4).hex()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = self._id(scope)
        header = (b"x-request-id", request_id.encode())
        status = sent = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = scope["path"] if scope["path"] in self._paths else "other"
            self._observe(method, route, status, seconds)
            if self._log_all or status >= 500:
                _log(scope, request_id, status, seconds, sent)

    def _id(self, scope: Scope) -> str:
        """The client's own id if it is valid, else a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ID.fullmatch(value):
                return str(value, "ascii")
        return f"{self._prefix}-{next(self._numbers):x}"


def _log(scope: Scope, request_id: str, status: int, seconds: float, sent: int) -> None:
    client = scope.get("client")
    path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
    fields: dict[str, object] = {
        "requestId": request_id,
        "method": scope["method"],
        "path": path,
        "status": status,
        "durationMs": round(seconds * 1000, 3),
        "bytesIn": _announced(scope),
        "bytesOut": sent,
        "client": client[0] if client else None,
    }
    if PRODUCER in scope:
        fields["producer"] = scope[PRODUCER]
    level = logging.ERROR if status >= 500 else logging.INFO
    text = "%s %s %d %.1f ms %s"
    values = (scope["method"], path, status, seconds * 1000, request_id)
    logger.log(level, text, *values, extra={FIELDS: fields})


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else 0
