"""Answers a path with a trailing slash like the path without it."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """Wraps an app, which sees every path but `/` without its trailing slash.

    `raw_path` keeps it, for the log and for links that are relative to the address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/"):
            without = scope["path"][:-1]
            if without.strip("/"):
                scope = {**scope, "path": without}
        await self._app(scope, receive, send)
