"""Errors are JSON, on every route and for every cause."""

import dataclasses
import socket
import struct
import time
from pathlib import Path

import apsw
import httpx
import pytest

from mikroscope import start_server
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.server import Connect, Serve, health, settings_in
from tests.helpers.waiting import wait_until

API_ROUTES = ["/api/logs", "/api/logs/aggregate?groupBy=level", "/api/alerts/config"]
PAGE = {"origin": "http://127.0.0.1:4320"}


def assert_error(answer: httpx.Response, status: int) -> str:
    """Assert that a response is an error with this status; return its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert list(answer.json()) == ["error"]
    text: str = answer.json()["error"]
    assert isinstance(text, str)
    assert text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/api/logs//", 404),
        ("GET", "/API/LOGS", 404),
        ("GET", "//health", 404),
        ("GET", "/%00%ff%0a", 404),
        ("GET", "/api/logs?limit=x", 400),
        ("GET", "/api/logs/aggregate", 400),
        ("POST", "/api/ingest", 401),
        ("PUT", "/api/logs", 405),
    ],
)
def test_errors(shared: httpx.Client, method: str, path: str, status: int) -> None:
    """Every error is JSON: `{"error": "<text>"}`."""
    assert_error(shared.request(method, path), status)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/log?x=1", "/api/logs"),
        ("/API/LOGS/", "/api/logs"),
        ("/logs", "/api/logs"),
        ("/api/v1/logs", "/api/logs"),
        ("/search", "/api/logs"),
        ("/api/logs/agregate", "/api/logs/aggregate"),
        ("/ingest", "/api/ingest"),
        ("/api/health", "/health"),
        ("/healthz", "/health"),
        ("/readyz", "/ready"),
        ("/metric", "/metrics"),
        ("/swagger", "/docs"),
        ("/api/alerts", "/api/alerts/config"),
        ("/openapi.yml", "/openapi.yaml"),
    ],
)
def test_unknown_path(shared: httpx.Client, path: str, meant: str) -> None:
    """A 404 names the path, and the one that was probably meant."""
    text = assert_error(shared.get(path), 404)
    plain = path.partition("?")[0].removesuffix("/")
    assert text == f"Unknown path {plain}. Did you mean {meant}? See /docs"


@pytest.mark.parametrize("path", ["/nowhere", "/favicon.ico", "/api", "/.env", "/a" * 9000])
def test_unknown_path_without_a_meaning(shared: httpx.Client, path: str) -> None:
    """No path is suggested where none is near in spelling or meaning."""
    assert assert_error(shared.get(path), 404) == f"Unknown path {path}. See /docs"


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/health", "POST", "GET, HEAD"),
        ("/api/logs", "DELETE", "GET, HEAD"),
        ("/api/logs/aggregate", "PATCH", "GET, HEAD"),
        ("/api/ingest", "GET", "POST"),
        ("/api/ingest", "HEAD", "POST"),
    ],
)
def test_wrong_method(shared: httpx.Client, path: str, method: str, allow: str) -> None:
    """A wrong method gets a 405 that names the right ones in `Allow`."""
    answer = shared.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        assert assert_error(answer, 405) == f"{path} does not support {method}, only {allow}"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/alerts/config"), ("POST", "/api/alerts/test-webhook")]
)
@pytest.mark.parametrize("body", ["{", '{"enabled": tru}', "enabled=true", "{'a': 1}"])
def test_body_that_is_not_json(shared: httpx.Client, method: str, path: str, body: str) -> None:
    """A body that is not JSON is a 400 that says where it ceases to be JSON."""
    text = assert_error(shared.request(method, path, content=body), 400)
    assert text.startswith("Invalid JSON payload: ")
    assert "line 1 column " in text


def test_head(shared: httpx.Client) -> None:
    """HEAD gets the response of GET without its content."""
    answer = shared.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_json_content_type(shared: httpx.Client) -> None:
    """Successful responses are JSON, and their content type says so."""
    for path in ("/health", *API_ROUTES):
        assert shared.get(path).headers["content-type"] == "application/json; charset=utf-8"


def test_defect(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected error is a 500 without details; the log has them."""

    def fail(*_: object) -> None:
        raise RuntimeError("the defect")

    client = connect(serve())
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "search", fail)
        answer = client.get("/api/logs", headers=PAGE)
    assert "the defect" not in assert_error(answer, 500)
    assert answer.headers["access-control-allow-origin"] == "*"
    wait_until(lambda: "RuntimeError: the defect" in caplog.text)
    assert client.get("/api/logs").status_code == 200


def test_index_that_cannot_be_read(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A broken index is a 503 that says so."""
    client = connect(serve())
    connection = apsw.Connection(str(tmp_path / "data" / "mikroscope.db"))
    connection.set_busy_timeout(30_000)  # the server may be writing
    connection.execute("ALTER TABLE segments RENAME TO gone")
    answer = client.get("/api/logs")
    assert "index cannot be read" in assert_error(answer, 503)
    assert answer.headers["retry-after"] == "1"


def test_query_that_takes_too_long(connect: Connect, tmp_path: Path) -> None:
    """A query that takes too long is stopped and gets a 503 that says what to do."""
    (tmp_path / "logs").mkdir()
    lines = (f'{{"n":{number},"timestamp":{1.7e9 + number}}}' for number in range(8_000))
    (tmp_path / "logs" / "app.ndjson").write_text("\n".join([*lines, ""]))
    settings = dataclasses.replace(settings_in(tmp_path), query_timeout_ms=0)  # below its floor
    with start_server(settings) as server:
        client = connect(server)
        wait_until(lambda: health(client)["ingest"]["runs"])
        parameters = {"groupBy": "field", "groupField": "timestamp"}
        text = assert_error(client.get("/api/logs/aggregate", params=parameters), 503)
    assert text == "the query was stopped after 0 s: narrow it by time or by a filter"


@pytest.mark.parametrize("host", [b"[", b"a b", b"\xff", b""])
def test_strange_host(shared: httpx.Client, host: bytes) -> None:
    """Errors are the same whatever the Host header is."""
    address = ("127.0.0.1", shared.base_url.port)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % host)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b'{"error":"Unknown path /nowhere. See /docs"}')


RESETS = {
    "nothing sent": b"",
    "half a head": b"GET / HT",
    "a request": b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a body": b"POST /api/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    "many requests": b"GET /api/logs HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
}


@pytest.mark.parametrize("words", RESETS.values(), ids=list(RESETS))
def test_a_reset_is_no_error(
    shared: httpx.Client, caplog: pytest.LogCaptureFixture, words: bytes
) -> None:
    """A client that resets its connection at any moment leaves nothing in the log."""
    address = shared.base_url.host, shared.base_url.port
    for pause_s in (0, 0, 0, 0.001, 0.003, 0.01, 0.03):
        connection = socket.create_connection(address)
        connection.sendall(words)
        time.sleep(pause_s)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert shared.get("/health").json()["ok"] is True
    assert caplog.messages == []
