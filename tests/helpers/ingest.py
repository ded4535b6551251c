"""A real HTTP server that replaces MikroScope's ingest endpoint and misbehaves on demand."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

TOKEN = "stub-token"


class Reply(NamedTuple):
    """The response to one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    payload: dict[str, Any] | None = None
    """None: the body that fits the status."""


DROP = Reply(-1)  # read the request, and close the connection without a response
HANG = Reply(-2)  # or respond only when the stub is closed
CLOSE = Reply(200, (("x-close", "yes"),))  # answer, and then close without announcing it


class IngestStub(ThreadingHTTPServer):
    """Sends the given replies, one per request, and 200 after them."""

    daemon_threads = True

    def __init__(self, *replies: Reply, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.replies = list(replies)
        self.batches: list[list[dict[str, Any]]] = []
        self.taken: list[dict[str, Any]] = []
        self.connections = 0
        self.hung_up = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Return the base URL of the stub."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def messages(self) -> list[Any]:
        """Return the acknowledged messages in order, without the handler's own."""
        return [one["message"] for one in self.taken if one.get("event") != "logs.dropped"]

    def losses(self) -> list[int]:
        """Return the numbers of lost records that the handler has reported."""
        return [one["dropped"] for one in self.taken if one.get("event") == "logs.dropped"]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count the connections."""
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    server: IngestStub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        batch = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.batches.append(batch)
        reply = self.server.replies.pop(0) if self.server.replies else Reply()
        if reply == HANG:
            self.server.closing.wait()
        if reply.status < 0:
            self._hang_up()
            return
        payload = reply.payload
        if reply.status == 200 and payload is None:
            self.server.taken += batch
            payload = {"accepted": len(batch)}
        body = json.dumps(payload or {"error": "the stub does not want to"}).encode()
        self.send_response(reply.status)
        for header in (*reply.headers, ("content-length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)
        if reply == CLOSE:
            self._hang_up()

    def _hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.server.hung_up += 1

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def free_port() -> int:
    """Return a port on which no server listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def stub(*replies: Reply, port: int = 0) -> Iterator[IngestStub]:
    """Run a stub while the context lasts."""
    server = IngestStub(*replies, port=port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
