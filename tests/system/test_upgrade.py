"""A server with the index of an earlier version answers from it, and replaces it by itself."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mikroscope.errors import StorageFullError
from mikroscope.indexing.rebuild import IndexBuilder
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.previous import downgrade
from tests.helpers.program import Program
from tests.helpers.server import PRODUCERS, Connect, Serve, health, index_logs, logs, settings_in
from tests.helpers.stores import lines
from tests.helpers.waiting import wait_until


@pytest.fixture
def old_index(tmp_path: Path) -> Path:
    """An index of format 5 with ten entries of a file, and five of one that is gone."""
    settings = settings_in(tmp_path)
    settings.logs_path.mkdir()
    (settings.logs_path / "app.ndjson").write_bytes(lines(*range(10)))
    gone = settings.logs_path / "gone.ndjson"
    gone.write_bytes(lines(*range(10, 15)))
    index_logs(settings)
    gone.unlink()
    index_logs(settings)
    downgrade(settings.db_path)
    return settings.db_path


class Gate:
    """Holds up rebuilds until it is opened, or lets them fail."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.error: Exception | None = None
        self._fill = IndexBuilder.fill

    def fill(self, builder: IndexBuilder) -> Iterator[None]:
        """Stand in for `IndexBuilder.fill`."""
        if self.error is not None:
            raise self.error
        while not self.opened.wait(0.01):
            yield
        yield from self._fill(builder)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before every rebuild."""
    made = Gate()
    monkeypatch.setattr(IndexBuilder, "fill", lambda builder: made.fill(builder))
    return made


def test_a_server_upgrades_its_index(
    old_index: Path, gate: Gate, serve: Serve, connect: Connect
) -> None:
    """It answers from the old index, accepts logs, and has everything in the new one."""
    client = connect(serve(**PRODUCERS))
    assert health(client)["storage"]["dbUpgrading"] is True
    assert len(logs(client)) == 15
    sent = client.post(
        "/api/ingest",
        headers={"authorization": "Bearer backend-token"},
        json={"message": "meanwhile", "n": 99},
    )
    assert sent.status_code == 200
    assert logs(client, text="meanwhile") == []
    gate.opened.set()
    wait_until(lambda: not health(client)["storage"]["dbUpgrading"])
    assert [one["data"]["n"] for one in logs(client, text="meanwhile")] == [99]
    assert sorted(one["data"]["n"] for one in logs(client)) == [*range(15), 99]
    assert (health(client)["ok"], health(client)["problems"]) == (True, [])


def test_a_stop_meanwhile(old_index: Path, gate: Gate, serve: Serve, connect: Connect) -> None:
    """A server that is stopped leaves the old index as it was; the next start goes on."""
    with serve() as server:
        assert len(logs(connect(server))) == 15
    with closing(SqliteStore(old_index)) as store:
        assert store.status().is_outdated
    gate.opened.set()
    client = connect(serve())
    wait_until(lambda: not health(client)["storage"]["dbUpgrading"])
    assert len(logs(client)) == 15


def test_a_disk_that_is_full(
    old_index: Path,
    gate: Gate,
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old index answers, `/health` has the reason, and the rebuild is tried again."""
    monkeypatch.setattr("mikroscope.indexing.upgrade.RETRY_S", 0.1)
    gate.error = StorageFullError("the disk is full")
    client = connect(serve())
    wait_until(lambda: not health(client)["ok"])
    (problem,) = health(client)["problems"]
    assert "could not be rebuilt in the format of this version: the disk is full" in problem
    assert len(logs(client)) == 15
    gate.error = None
    gate.opened.set()
    wait_until(lambda: health(client)["ok"])
    assert health(client)["storage"]["dbUpgrading"] is False
    assert len(logs(client)) == 15


def test_the_command_line(old_index: Path, tmp_path: Path) -> None:
    """`query` answers from the old index, `index` replaces it and says so."""
    program, database = Program(tmp_path), str(old_index)
    assert len(program.ask("query", "--db", database)["entries"]) == 15
    done = program.run("index", "--db", database, "--logs", "logs")
    assert done.returncode == 0
    assert "has the format of an earlier version: it is rebuilt from the log files" in done.stderr
    assert json.loads(done.stdout)["report"]["recordsInserted"] == 10
    assert len(program.ask("query", "--db", database)["entries"]) == 15
    again = program.ask("index", "--db", database, "--logs", "logs")
    assert again["report"]["recordsInserted"] == 0
