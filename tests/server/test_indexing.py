"""A running server indexes what programs write to its log files."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.server import PRODUCERS, Connect, Serve, health, logs
from tests.helpers.waiting import wait_until

HOUR_MS = 3_600_000


@pytest.mark.parametrize("disabled", [False, True])
def test_catch_up(serve: Serve, connect: Connect, tmp_path: Path, disabled: bool) -> None:
    """Lines that the files have at the start are indexed, also with `--disable-auto-ingest`."""
    (tmp_path / "logs" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "logs" / "deep" / "er" / "a.ndjson").write_text('{"a":1}\n')
    client = connect(serve(disable_auto_ingest=disabled))
    wait_until(lambda: len(logs(client)) == 1)


def test_watcher(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A line that a program appends is found long before the next periodic scan."""
    client = connect(serve(ingest_interval_ms=HOUR_MS))
    wait_until(lambda: health(client)["ingest"]["runs"])
    path = tmp_path / "logs" / "new" / "app.ndjson"
    path.parent.mkdir()
    for number in range(1, 4):
        with path.open("a") as file:
            file.write(f'{{"n":{number}}}\n')
        wait_until(lambda: len(logs(client)) == number)  # noqa: B023 -- called here and now


def test_interval(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """Without a file-system event a line is found by the next periodic scan."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(directory)  # files behind a link are not watched
    client = connect(serve(ingest_interval_ms=250))
    (directory / "app.ndjson").write_text('{"n":1}\n')
    wait_until(lambda: len(logs(client)) == 1)


def test_unfinished_line(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A line is indexed once, as soon as it is complete."""
    client = connect(serve())
    with (tmp_path / "logs" / "app.ndjson").open("w") as file:
        print('{"n":1}\n{"n":', end="", file=file, flush=True)
        wait_until(lambda: len(logs(client)) == 1)
        print("2}", file=file, flush=True)
        wait_until(lambda: len(logs(client)) == 2)
    assert health(client)["ingest"]["parseErrorsTotal"] == 0


def test_no_auto_ingest(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """With `--disable-auto-ingest`, lines that are written later wait for the next start."""
    client = connect(serve(**PRODUCERS, disable_auto_ingest=True))
    wait_until(lambda: health(client)["ingest"]["runs"])
    (tmp_path / "logs" / "app.ndjson").write_text('{"n":1}\n')
    headers = {"authorization": "Bearer backend-token"}
    client.post("/api/ingest", json=[{"n": 2}], headers=headers)
    assert [entry["data"]["n"] for entry in logs(client)] == [2]


def test_files_while_clients_send(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A file is indexed even while clients send without pause."""
    server = serve(**PRODUCERS)
    enough = threading.Event()

    def send() -> None:
        client = connect(server, headers={"authorization": "Bearer backend-token"})
        while not enough.is_set():
            assert client.post("/api/ingest", json=[{}] * 200).status_code == 200

    with ThreadPoolExecutor(12) as pool:
        try:
            senders = [pool.submit(send) for _ in range(12)]
            client = connect(server)
            wait_until(lambda: logs(client))
            (tmp_path / "logs" / "app.ndjson").write_text('{"from":"a file"}\n')
            wait_until(lambda: logs(client, field="from", value="a file"))
        finally:
            enough.set()
    assert all(sender.exception() is None for sender in senders)


def test_restart_reads_only_what_is_new(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """After a restart nothing is read again."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "app.ndjson"
    path.write_text('{"n":1}\n' * 3)
    with serve() as server:
        client = connect(server)
        wait_until(lambda: len(logs(client)) == 3)
    with path.open("a") as file:
        file.write('{"n":2}\n')
    again = connect(serve())
    wait_until(lambda: len(logs(again)) == 4)
    assert health(again)["ingest"]["linesScannedTotal"] == 1
