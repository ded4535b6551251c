"""A full disk: nothing acknowledged is lost, nothing is torn, and it goes on when there is room."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mikroscope.stores.sqlite import SqliteStore
from tests.conftest import DEADLINE_S, Connect, Serve, wait_until
from tests.support import all_entries

DISK_BYTES = 12 << 20
PRODUCER = {"authorization": "Bearer t"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


class Server:
    """A real server, its files on the small disk."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        url = process.stdout.readline().split(" listens on ")[1].split()[0]
        self.client = httpx.Client(base_url=url, timeout=DEADLINE_S, trust_env=False)
        self.acknowledged: list[int] = []
        self._next = 0

    def send(self, count: int = 20) -> httpx.Response:
        """A request of some records; what is acknowledged is remembered."""
        numbers = range(self._next, self._next + count)
        self._next += count
        records = [{"n": number, "pad": os.urandom(200).hex()} for number in numbers]
        answer = self.client.post("/api/ingest", json=records, headers=PRODUCER)
        if answer.status_code in (200, 202):
            self.acknowledged += numbers
        return answer

    def send_until_refused(self) -> httpx.Response:
        """The first answer that is none of success."""
        while (answer := self.send()).is_success:
            pass
        return answer

    def health(self) -> dict[str, Any]:
        """What it tells."""
        found: dict[str, Any] = self.client.get("/health").json()
        return found

    def close(self) -> None:
        """End it, if it has not ended."""
        self.client.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def server_on(directory: Path, *flags: str) -> Iterator[Server]:
    """A server whose disk may run full: no reserve but what the flags say."""
    command = [sys.executable, "-m", "mikroscope", "serve", "--port=0", "--min-free-bytes=0"]
    command += [f"--logs={directory / 'logs'}", f"--db={directory / 'index.db'}"]
    command += ["--ingest-producers=t=p", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=directory
    ) as process:
        server = Server(process)
        try:
            yield server
        finally:
            server.close()


def fill(directory: Path, leave: int) -> Path:
    """Take all room but some bytes, with a file that can be deleted."""
    ballast = directory / "ballast"
    room = os.statvfs(directory)
    ballast.write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - leave))
    return ballast


def indexed(directory: Path) -> Counter[int]:
    """How often each record is in the index."""
    with closing(SqliteStore(directory / "index.db", write=False)) as store:
        return Counter(json.loads(bytes(entry.data))["n"] for entry in all_entries(store))


def written(directory: Path) -> Counter[int]:
    """How often each record is in the files; every line must be whole."""
    files = sorted((directory / "logs" / "ingest" / "p").iterdir())
    lines = [line for file in files for line in file.read_text().splitlines()]
    return Counter(json.loads(line)["n"] for line in lines)


def assert_whole(directory: Path, server: Server) -> None:
    """Everything acknowledged is in files and index, everything once, and nothing else is."""
    assert written(directory) == indexed(directory) == Counter(server.acknowledged)


@pytest.mark.parametrize("leave", [200_000, 1_000_000])
def test_ingest_on_a_full_disk(disk: Path, leave: int) -> None:
    """It is refused with a reason, /health tells, and it goes on by itself."""
    with server_on(disk) as server:
        assert server.send().status_code == 200
        ballast = fill(disk, leave)
        refused = server.send_until_refused()
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]
        found = server.health()
        assert found["ok"] is False
        assert found["problems"]
        assert server.client.get("/api/logs").status_code == 200
        ballast.unlink()
        wait_until(lambda: server.send().status_code == 200)
        wait_until(lambda: server.health()["ok"])
        assert_whole(disk, server)


def test_a_kill_on_a_full_disk(disk: Path) -> None:
    """After a restart with room again, all that was acknowledged is there once."""
    with server_on(disk) as server:
        server.send()
        ballast = fill(disk, 500_000)
        server.send_until_refused()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        ballast.unlink()
        with server_on(disk) as next_one:
            wait_until(lambda: next_one.health()["ingest"]["runs"])
            assert_whole(disk, server)


def test_the_queue_on_a_full_disk(disk: Path) -> None:
    """What was answered with 202 is kept, and written when there is room; more is refused."""
    with server_on(disk, "--ingest-async-queue") as server:
        server.send()
        ballast = fill(disk, 200_000)
        refused = server.send_until_refused()
        assert refused.status_code == 503
        assert server.health()["ok"] is False
        ballast.unlink()
        wait_until(lambda: not server.health()["ingestEndpoint"]["queue"]["pendingRecords"])
        wait_until(lambda: server.send().status_code == 202)
        wait_until(lambda: not server.health()["ingestEndpoint"]["queue"]["pendingRecords"])
        wait_until(lambda: server.health()["ok"])
        assert_whole(disk, server)


def test_a_stop_on_a_full_disk(disk: Path) -> None:
    """A queue that cannot be written is told of, with exit code 1."""
    with server_on(disk, "--ingest-async-queue") as server:
        server.send()
        fill(disk, 0)
        server.send_until_refused()
        server.process.send_signal(signal.SIGTERM)
        _, told = server.process.communicate(timeout=DEADLINE_S)
        assert server.process.returncode == 1
        assert "queued records could not be written" in told.splitlines()[-1]


def test_a_clean_up_on_a_full_disk(disk: Path) -> None:
    """It fails with a reason, and nothing else does."""
    with server_on(disk, "--maintenance-interval-ms=1000", "--db-retention-days=1") as server:
        records = [{"n": -1, "timestamp": "2020-01-01T00:00:00Z"}]
        assert server.client.post("/api/ingest", json=records, headers=PRODUCER).is_success
        fill(disk, 0)
        wait_until(lambda: server.health()["maintenance"]["runs"] >= 2)
        assert server.client.get("/api/logs").status_code == 200


def test_a_rebuild_on_a_full_disk(disk: Path) -> None:
    """It is given up with 503, and the old index answers as before."""
    with server_on(disk) as server:
        for _ in range(100):
            assert server.send().status_code == 200
        fill(disk, 100_000)
        assert server.client.post("/api/reindex").status_code == 503
        assert len(server.client.get("/api/logs?limit=1000").json()["entries"]) == 1000
        assert not list(disk.glob("index.db.rebuild*"))
        assert_whole(disk, server)


def test_the_reserve(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below --min-free-bytes ingest is refused, in good time, and taken again above."""

    def room(_directory: Path) -> int:
        return free

    free = 2_000_000
    monkeypatch.setattr("mikroscope.service.free_bytes", room)
    client = connect(serve(min_free_bytes=1_000_000, ingest_producers="t=p"))
    assert client.post("/api/ingest", json=[{}], headers=PRODUCER).status_code == 200
    free = 999_999
    refused = client.post("/api/ingest", json=[{}], headers=PRODUCER)
    assert refused.status_code == 503
    assert "--min-free-bytes" in refused.json()["error"]
    assert client.get("/health").json()["ok"] is False
    free = 1_000_000
    assert client.post("/api/ingest", json=[{}], headers=PRODUCER).status_code == 200
    assert client.get("/health").json()["ok"] is True
