"""On a full disk the server loses no acknowledged record, and resumes when there is space."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.admin.snapshot import verify
from tests.helpers.paths import ROOT
from tests.helpers.server import Connect, Serve
from tests.helpers.stores import all_entries
from tests.helpers.waiting import DEADLINE_S, wait_until

DISK_BYTES = 12 << 20
PRODUCER = {"authorization": "Bearer t"}


class Disk(NamedTuple):
    """A small file system for a server's files, or a limit on the size of its files."""

    directory: Path
    is_mounted: bool

    def fill(self, process: int, leave: int) -> None:
        """Use up all space except some bytes."""
        if self.is_mounted:
            room = os.statvfs(self.directory)
            size = max(0, room.f_bavail * room.f_frsize - leave)
            with suppress(OSError):  # the server may have taken some of it meanwhile
                (self.directory / "ballast").write_bytes(b"\0" * size)
        else:
            sizes = [path.stat().st_size for path in self.directory.rglob("*") if path.is_file()]
            limit = max(sizes) + leave
            resource.prlimit(process, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def make_room(self, process: int) -> None:
        """Free the space."""
        if self.is_mounted:
            (self.directory / "ballast").unlink()
        else:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(process, resource.RLIMIT_FSIZE, unlimited)


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A small mounted file system if mounting is allowed, and a size limit in any case."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if request.param == "file size":
        yield Disk(directory, is_mounted=False)
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here: the limit of size has to do")
    yield Disk(directory, is_mounted=True)
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


class Server:
    """A real server with its files on the small disk."""

    def __init__(self, process: "subprocess.Popen[str]", disk: Disk) -> None:
        self.process = process
        self._disk = disk
        assert process.stdout is not None
        url = process.stdout.readline().split(" listens on ")[1].split()[0]
        self.client = httpx.Client(base_url=url, timeout=DEADLINE_S, trust_env=False)
        self.acknowledged: list[int] = []
        self._next = 0

    def fill_disk(self, leave: int) -> None:
        """Leave the server only so many bytes."""
        self._disk.fill(self.process.pid, leave)

    def make_room(self) -> None:
        """Free all of the space."""
        self._disk.make_room(self.process.pid)

    def send(self, count: int = 20) -> httpx.Response:
        """Send a request with some records; remember those that are acknowledged."""
        numbers = range(self._next, self._next + count)
        self._next += count
        records = [{"n": number, "pad": os.urandom(200).hex()} for number in numbers]
        answer = self.client.post("/api/ingest", json=records, headers=PRODUCER)
        if answer.status_code in (200, 202):
            self.acknowledged += numbers
        return answer

    def send_until_refused(self) -> httpx.Response:
        """Send until a request fails; return its response."""
        while (answer := self.send()).is_success:
            pass
        return answer

    def health(self) -> dict[str, Any]:
        """Return the content of `/health`."""
        found: dict[str, Any] = self.client.get("/health").json()
        return found

    def close(self) -> None:
        """End the server if it is still running."""
        self.client.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def server_on(disk: Disk, *flags: str, program: str = "mikroscope") -> Iterator[Server]:
    """A server whose disk may become full, without a reserve unless the flags set one."""
    directory = disk.directory
    command = [sys.executable, "-m", program, "serve", "--port=0", "--min-free-bytes=0"]
    command += [f"--logs={directory / 'logs'}", f"--db={directory / 'index.db'}"]
    command += ["--ingest-producers=t=p", *flags]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        server = Server(process, disk)
        try:
            yield server
        finally:
            server.close()


def indexed(directory: Path) -> Counter[int]:
    """Return how often each record is in the index."""
    with closing(SqliteStore(directory / "index.db", write=False)) as store:
        return Counter(json.loads(bytes(entry.data))["n"] for entry in all_entries(store))


def written(directory: Path) -> Counter[int]:
    """Return how often each record is in the files; every line must be whole."""
    files = sorted((directory / "logs" / "ingest" / "p").iterdir())
    lines = [line for file in files for line in file.read_text().splitlines()]
    return Counter(json.loads(line)["n"] for line in lines)


def assert_whole(directory: Path, server: Server) -> None:
    """Assert that files and index have every acknowledged record exactly once, and no other."""
    assert written(directory) == indexed(directory) == Counter(server.acknowledged)


@pytest.mark.parametrize("leave", [200_000, 1_000_000])
def test_ingest_on_a_full_disk(disk: Disk, leave: int) -> None:
    """Ingest is refused with a reason, /health reports it, and ingest resumes by itself."""
    with server_on(disk) as server:
        assert server.send().status_code == 200
        server.fill_disk(leave)
        refused = server.send_until_refused()
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]
        found = server.health()
        assert found["ok"] is False
        assert found["problems"]
        assert server.client.get("/api/logs").status_code == 200
        server.make_room()
        wait_until(lambda: server.send().status_code == 200)
        wait_until(lambda: server.health()["ok"])
        assert_whole(disk.directory, server)


def test_a_kill_on_a_full_disk(disk: Disk) -> None:
    """After a kill and a restart with free space, each acknowledged record is there once."""
    with server_on(disk) as server:
        server.send()
        server.fill_disk(500_000)
        server.send_until_refused()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        if disk.is_mounted:
            server.make_room()
        with server_on(disk) as next_one:
            wait_until(lambda: next_one.health()["ingest"]["runs"])
            assert_whole(disk.directory, server)


def test_the_queue_on_a_full_disk(disk: Disk) -> None:
    """The queue keeps acknowledged records and writes them later; more are refused."""
    with server_on(disk, "--ingest-async-queue") as server:
        server.send()
        server.fill_disk(200_000)
        refused = server.send_until_refused()
        assert refused.status_code == 503
        assert server.health()["ok"] is False
        server.make_room()
        wait_until(lambda: not server.health()["ingestEndpoint"]["queue"]["pendingRecords"])
        wait_until(lambda: server.send().status_code == 202)
        wait_until(lambda: not server.health()["ingestEndpoint"]["queue"]["pendingRecords"])
        wait_until(lambda: server.health()["ok"])
        assert_whole(disk.directory, server)


def test_a_stop_on_a_full_disk(disk: Disk) -> None:
    """A server that cannot write its queue reports it and ends with exit code 1."""
    with server_on(disk, "--ingest-async-queue") as server:
        server.send()
        server.fill_disk(0)
        server.send_until_refused()
        server.process.send_signal(signal.SIGTERM)
        _, told = server.process.communicate(timeout=DEADLINE_S)
        assert server.process.returncode == 1
        assert "queued records could not be written" in told.splitlines()[-1]


def test_a_clean_up_on_a_full_disk(disk: Disk) -> None:
    """Maintenance fails with a reason on a full disk, and the server continues to answer."""
    with server_on(disk, "--maintenance-interval-ms=1000", "--db-retention-days=1") as server:
        records = [{"n": -1, "timestamp": "2020-01-01T00:00:00Z"}]
        assert server.client.post("/api/ingest", json=records, headers=PRODUCER).is_success
        server.fill_disk(0)
        wait_until(lambda: server.health()["maintenance"]["runs"] >= 2)
        assert server.client.get("/api/logs").status_code == 200


def test_a_rebuild_on_a_full_disk(disk: Disk) -> None:
    """A rebuild fails with 503, and the old index answers as before."""
    with server_on(disk) as server:
        for _ in range(100):
            assert server.send().status_code == 200
        if disk.is_mounted:
            server.fill_disk(100_000)
        else:  # less than the new index needs
            limit = 200_000, resource.RLIM_INFINITY
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        assert server.client.post("/api/reindex").status_code == 503
        assert len(server.client.get("/api/logs?limit=1000").json()["entries"]) == 1000
        assert not list(disk.directory.glob("index.db.rebuild*"))
        assert_whole(disk.directory, server)


def wait_for_clean_up(server: Server) -> None:
    """Wait until a clean-up that begins from now on is over, whatever became of it."""
    runs = server.health()["maintenance"]["runs"]
    wait_until(lambda: server.health()["maintenance"]["runs"] > runs + 1)


@pytest.mark.parametrize("leave", [0, 30_000, 150_000])
def test_sealing_and_merging_on_a_full_disk(disk: Disk, leave: int) -> None:
    """The disk fills again and again while entries are sealed, merged and expire, and while
    another process indexes: nothing is lost, and the index is whole.
    """
    flags = ["--maintenance-interval-ms=1000", "--db-retention-days=1"]
    logs, index = disk.directory / "logs", disk.directory / "index.db"
    beside = [sys.executable, "-m", "mikroscope", "index", f"--logs={logs}", f"--db={index}"]
    with server_on(disk, *flags, program="tests.helpers.small") as server:
        for _ in range(2):
            for _ in range(5):
                server.send(40)
            with subprocess.Popen(beside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                server.fill_disk(leave)
                server.send_until_refused()
                wait_for_clean_up(server)
            server.make_room()
            wait_until(lambda: server.send().status_code == 200)
        wait_until(lambda: server.health()["ok"])
        assert_whole(disk.directory, server)
    assert verify(index) == len(server.acknowledged)


def test_the_reserve(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below --min-free-bytes the server refuses ingest, and accepts it again above."""

    def room(_directory: Path) -> int:
        return free

    free = 2_000_000
    monkeypatch.setattr("mikroscope.sidecar.free_bytes", room)
    client = connect(serve(min_free_bytes=1_000_000, ingest_producers="t=p"))
    assert client.post("/api/ingest", json=[{}], headers=PRODUCER).status_code == 200
    free = 999_999

    def send() -> httpx.Response:
        return client.post("/api/ingest", json=[{}], headers=PRODUCER)

    wait_until(lambda: send().status_code == 503)
    refused = send()
    assert "--min-free-bytes" in refused.json()["error"]
    assert client.get("/health").json()["ok"] is False
    free = 1_000_000
    wait_until(lambda: send().status_code == 200)
    assert client.get("/health").json()["ok"] is True


def test_the_way_out_of_a_full_disk(disk: Disk) -> None:
    """As OPS_RUNBOOK.md says: with fewer days, a server that is restarted below its reserve cleans
    up, and accepts logs as soon as that has made room.
    """
    if not disk.is_mounted:
        pytest.skip("a reserve needs a file system of its own")
    remount = ["mount", "-o", f"remount,size={64 << 20}", str(disk.directory)]
    subprocess.run(remount, check=True)
    old = disk.directory / "logs" / "old.ndjson"
    old.parent.mkdir()
    old.write_text(f'{{"n":-1,"message":"the same each time","pad":"{"x" * 3_000}"}}\n' * 10_000)
    os.utime(old, (0, 0))
    with server_on(disk) as server:
        wait_until(lambda: server.health()["ingest"]["runs"])
    reserve = f"--min-free-bytes={40 << 20}"
    with server_on(disk, reserve) as server:
        refused = server.send()
        assert (refused.status_code, "--min-free-bytes" in refused.text) == (503, True)
        assert server.health()["ok"] is False
        assert server.client.get("/api/logs").json()["entries"]
        assert old.exists()
    with server_on(disk, reserve, "--log-retention-days=1") as server:
        wait_until(lambda: not old.exists())
        wait_until(lambda: server.send().status_code == 200)
        assert server.health()["ok"] is True
