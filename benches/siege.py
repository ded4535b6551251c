"""A siege: what strangers, files and disks may do to a server while two honest clients use it.

Each honest client sends a record every 100 ms and notes how long its answer took. It must never be
refused except with 503 and the reason. The test tests/system/test_siege.py runs every assault; the
scenario `siege` measures the longest wait and the memory under each.
"""

import contextlib
import gzip
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import NamedTuple

HONEST = ("honest-1", "honest-2")  # tokens; each client has a file of its own
_STRANGER = "stranger"
PAUSE_S = 0.1
_DESCRIPTORS = 512  # few, so that a flood of connections reaches the server's limit
_BODY_BYTES = 4 << 20
_HEAD = f"Host: x\r\nAuthorization: Bearer {_STRANGER}\r\n"


class Server:
    """A server process that is killed and started again on the same directories."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.index = directory / "index.db"
        self.stderr = directory / "stderr"
        self.starts = 0
        self.is_up = False
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return a command of the program on the server's directories."""
        program = [sys.executable, "-m", "mikroscope", *arguments]
        return [*program, "--logs", str(self.logs), "--db", str(self.index)]

    def start(self) -> None:
        """Start, and return when requests are answered."""
        options = ["--port", "0", "--min-free-bytes", "0", "--cors-allow-origin", "*"]
        tokens = ",".join(f"{token}={token}" for token in (*HONEST, _STRANGER))
        options += ["--ingest-producers", tokens]
        options += ["--ingest-max-body-bytes", str(_BODY_BYTES)]
        limit = f'ulimit -n {_DESCRIPTORS}; exec "$@"'
        with self.stderr.open("a") as stderr:
            self.process = subprocess.Popen(
                ["sh", "-c", limit, "sh", *self.command("serve", *options)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=self.directory,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if " listens on " not in line:
            raise AssertionError(f"the server did not start: {self.stderr.read_text()[-2000:]}")
        self.port = int(line.split(" listens on http://127.0.0.1:")[1].split()[0])
        self.starts += 1
        self.is_up = True

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal that ends the server; return its exit code."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.is_up = False
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process = None
        return code

    @property
    def life(self) -> int:
        """A number for each time between start and end; 0 while the server is down."""
        return self.starts if self.is_up else 0

    @property
    def pid(self) -> int:
        """The process id; `exec` has replaced the shell."""
        assert self.process is not None
        return self.process.pid

    def connect(self) -> socket.socket:
        """Open a connection that reads little at a time."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def post(self, body: bytes, **headers: str) -> int:
        """Send logs once; return the status, or 0 if the server has ended meanwhile."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/api/ingest", body, _headers(_STRANGER) | headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
        return answer.status


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json"}


class Producer:
    """An honest client in a thread of its own: a record every 100 ms, on one connection."""

    def __init__(self, server: Server, token: str, numbers: "count[int]") -> None:
        self.acknowledged: list[int] = []
        self.waits_s: list[float] = []
        self.refusals: list[str] = []
        """Answers of 503, with their reasons."""
        self.failures: list[str] = []
        """What must not happen: other statuses, no answer although the server lives."""
        self._server = server
        self._token = token
        self._numbers = numbers
        self._connection: HTTPConnection | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the record that is under way is answered."""
        self._stopping.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            number, life = next(self._numbers), self._server.life
            began = time.monotonic()
            try:
                status, text = self._send(number)
            except (OSError, HTTPException) as error:
                if life and self._server.life == life:
                    waited = time.monotonic() - began
                    self.failures.append(f"{type(error).__name__}: {error} after {waited:.1f} s")
                continue
            if life and self._server.life == life:
                self.waits_s.append(time.monotonic() - began)
            self._note(number, status, text)

    def _note(self, number: int, status: int, text: str) -> None:
        if status == 200:
            self.acknowledged.append(number)
        elif status == 503 and json.loads(text)["error"]:
            self.refusals.append(json.loads(text)["error"])
        else:
            self.failures.append(f"{status} {text[:200]}")

    def _send(self, number: int) -> tuple[int, str]:
        """Send on the connection that is open, or on a new one if it was closed meanwhile."""
        if self._connection is not None:
            with contextlib.suppress(OSError, HTTPException):
                return self._send_once(self._connection, number)
        self._connection = HTTPConnection("127.0.0.1", self._server.port, timeout=60)
        try:
            return self._send_once(self._connection, number)
        except (OSError, HTTPException):
            self._connection = None
            raise

    def _send_once(self, connection: HTTPConnection, number: int) -> tuple[int, str]:
        body = json.dumps([{"n": number, "message": f"honest record {number}"}])
        try:
            connection.request("POST", "/api/ingest", body, _headers(self._token))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            connection.close()
            self._connection = None
            raise


class Size(NamedTuple):
    """How much an assault does: it holds what it has done for some seconds."""

    hold_s: float
    connections: int
    megabytes: int
    files: int


SHORT = Size(hold_s=1, connections=400, megabytes=64, files=500)
LONG = Size(hold_s=10, connections=2_000, megabytes=2_000, files=10_000)

Assault = Callable[[Server, Size, random.Random], None]


def flood(words: str) -> Assault:
    """Return an assault by connections that say some words, if any, and then nothing more."""

    def assault(server: Server, size: Size, _chance: random.Random) -> None:
        with contextlib.ExitStack() as opened:
            for _ in range(size.connections):
                connection = opened.enter_context(server.connect())
                with contextlib.suppress(OSError):
                    connection.sendall(words.replace("HEAD", _HEAD).encode())
            time.sleep(size.hold_s)

    return assault


def dense_requests(server: Server, size: Size, _: random.Random) -> None:
    """Send as many records in one request as are allowed, then more than that."""
    assert server.post(_dense(100_000), **{"content-encoding": "gzip"}) in (0, 200, 503)
    assert server.post(_dense(349_000), **{"content-encoding": "gzip"}) in (0, 413)
    time.sleep(size.hold_s)


def _dense(records: int) -> bytes:
    return gzip.compress(b"[" + b",".join([b"{}"] * records) + b"]")


def many_field_names(server: Server, size: Size, chance: random.Random) -> None:
    """Send records with 10,000 field names each, other ones in each request."""
    for _ in range(size.files // 100):
        names = (f"{chance.getrandbits(40):x}" for _ in range(10_000))
        assert server.post(json.dumps([dict.fromkeys(names, 1)]).encode()) in (0, 200, 503)


@contextlib.contextmanager
def _file(server: Server, name: str) -> Iterator[Path]:
    server.logs.mkdir(parents=True, exist_ok=True)
    file = server.logs / name
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def endless_line(server: Server, size: Size, _chance: random.Random) -> None:
    """Write a line that does not end."""
    with _file(server, "endless.ndjson") as file, file.open("wb", buffering=0) as opened:
        for _ in range(size.megabytes):
            opened.write(b"x" * (1 << 20))
        time.sleep(size.hold_s)


def long_lines(server: Server, size: Size, _chance: random.Random) -> None:
    """Write lines of 31 MB, just below the limit."""
    with _file(server, "long.ndjson") as file:
        with file.open("wb") as opened:
            for _ in range(min(20, size.megabytes // 16)):
                opened.write(b'{"message":"' + b"long " * (31 << 18) + b'"}\n')
        time.sleep(size.hold_s)


def dense_file(server: Server, size: Size, _: random.Random) -> None:
    """Write the shortest records there are, as many as fit."""
    with _file(server, "dense.ndjson") as file:
        file.write_bytes(b"{}\n" * (size.megabytes * 1_000))
        time.sleep(size.hold_s)


def many_files(server: Server, size: Size, _: random.Random) -> None:
    """Write many files of one line each, and delete them while they are read."""
    server.logs.mkdir(parents=True, exist_ok=True)
    files = [server.logs / f"one-{number}.ndjson" for number in range(size.files)]
    for file in files:
        file.write_text('{"message":"one line"}\n')
    time.sleep(size.hold_s)
    for file in files:
        file.unlink()


def full_disk(server: Server, size: Size, _: random.Random) -> None:
    """Let no file grow for a while, which is what a full disk does."""
    files = [path for path in server.directory.rglob("*") if path.is_file()]
    limit = max(file.stat().st_size for file in files) + 20_000
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, unlimited))
    time.sleep(size.hold_s)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


def kill(server: Server, _: Size, chance: random.Random) -> None:
    """Kill the server at some moment and start it again."""
    time.sleep(chance.random())
    server.kill()
    server.start()


def start_during_rebuild(server: Server, _: Size, chance: random.Random) -> None:
    """Kill the server and start it while a command rebuilds the index."""
    server.kill()
    rebuild = server.command("index", "--rebuild")
    with subprocess.Popen(rebuild, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        time.sleep(chance.random() * 0.8)
        server.start()


def signals(server: Server, _size: Size, chance: random.Random) -> None:
    """Send the signals that must not end a server."""
    for _ in range(20):
        server_signal = chance.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))
        os.kill(server.pid, server_signal)
        time.sleep(0.02)


ASSAULTS: dict[str, Assault] = {
    "silent connections": flood(""),
    "idle connections": flood("GET /health HTTP/1.1\r\nHEAD\r\n"),
    "half a head": flood("GET /health HTTP/1.1\r\nHost:"),
    "half a body": flood("POST /api/ingest HTTP/1.1\r\nHEADContent-Length: 1000\r\n\r\n[{"),
    "unread answers": flood("GET /docs/scalar.js HTTP/1.1\r\nHEAD\r\n" * 3),
    "unread pages of 1,000": flood("GET /api/logs?limit=1000 HTTP/1.1\r\nHEAD\r\n"),
    "requests of 100,000 records": dense_requests,
    "10,000 field names": many_field_names,
    "a line without an end": endless_line,
    "lines of 31 MB": long_lines,
    "a file of {}": dense_file,
    "many files": many_files,
    "a full disk": full_disk,
    "signals": signals,
    "kill -9": kill,
    "start during a rebuild": start_during_rebuild,
}
