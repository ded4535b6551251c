"""How many requests are worked on at a time."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.server.responses import RETRY

Endpoint = Callable[[Request], Awaitable[Response]]


class ConcurrencyLimit:
    """One for each request that is worked on; above the limit there is 503 at once.

    Waiting for a client, to send its body or to take its answer, is no work.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    def limited(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, in a slot while it makes its answer."""

        async def in_slot(request: Request) -> Response:
            self._taken += 1
            try:
                self._check()
                return await endpoint(request)
            finally:
                self._taken -= 1

        return in_slot

    async def outside(self, body: Awaitable[bytes]) -> bytes:
        """A body that is waited for without the slot. Raises 503 if none is left then."""
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
