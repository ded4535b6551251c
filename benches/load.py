"""Loads a server over HTTP from another process: keep-alive sockets, one request at a time.

    python -m benches.load URL --clients 16 --post corpus.ndjson --batch 100 --requests 500
    python -m benches.load URL --clients 64 --live --rate 4000
    python -m benches.load URL --clients 1 --get targets.txt

Prints `ready`, sends every request once (with `--endless`: over and over until its input ends;
with `--live`: new records with the present time until its input ends), and prints the results as
JSON. A client sends its next request after the previous response; with `--rate` it also waits for
its turn.
"""

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benches.lines import moments
from benches.lines.plain import plain_lines
from benches.program import TOKEN

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
FAILED = 300  # the lowest status of a response that is not a success
CATCH_UP_S = 1.0
HEAD_END = b"\r\n\r\n"


@dataclass
class Seen:
    """The results of a load; latencies are in the order of the responses."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    entries: Counter[int] = field(default_factory=Counter)  # responses by their number of entries
    failed: list[int] = field(default_factory=list)  # which of the responses, from 0

    @property
    def succeeded(self) -> int:
        """The number of requests that succeeded."""
        return sum(count for status, count in self.statuses.items() if status < FAILED)


class Pace:
    """Gives requests their turns, at a steady rate; what falls behind catches up for a second."""

    def __init__(self, rate: float | None) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._next = time.perf_counter() - self._interval_s

    def turn_in_s(self) -> float:
        """Take the next turn; return in how many seconds it comes, at most 0 if it has come."""
        now = time.perf_counter()
        self._next = max(self._next + self._interval_s, now - CATCH_UP_S)
        return self._next - now


class Client(asyncio.Protocol):
    """One connection that sends request after request."""

    def __init__(self, requests: Iterator[bytes], seen: Seen, pace: Pace) -> None:
        self._requests = requests
        self._seen = seen
        self._pace = pace
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Finish, with an error if there are requests left."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Record a response once it is complete, and send the next request."""
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        if end < 0 or len(self._buffer) < end + len(HEAD_END) + self._length(end):
            return
        status = int(self._buffer[9:12])
        if status >= FAILED:
            self._seen.failed.append(len(self._seen.milliseconds))
        self._seen.milliseconds.append((time.perf_counter() - self._began) * 1000)
        self._seen.statuses[status] += 1
        self._seen.entries[self._buffer.count(b'"sourceFile":')] += 1
        self._buffer = b""
        self._send()

    def _length(self, end: int) -> int:
        found = LENGTH.search(self._buffer, 0, end)
        if found is None:
            raise ConnectionError("a response without content-length")
        return int(found[1])

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        wait_s = self._pace.turn_in_s()
        if wait_s <= 0:
            self._write(request)
        else:
            asyncio.get_running_loop().call_later(wait_s, self._write, request)

    def _write(self, request: bytes) -> None:
        self._began = time.perf_counter()
        self._transport.write(request)


def get_requests(targets: Iterable[str]) -> list[bytes]:
    """Return requests for these paths."""
    return [f"GET {target} HTTP/1.1\r\nhost: bench\r\n\r\n".encode() for target in targets]


def post_requests(corpus: Path, requests: int, batch: int, skip: int = 0) -> list[bytes]:
    """Return ingest requests with the records after the first `skip`, repeated as needed."""
    with corpus.open("rb") as file:
        lines = [line.rstrip() for line in itertools.islice(file, skip, skip + requests * batch)]
    records = itertools.cycle(lines)
    return [_post(list(itertools.islice(records, batch))) for _ in range(requests)]


def live_requests(batch: int) -> Iterator[bytes]:
    """Yield ingest requests with records of the present time, without end."""
    lines = (line.rstrip() for line in plain_lines(moments.now(), Random()))
    while True:
        yield _post(list(itertools.islice(lines, batch)))


def _post(lines: list[bytes]) -> bytes:
    body = b"[" + b",".join(lines) + b"]"
    head = (
        "POST /api/ingest HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {TOKEN}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send(
    url: str, requests: Iterator[bytes], clients: int, rate: float | None = None
) -> Seen:
    """Send all requests, shared among this number of connections, `rate` a second at most."""
    host, port = urlsplit(url).netloc.split(":")
    loop, seen, pace = asyncio.get_running_loop(), Seen(), Pace(rate)
    began = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: Client(requests, seen, pace), host, int(port))
        for _ in range(clients)
    ]
    await asyncio.gather(*(client.done for _, client in opened))
    seen.seconds = time.perf_counter() - began
    return seen


def until_input_ends(requests: Iterator[bytes]) -> Iterator[bytes]:
    """Yield requests until standard input is closed."""
    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    return itertools.takewhile(lambda _: not ended.is_set(), requests)


class Load:
    """A load that runs in another process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def finish(self) -> Seen:
        """Stop an endless load, wait for its end, and return its results."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        output = self._process.stdout.read()  # communicate() would miss what readline() has read
        if self._process.wait():
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        found = json.loads(output)
        statuses, entries = (_by_number(found[name]) for name in ("statuses", "entries"))
        milliseconds, failed = found["milliseconds"], found["failed"]
        return Seen(found["seconds"], statuses, milliseconds, entries, failed)


def _by_number(counts: dict[str, int]) -> Counter[int]:
    return Counter({int(number): count for number, count in counts.items()})


@contextmanager
def load(url: str, *arguments: str | int | Path) -> Iterator[Load]:
    """Start a load with the arguments of the command line, and yield it once it has begun."""
    command = [sys.executable, "-m", "benches.load", url, *map(str, arguments)]
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Load(process)
        finally:
            process.terminate()


@contextmanager
def asking(url: str, targets: Iterable[str], *arguments: str | int) -> Iterator[Load]:
    """Start a load of GET requests, and yield it once it has begun."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(targets))
        file.flush()
        with load(url, "--get", file.name, *arguments) as asked:
            yield asked


def get(url: str, targets: Iterable[str]) -> Seen:
    """Request each target in turn from one client; latencies are in the order of the targets."""
    with asking(url, targets) as asked:
        return asked.finish()


def main() -> None:
    """Run the load generator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--post", type=Path, metavar="CORPUS")
    parser.add_argument("--batch", type=int, default=1, help="records per request")
    parser.add_argument("--skip", type=int, default=0, help="records of the corpus")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--get", type=Path, metavar="TARGETS", help="a file with one path per line")
    parser.add_argument("--live", action="store_true", help="post new records without end")
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--rate", type=float, help="requests per second of all clients, at most")
    given = parser.parse_args()
    source = _source(given)
    print("ready", flush=True)
    seen = uvloop.run(send(given.url, source, given.clients, given.rate))
    milliseconds = [round(one, 3) for one in seen.milliseconds]
    print(json.dumps({**vars(seen), "milliseconds": milliseconds}))


def _source(given: argparse.Namespace) -> Iterator[bytes]:
    """Return the requests that the command line asks for."""
    if given.live:
        return until_input_ends(live_requests(given.batch))
    if given.get:
        requests = get_requests(given.get.read_text().splitlines())
    else:
        requests = post_requests(given.post, given.requests, given.batch, given.skip)
    if not given.endless:
        return iter(requests)
    return itertools.chain(requests, until_input_ends(itertools.cycle(requests)))


if __name__ == "__main__":
    main()
