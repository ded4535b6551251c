"""How many requests are worked on at a time."""

from starlette.types import ASGIApp, Receive, Scope, Send

from mikroscope.server.responses import RETRY, error_response

_ALWAYS_TAKEN = frozenset(("/health", "/metrics"))


class ConcurrencyLimit:
    """Answers requests above the limit with 503 at once, so that none waits without end."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ALWAYS_TAKEN:
            await self._app(scope, receive, send)
        elif self._running >= self._limit:
            text = f"{self._limit} requests are being answered, which is the limit: try again"
            await error_response(503, text, RETRY)(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1
