"""A server stops gracefully."""

import logging
import shutil
import socket
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest

from mikroscope import RunningServer, start_server
from mikroscope.indexing.indexer import Indexer
from tests.helpers.server import (
    PRODUCERS,
    Connect,
    Serve,
    counts_files,
    health,
    logs,
    open_files,
    settings_in,
)
from tests.helpers.waiting import wait_until


def test_nothing_is_left_after_a_stop(serve: Serve) -> None:
    """After `close` the port is closed, and no thread is left."""
    before = set(threading.enumerate())
    server = serve()
    httpx.get(f"{server.url}/api/logs", trust_env=False)
    server.close()
    assert not server.is_alive()
    assert refuses(server)
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_close_twice(serve: Serve) -> None:
    """A second `close` does nothing."""
    server = serve()
    server.close()
    server.close()


@counts_files
def test_files_are_closed(tmp_path: Path) -> None:
    """A server that was closed leaves no open file behind."""
    counts = []
    for _ in range(3):
        with start_server(settings_in(tmp_path, **PRODUCERS)) as server:
            headers = {"authorization": "Bearer backend-token"}
            httpx.post(f"{server.url}/api/ingest", json=[{}], headers=headers, trust_env=False)
            httpx.get(f"{server.url}/api/logs", trust_env=False)
        counts.append(open_files())
    wait_until(lambda: open_files() <= counts[0])  # the watcher's library takes a moment


def test_idle_connections(serve: Serve) -> None:
    """Idle connections do not delay the stop; they are closed."""
    server = serve()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as half,
        httpx.Client(base_url=server.url, trust_env=False) as kept,
    ):
        half.sendall(b"GET /health HTTP/1.1\r\nho")
        assert kept.get("/health").status_code == 200
        server.close()
        assert silent.recv(1) == b""
        assert half.recv(1) == b""


def begin_upload(server: RunningServer, size: int) -> socket.socket:
    """A connection on which the server waits for a body of `size` bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(
        b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer backend-token\r\n"
        b"content-length: %d\r\nexpect: 100-continue\r\n\r\n" % size
    )
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    return connection


def refuses(server: RunningServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=30).close()
    except OSError:
        return True
    return False


def test_running_request(serve: Serve, connect: Connect) -> None:
    """A request that is running when the stop begins is finished, and its records are kept."""
    server = serve(**PRODUCERS)
    body = b'[{"at":"the end"}]'
    with begin_upload(server, len(body)) as connection:
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_until(lambda: refuses(server))
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        closing.join()
    assert len(logs(connect(serve()), field="at", value="the end")) == 1


def test_request_without_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that never ends delays the stop for a while, then gets an error that says so."""
    monkeypatch.setattr("mikroscope.server.run._GRACE_S", 1)
    server = serve(**PRODUCERS)
    with begin_upload(server, 100) as connection:
        server.close()
        head, _, content = connection.recv(65_536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert content == b'{"error":"the server is stopping, and the body is incomplete"}'
    assert "Traceback" not in caplog.text


def test_stop_amid_a_catch_up(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a backlog, which the next start continues without loss."""
    (tmp_path / "logs").mkdir()
    for name in "abcd":
        (tmp_path / "logs" / f"{name}.ndjson").write_text(f'{{"file":"{name}"}}\n' * 2_000)
    with monkeypatch.context() as patch:
        patch.setattr("mikroscope.sidecar.Indexer", partial(Indexer, batch_bytes=12_000))
        with serve() as server:
            client = connect(server)
            wait_until(lambda: health(client)["ingest"]["recordsInsertedTotal"])
    again = connect(serve())
    parameters = {"groupBy": "field", "groupField": "file"}
    expected = [{"key": name, "count": 2_000} for name in "abcd"]

    def buckets() -> object:
        return again.get("/api/logs/aggregate", params=parameters).json()["buckets"]

    wait_until(lambda: buckets() == expected)
    assert health(again)["ingest"]["linesScannedTotal"] < 8_000


def test_logs_directory_that_vanishes(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A logs directory that is removed and created again while the server runs is read again."""
    client = connect(serve(ingest_interval_ms=250))
    shutil.rmtree(tmp_path / "logs")
    assert client.get("/api/logs").status_code == 200
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_text('{"n":1}\n')
    wait_until(lambda: len(logs(client)) == 1)


def test_log_of_a_quiet_life(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that starts, answers and stops logs no warning."""
    with serve(**PRODUCERS, cors_allow_origin="*") as server:
        headers = {"authorization": "Bearer backend-token"}
        connect(server).post("/api/ingest", json=[{"a": 1}], headers=headers)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
