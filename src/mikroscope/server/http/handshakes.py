"""Accepts TLS connections: how many handshakes may be unfinished, and how long each may take."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

_RETRY_S = 1.0  # after an accept that failed: the process or the system has no descriptor left


class TlsServer:
    """Accepts connections from a listening socket; each gets its protocol after its handshake.

    A client that has not finished its handshake has no protocol yet, so it is counted here: of
    more than `limit` unfinished ones, the oldest is closed. It has the interface of asyncio.Server
    that uvicorn uses, and belongs to the event loop.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        make_connection: Callable[[], asyncio.Protocol],
        *,
        limit: int,
        seconds: float,
    ) -> None:
        self._listener = listener
        self._context = context
        self._make_connection = make_connection
        self._limit = limit
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._unfinished: dict[asyncio.Task[None], None] = {}
        listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept nothing any more, and give up the handshakes that are unfinished."""
        self._accepting.cancel()
        for task in list(self._unfinished):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when nothing is left of what `close` has given up."""
        await asyncio.gather(self._accepting, *self._unfinished, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listener)
            except ConnectionError:  # the client has gone before it was accepted
                continue
            except OSError as error:
                logger.warning("a connection cannot be accepted: %s", error.strerror)
                await asyncio.sleep(_RETRY_S)
                continue
            task = self._loop.create_task(self._finish(accepted))
            self._unfinished[task] = None
            task.add_done_callback(self._unfinished.pop)
            if len(self._unfinished) > self._limit:
                next(iter(self._unfinished)).cancel()

    async def _finish(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # no TLS, another version, the time is over, the client has gone
            await self._loop.connect_accepted_socket(
                self._make_connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
            )
