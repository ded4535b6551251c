"""A server starts, or explains why it cannot."""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from mikroscope import start_server
from mikroscope.indexing.indexer import Indexer
from mikroscope.maintenance.maintainer import Maintainer
from tests.helpers.server import Connect, Serve, counts_files, open_files, refusal, settings_in
from tests.helpers.waiting import DEADLINE_S, wait_until


def test_second_server_on_an_index(serve: Serve, tmp_path: Path) -> None:
    """A second server on the same index is refused; the error names the index and the process."""
    serve()
    text = refusal(tmp_path)
    assert str(tmp_path / "data" / "mikroscope.db") in text
    assert f"process {os.getpid()}" in text


def test_index_is_free_after_a_stop(serve: Serve) -> None:
    """After a stop another server may use the index."""
    serve().close()
    assert serve().is_alive()


def test_port_that_is_taken(serve: Serve, tmp_path: Path) -> None:
    """A port in use is an error that says so once."""
    port = serve().port
    text = refusal(tmp_path / "other", port=port)
    assert text == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; stop the program that "
        "listens there, or choose another --port"
    )


def test_address_of_another_machine(tmp_path: Path) -> None:
    """An address of another machine is an error."""
    text = refusal(tmp_path, host="192.0.2.1")
    reason = os.strerror(errno.EADDRNOTAVAIL)
    fix = "set --host to an address of this machine"
    assert text == f"cannot listen on 192.0.2.1:0: {reason}; {fix}"


@pytest.mark.parametrize("host", ["a..b", "." * 70, "x" * 70])
def test_host_that_cannot_be(tmp_path: Path, host: str) -> None:
    """A name that cannot be a host is an error."""
    assert refusal(tmp_path, host=host).startswith(f"cannot listen on {host}:0: ")


def test_below_the_reserve(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With little space a server starts if it has an index: it answers and cleans up, refuses logs
    with the reason, and takes them again when there is space. A first start is refused.
    """
    reserve = {"min_free_bytes": 1_000_000, "ingest_producers": "t=p"}
    free = 2_000_000
    monkeypatch.setattr("mikroscope.sidecar.free_bytes", lambda _: free)
    monkeypatch.setattr("mikroscope.disk.free_bytes", lambda _: free)
    records = [{"n": 1}, {"n": 2, "timestamp": "2020-01-01T00:00:00Z"}]
    producer = {"authorization": "Bearer t"}
    with serve(**reserve, db_retention_days=0) as server:
        assert connect(server).post("/api/ingest", json=records, headers=producer).is_success
    free = 999_999
    assert "--min-free-bytes" in refusal(tmp_path / "new", **reserve)
    client = connect(serve(**reserve, db_retention_days=30))
    refused = client.post("/api/ingest", json=records, headers=producer)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "--min-free-bytes" in refused.json()["error"]
    health = client.get("/health").json()
    assert not health["ok"]
    assert "nearly full" in health["problems"][0]
    assert client.get("/ready").status_code == 503
    wait_until(lambda: [one["data"]["n"] for one in logs(client)] == [1])
    free = 2_000_000
    wait_until(lambda: client.get("/ready").status_code == 200)
    wait_until(lambda: client.post("/api/ingest", json=records, headers=producer).is_success)


def logs(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/logs").json()["entries"]
    return found


def test_free_port(serve: Serve, tmp_path: Path) -> None:
    """Port 0 takes a free one, which `port` and `url` contain."""
    server = serve()
    other = serve(db_path=tmp_path / "other.db")
    assert server.port != other.port
    assert server.url == f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("option", "path", "purpose"),
    [("logs_path", "file/logs", "logs"), ("db_path", "file/data/index.db", "database")],
)
def test_directory_that_cannot_be(tmp_path: Path, option: str, path: str, purpose: str) -> None:
    """A directory that cannot be created is an error that names it, its use and the reason."""
    (tmp_path / "file").write_text("a file where a directory should be")
    text = refusal(tmp_path, **{option: tmp_path / path})
    assert text.startswith(f"the {purpose} directory cannot be {tmp_path}/file/")
    assert text.endswith(f": {tmp_path}/file is a file")


@pytest.mark.parametrize(("option", "name"), [("logs_path", "file"), ("db_path", "file/index.db")])
def test_file_in_place_of_a_directory(tmp_path: Path, option: str, name: str) -> None:
    """A file in place of the directory is an error that says so."""
    (tmp_path / "file").write_text("a file where a directory should be")
    text = refusal(tmp_path, **{option: tmp_path / name})
    if option == "logs_path":
        assert text == f"{tmp_path}/file is a file; --logs takes a directory"
    else:
        assert text.endswith(f" directory cannot be {tmp_path}/file: {tmp_path}/file is a file")


def test_directory_in_place_of_the_index(tmp_path: Path) -> None:
    """A directory in place of the index is an error that names the flag."""
    text = refusal(tmp_path, db_path=tmp_path)
    assert text == f"{tmp_path} is a directory; --db takes a file"


def test_logs_directory_that_was_missing(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server says when it has created the logs directory, and only then."""
    caplog.set_level("INFO")
    serve(logs_path=tmp_path / "new").close()
    serve(logs_path=tmp_path / "new").close()
    created = [text for text in caplog.messages if text.startswith("created ")]
    (text,) = created
    assert text.startswith(f"created the logs directory {tmp_path}/new, which did not exist: ")


def test_too_little_room(tmp_path: Path) -> None:
    """Less than `--min-free-bytes` is an error with the free space and the fix."""
    text = refusal(tmp_path, min_free_bytes=2**53 - 1)
    assert str(tmp_path / "data") in text
    assert "bytes free" in text
    assert "--min-free-bytes" in text


@counts_files
def test_refused_start_leaves_nothing(tmp_path: Path) -> None:
    """After a refused start no file and no socket is open, and the index is free."""
    (tmp_path / "file").write_text("a file where a directory should be")
    counts = []
    for _ in range(3):
        refusal(tmp_path, min_free_bytes=2**53 - 1)
        refusal(tmp_path, db_path=tmp_path / "file")
        refusal(tmp_path, logs_path=tmp_path / "file" / "logs")
        counts.append(open_files())
    assert counts[2] <= counts[1]
    start_server(settings_in(tmp_path)).close()


def test_file_that_is_no_index(tmp_path: Path) -> None:
    """A file that is not an index is an error, and stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 1000)
    text = refusal(tmp_path, db_path=path)
    assert str(path) in text
    assert path.read_text() == "these are my notes\n" * 1000


def test_first_answer(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A few log files are read before the first answer, without what retention does not keep."""
    (tmp_path / "logs").mkdir()
    old = '{"n":2,"timestamp":"2020-01-01T00:00:00Z"}'
    (tmp_path / "logs" / "app.ndjson").write_text(f'{{"n":1}}\n{old}\n')
    for _ in range(3):
        server = serve(db_retention_days=30)
        health = connect(server).get("/health").json()
        assert health["maintenance"]["runs"] == 2  # before the files were read, and after it
        assert health["ingest"]["runs"] >= 1
        assert [one["data"]["n"] for one in logs(connect(server))] == [1]
        server.close()


def test_start_does_not_wait_for_much(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean-up or a reading that takes long does not keep the server from answering."""
    stop = threading.Event()
    monkeypatch.setattr("mikroscope.sidecar._FIRST_CLEAN_UP_S", 0.1)
    monkeypatch.setattr("mikroscope.sidecar._FIRST_READING_S", 0.1)
    monkeypatch.setattr(Maintainer, "_run", lambda _: stop.wait(DEADLINE_S))
    try:
        health = connect(serve()).get("/health").json()
        assert (health["maintenance"]["runs"], health["ingest"]["runs"]) == (0, 0)
    finally:
        stop.set()


def test_start_does_not_wait_for_large_files(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a new index has much to read, the server answers before anything is read."""
    stop = threading.Event()
    monkeypatch.setattr("mikroscope.sidecar._FIRST_READING_S", 2 * DEADLINE_S)
    monkeypatch.setattr("mikroscope.sidecar._READ_AT_FIRST", 5)
    monkeypatch.setattr(Indexer, "step", lambda _self, **_: stop.wait(DEADLINE_S))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_text('{"n": 1}\n')
    try:
        began = time.monotonic()
        health = connect(serve()).get("/health").json()
        assert time.monotonic() - began < DEADLINE_S
        assert health["ingest"]["recordsInsertedTotal"] == 0
        assert health["maintenance"]["runs"] == 1
    finally:
        stop.set()


def test_probe_is_removed(serve: Serve, tmp_path: Path) -> None:
    """Checking that a directory can be written leaves no file behind."""
    serve()
    assert list((tmp_path / "logs").iterdir()) == []
