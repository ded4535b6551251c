"""Adds CORS headers to every response, and answers preflight requests."""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = list[tuple[bytes, bytes]]

_ALWAYS = (
    (b"access-control-allow-methods", b"GET,POST,PUT,OPTIONS"),
    (b"access-control-allow-headers", b"authorization,content-type"),
    (b"access-control-max-age", b"600"),
)
_ANY_ORIGIN = b"access-control-allow-origin", b"*"


class CorsMiddleware:
    """Wraps an app; OPTIONS on one of `paths` gets 204."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], paths: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._any_origin = "*" in self._origins
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = None if self._any_origin else Headers(scope=scope).get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self.with_headers(message["headers"], origin)
            await send(message)

        if scope["method"] == "OPTIONS" and scope["path"] in self._paths:
            await send_with_headers({"type": "http.response.start", "status": 204, "headers": []})
            await send_with_headers({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send_with_headers)

    def with_headers(self, headers: RawHeaders, origin: str | None) -> RawHeaders:
        """Append the CORS headers to others; `origin` is that of the request."""
        headers = [*headers, *_ALWAYS]
        if self._any_origin:
            return [*headers, _ANY_ORIGIN]
        answered = MutableHeaders(raw=headers)
        answered.add_vary_header("Origin")
        if origin in self._origins:
            answered["access-control-allow-origin"] = origin
        return headers
