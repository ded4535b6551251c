"""CORS headers on every answer, and the answer to every preflight request."""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "access-control-allow-methods": "GET,POST,PUT,OPTIONS",
    "access-control-allow-headers": "authorization,content-type",
    "access-control-max-age": "600",
}


class Cors:
    """Wraps an app; OPTIONS on one of `paths` is answered with 204."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], paths: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._any_origin = "*" in self._origins
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.add_headers(MutableHeaders(scope=message), origin)
            await send(message)

        if scope["method"] == "OPTIONS" and scope["path"] in self._paths:
            await send_with_headers({"type": "http.response.start", "status": 204, "headers": []})
            await send_with_headers({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send_with_headers)

    def add_headers(self, headers: MutableHeaders, origin: str | None) -> None:
        """Add what every answer has; `origin` is the request's."""
        headers.update(_ALWAYS)
        if self._any_origin:
            headers["access-control-allow-origin"] = "*"
            return
        headers.add_vary_header("Origin")
        if origin in self._origins:
            headers["access-control-allow-origin"] = origin
