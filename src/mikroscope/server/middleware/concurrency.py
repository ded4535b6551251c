"""Limits how many requests are worked on at a time."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.server.responses import RETRY

Handler = Callable[[Request], Awaitable[Response]]


class ConcurrencyLimit:
    """Each request that is worked on occupies a slot; beyond the limit it gets 503 at once.

    While the server waits for a client to send a body or to take a response, its request needs no
    slot. Belongs to the event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    def limited(self, handler: Handler) -> Handler:
        """Make a handler occupy a slot while it makes its response."""

        async def in_slot(request: Request) -> Response:
            self._taken += 1
            try:
                self._check()
                return await handler(request)
            finally:
                self._taken -= 1

        return in_slot

    async def outside(self, body: Awaitable[bytes]) -> bytes:
        """Give up the slot while a body is read. Raises 503 if none is free afterwards."""
        self._taken -= 1
        try:
            content = await body
        finally:
            self._taken += 1
        self._check()
        return content

    def _check(self) -> None:
        if self._taken > self._limit:
            text = f"{self._limit} requests are being answered, which is the limit: try again"
            raise HTTPException(503, text, RETRY)
