"""A real HTTP server that receives webhooks, and misbehaves on request."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# In place of a status:
DROP = -1  # close the connection without an answer
HANG = -2  # do not answer
HOLD = 0  # answer with 200 once `held` is set
DRIP = -3  # send the head of an answer byte by byte, without an end
DRIP_BODY = -4  # send the head, and the body byte by byte without an end


class Catcher(ThreadingHTTPServer):
    """Answers with the given statuses, one after the other, then with 200."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.payloads: list[dict[str, Any]] = []
        self.refused_rules: set[str] = set()  # answered with 404
        self.refusal = b""  # the body of such answers
        self.requests = 0
        self.closing = threading.Event()
        self.held = threading.Event()
        self.left = threading.Event()  # a client closed its connection before the whole answer
        self.scheme = "http"

    @property
    def url(self) -> str:
        """The URL to post webhooks to."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/hook"

    def rules(self) -> list[str]:
        """Return the rules that were delivered, in order."""
        return [payload["rule"] for payload in self.payloads]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close their connection."""


class _Handler(BaseHTTPRequestHandler):
    server: Catcher

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == HOLD:
            self.server.held.wait()
            status = 200
        if status == HANG:
            self._hang()
        if status in (DRIP, DRIP_BODY):
            self._drip(b"\r\n" if status == DRIP_BODY else b"")
        if status < 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if json.loads(body).get("rule") in self.server.refused_rules:
            status = 404
        if status == 200:
            self.server.payloads.append(json.loads(body))
        self.send_response(status)
        answer = self.server.refusal if status >= 400 else b""
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _hang(self) -> None:
        """Send nothing until the client has closed its connection or the catcher is closed."""
        self.connection.settimeout(0.02)
        while not self.server.closing.is_set():
            try:
                has_left = not self.connection.recv(1)
            except TimeoutError:
                continue
            except OSError:
                has_left = True
            if has_left:
                self.server.left.set()
                return

    def _drip(self, head_end: bytes) -> None:
        """Send byte after byte until the client closes its connection or the catcher is closed."""
        self.connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n" + head_end)
        try:
            while not self.server.closing.wait(0.02):
                self.connection.sendall(b"x")
        except OSError:
            self.server.left.set()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1, and its key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return directory / "cert.pem", directory / "key.pem"


@contextmanager
def catching(*statuses: int, certificate: tuple[Path, Path] | None = None) -> Iterator[Catcher]:
    """Run a catcher, over TLS if a certificate and its key are given."""
    catcher = Catcher(*statuses)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        catcher.socket = context.wrap_socket(catcher.socket, server_side=True)
        catcher.scheme = "https"
    thread = threading.Thread(target=catcher.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield catcher
    finally:
        catcher.closing.set()
        catcher.held.set()
        catcher.shutdown()
        thread.join()
        catcher.server_close()
