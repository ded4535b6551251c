"""A server that answers every request with OK, to measure the limit of the load generator."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from benches.load import HEAD_END, LENGTH

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK"


class Trivial(asyncio.Protocol):
    """Answer each request once it is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for the responses."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Count bytes; a client sends one request at a time."""
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        length = LENGTH.search(self._buffer, 0, max(end, 0))
        if end >= 0 and len(self._buffer) >= end + len(HEAD_END) + int(length[1] if length else 0):
            self._buffer = b""
            self._transport.write(ANSWER)


async def serve_forever() -> None:
    """Listen on a free port, and print the URL."""
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@contextmanager
def trivial_server() -> Iterator[str]:
    """Run a trivial server in another process, and yield its URL."""
    command = [sys.executable, "-m", "benches.trivial"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    uvloop.run(serve_forever())
