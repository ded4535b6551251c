"""A rebuild next to the old index blocks no client, loses no record and survives a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from mikroscope import start_server
from mikroscope.errors import StoreError
from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore, begin_rebuild
from mikroscope.stores.sqlite.schema import PAGE_BYTES
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.stores import all_entries
from tests.helpers.waiting import wait_until

TABLES_END = 21  # pages of a new index; those behind them hold what was indexed
PRODUCER = {"authorization": "Bearer t"}


def write_records(directory: Path, count: int, name: str = "app.ndjson") -> Path:
    """Write a log file with numbered records."""
    file = directory / "logs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (f'{{"timestamp":{1.7e9 + n},"n":{n},"level":"WARN"}}\n' for n in range(count))
    file.write_text("".join(lines))
    return file


def database(directory: Path) -> Path:
    """Return the path at which `serve` keeps the index."""
    return directory / "data" / "mikroscope.db"


def index_command(directory: Path, *flags: str) -> list[str]:
    """Return the command line of `mikroscope index` for the same directory."""
    command = [sys.executable, "-m", "mikroscope", "index", *flags]
    return [*command, "--logs", str(directory / "logs"), "--db", str(database(directory))]


def run_index(directory: Path, *flags: str) -> dict[str, Any]:
    """Run `mikroscope index`; return its report."""
    done = subprocess.run(
        index_command(directory, *flags), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)["report"]
    return report


def stored(directory: Path) -> list[tuple[str, int]]:
    """Return source file and line of every entry."""
    with closing(SqliteStore(database(directory), write=False)) as store:
        return sorted((one.source_file, one.line_number) for one in all_entries(store))


def timestamps(directory: Path) -> list[str]:
    """Return the time of every entry, in the order of lines."""
    with closing(SqliteStore(database(directory), write=False)) as store:
        return [
            one.timestamp for one in sorted(all_entries(store), key=lambda one: one.line_number)
        ]


def prune(path: Path, before_ms: int) -> None:
    """Delete the entries that are older."""
    with closing(SqliteStore(path)) as store:
        for _ in store.expire(Cutoffs(before_ms, before_ms)):
            pass


def runs(client: httpx.Client) -> int:
    """Return how many indexing runs the server has made."""
    found: int = client.get("/health").json()["ingest"]["runs"]
    return found


def root_of(directory: Path, table: str) -> int:
    """Return the offset of a table's root page in the file."""
    with closing(apsw.Connection(str(database(directory)))) as connection:
        select = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        page = connection.execute(select, (table,)).get
    return (page - 1) * PAGE_BYTES if page else 0


def damage(path: Path, offset: int) -> None:
    """Overwrite a page in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * PAGE_BYTES)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A directory with logs and their index."""
    write_records(tmp_path, 3_000)
    run_index(tmp_path)
    return tmp_path


class Asker:
    """A client that sends queries without a pause until it is stopped."""

    def __init__(self, client: httpx.Client) -> None:
        self.wrong: list[str] = []
        self._client = client
        self._done = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> int:
        """Stop; return how many queries the client has sent."""
        self._stop.set()
        self._thread.join()
        return self._done

    def _run(self) -> None:
        while not self._stop.is_set():
            self._done += 1
            self._ask(self._done)

    def _ask(self, _number: int) -> None:
        self._check({"field": "level", "value": "WARN"}, 100)

    def _check(self, parameters: dict[str, str], entries: int) -> None:
        answer = self._client.get("/api/logs", params=parameters)
        if answer.status_code != 200 or len(answer.json()["entries"]) != entries:
            self.wrong.append(f"{parameters}: {answer.status_code} {answer.text}")


class Sender(Asker):
    """A client that repeatedly sends a record and searches for it."""

    def __init__(self, client: httpx.Client, name: int) -> None:
        self._name = name
        super().__init__(client)

    def _ask(self, number: int) -> None:
        text = f"{self._name}-{number}"
        answer = self._client.post("/api/ingest", json=[{"sent": text}], headers=PRODUCER)
        if answer.status_code != 200:
            self.wrong.append(answer.text)
        self._check({"field": "sent", "value": text}, 1)


# --- over HTTP ----------------------------------------------------------------------------------


def test_reindex(filled: Path, serve: Serve, connect: Connect) -> None:
    """The response reports how many entries the new index has and how many the old one had."""
    client = connect(serve(ingest_interval_ms=3_600_000))
    before = stored(filled)
    answer = client.post("/api/reindex")
    assert answer.status_code == 200
    content = answer.json()
    assert content["reset"] == {"entriesDeleted": 3_000, "fieldsDeleted": 9_000}
    report = content["report"]
    times = report.pop("startedAt"), report.pop("finishedAt")
    assert times[0] <= times[1]
    assert report == {
        "filesScanned": 1,
        "linesScanned": 3_000,
        "recordsInserted": 3_000,
        "recordsSkipped": 0,
        "parseErrors": 0,
        "mode": "full",
    }
    assert stored(filled) == before
    assert client.get("/health").json()["ingest"]["lastMode"] == "full"


def test_reindex_needs_credentials(serve: Serve, connect: Connect) -> None:
    """A reindex requires the credentials of the API."""
    client = connect(serve(api_token="secret"))
    assert client.post("/api/reindex").status_code == 401
    allowed = client.post("/api/reindex", headers={"authorization": "Bearer secret"})
    assert allowed.status_code == 200


def test_entries_of_deleted_files_leave(filled: Path, serve: Serve, connect: Connect) -> None:
    """The new index has no entries of files that were deleted."""
    write_records(filled, 5, "other.ndjson")
    client = connect(serve())
    wait_until(lambda: len(stored(filled)) == 3_005)
    (filled / "logs" / "app.ndjson").unlink()
    assert client.post("/api/reindex").json()["report"]["recordsInserted"] == 5
    assert {path for path, _ in stored(filled)} == {"other.ndjson"}


def test_new_lines_are_found_after_it(filled: Path, serve: Serve, connect: Connect) -> None:
    """After a rebuild the server indexes appended lines and ingested records into the new index."""
    client = connect(serve(ingest_producers="t=p", ingest_interval_ms=250))
    client.post("/api/reindex")
    sent = client.post("/api/ingest", json=[{"n": -1}], headers=PRODUCER)
    assert sent.status_code == 200
    found = client.get("/api/logs", params={"field": "n", "value": "-1"}).json()["entries"]
    assert len(found) == 1
    with (filled / "logs" / "app.ndjson").open("a") as file:
        file.write('{"n":-2}\n')
    parameters = {"field": "n", "value": "-2"}
    wait_until(lambda: client.get("/api/logs", params=parameters).json()["entries"])
    counts = Counter(stored(filled))
    assert len(counts) == 3_002
    assert set(counts.values()) == {1}


def test_nothing_is_lost_or_doubled_under_load(
    filled: Path, serve: Serve, connect: Connect
) -> None:
    """During five rebuilds, ingest loses and duplicates no record and every answer is complete."""
    server = serve(ingest_producers="t=p")
    senders = [Sender(connect(server), first) for first in (0, 1)]
    asker = Asker(connect(server))
    client = connect(server)
    for _ in range(5):
        assert client.post("/api/reindex").status_code == 200
    sent = sum(sender.stop() for sender in senders)
    assert asker.stop() > 0
    assert [wrong for one in (*senders, asker) for wrong in one.wrong] == []
    assert Counter(Counter(stored(filled)).values()) == {1: 3_000 + sent}


def test_two_at_a_time_are_one(filled: Path, serve: Serve, connect: Connect) -> None:
    """A second request during a rebuild gets the answer of the first; the index is complete."""
    server = serve()
    answers: list[int] = []
    ask = lambda: answers.append(connect(server).post("/api/reindex").status_code)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    assert len(stored(filled)) == 3_000


def test_waiting_takes_no_thread(filled: Path, serve: Serve, connect: Connect) -> None:
    """However many requests wait for a rebuild, the server answers queries meanwhile."""
    server = serve()
    request = b"POST /api/reindex HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with ExitStack() as stack:
        with server._sidecar.rebuilder._exclusive:  # as during a clean-up
            waiting = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
                for _ in range(60)
            ]
            for connection in waiting:
                connection.sendall(request)
            wait_until(lambda: server._sidecar.rebuilder._running)
            assert connect(server).get("/api/logs").status_code == 200
        assert [connection.recv(12) for connection in waiting] == [b"HTTP/1.1 200"] * 60


def test_a_stop_gives_it_up(tmp_path: Path, connect: Connect) -> None:
    """A stop cancels the rebuild at once and keeps the old index."""
    write_records(tmp_path, 10_000)
    server = start_server(settings_in(tmp_path))
    client = connect(server)
    wait_until(lambda: runs(client))
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/api/reindex")))
    thread.start()
    wait_until(lambda: database(tmp_path).with_name("mikroscope.db.rebuild").exists())
    server.close()
    thread.join()
    assert answers[0].status_code == 503
    assert "stopping" in answers[0].json()["error"]
    assert sorted(one.name for one in (tmp_path / "data").iterdir()) == [
        "mikroscope.db",
        "mikroscope.db.lock",
    ]
    assert len(stored(tmp_path)) == 10_000


# --- from the command line ----------------------------------------------------------------------


def test_rebuild_where_nothing_is(tmp_path: Path) -> None:
    """The rebuild command creates an index if there is none."""
    write_records(tmp_path, 10)
    assert run_index(tmp_path, "--rebuild")["recordsInserted"] == 10
    assert len(stored(tmp_path)) == 10


def test_pruned_lines_of_a_file_that_was_renamed(tmp_path: Path) -> None:
    """Pruned lines stay deleted even if their file was renamed while no server was running."""
    file = write_records(tmp_path, 10)
    run_index(tmp_path)
    prune(database(tmp_path), 1_700_000_005_000)
    file.rename(file.with_name("renamed.ndjson"))
    report = run_index(tmp_path, "--rebuild")
    assert (report["recordsInserted"], report["recordsSkipped"]) == (5, 5)
    assert stored(tmp_path) == [("renamed.ndjson", n) for n in range(6, 11)]


def test_records_without_a_time(tmp_path: Path) -> None:
    """Records without a time keep the time of their first indexing; pruned ones stay deleted."""
    file = tmp_path / "logs" / "app.ndjson"
    file.parent.mkdir()
    file.write_text("".join(f'{{"n":{n}}}\n' for n in range(5)))
    run_index(tmp_path)
    before = timestamps(tmp_path)
    time.sleep(0.01)
    with file.open("a") as opened:
        opened.write('{"n":5}\n')
    run_index(tmp_path)
    run_index(tmp_path, "--rebuild")
    assert timestamps(tmp_path)[:5] == before
    prune(database(tmp_path), int(time.time() * 1000) + 1000)
    report = run_index(tmp_path, "--rebuild")
    assert (report["recordsInserted"], report["recordsSkipped"]) == (0, 6)


def test_an_index_behind_a_link(tmp_path: Path) -> None:
    """A rebuild of an index behind a symbolic link replaces the file and keeps the link."""
    write_records(tmp_path, 10)
    real = tmp_path / "elsewhere" / "real.db"
    real.parent.mkdir()
    database(tmp_path).parent.mkdir()
    database(tmp_path).symlink_to(real)
    run_index(tmp_path)
    inode = real.stat().st_ino
    run_index(tmp_path, "--rebuild")
    assert (database(tmp_path).is_symlink(), real.stat().st_ino == inode) == (True, False)
    assert len(stored(tmp_path)) == 10


def test_rebuild_beside_a_server(filled: Path, serve: Serve, connect: Connect) -> None:
    """A running server switches to the index that the command has built."""
    client = connect(serve(ingest_producers="t=p"))
    wait_until(lambda: runs(client))
    inode = database(filled).stat().st_ino
    assert run_index(filled, "--rebuild")["recordsInserted"] == 3_000
    assert database(filled).stat().st_ino != inode
    for number in range(3):
        sent = client.post("/api/ingest", json=[{"sent": number}], headers=PRODUCER)
        assert sent.status_code == 200
        parameters = {"field": "sent", "value": str(number)}
        assert len(client.get("/api/logs", params=parameters).json()["entries"]) == 1
    assert Counter(Counter(stored(filled)).values()) == {1: 3_003}


def test_rebuild_beside_a_server_under_load(filled: Path, serve: Serve, connect: Connect) -> None:
    """A record acknowledged while the command runs is found by the next query."""
    sender = Sender(connect(serve(ingest_producers="t=p")), 0)
    for _ in range(3):
        run_index(filled, "--rebuild")
    sent = sender.stop()
    assert sender.wrong == []
    assert Counter(Counter(stored(filled)).values()) == {1: 3_000 + sent}


def test_a_kill_leaves_the_old_index(tmp_path: Path) -> None:
    """The next start removes the files that a killed rebuild left behind."""
    write_records(tmp_path, 100_000)
    run_index(tmp_path)
    inode = database(tmp_path).stat().st_ino
    half_made = database(tmp_path).with_name("mikroscope.db.rebuild")
    with subprocess.Popen(index_command(tmp_path, "--rebuild")) as process:
        wait_until(lambda: half_made.exists() and half_made.stat().st_size > 0)
        os.kill(process.pid, signal.SIGKILL)
    assert half_made.exists()
    assert database(tmp_path).stat().st_ino == inode
    with closing(SqliteStore(database(tmp_path), write=False)) as store:
        assert store.count(Query()) == 100_000
    start_server(settings_in(tmp_path)).close()
    assert not half_made.exists()


def test_one_rebuild_at_a_time(filled: Path) -> None:
    """A second process is refused while a rebuild is running."""
    with begin_rebuild(database(filled)):
        done = subprocess.run(
            index_command(filled, "--rebuild"), capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "already being rebuilt" in done.stderr
    assert run_index(filled, "--rebuild")["recordsInserted"] == 3_000


def test_readers_follow(filled: Path) -> None:
    """A store that is open for reading answers from the new index and closes the old one."""
    with closing(SqliteStore(database(filled), write=False)) as store:
        assert len(store.search(Query(), PageRequest(limit=1000)).entries) == 1000
        write_records(filled, 5)
        run_index(filled, "--rebuild")
        assert len(store.search(Query(), PageRequest(limit=1000)).entries) == 5
        assert not [name for name in open_files() if "mikroscope.db" in name and "deleted" in name]


def test_counts_follow(tmp_path: Path) -> None:
    """Cached counts of one index are not used for a later index with the same inode."""
    write_records(tmp_path, 1)
    run_index(tmp_path)
    with closing(SqliteStore(database(tmp_path), write=False)) as store:
        for count in range(2, 7):
            write_records(tmp_path, count)
            run_index(tmp_path, "--rebuild")
            buckets = store.aggregate(Query(), Grouping("level")).buckets
            assert [(one.key, one.count) for one in buckets] == [("WARN", count)]


def test_writers_follow(filled: Path) -> None:
    """A batch that began before the swap is refused and writes nothing to the old index."""
    with closing(SqliteStore(database(filled))) as store:
        batch = store.begin()
        batch.open_source("other.ndjson")
        run_index(filled, "--rebuild")
        with pytest.raises(StoreError, match="replaced"):
            store.commit(batch)
        list(store.compact())
        assert [one.path for one in store.sources()] == ["app.ndjson"]
        batch = store.begin()
        batch.open_source("other.ndjson")
        store.commit(batch)
        assert len(store.sources()) == 2


def open_files() -> list[str]:
    """Return the files that this process has open."""
    directory = "/proc/self/fd"
    return [os.readlink(f"{directory}/{name}") for name in os.listdir(directory) if _is_open(name)]


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


# --- damage -------------------------------------------------------------------------------------


def aside(directory: Path, why: str) -> list[Path]:
    """Return the indexes that were set aside."""
    return sorted((directory / "data").glob(f"mikroscope.db.{why}-*Z"))


@pytest.mark.parametrize("table", ["sqlite_schema", "segments", "columns", "meta"])
def test_a_damaged_index_is_made_anew(
    filled: Path, connect: Connect, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """The start sets a damaged index aside, logs its new name and rebuilds from the logs."""
    damage(database(filled), root_of(filled, table))
    content = database(filled).read_bytes()
    with start_server(settings_in(filled)) as server:
        client = connect(server)
        wait_until(lambda: runs(client))
        assert client.get("/health").json()["ok"] is True
    assert len(stored(filled)) == 3_000
    (kept,) = aside(filled, "damaged")
    assert kept.read_bytes() == content
    assert str(kept) in caplog.text


def assert_incomplete(answer: httpx.Response) -> None:
    """Assert that an answer has not all entries, and says why."""
    assert answer.status_code == 200
    assert answer.json()["complete"] is False
    assert len(answer.json()["entries"]) < 1_000
    (note,) = answer.json()["notes"]
    assert "the index is damaged" in note
    assert "POST /api/reindex" in note


def test_damage_that_a_query_finds(filled: Path, connect: Connect) -> None:
    """A query that finds damage says that entries are missing, and the fix; a reindex repairs it
    without a restart.
    """
    pages = database(filled).stat().st_size // PAGE_BYTES
    with start_server(settings_in(filled)) as server:
        client = connect(server)
        wait_until(lambda: runs(client))
        for page in range(TABLES_END, pages):
            damage(database(filled), page * PAGE_BYTES)
        answer = client.get("/api/logs", params={"limit": 1000, "to": "2023-11-14T22:50:00Z"})
        assert_incomplete(answer)
        health = client.get("/health").json()
        assert (health["ok"], ["is damaged" in one for one in health["problems"]]) == (
            False,
            [True],
        )
        assert client.post("/api/reindex").status_code == 200
        assert client.get("/health").json()["ok"] is True
        assert len(client.get("/api/logs", params={"limit": 1000}).json()["entries"]) == 1000
    assert len(stored(filled)) == 3_000
    assert len(aside(filled, "damaged")) == 1


def test_damage_in_a_line(filled: Path, connect: Connect) -> None:
    """An entry that cannot be unpacked counts as damage, although SQLite does not notice it."""
    with closing(apsw.Connection(str(database(filled)))) as connection:
        connection.execute("UPDATE blocks SET data = zeroblob(9)")
    with start_server(settings_in(filled)) as server:
        assert_incomplete(connect(server).get("/api/logs"))
    with start_server(settings_in(filled)):
        wait_until(lambda: len(stored(filled)) == 3_000)
    assert len(aside(filled, "damaged")) == 1


def test_damage_that_was_found_before_is_mended_at_the_start(filled: Path) -> None:
    """The start repairs damage found by an earlier run even if the index opens without an error."""
    with closing(SqliteStore(database(filled), write=False)) as store:
        for page in range(TABLES_END, database(filled).stat().st_size // PAGE_BYTES):
            damage(database(filled), page * PAGE_BYTES)
        assert not store.search(Query()).complete
    with start_server(settings_in(filled)):
        wait_until(lambda: len(aside(filled, "damaged")) == 1)
        wait_until(lambda: len(stored(filled)) == 3_000)


def test_an_index_of_another_format_is_made_anew(filled: Path) -> None:
    """The server keeps an index of another format under a new name and rebuilds."""
    with closing(apsw.Connection(str(database(filled)))) as connection:
        connection.pragma("user_version", 1)
    with start_server(settings_in(filled)):
        wait_until(lambda: len(stored(filled)) == 3_000)
    assert len(aside(filled, "old-format")) == 1


def test_the_command_mends_damage(filled: Path) -> None:
    """`mikroscope index` also sets a damaged index aside and rebuilds it."""
    damage(database(filled), 0)
    assert run_index(filled, "--rebuild")["recordsInserted"] == 3_000
    assert len(stored(filled)) == 3_000
    assert len(aside(filled, "damaged")) == 1


@pytest.mark.parametrize("name", ["notes.txt", "others.db"])
def test_what_is_not_ours_is_not_touched(tmp_path: Path, name: str) -> None:
    """A rebuild refuses a text file or another program's database and leaves it unchanged."""
    path = tmp_path / name
    if name == "notes.txt":
        path.write_text("these are my notes\n" * 1000)
    else:
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("CREATE TABLE mine(x)")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="not an index"):
        begin_rebuild(path)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == [name]
