"""A request that asks for an upgrade gets the response that it would get without it."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import httpx
import pytest

from tests.helpers.server import logs
from tests.helpers.waiting import DEADLINE_S

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQC\r\n"
UPGRADES = {
    "Java, curl --http2": H2C,
    "a WebSocket": b"connection: keep-alive, UPGRADE\r\nupgrade: websocket\r\n",
    "TLS": b"Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: upgrade\r\n",
    "two of each": b"Upgrade: a\r\nConnection: x\r\nUpgrade: b\r\nConnection: upgrade\r\n",
    "no Connection": b"Upgrade: h2c\r\n",
}
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: a\r\n"
FORMS = {
    "length": lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    "chunks": lambda body: (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (5, body[:5], len(body) - 5, body[5:])
    ),
}


class Talk:
    """One connection to a server."""

    def __init__(self, connection: socket.socket) -> None:
        self.send = connection.sendall
        self._file: BinaryIO = connection.makefile("rb")

    def answer(self, *, has_content: bool = True) -> tuple[int, Any]:
        """Read one response: its status, and its content as JSON."""
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        return status, json.loads(self._file.read(length)) if has_content and length else None

    def is_over(self) -> bool:
        """Wait for the end of the connection."""
        return self._file.read() == b""


@contextmanager
def talking(shared: httpx.Client) -> Iterator[Talk]:
    """Open a connection."""
    address = shared.base_url.host, shared.base_url.port
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Talk(connection)


def post(
    message: str, headers: bytes = H2C, form: str = "length", version: bytes = b"1.1"
) -> bytes:
    """Return a request that sends one record."""
    head = (
        b"POST /api/ingest HTTP/%b\r\nHost: x\r\nAuthorization: Bearer backend-token\r\n" % version
    )
    return head + headers + FORMS[form](json.dumps([{"message": message}]).encode())


def found(shared: httpx.Client, message: str) -> int:
    """Return how many entries have a message."""
    return len(logs(shared, field="message", value=message))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_post_with_an_upgrade(shared: httpx.Client, upgrade: str, form: str) -> None:
    """The body is read, whatever the upgrade is to; the connection then takes a next request."""
    name = f"{upgrade}, {form}"
    with talking(shared) as talk:
        for _ in range(3):
            talk.send(post(name, UPGRADES[upgrade], form))
            status, content = talk.answer()
            assert (status, content["accepted"]) == (200, 1)
    assert found(shared, name) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("parts", ["head, body", "bytes"])
def test_post_in_several_packets(shared: httpx.Client, parts: str, form: str) -> None:
    """The body may arrive later than the head, and both in any parts."""
    request = post(f"{parts}, {form}", form=form)
    cut = request.index(b"\r\n\r\n") + 4
    pieces = (
        [bytes([one]) for one in request] if parts == "bytes" else [request[:cut], request[cut:]]
    )
    with talking(shared) as talk:
        for piece in pieces:
            talk.send(piece)
            time.sleep(0.0005)
        assert talk.answer()[0] == 200
    assert found(shared, f"{parts}, {form}") == 1


def test_pipelined_requests(shared: httpx.Client) -> None:
    """Several requests in one packet are answered in order, with an upgrade or without."""
    get = b"GET /api/logs?limit=x HTTP/1.1\r\nhost: x\r\n"
    with talking(shared) as talk:
        talk.send(
            get + b"\r\n" + post("first") + get + H2C + b"\r\n" + post("second", b"", "chunks")
            + post("third", form="chunks") + get + b"\r\n"
        )  # fmt: skip
        assert [talk.answer()[0] for _ in range(6)] == [400, 200, 400, 200, 200, 400]
    assert [found(shared, name) for name in ("first", "second", "third")] == [1, 1, 1]


def test_thousands_of_pipelined_upgrades(shared: httpx.Client) -> None:
    """However many requests with an upgrade are in a packet, each is answered."""
    with talking(shared) as talk:
        talk.send(
            b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: a\r\n\r\n" * 3000
        )
        for _ in range(3000):
            assert talk.answer()[0] == 200


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 204)])
def test_no_body(shared: httpx.Client, method: str, status: int) -> None:
    """A request without a body is answered as well, and the connection stays usable."""
    with talking(shared) as talk:
        for _ in range(2):
            talk.send(b"%b /health HTTP/1.1\r\nhost: x\r\n%b\r\n" % (method.encode(), H2C))
            assert talk.answer(has_content=method == "GET")[0] == status


def test_expect_with_an_upgrade(shared: httpx.Client) -> None:
    """A client that waits for 100 Continue gets it, and then sends the body."""
    request = post("expected", H2C + b"Expect: 100-continue\r\n")
    cut = request.index(b"\r\n\r\n") + 4
    with talking(shared) as talk:
        talk.send(request[:cut])
        assert talk.answer() == (100, None)
        talk.send(request[cut:])
        assert talk.answer()[0] == 200
    assert found(shared, "expected") == 1


@pytest.mark.parametrize(
    ("version", "headers"), [(b"1.0", H2C), (b"1.1", H2C + b"Connection: close\r\n")]
)
def test_last_request(shared: httpx.Client, version: bytes, headers: bytes) -> None:
    """A client that wants no further request gets its response and the end of the connection."""
    with talking(shared) as talk:
        talk.send(post("last", headers, version=version))
        assert talk.answer()[0] == 200
        assert talk.is_over()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /api/ingest HTTP/1.1\r\n%b\r\n" % H2C, 400),  # no Host
        (HEALTH + b"upgrade: %b\r\n\r\n" % (b"a" * 66_000), 431),
        (HEALTH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (HEALTH + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (b"CONNECT logs.example:443 HTTP/1.1\r\nhost: logs.example:443\r\n\r\n", 501),
        (b"CONNECT logs.example:443 HTTP/1.1\r\nhost: x\r\n%b\r\nabc" % H2C, 501),
    ],
)  # fmt: skip
def test_refused(shared: httpx.Client, request_: bytes, status: int) -> None:
    """A request that is refused without an upgrade is refused with one; so is a tunnel."""
    with talking(shared) as talk:
        talk.send(request_)
        got, content = talk.answer()
        assert (got, list(content)) == (status, ["error"])
        assert talk.is_over()


def test_a_body_is_not_a_request(shared: httpx.Client) -> None:
    """A body that looks like a request is none: it is read as a body."""
    inner = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    with talking(shared) as talk:
        head = post("", b"", "length").partition(b"Content-Length")[0] + H2C
        talk.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(inner), inner))
        assert talk.answer()[0] == 400
        talk.send(post("after it"))
        assert talk.answer()[0] == 200


def test_an_upgrade_leaves_no_warning(
    shared: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged about an upgrade that is ignored."""
    with talking(shared) as talk:
        talk.send(post("quiet"))
        assert talk.answer()[0] == 200
    assert caplog.messages == []
