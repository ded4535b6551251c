"""Slow, silent and greedy clients delay no other client, and learn why they are refused."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from mikroscope import start_server
from mikroscope.server.app import OPERATIONS
from mikroscope.server.http.connections import ConnectionTable
from mikroscope.server.http.protocol import MAX_HEAD_BYTES, MAX_URL_BYTES, TimeLimits
from mikroscope.server.openapi.model import Operation
from mikroscope.server.run import RunningServer
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import HANG, Catcher, catching, make_certificate

SHORT = TimeLimits(head=0.3, body_gap=0.3, body=1.0, idle=1, reading=0.3)
PRODUCER = {"authorization": "Bearer t"}
TEST_WEBHOOK = "/api/alerts/test-webhook"
WEBHOOK_TESTS = 4  # at a time
PATIENT_WEBHOOKS = {"alert_webhook_timeout_ms": 60_000, "alert_webhook_retry_attempts": 1}
POST = b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n"


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[RunningServer]:
    """A server with very short time limits."""
    settings = settings_in(tmp_path, ingest_producers="t=p", ingest_max_body_bytes=1 << 20)
    with RunningServer(settings, SHORT).start() as server:
        yield server


def connected(server: RunningServer) -> socket.socket:
    """Open a connection without sending anything."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)


def all_of(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes or resets the connection.

    A client that is still sending gets a reset behind the response.
    """
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def said_to(server: RunningServer, *parts: bytes) -> bytes:
    """Return everything that the server sends in response to some bytes, until it closes."""
    with closing(connected(server)) as connection:
        for part in parts:
            connection.sendall(part)
        return all_of(connection)


def assert_refused(answer: bytes, status: int) -> None:
    """Assert that a response is an error like all others: JSON, CORS headers, connection closed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/json; charset=utf-8" in lines
    assert "access-control-allow-origin: *" in lines
    assert "connection: close" in lines
    assert f"content-length: {len(body)}" in lines
    assert json.loads(body)["error"]


# --- time ---------------------------------------------------------------------------------------


def test_silent_client(hasty: RunningServer) -> None:
    """A connection on which nothing is sent is closed without a response."""
    assert said_to(hasty) == b""


def test_half_a_head(hasty: RunningServer) -> None:
    """An incomplete head gets 408."""
    assert_refused(said_to(hasty, b"GET /health HTTP/1.1\r\nhost:"), 408)


def test_drop_by_drop(hasty: RunningServer) -> None:
    """The limit applies to the whole head, however steadily it arrives."""
    stop = threading.Event()
    with closing(connected(hasty)) as connection:

        def drip() -> None:
            connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert_refused(all_of(connection), 408)
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    "head", [b"content-length: 10\r\n\r\n[{", b"transfer-encoding: chunked\r\n\r\n2\r\n[{\r\n"]
)
def test_half_a_body(hasty: RunningServer, connect: Connect, head: bytes) -> None:
    """A body that stops arriving gets 408, and leaves neither a record nor a running request."""
    assert_refused(said_to(hasty, POST + head), 408)
    client = connect(hasty)
    assert client.get("/api/logs").json()["entries"] == []


def test_slow_body_that_comes(hasty: RunningServer) -> None:
    """A body may arrive slowly as long as it keeps arriving."""
    with closing(connected(hasty)) as connection:
        connection.sendall(POST + b"content-length: 8\r\nconnection: close\r\n\r\n")
        for byte in b'[{"a":1}':
            connection.sendall(bytes([byte]))
            threading.Event().wait(0.02)
        connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")  # whole, and no JSON: the bracket is missing


def test_idle_connection(hasty: RunningServer) -> None:
    """An idle connection is closed; until then it accepts a second request."""
    with closing(connected(hasty)) as connection:
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert all_of(connection) == b""


def test_blank_line_on_an_idle_connection(hasty: RunningServer) -> None:
    """A blank line is not a request, so the connection is still closed in time."""
    with closing(connected(hasty)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")
        assert all_of(connection) == b""


def test_rest_of_a_body_that_was_answered(hasty: RunningServer) -> None:
    """The rest of an answered body is not a request, so the connection is still closed in time."""
    with closing(connected(hasty)) as connection:
        connection.sendall(b"POST /api/ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n[")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"{}]")
        assert all_of(connection) == b""


def test_client_that_reads_slowly(tmp_path: Path, connect: Connect) -> None:
    """A client may read a response slowly, for longer than a connection may be idle."""
    settings = settings_in(tmp_path, ingest_producers="t=p")
    with RunningServer(settings, SHORT._replace(reading=1.0)).start() as server:
        fill(connect(server), megabytes=8)
        with closing(connected(server)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.sendall(b"GET /api/logs?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n")
            head, _, begin = connection.recv(65_536).partition(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].split()[0])
            assert length > 8_000_000
            assert len(begin) + taken_slowly(connection, length - len(begin)) == length


def taken_slowly(connection: socket.socket, size: int) -> int:
    """Read that many bytes with a pause after every 100,000; return the number read."""
    taken = pauses = 0
    while taken < size and (part := connection.recv(65_536)):
        taken += len(part)
        if taken // 100_000 > pauses:
            pauses += 1
            threading.Event().wait(0.025)
    return taken


def fill(client: httpx.Client, megabytes: int) -> None:
    """Send that many, in records of 20,000 bytes."""
    for _ in range(megabytes):
        answer = client.post("/api/ingest", json=[{"pad": "x" * 20_000}] * 50, headers=PRODUCER)
        assert answer.status_code == 200


def test_client_that_does_not_read(hasty: RunningServer, connect: Connect) -> None:
    """A client that sends requests without reading the responses is disconnected."""
    client = connect(hasty)
    fill(client, megabytes=1)
    with closing(connected(hasty)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /api/logs?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n" * 40)
        wait_until(lambda: is_cut_off(connection))
    assert client.get("/health").status_code == 200


def is_cut_off(connection: socket.socket) -> bool:
    """Return whether the other side has reset a connection, without reading from it."""
    try:
        connection.sendall(b"\r\n")
    except OSError:
        return True
    return False


def test_a_stop_does_not_wait_for_half_a_head(tmp_path: Path) -> None:
    """A stop does not wait for half a head, even with the ordinary limits."""
    server = RunningServer(settings_in(tmp_path)).start()
    with closing(connected(server)) as connection:
        connection.sendall(b"GET /health HTT")
        server.close()
        assert all_of(connection) == b""


# --- malformed requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"SING /health HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        POST + b"content-length: minus\r\n\r\n",
    ],
)
def test_no_http(hasty: RunningServer, words: bytes) -> None:
    """A malformed request gets 400, as JSON like every error."""
    assert_refused(said_to(hasty, words), 400)


def test_long_url(hasty: RunningServer) -> None:
    """A URL above the limit gets 414."""
    url = b"/api/logs?value=" + b"x" * (2 * MAX_URL_BYTES)
    assert_refused(said_to(hasty, b"GET " + url + b" HTTP/1.1\r\nhost: x\r\n\r\n"), 414)


def test_long_head(hasty: RunningServer) -> None:
    """Headers above the limit get 431 before they are complete."""
    words = b"GET /health HTTP/1.1\r\n" + b"x: %b\r\n" % (b"y" * 1000) * (MAX_HEAD_BYTES // 900)
    assert_refused(said_to(hasty, words), 431)


@pytest.mark.parametrize("packet", [1_000, 65_536, 200_000])
@pytest.mark.parametrize(
    ("url", "header", "status"),
    [
        (MAX_URL_BYTES - 100, 100, 200),
        (MAX_URL_BYTES + 1, 100, 414),
        (100, MAX_HEAD_BYTES - 500, 200),
        (100, MAX_HEAD_BYTES, 431),
        (100, 3 * MAX_HEAD_BYTES, 431),
    ],
)
def test_limits_do_not_depend_on_packets(
    hasty: RunningServer, url: int, header: int, status: int, packet: int
) -> None:
    """Head and URL are measured alike whether they arrive in one packet or in many."""
    path = b"/health?_x=" + b"y" * (url - 11)
    head = b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: %b\r\n\r\n"
    words = head % (path, b"z" * header)
    with closing(connected(hasty)) as connection:
        with suppress(ConnectionError):
            for start in range(0, len(words), packet):
                connection.sendall(words[start : start + packet])
                threading.Event().wait(0.001)
        answer = all_of(connection)
    if status == 200:
        assert answer.startswith(b"HTTP/1.1 200 ")
    else:
        assert_refused(answer, status)


def test_long_head_behind_another(hasty: RunningServer) -> None:
    """A long head is refused behind other requests in the same packet, too, and they are not."""
    long = b"GET /health HTTP/1.1\r\nhost: x\r\nx: %b\r\n\r\n" % (b"y" * MAX_HEAD_BYTES)
    with closing(connected(hasty)) as connection:
        connection.sendall(GET % b"/health")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        with suppress(ConnectionError):
            connection.sendall(long)
        assert_refused(all_of(connection), 431)


@pytest.mark.parametrize(
    "words",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        b"GET /health HTTP/1.0\r\nHost: a\r\nHOST: b\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/0.9\r\nhost: a\r\n\r\n",
        b"GET /health HTTP/2.0\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_no_host_or_another_version(hasty: RunningServer, words: bytes) -> None:
    """HTTP/1.1 needs one Host header; versions that are not 1.0 or 1.1 are refused."""
    assert_refused(said_to(hasty, words), 400)


def test_no_host_in_http_1_0(hasty: RunningServer) -> None:
    """HTTP/1.0 needs no Host header."""
    assert said_to(hasty, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_listed_origin(tmp_path: Path) -> None:
    """The CORS headers are those of every response."""
    settings = settings_in(tmp_path, cors_allow_origin="https://ui.example")
    with RunningServer(settings, SHORT).start() as server:
        origin = b"origin: https://ui.example\r\n"
        words = b"GET /health HTTP/1.1\r\nhost: x\r\n" + origin + b"a: b\r\nno colon\r\n\r\n"
        answer = said_to(server, words).lower()
    assert b"access-control-allow-origin: https://ui.example\r\n" in answer
    assert b"vary: origin\r\n" in answer


def test_silent_tls_client(tmp_path: Path) -> None:
    """A client that does not start the TLS handshake is disconnected, too."""
    certificate, key = make_certificate(tmp_path)
    settings = settings_in(tmp_path, protocol="https", tls_cert_path=certificate, tls_key_path=key)
    with RunningServer(settings, SHORT).start() as server:
        assert said_to(server) == b""


# --- how many -----------------------------------------------------------------------------------


@pytest.fixture
def black_hole() -> Iterator[Catcher]:
    """A webhook that accepts requests and never answers."""
    with catching(*[HANG] * 100) as catcher:
        yield catcher


@contextmanager
def unfinished(server: RunningServer, *parts: bytes) -> Iterator[list[socket.socket]]:
    """Ingest requests whose bodies lack the last byte."""
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(connected(server))) for _ in parts]
        for connection, part in zip(connections, parts, strict=True):
            connection.sendall(POST + b"content-length: %d\r\n\r\n" % (len(part) + 1) + part)
        yield connections


@contextmanager
def webhooks_on_test(server: RunningServer, webhook: Catcher, count: int) -> Iterator[None]:
    """Start tests of a webhook, and wait for their end."""
    body = json.dumps({"webhookUrl": webhook.url}).encode()
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    with ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(closing(connected(server)))
            connection.sendall(head % (TEST_WEBHOOK.encode(), len(body)) + body)
        yield


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that is at its limit."""
    options = PATIENT_WEBHOOKS | {"max_concurrent_requests": 1, "ingest_producers": "t=p"}
    with (
        start_server(settings_in(tmp_path_factory.mktemp("full"), **options)) as server,
        catching(*[HANG] * 100) as catcher,
        webhooks_on_test(server, catcher, 1),
        httpx.Client(base_url=server.url, timeout=DEADLINE_S, trust_env=False) as client,
    ):
        wait_until(lambda: catcher.requests == 1)
        yield client


def test_concurrent_requests(serve: Serve, connect: Connect, black_hole: Catcher) -> None:
    """Above the limit requests get 503 at once; /health and /metrics are always answered."""
    server = serve(**PATIENT_WEBHOOKS, max_concurrent_requests=2)
    client = connect(server)
    with webhooks_on_test(server, black_hole, 2):
        wait_until(lambda: black_hole.requests == 2)
        refused = client.get("/api/logs")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "limit" in refused.json()["error"]
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 200
        black_hole.closing.set()
        wait_until(lambda: client.get("/api/logs").status_code == 200)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_limit_is_documented(operation: Operation, full: httpx.Client) -> None:
    """Every operation that is limited documents the 503."""
    answer = full.request(operation.method, operation.path)
    if operation.path == "/ready":
        assert answer.status_code == 200
        return
    assert (answer.status_code == 503) == (503 in operation.responses)


def test_unfinished_bodies(serve: Serve, connect: Connect) -> None:
    """A request whose body is awaited takes no slot."""
    server = serve(max_concurrent_requests=2, ingest_producers="t=p")
    with unfinished(server, *[b"["] * 8):
        client = connect(server)
        for _ in range(20):  # whenever the bodies' heads are read
            assert client.get("/api/logs").status_code == 200


def test_bytes_of_unfinished_bodies(serve: Serve) -> None:
    """If there are too many, the request with the oldest body gets 503."""
    server = serve(ingest_producers="t=p")
    part = b"[" + b" " * 1_000_000
    with unfinished(server, *[part] * 70) as connections:
        assert_refused(all_of(connections[0]), 503)
        connections[-1].sendall(b"]")
        assert connections[-1].recv(100).startswith(b"HTTP/1.1 200 ")


def test_body_that_ends_above_the_limit(
    serve: Serve, connect: Connect, black_hole: Catcher
) -> None:
    """A body that ends above the limit gets 503, and none of its records is kept."""
    server = serve(**PATIENT_WEBHOOKS, max_concurrent_requests=2, ingest_producers="t=p")
    client = connect(server)
    with (
        unfinished(server, b"[{}") as (connection,),
        webhooks_on_test(server, black_hole, 2),
    ):
        wait_until(lambda: black_hole.requests == 2)
        connection.sendall(b"]")
        assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
        black_hole.closing.set()
        wait_until(lambda: client.get("/api/logs").status_code == 200)
    assert client.get("/api/logs").json()["entries"] == []


def test_slow_webhooks_hold_no_query_up(
    serve: Serve, connect: Connect, black_hole: Catcher
) -> None:
    """Queries are answered however many webhook tests are running."""
    server = serve(**PATIENT_WEBHOOKS)
    with webhooks_on_test(server, black_hole, 60):
        wait_until(lambda: black_hole.requests >= WEBHOOK_TESTS)
        assert connect(server).get("/api/logs").status_code == 200


def test_webhooks_that_are_tested_at_a_time(
    serve: Serve, connect: Connect, black_hole: Catcher
) -> None:
    """A few webhook tests may run at a time; one more gets 503 at once."""
    server = serve(**PATIENT_WEBHOOKS)
    with webhooks_on_test(server, black_hole, WEBHOOK_TESTS):
        wait_until(lambda: black_hole.requests == WEBHOOK_TESTS)
        refused = connect(server).post(TEST_WEBHOOK, json={"webhookUrl": black_hole.url})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "webhook tests are running" in refused.json()["error"]


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[int]:
    """The port of a server process with few descriptors that accepts logs."""
    command = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", sys.executable, "-m", "mikroscope"]
    command += ["serve", "--port", "0", "--min-free-bytes", "0", "--ingest-producers", "t=p"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().split(" listens on http://127.0.0.1:")[1].split()[0])
        process.terminate()


def test_many_connections(narrow: int) -> None:
    """Silent connections are closed, so that files can be opened and other clients are answered."""
    address = ("127.0.0.1", narrow)
    url = f"http://127.0.0.1:{narrow}"
    with (
        httpx.Client(base_url=url, timeout=DEADLINE_S, trust_env=False) as client,
        ExitStack() as opened,
    ):
        assert client.get("/health").status_code == 200
        for _ in range(400):
            opened.enter_context(socket.create_connection(address, DEADLINE_S))
        assert client.post("/api/ingest", json=[{"n": 1}], headers=PRODUCER).status_code == 200
        assert httpx.get(f"{url}/health", trust_env=False).json()["ok"] is True


def test_who_gives_way() -> None:
    """The connection is closed that has waited longest in the group with the most connections."""
    table = ConnectionTable[str](max_connections=1, max_body_bytes=100)
    table.set_unread("reading", 1)
    table.add_body("body", 1)
    table.idle |= dict.fromkeys(("idle for longest", "idle for long", "idle"))
    table.silent |= dict.fromkeys(("silent for long", "silent"))
    gone = []
    while (first := table.eviction_candidate()) is not None:
        gone.append(first)
        table.remove(first)
    assert gone[:2] == ["idle for longest", "silent for long"]
    assert sorted(gone[2:]) == ["body", "idle", "idle for long", "reading", "silent"]


def test_unread_responses() -> None:
    """Unread responses take a bounded number of bytes; a single reader may take more."""
    table = ConnectionTable[str](max_connections=9, max_body_bytes=100, max_unread_bytes=100)
    table.set_unread("first", 150)
    assert table.oldest_excess_reader() is None
    table.set_unread("second", 60)
    assert table.oldest_excess_reader() == "first"
    table.set_unread("first", 30)
    assert table.oldest_excess_reader() is None
    table.remove("first")
    table.set_unread("third", 41)
    assert table.oldest_excess_reader() == "second"
    table.drop_unread("second")
    assert table.oldest_excess_reader() is None


GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
FLOODS = {
    "silent": b"",
    "idle after an answer": GET % b"/health",
    "half a head": b"GET /health HTTP/1.1\r\nhost:",
    "half of a second head": GET % b"/health" + b"GET /health HT",
    "half a body": POST + b"content-length: 100\r\n\r\n[",
    "the rest of a refused body": b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[",
    "waiting for a 100": POST + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n",
    "reading slowly": GET % b"/docs/scalar.js" * 3,
}


@pytest.mark.parametrize("words", FLOODS.values(), ids=list(FLOODS))
def test_a_newcomer_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect, words: bytes
) -> None:
    """Whatever as many connections as the limit do, a new one with something to say is served."""
    monkeypatch.setattr("mikroscope.server.run._CONNECTIONS", 12)
    options = settings_in(tmp_path, ingest_producers="t=p")
    with start_server(options) as server, ExitStack() as opened:
        kept = connect(server, headers=PRODUCER)
        for number in range(2):
            for _ in range(12):
                connection = opened.enter_context(closing(socket.socket()))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.settimeout(DEADLINE_S)
                connection.connect(("127.0.0.1", server.port))
                with suppress(ConnectionError):
                    connection.sendall(words)
            assert connect(server).get("/health").json()["ok"]
            assert kept.post("/api/ingest", json=[{"n": number}]).status_code == 200


def test_requests_one_behind_the_other(hasty: RunningServer) -> None:
    """Requests sent before the first response get their responses complete and in order."""
    get = b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n"
    close = b"connection: close\r\n"
    requests = get % (b"/health", b"") + get % (b"/nowhere", b"") + get % (b"/openapi.json", close)
    heads = [part.partition(b"\r\n")[0] for part in said_to(hasty, requests).split(b"HTTP/1.1 ")]
    assert heads == [b"", b"200 OK", b"404 Not Found", b"200 OK"]


def test_thousands_of_requests_at_once(hasty: RunningServer) -> None:
    """However many requests are sent before the first response, each gets its own."""
    last = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") % b"/health"
    with closing(connected(hasty)) as connection:
        sending = threading.Thread(
            target=lambda: connection.sendall(GET % b"/nowhere" * 2_999 + last)
        )
        sending.start()
        answers = all_of(connection)
        sending.join()
    assert answers.count(b"HTTP/1.1 404 ") == 2_999
    assert answers.count(b"HTTP/1.1 200 ") == 1


def test_answer_without_a_body(hasty: RunningServer) -> None:
    """The head of a response without a body is returned without waiting for more."""
    with closing(connected(hasty)) as connection:
        for method, status in ((b"HEAD", b"200"), (b"OPTIONS", b"204")):
            connection.sendall(b"%b /health HTTP/1.1\r\nhost: x\r\n\r\n" % method)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 %b " % status)
