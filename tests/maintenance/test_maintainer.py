"""Maintenance deletes expired audit and normal entries by their own rules, and nothing else."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from mikroscope import resolve_settings, start_server
from mikroscope.errors import ConfigurationError, MikroScopeError, StoreError
from mikroscope.logfiles.tree import LogTree
from mikroscope.maintenance.file_retention import Expired, delete_file
from mikroscope.maintenance.maintainer import Maintainer, Retention
from mikroscope.maintenance.size_limit import SizeLimit
from mikroscope.stores.base import Deleted
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.stores import all_entries
from tests.helpers.waiting import wait_until
from tests.stores.contract.base import put

DAY_S = 86_400
DEADLINE_S = 30.0


def days_ago(days: float) -> str:
    """Return the time so many days ago, in ISO 8601."""
    moment = datetime.fromtimestamp(time.time() - days * DAY_S, UTC)
    return moment.isoformat(timespec="milliseconds")


def record(number: int, days: float, **fields: object) -> dict[str, object]:
    """Return a record from so many days ago."""
    return {"timestamp": days_ago(days), "n": number, **fields}


def write(file: Path, records: Iterable[dict[str, object]], days: float = 0) -> Path:
    """Write a log file that was changed last so many days ago."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    age(file, days)
    return file


def age(file: Path, days: float) -> None:
    """Set a file's last change to so many days ago."""
    moment = time.time() - days * DAY_S
    os.utime(file, (moment, moment))


class Keeper:
    """Servers on one directory, one after the other, and their `/health` reports."""

    def __init__(self, directory: Path, serve: Serve, connect: Connect) -> None:
        self.logs = directory / "logs"
        self.backup = directory / "backup"
        self.index = directory / "data" / "mikroscope.db"
        self._serve = serve
        self._connect = connect
        self.given: dict[str, object] = {
            "db_retention_days": 30,
            "db_audit_retention_days": 365,
            "log_retention_days": 30,
            "log_audit_retention_days": 365,
        }  # the days of files are given, so that they hold for files of any origin

    def run(self, **overrides: object) -> dict[str, Any]:
        """Run a server until it has indexed and cleaned up; return its clean-up report."""
        with self._serve(**(self.given | overrides)) as server:
            client = self._connect(server)
            wait_until(lambda: self.health(client)["maintenance"]["runs"] == 2)
            found: dict[str, Any] = self.health(client)["maintenance"]
        return found

    @staticmethod
    def health(client: httpx.Client) -> dict[str, Any]:
        """Return the content of `/health`."""
        found: dict[str, Any] = client.get("/health").json()
        return found

    def numbers(self) -> list[int]:
        """Return the numbers of the indexed records."""
        store = SqliteStore(self.index, write=False)
        try:
            return sorted(json.loads(bytes(one.data))["n"] for one in all_entries(store))
        finally:
            store.close()


@pytest.fixture
def keeper(tmp_path: Path, serve: Serve, connect: Connect) -> Keeper:
    """A directory that servers clean up."""
    return Keeper(tmp_path, serve, connect)


# --- entries ------------------------------------------------------------------------------------


def test_old_entries_leave_at_the_start(keeper: Keeper) -> None:
    """The start deletes entries older than the retention period and counts them."""
    records = [record(1, 29), record(2, 31), record(3, 400), record(4, 0)]
    write(keeper.logs / "app.ndjson", records)
    found = keeper.run()
    assert keeper.numbers() == [1, 4]
    assert (found["entriesDeletedLastRun"], found["normalEntriesDeletedTotal"]) == (2, 2)
    assert found["fieldsDeletedTotal"] == 4
    assert found["lastError"] is None


def test_audit_entries_stay_longer(keeper: Keeper) -> None:
    """Audit entries have their own retention period, in any file."""
    records = [record(n, days, audit=True) for n, days in ((1, 31), (2, 364), (3, 366))]
    write(keeper.logs / "app.ndjson", [*records, record(4, 31)])
    found = keeper.run()
    assert keeper.numbers() == [1, 2]
    assert (found["auditEntriesDeletedTotal"], found["normalEntriesDeletedTotal"]) == (1, 1)


def test_audit_entries_may_leave_first(keeper: Keeper) -> None:
    """If their retention period is shorter, audit entries are deleted before normal ones."""
    write(keeper.logs / "app.ndjson", [record(1, 20, audit=True), record(2, 20)])
    keeper.run(db_audit_retention_days=10)
    assert keeper.numbers() == [2]


def test_zero_days_keep_entries_for_good(keeper: Keeper) -> None:
    """A retention period of 0 days keeps entries forever."""
    write(keeper.logs / "app.ndjson", [record(1, 4000), record(2, 4000, audit=True)])
    found = keeper.run(db_retention_days=0, db_audit_retention_days=0)
    assert keeper.numbers() == [1, 2]
    assert found["entriesDeletedTotal"] == 0


def test_pruned_entries_stay_pruned(keeper: Keeper) -> None:
    """After a restart, pruned entries stay deleted although their file still has them."""
    write(keeper.logs / "app.ndjson", [record(1, 31), record(2, 1)])
    keeper.run()
    keeper.run()
    assert keeper.numbers() == [2]


def test_pruned_entries_stay_pruned_after_a_rebuild(
    keeper: Keeper, serve: Serve, connect: Connect
) -> None:
    """A rebuild skips and counts pruned entries, and keeps old ones that were not pruned yet."""
    file = write(keeper.logs / "app.ndjson", [record(1, 31), record(2, 1), record(3, 400)])
    keeper.run()
    server = serve(**keeper.given)
    client = connect(server)
    wait_until(lambda: keeper.health(client)["maintenance"]["runs"] == 2)
    with file.open("a") as opened:
        opened.write(json.dumps(record(4, 50)) + "\n")
    wait_until(lambda: keeper.health(client)["ingest"]["recordsInsertedTotal"] == 1)
    answer = client.post("/api/reindex").json()
    assert answer["report"]["recordsSkipped"] == 2
    assert answer["report"]["recordsInserted"] == 2
    assert answer["reset"] == {"entriesDeleted": 2, "fieldsDeleted": 4}
    server.close()
    assert keeper.numbers() == [2, 4]


def test_counts_are_exact_after_a_clean_up(keeper: Keeper, serve: Serve, connect: Connect) -> None:
    """After a clean-up, aggregates do not count deleted entries."""
    records = [record(n, n / 10, level="ERROR" if n % 3 else "INFO") for n in range(1, 601)]
    write(keeper.logs / "app.ndjson", records)
    keeper.run()
    client = connect(serve(**keeper.given))
    buckets = client.get("/api/logs/aggregate", params={"groupBy": "level"}).json()["buckets"]
    assert {one["key"]: one["count"] for one in buckets} == {"ERROR": 200, "INFO": 99}


def test_room_is_given_back(keeper: Keeper) -> None:
    """The server shrinks the index file after a large clean-up by itself."""
    texts = (f"{number} {os.urandom(200).hex()}" for number in range(2_000))
    write(keeper.logs / "a.ndjson", (record(n, 31, note=text) for n, text in enumerate(texts)))
    keeper.run(db_retention_days=0)
    before = keeper.index.stat().st_size
    found = keeper.run()
    assert found["entriesDeletedTotal"] == 2_000
    assert found["vacuumRuns"] == 1
    assert keeper.index.stat().st_size < before / 4


def test_forgotten_sources(keeper: Keeper) -> None:
    """The index forgets a deleted file once its last entry is deleted."""
    file = write(keeper.logs / "app.ndjson", [record(1, 400)])
    keeper.run(db_retention_days=0)
    file.unlink()
    keeper.run(db_retention_days=0)
    keeper.run()
    store = SqliteStore(keeper.index)
    assert store.sources() == []
    store.close()


# --- files --------------------------------------------------------------------------------------


def test_old_files_are_deleted(keeper: Keeper) -> None:
    """A file is deleted by its last change, and its entries by their own time."""
    old = write(keeper.logs / "old.ndjson", [record(1, 5)], days=31)
    new = write(keeper.logs / "new.ndjson", [record(2, 5)], days=29)
    found = keeper.run()
    assert (old.exists(), new.exists()) == (False, True)
    assert found["auditFilesDeletedTotal"] == 0
    assert keeper.numbers() == [1, 2]


@pytest.mark.parametrize(
    ("path", "fields"),
    [("audit/app.ndjson", {}), ("app-AUDIT.ndjson", {}), ("app.ndjson", {"audit": True})],
)
def test_audit_files_stay_longer(keeper: Keeper, path: str, fields: dict[str, object]) -> None:
    """A file is an audit file by its directory, its name or a single audit entry."""
    records = [record(1, 40), record(2, 40, **fields), record(3, 40)]
    file = write(keeper.logs / path, records, days=40)
    keeper.run()
    assert file.exists()
    age(file, 366)
    keeper.run()
    assert not file.exists()


def test_files_that_are_no_logs_stay(keeper: Keeper) -> None:
    """Retention deletes only files that are read as log files."""
    files = [keeper.logs / "notes.txt", keeper.logs / "app.log"]
    for file in files:
        write(file, [], days=4000).write_text("this is not JSON\n")
        age(file, 4000)
    keeper.run()
    assert all(file.exists() for file in files)


def test_a_file_that_is_not_read_to_its_end_stays(keeper: Keeper) -> None:
    """A file that is not read to its end is kept."""
    file = write(keeper.logs / "app.ndjson", [record(1, 40)], days=40)
    keeper.run()
    with file.open("a") as opened:
        opened.write(json.dumps(record(2, 40, audit=True)) + "\n")
    age(file, 40)
    keeper.run()
    assert file.exists()


@pytest.mark.parametrize("before", [[record(1, 40)], []], ids=["a line", "nothing"])
def test_audit_behind_the_last_line_end(keeper: Keeper, before: list[dict[str, Any]]) -> None:
    """An audit record on a last line without a line end keeps its file."""
    file = write(keeper.logs / "app.ndjson", before)
    with file.open("a") as opened:
        opened.write(json.dumps(record(2, 40, audit=True)))
    age(file, 40)
    keeper.run(audit_backup_directory=keeper.backup)
    assert file.exists()
    age(file, 400)
    found = keeper.run(audit_backup_directory=keeper.backup)
    assert (file.exists(), found["auditFilesDeletedTotal"]) == (False, 1)
    assert b'"audit":' in (keeper.backup / "app.ndjson").read_bytes().replace(b" ", b"")


def test_half_a_line_at_the_end(keeper: Keeper) -> None:
    """A file with an unfinished last line is deleted like any other."""
    file = write(keeper.logs / "app.ndjson", [record(1, 40)])
    with file.open("a") as opened:
        opened.write('{"audit":true,"n"')
    age(file, 40)
    keeper.run()
    assert not file.exists()


def test_zero_days_keep_files_for_good(keeper: Keeper) -> None:
    """A retention period of 0 days keeps files forever."""
    file = write(keeper.logs / "audit" / "app.ndjson", [record(1, 1)], days=4000)
    keeper.run(log_audit_retention_days=0)
    assert file.exists()


# --- files that were there before, and links -----------------------------------------------------

BY_DEFAULT = {"log_retention_days": None, "log_audit_retention_days": None}
INGESTED = ("ingest/api/2024-01-01.ndjson", "ingest/api/2024-01-01.ndjson.1")
FOREIGN = (
    "app.ndjson",
    "ingest/app.ndjson",
    "ingest/api/old.ndjson",
    "x/ingest/api/2024-01-01.ndjson",
)


@pytest.mark.parametrize("audit", [False, True], ids=["normal", "audit"])
def test_files_of_others_stay_by_default(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, audit: bool
) -> None:
    """The default deletes what ingest wrote and nothing else; the log says what was kept."""
    caplog.set_level("INFO")
    for path in (*INGESTED, *FOREIGN):
        write(keeper.logs / path, [record(1, 1, path=path, audit=audit)], days=4000)
    found = keeper.run(**BY_DEFAULT)
    assert [path for path in INGESTED if (keeper.logs / path).exists()] == []
    assert [path for path in FOREIGN if not (keeper.logs / path).exists()] == []
    assert found["filesDeletedTotal"] == len(INGESTED)
    option = "--log-audit-retention-days" if audit else "--log-retention-days"
    said = [one for one in caplog.messages if one.startswith("retention: kept")]
    days = 365 if audit else 30
    text = f"kept {len(FOREIGN)} log files older than {days} days, which MikroScope did not write"
    assert [f"{text}: set {option} to" in one for one in said] == [True]
    for path in INGESTED:
        assert any(f"deleted {path}, " in one for one in caplog.messages)


@pytest.mark.parametrize("layer", ["file", "variable", "flag"])
def test_days_that_are_given_are_for_all_files(tmp_path: Path, layer: str) -> None:
    """Days from the config file, a variable or a flag count as given, also where they are 30."""
    config = tmp_path / "mikroscope.config.json"
    config.write_text('{"logRetentionDays": 30}' if layer == "file" else "{}")
    env = {"MIKROSCOPE_LOG_RETENTION_DAYS": "30"} if layer == "variable" else {}
    overrides = {"log_retention_days": "30"} if layer == "flag" else {}
    given = resolve_settings(config, env, overrides).given
    assert given == {"log_retention_days"}


def test_one_kind_of_days_says_nothing_of_the_other(keeper: Keeper) -> None:
    """Days given for normal files delete no audit file of others, and the other way round."""
    normal, audit = keeper.logs / "app.ndjson", keeper.logs / "audit" / "app.ndjson"
    for file in (normal, audit):
        write(file, [record(1, 1)], days=4000)
    keeper.run(log_audit_retention_days=None)
    assert (normal.exists(), audit.exists()) == (False, True)
    write(normal, [record(1, 1)], days=4000)
    keeper.run(log_retention_days=None)
    assert (normal.exists(), audit.exists()) == (True, False)


def test_nothing_behind_a_link_is_deleted(
    keeper: Keeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a linked file, nor its link, nor a file in a linked directory is deleted."""
    caplog.set_level("INFO")
    outside = write(tmp_path / "outside" / "a.ndjson", [record(1, 1)], days=4000)
    linked = write(tmp_path / "other" / "b.ndjson", [record(2, 1)], days=4000)
    inside = write(keeper.logs / "c.ndjson", [record(3, 1)], days=4000)
    (keeper.logs / "ingest").mkdir()
    (keeper.logs / "ingest" / "api").symlink_to(outside.parent)
    (keeper.logs / "b.ndjson").symlink_to(linked)
    (keeper.logs / "d.ndjson").symlink_to(inside)
    found = keeper.run()
    assert (outside.exists(), linked.exists(), inside.exists()) == (True, True, False)
    assert (keeper.logs / "b.ndjson").is_symlink()
    assert found["filesDeletedTotal"] == 1
    assert any("kept 2 log files" in one and "link" in one for one in caplog.messages)


def test_the_logs_root_may_be_a_link(keeper: Keeper, tmp_path: Path) -> None:
    """What lies below the root is inside the tree, also where the root's own name is a link."""
    file = write(tmp_path / "elsewhere" / "a.ndjson", [record(1, 1)], days=4000)
    keeper.logs.symlink_to(file.parent)
    keeper.run()
    assert not file.exists()


def test_a_directory_that_becomes_a_link(tmp_path: Path) -> None:
    """A directory that is replaced by a link after the files were listed leads nowhere."""
    file = write(tmp_path / "logs" / "x" / "a.ndjson", [record(1, 1)], days=4000)
    tree = LogTree(tmp_path / "logs", (".ndjson",))
    expired = Expired("x/a.ndjson", tree.walk().files["x/a.ndjson"], is_audit=False)
    file.parent.rename(tmp_path / "moved")
    file.parent.symlink_to(tmp_path / "moved")
    with pytest.raises(MikroScopeError, match="cannot delete"):
        delete_file(tree, expired, None)
    assert (tmp_path / "moved" / "a.ndjson").exists()


# --- backup -------------------------------------------------------------------------------------


def test_audit_files_are_backed_up(keeper: Keeper) -> None:
    """Audit files are backed up unchanged under the same path before deletion; others are not."""
    file = write(keeper.logs / "audit" / "a.ndjson", [record(1, 400)], days=400)
    other = write(keeper.logs / "b.ndjson", [record(2, 400)], days=400)
    content = file.read_bytes()
    found = keeper.run(audit_backup_directory=keeper.backup)
    assert not file.exists()
    assert not other.exists()
    assert (keeper.backup / "audit" / "a.ndjson").read_bytes() == content
    assert [one for one in keeper.backup.rglob("*") if one.is_file()] == [
        keeper.backup / "audit" / "a.ndjson"
    ]
    assert (found["auditFilesDeletedTotal"], found["normalFilesDeletedTotal"]) == (1, 1)


def test_an_older_backup_is_not_written_over(keeper: Keeper) -> None:
    """A backup never overwrites an older one; its name gets a number."""
    write(keeper.backup / "audit" / "a.ndjson", [record(9, 900)])
    write(keeper.backup / "audit" / "a.ndjson.1", [record(8, 900)])
    before = {path: path.read_bytes() for path in (keeper.backup / "audit").iterdir()}
    file = write(keeper.logs / "audit" / "a.ndjson", [record(1, 400)], days=400)
    content = file.read_bytes()
    keeper.run(audit_backup_directory=keeper.backup)
    assert not file.exists()
    assert {path: path.read_bytes() for path in before} == before
    assert (keeper.backup / "audit" / "a.ndjson.2").read_bytes() == content


def test_a_backup_that_is_there_already(keeper: Keeper) -> None:
    """After a kill between copy and deletion, no second backup is made."""
    file = write(keeper.logs / "audit" / "a.ndjson", [record(1, 400)], days=400)
    (keeper.backup / "audit").mkdir(parents=True)
    (keeper.backup / "audit" / "a.ndjson").write_bytes(file.read_bytes())
    keeper.run(audit_backup_directory=keeper.backup)
    assert not file.exists()
    assert len(list((keeper.backup / "audit").iterdir())) == 1


def test_a_file_that_cannot_be_backed_up_stays(keeper: Keeper) -> None:
    """A file that cannot be backed up stays, `/health` says why, and other files are cleaned up."""
    file = write(keeper.logs / "audit" / "a.ndjson", [record(1, 400)], days=400)
    other = write(keeper.logs / "b.ndjson", [record(2, 400)], days=400)
    keeper.backup.write_text("a file where the directory should be")
    found = keeper.run(audit_backup_directory=keeper.backup)
    assert file.exists()
    assert not other.exists()
    assert str(file) in found["lastError"]


def test_a_backup_below_the_logs_is_refused(tmp_path: Path) -> None:
    """A backup directory inside the logs is refused, because its files would be indexed again."""
    settings = settings_in(tmp_path, audit_backup_directory=tmp_path / "logs" / "old")
    with pytest.raises(ConfigurationError, match="--audit-backup-dir"):
        start_server(settings)


# --- size ---------------------------------------------------------------------------------------


class Full:
    """A store with records that take space, a maintainer with a limit, and what that logs."""

    def __init__(self, directory: Path) -> None:
        self.store = SqliteStore(directory / "x.db")
        self._writing = threading.Lock()  # one thread at a time
        for part in range(8):
            noise = Random(part)
            self.put(part, [noise.randbytes(150).hex() for _ in range(200)])
        self.exclusive = threading.Lock()
        self.now_ms = int(time.time() * 1000)
        self._logs = LogTree(directory / "logs", (".ndjson",))

    def put(self, part: int, notes: Iterable[str]) -> None:
        """Commit records of the same minute, each part a day later than the one before."""
        records = [record(part, 8 - part, note=note) for note in notes]
        with self._writing:
            put(self.store, records, f"{part}.ndjson")

    def size(self) -> int:
        """Return the size that a limit means."""
        steps = self.store.shrink(1 << 50)
        with self._writing, pytest.raises(StopIteration) as end:
            next(steps)
        return int(end.value.value)

    def parts(self) -> list[int]:
        """Return the parts of which entries are there."""
        return sorted({json.loads(bytes(one.data))["n"] for one in all_entries(self.store)})

    def maintainer(self, max_bytes: int, interval_s: float = 3_600, **keep: int) -> Maintainer:
        """Return a maintainer that looks at the size all the time."""
        days = {"entries": 0, "audit_entries": 0, "files": 0, "audit_files": 0} | keep
        return Maintainer(
            self.store,
            self._logs,
            Retention(
                **days,
                files_by_default=False,
                audit_files_by_default=False,
                backup=None,
                max_index_bytes=max_bytes,
            ),
            run_job=self._run_job,
            on_first_run=lambda: None,
            caught_up=Future(),
            exclusive=self.exclusive,
            interval_s=interval_s,
            clock_ms=lambda: self.now_ms,
            check_s=0.001,
        )

    def _run_job(self, steps: Iterator[object]) -> "Future[Any]":
        done: Future[Any] = Future()
        with self._writing:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    done.set_result(end.value)
                    return done
                except MikroScopeError as error:
                    done.set_exception(error)
                    return done


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Full]:
    """A store that is to be limited."""
    found = Full(tmp_path)
    yield found
    found.store.close()


@contextmanager
def running(maintainer: Maintainer) -> Iterator[Maintainer]:
    """Run a maintainer, from the end of its first run on."""
    maintainer.start()
    try:
        assert maintainer.first_run.wait(DEADLINE_S)
        yield maintainer
    finally:
        maintainer.stop()


def test_a_full_index_loses_its_oldest_entries(
    full: Full, caplog: pytest.LogCaptureFixture
) -> None:
    """A run deletes the oldest entries until the index fits, counts them, and logs how many."""
    limit = full.size() * 3 // 4
    with caplog.at_level("INFO"), running(full.maintainer(limit)) as maintainer:
        assert full.size() <= limit
        parts = full.parts()
        assert parts == list(range(8 - len(parts), 8)) != []
        last = maintainer.state.last
    deleted = 200 * (8 - len(parts))
    assert (last.oversize.entries, last.entries.normal_entries) == (deleted, deleted)
    assert last.expired.entries == 0
    expected = f"deleted {deleted:,} normal entries, the oldest, so that the index takes at most"
    (message,) = [one for one in caplog.messages if "deleted" in one]
    assert expected in message
    assert f"{limit:,}" in message


def test_without_a_limit_all_stay(full: Full) -> None:
    """Without a limit, entries leave only by their age."""
    with running(full.maintainer(0, entries=4)) as maintainer:
        assert full.parts() == [5, 6, 7]
    last = maintainer.state.last
    assert (last.oversize.entries, last.entries.entries) == (0, 1000)


def test_age_before_size(full: Full) -> None:
    """What is too old leaves first; nothing more leaves if the index fits then."""
    limit = full.size() * 3 // 4
    with running(full.maintainer(limit, entries=4)) as maintainer:
        assert full.parts() == [5, 6, 7]
    assert maintainer.state.last.oversize.entries == 0


def test_the_size_is_kept_between_runs(full: Full, caplog: pytest.LogCaptureFixture) -> None:
    """Between two runs the size is looked at, too; the totals have what was deleted then."""
    limit = full.size() + 50_000
    with caplog.at_level("INFO"), running(full.maintainer(limit)) as maintainer:
        assert full.parts() == list(range(8))
        for part in range(8, 16):
            full.put(part, [Random(part).randbytes(30_000).hex()])
        wait_until(lambda: maintainer.state.total.oversize.entries and full.size() <= limit)
        state = maintainer.state
    assert full.parts()[-1] == 15
    assert (state.job.runs, state.last.entries.entries) == (1, 0)
    assert state.job.last_error is None


def test_what_is_deleted_often_is_logged_sometimes(
    full: Full, caplog: pytest.LogCaptureFixture
) -> None:
    """Within ten minutes there is one line; the next one counts what was deleted meanwhile."""
    limit = SizeLimit(full.store, 1, lambda: full.now_ms)

    def lines(**deleted: int) -> list[str]:
        caplog.clear()
        limit.log(Deleted(**deleted))
        return [one.split(",")[0] for one in caplog.messages]

    with caplog.at_level("INFO"):
        assert lines() == []
        assert lines(normal_entries=3) == ["retention: deleted 3 normal entries"]
        full.now_ms += 599_000
        assert lines(normal_entries=4) == lines(audit_entries=1) == []
        full.now_ms += 2_000
        assert lines(normal_entries=5) == [
            "retention: deleted 9 normal entries",
            "retention: deleted 1 audit entry",
        ]


def test_a_limit_below_an_empty_index(full: Full, caplog: pytest.LogCaptureFixture) -> None:
    """Where even an empty index is too large, one line says so, however often that is seen."""
    with running(full.maintainer(1)) as maintainer:
        full.put(8, ["again"])
        wait_until(lambda: maintainer.state.total.oversize.entries == 1_601)
        full.put(9, ["and again"])
        wait_until(lambda: maintainer.state.total.oversize.entries == 1_602)
    assert full.parts() == []
    (warning,) = [one for one in caplog.messages if "--db-max-bytes" in one]
    assert "without any entry" in warning


def test_a_rebuild_is_not_disturbed(full: Full) -> None:
    """While the index is being rebuilt, its size is not looked at, and nothing waits for that."""
    maintainer = full.maintainer(full.size() // 2)
    full.exclusive.acquire()
    assert maintainer._keep_small()
    assert maintainer.state.total.oversize.entries == 0
    full.exclusive.release()
    assert maintainer._keep_small()
    assert maintainer.state.total.oversize.entries > 0


def test_a_size_that_cannot_be_kept(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing can be deleted, a run follows, and reports why."""

    def fails(max_bytes: int) -> Iterator[Deleted]:
        raise StoreError("the disk is full")

    with running(full.maintainer(full.size() + 10_000)) as maintainer:
        monkeypatch.setattr(full.store, "shrink", fails)
        full.put(8, [Random(0).randbytes(100_000).hex()])
        wait_until(lambda: maintainer.state.job.last_error == "the disk is full")
        assert maintainer.state.job.runs == 2


# --- cadence ------------------------------------------------------------------------------------


def test_the_clean_up_is_repeated(keeper: Keeper, serve: Serve, connect: Connect) -> None:
    """The clean-up repeats at the interval while the server runs."""
    write(keeper.logs / "app.ndjson", [record(1, 31), record(2, 1)])
    client = connect(serve(**keeper.given, maintenance_interval_ms=1000))
    wait_until(lambda: keeper.health(client)["maintenance"]["entriesDeletedTotal"] == 1)
    found = keeper.health(client)["maintenance"]
    assert found["runs"] >= 1
    assert found["lastDurationMs"] >= 0
    assert [one["data"]["n"] for one in client.get("/api/logs").json()["entries"]] == [2]


def test_a_clean_up_goes_on_in_a_new_index(keeper: Keeper, serve: Serve, connect: Connect) -> None:
    """The server's clean-ups continue after a command has rebuilt the index."""
    write(keeper.logs / "app.ndjson", [record(n, 31) for n in range(20_000)])
    keeper.run(db_retention_days=0)
    client = connect(serve(**keeper.given))
    command = [sys.executable, "-m", "mikroscope", "index", "--rebuild"]
    command += ["--logs", str(keeper.logs), "--db", str(keeper.index)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    wait_until(lambda: keeper.health(client)["maintenance"]["runs"])
    assert keeper.health(client)["maintenance"]["lastError"] is None


@pytest.mark.parametrize(
    ("step_ms", "expected"), [(0, ["job", "job", "job", "others"]), (2_000, 1)]
)
def test_files_are_read_after_the_first_run(
    tmp_path: Path, step_ms: int, expected: list[str] | int
) -> None:
    """No step of a first run waits for the reading of files, which waits a second at most."""
    order: list[str] = []
    now = itertools.count(DAY_S * 10_000_000, step_ms)
    write(tmp_path / "logs" / "app.ndjson", [record(1, 0)])

    def run_job(steps: Iterator[object]) -> "Future[Any]":
        order.append("job")
        done: Future[Any] = Future()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                done.set_result(end.value)
                return done

    with closing(SqliteStore(tmp_path / "x.db")) as store:
        put(store, [record(n, 300) for n in range(3)])
        maintainer = Maintainer(
            store,
            LogTree(tmp_path / "logs", (".ndjson",)),
            Retention(
                30, 30, 30, 30, files_by_default=False, audit_files_by_default=False, backup=None
            ),
            run_job=run_job,
            on_first_run=lambda: order.append("others"),
            caught_up=Future(),
            exclusive=threading.Lock(),
            interval_s=3_600,
            clock_ms=lambda: next(now),
        )
        maintainer.start()
        assert maintainer.first_run.wait(10)
        maintainer.stop()
    assert order == expected if isinstance(expected, list) else order.index("others") == expected
