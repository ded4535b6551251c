"""A backup holds what there is, whatever goes on; restored, nothing is lost or there twice."""

import gzip
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mikroscope import start_server
from mikroscope.backup import manifest as archive
from mikroscope.backup.create import back_up, verified
from mikroscope.backup.log_snapshot import LogCopy
from mikroscope.backup.restore import restore
from mikroscope.disk import write_json
from mikroscope.errors import MikroScopeError, StorageFullError
from mikroscope.logfiles.tree import Listing, LogTree
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.server import index_logs, settings_in
from tests.helpers.stores import SUFFIXES, all_entries, line, lines, run_python
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.system.test_kill import Clients, Server

FILE = "app.ndjson"


class Machine:
    """Logs and an index below one directory."""

    def __init__(self, directory: Path, **overrides: object) -> None:
        self.settings = settings_in(directory, **overrides)
        self.logs = self.settings.logs_path
        self.index = self.settings.db_path

    def write(self, path: str, content: bytes) -> Path:
        """Add to a log file."""
        file = self.logs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(content)
        return file

    def read(self) -> int:
        """Bring the index up with the files; how many lines were read for it."""
        return index_logs(self.settings).lines_scanned

    def entries(self) -> list[Any]:
        """All entries, newest first."""
        with closing(SqliteStore(self.index, write=False)) as store:
            return all_entries(store)

    def numbers(self) -> list[int]:
        """The numbers of all records."""
        return sorted(json.loads(bytes(one.data))["n"] for one in self.entries())


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    """A machine with three files, one of them unfinished, indexed."""
    machine = Machine(tmp_path / "here")
    machine.write(FILE, lines(*range(100)))
    machine.write("deep/er/other.ndjson", lines(*range(100, 150), size=100))
    machine.write("ingest/p/2026-02-18.ndjson", lines(150) + b'{"n": 15')
    machine.write("plain.txt", b"no log")
    machine.read()
    return machine


@pytest.fixture
def there(tmp_path: Path) -> Machine:
    """An empty machine to restore to."""
    return Machine(tmp_path / "there")


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def make(machine: Machine, backups: Path, **options: Any) -> Path:
    """A backup of a machine."""
    return Path(back_up(machine.settings, backups, "1.2.3", **options).backup)


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


# --- the same entries -------------------------------------------------------------------------


def test_entries_are_the_same(here: Machine, there: Machine, backups: Path) -> None:
    """What is restored elsewhere answers with the same entries, one by one, ids included."""
    restore(there.settings, make(here, backups))
    assert len(here.entries()) == 151
    for before, after in zip(here.entries(), there.entries(), strict=True):
        assert before == after


class Writer:
    """A service that writes to its own file, which is rotated all the time."""

    def __init__(self, logs: Path, numbers: "count[int]") -> None:
        self.written: list[int] = []
        self._logs = logs
        self._numbers = numbers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Return when it has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for turn in count():
            with (self._logs / FILE).open("ab", buffering=0) as file:
                for number in range(40):
                    found = next(self._numbers)
                    file.write(line(found, size=number * 10))
                    self.written.append(found)
                    if self._stop.wait(0.001):
                        return
            (self._logs / FILE).rename(self._logs / f"app-{turn}.ndjson")


def test_backup_under_full_ingest(tmp_path: Path, backups: Path) -> None:
    """While 20 clients send and a rotated file grows, backups are made. Each one, restored, holds
    every record acknowledged before it, exactly once, entry by entry as the original has it; a
    server started on it reads on, and then its entries are the lines of its files, one by one; an
    index made from its raw files has the same."""
    here, numbers = Machine(tmp_path, db_path=tmp_path / "index.db"), count()
    server = Server(tmp_path)
    writer = Writer(tmp_path / "logs", numbers)
    clients = Clients(server.port, numbers, 1)
    made = []
    try:
        for _ in range(4):
            for _ in range(60):
                assert clients.answers.acquire(timeout=30)
            acknowledged = set(clients.acknowledged)
            made.append((make(here, backups), acknowledged))
    finally:
        writer.stop()
        server.kill()
        clients.join()
    original = {entry.id: entry for entry in here.entries()}
    for number, (backup, acknowledged) in enumerate(made):
        there = Machine(tmp_path / f"there{number}")
        restore(there.settings, backup)
        indexed = there.numbers()
        assert acknowledged <= set(indexed)
        assert len(indexed) == len(set(indexed))
        for entry in there.entries():  # the file may have been renamed since
            same = msgspec.structs.replace(original[entry.id], source_file=entry.source_file)
            assert entry == same
        with start_server(there.settings) as running:
            wait_for_run(running.url)
        found = Counter(bytes(one.data) for one in there.entries())
        assert found == Counter(raw_lines(backup / "logs"))
        assert set(indexed) <= set(there.numbers())
        assert max(found.values()) == 1
        raw = Machine(tmp_path / f"raw{number}")
        restore(raw.settings, backup, only="logs")
        raw.read()
        assert Counter(bytes(one.data) for one in raw.entries()) == found


def raw_lines(logs: Path) -> Iterator[bytes]:
    """The lines of all files."""
    for path in logs.rglob("*.ndjson"):
        yield from path.read_bytes().splitlines()


def wait_for_run(url: str) -> None:
    """Return when a server has brought its index up with the files."""

    def has_run() -> bool:
        health = httpx.get(f"{url}/health", trust_env=False, timeout=DEADLINE_S).json()
        return bool(health["ingest"]["runs"]) and not health["ingest"]["running"]

    wait_until(has_run)


# --- after a restore --------------------------------------------------------------------------


def test_restored_files_are_known_again(here: Machine, there: Machine, backups: Path) -> None:
    """Other inodes and all: not a line is read again."""
    restore(there.settings, make(here, backups))
    assert there.read() == 0
    assert len(there.entries()) == 151


def test_what_is_new_after_a_restore_is_read(here: Machine, there: Machine, backups: Path) -> None:
    """And nothing else."""
    restore(there.settings, make(here, backups))
    there.write(FILE, lines(1000))
    there.write("new.ndjson", lines(1001))
    assert there.read() == 2
    assert there.numbers() == [*range(151), 1000, 1001]


def test_a_rotation_after_a_restore(here: Machine, there: Machine, backups: Path) -> None:
    """A restored file may be renamed before the server starts."""
    restore(there.settings, make(here, backups))
    (there.logs / FILE).rename(there.logs / "app-1.ndjson")
    there.write(FILE, lines(1000))
    there.read()
    assert there.numbers() == [*range(151), 1000]


def test_what_was_written_after_the_index_was_copied(
    here: Machine, there: Machine, backups: Path
) -> None:
    """A backup whose files hold more than its index knows: the rest is read at the start."""
    here.write(FILE, lines(*range(1000, 1010)))
    restore(there.settings, make(here, backups))
    assert len(there.entries()) == 151
    assert there.read() == 10
    assert there.numbers() == [*range(151), *range(1000, 1010)]


def test_entries_of_deleted_files_are_in_it(here: Machine, there: Machine, backups: Path) -> None:
    """The index may hold entries whose file is gone; so does the restored one, for good."""
    (here.logs / FILE).unlink()
    here.read()
    restore(there.settings, make(here, backups))
    there.read()
    assert there.numbers() == [*range(151)]


def test_from_raw_logs_only(here: Machine, there: Machine, backups: Path) -> None:
    """The files are the truth: an index made from a backup's files has the same entries."""
    restore(there.settings, make(here, backups, only="logs"))
    assert not there.index.exists()
    there.read()
    assert there.numbers() == here.numbers()


def test_index_only_beside_logs(here: Machine, backups: Path) -> None:
    """A damaged index is replaced by that of a backup, and what has come since is read."""
    backup = make(here, backups)
    here.write(FILE, lines(1000))
    here.index.write_bytes(b"damaged" * 1000)
    kept = restore(here.settings, backup, only="index", force=True).kept
    assert [Path(one).read_bytes()[:7] for one in kept] == [b"damaged"]
    assert here.read() == 1
    assert here.numbers() == [*range(151), 1000]


# --- files ------------------------------------------------------------------------------------


def test_whole_lines_only(here: Machine, backups: Path) -> None:
    """Half a line is left out: its other half comes after the backup."""
    backup = make(here, backups)
    assert (backup / "logs/ingest/p/2026-02-18.ndjson").read_bytes() == lines(150)


def test_an_indexed_line_without_its_end(here: Machine, there: Machine, backups: Path) -> None:
    """A last line that was indexed without its line end is copied: the index knows of it."""
    here.write("once.ndjson", lines(500).rstrip())
    here.read()
    restore(there.settings, make(here, backups))
    assert (there.logs / "once.ndjson").read_bytes() == lines(500).rstrip()
    assert there.read() == 0


def test_what_is_in_it(here: Machine, backups: Path) -> None:
    """The files that are read, the index, the manifest; nothing that merely lies beside them."""
    backup = make(here, backups)
    assert set(content(backup)) == {
        "manifest.json",
        "index.db",
        f"logs/{FILE}",
        "logs/deep/er/other.ndjson",
        "logs/ingest/p/2026-02-18.ndjson",
    }


def test_a_rotated_file_that_is_followed(here: Machine, there: Machine, backups: Path) -> None:
    """A file that the index follows under a name that is not read otherwise is copied as well."""
    (here.logs / FILE).rename(here.logs / "app.ndjson.old")
    here.read()
    restore(there.settings, make(here, backups))
    there.write("app.ndjson.old", lines(1000))
    there.read()
    assert there.numbers() == [*range(151), 1000]


def test_mode_and_time_are_kept(here: Machine, there: Machine, backups: Path) -> None:
    """Retention goes by a file's time: a restored file is as old as it was."""
    original = here.logs / FILE
    original.chmod(0o640)
    os.utime(original, ns=(10**18, 10**18))
    restore(there.settings, make(here, backups))
    stat = (there.logs / FILE).stat()
    assert (stat.st_mtime_ns, stat.st_mode & 0o777) == (10**18, 0o640)


def test_time_is_kept_by_the_manifest(here: Machine, there: Machine, backups: Path) -> None:
    """A backup may have been copied without the times of its files."""
    os.utime(here.logs / FILE, ns=(1, 10**18))
    backup = make(here, backups)
    os.utime(backup / "logs" / FILE)
    restore(there.settings, backup)
    assert (there.logs / FILE).stat().st_mtime_ns == 10**18


def test_modes_of_directories_are_kept(here: Machine, there: Machine, backups: Path) -> None:
    """A file that all may read, in a directory that few may enter, stays as it is; so does a
    directory that is set aside for another one."""
    (here.logs / "deep").chmod(0o700)
    here.logs.chmod(0o750)
    backup = make(here, backups)
    here.logs.chmod(0o711)
    restore(there.settings, backup)
    restore(here.settings, backup, force=True)
    for machine, mode in ((there, 0o750), (here, 0o711)):
        assert stat.S_IMODE(machine.logs.stat().st_mode) == mode
        assert stat.S_IMODE((machine.logs / "deep").stat().st_mode) == 0o700
        assert stat.S_IMODE((machine.logs / "deep" / "er").stat().st_mode) == 0o755


def test_only_the_owner_may_look_into_it(here: Machine, backups: Path) -> None:
    """Logs may be secret."""
    backup = make(here, backups)
    assert [path.stat().st_mode & 0o777 for path in (backups, backup)] == [0o700, 0o700]


def test_packed_files(here: Machine, there: Machine, backups: Path) -> None:
    """They are copied as they are."""
    import gzip

    here.write("old.ndjson.gz", gzip.compress(lines(*range(200, 300))))
    here.read()
    restore(there.settings, make(here, backups))
    assert there.read() == 0
    assert there.numbers() == [*range(151), *range(200, 300)]


def test_unchanged_files_are_linked(here: Machine, backups: Path) -> None:
    """What has not changed since the last backup takes no more room, and no time to copy."""
    first = make(here, backups)
    here.write("deep/er/other.ndjson", lines(500))
    second = make(here, backups)
    assert (first / "logs" / FILE).samefile(second / "logs" / FILE)
    other = "logs/deep/er/other.ndjson"
    assert not (first / other).samefile(second / other)
    shutil.rmtree(first)
    verified(second)


def test_linked_files_that_are_damaged(here: Machine, backups: Path) -> None:
    """What an older backup shares is read back as well, and the error says what to do."""
    path = make(here, backups) / "logs" / FILE
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"97", b"98"))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    with pytest.raises(MikroScopeError, match="share this file: back up into another directory"):
        make(here, backups)


def test_links_past_a_backup_without_logs(here: Machine, backups: Path) -> None:
    """The newest one that has log files counts."""
    first = make(here, backups)
    make(here, backups, only="index")
    assert (make(here, backups) / "logs" / FILE).samefile(first / "logs" / FILE)


def test_alert_policy(here: Machine, there: Machine, backups: Path) -> None:
    """It comes along, readable by its owner only, as it was."""
    policy = here.settings.alert_config_file
    policy.write_text('{"enabled": false}')
    policy.chmod(0o600)
    restore(there.settings, make(here, backups))
    restored = there.settings.alert_config_file
    assert restored.read_text() == '{"enabled": false}'
    assert restored.stat().st_mode & 0o777 == 0o600


# --- what moves meanwhile ---------------------------------------------------------------------


class MovingTree(LogTree):
    """A tree in which something happens between two looks."""

    def __init__(self, root: Path, *events: Any) -> None:
        super().__init__(root, SUFFIXES)
        self._events = list(events)

    def walk(self) -> Listing:
        """As it is now; then the next thing happens."""
        listing = super().walk()
        if self._events:
            self._events.pop(0)()
        return listing


def copied_numbers(tree: LogTree, target: Path) -> list[int]:
    """The numbers of all lines of a copy."""
    LogCopy(tree, target, {}).run()
    return sorted(json.loads(one)["n"] for one in raw_lines(target))


def test_renamed_while_it_is_copied(tmp_path: Path) -> None:
    """Content that moves to another name is in the copy once."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))

    def rotate() -> None:
        (logs / FILE).rename(logs / "app-1.ndjson")
        (logs / FILE).write_bytes(lines(3))

    for number, events in enumerate(([rotate], [lambda: None, rotate])):
        (logs / "app-1.ndjson").unlink(missing_ok=True)
        (logs / FILE).write_bytes(lines(1, 2))
        tree = MovingTree(logs, *events)
        assert copied_numbers(tree, tmp_path / f"copy{number}") == [1, 2, 3]


def test_truncated_while_it_is_copied(tmp_path: Path) -> None:
    """So is what copy-truncate copies, also if the file has grown to its old size again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))

    def copy_truncate() -> None:
        shutil.copy(logs / FILE, logs / "app-1.ndjson")
        (logs / FILE).write_bytes(lines(3, 4, 5))

    tree = MovingTree(logs, lambda: None, copy_truncate)
    assert copied_numbers(tree, tmp_path / "copy") == [1, 2, 3, 4, 5]


def test_truncated_while_its_copy_was_unfinished(tmp_path: Path) -> None:
    """Copy-truncate takes its time: what was half of a file in the first look is copied again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))
    (logs / "app-1.ndjson").write_bytes(lines(1))

    def finish() -> None:
        with (logs / "app-1.ndjson").open("ab") as copy:
            copy.write(lines(2))
        (logs / FILE).write_bytes(lines(3))

    tree = MovingTree(logs, lambda: None, finish)
    assert copied_numbers(tree, tmp_path / "copy") == [1, 2, 3]


def test_packed_while_it_is_copied(tmp_path: Path) -> None:
    """So does gzip: half of a packed file is no copy of the file that it replaces."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(*range(2000), size=50))
    packed = gzip.compress((logs / FILE).read_bytes())
    (logs / f"{FILE}.gz").write_bytes(packed[: len(packed) // 2])

    def finish() -> None:
        with (logs / f"{FILE}.gz").open("ab") as file:
            file.write(packed[len(packed) // 2 :])
        (logs / FILE).unlink()

    LogCopy(MovingTree(logs, finish), tmp_path / "copy", {}).run()
    assert content(tmp_path / "copy") == {f"{FILE}.gz": packed}


def test_renamed_to_a_name_that_is_not_read(tmp_path: Path) -> None:
    """It is followed, as the index follows it; another name of a file that is read is no file."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))
    (logs / "other.ndjson").write_bytes(lines(4))
    (logs / "other.link").hardlink_to(logs / "other.ndjson")

    def rotate() -> None:
        (logs / FILE).rename(logs / "app.old")
        (logs / FILE).write_bytes(lines(3))

    LogCopy(MovingTree(logs, lambda: None, rotate), tmp_path / "copy", {}).run()
    assert content(tmp_path / "copy") == {
        "app.old": lines(1, 2),
        "app.ndjson": lines(3),
        "other.ndjson": lines(4),
    }


def test_deleted_while_it_is_copied(tmp_path: Path) -> None:
    """What retention deletes meanwhile is not in the copy."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1))
    (logs / "old.ndjson").write_bytes(lines(0))
    tree = MovingTree(logs, lambda: (logs / "old.ndjson").unlink())
    assert copied_numbers(tree, tmp_path / "copy") == [1]


def test_room_for_small_files(tmp_path: Path) -> None:
    """Each of them takes a block of the disk."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(3):
        (logs / f"{number}.ndjson").write_bytes(lines(number))
    assert LogCopy(LogTree(logs, SUFFIXES), tmp_path / "copy", {}).bytes_to_copy() == 3 * 4096


def test_never_still(tmp_path: Path) -> None:
    """Files that are renamed without end: an error, no half copy."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "0.ndjson").write_bytes(lines(1))

    def rename(number: int) -> Any:
        return lambda: (logs / f"{number}.ndjson").rename(logs / f"{number + 1}.ndjson")

    tree = MovingTree(logs, *map(rename, range(50)))
    with pytest.raises(MikroScopeError, match="renamed faster than they can be copied"):
        LogCopy(tree, tmp_path / "copy", {}).run()


# --- failures ---------------------------------------------------------------------------------


def test_no_room(here: Machine, backups: Path) -> None:
    """It is asked for beforehand, with what must stay free for the server, and nothing is left."""
    here.settings = settings_in(here.logs.parent, min_free_bytes=1 << 52)
    with pytest.raises(StorageFullError, match=r"needs about .* must stay free"):
        make(here, backups)
    assert not list(backups.iterdir())


FULL = """
import resource, signal, sys
from pathlib import Path
from mikroscope.backup.create import back_up
from mikroscope.errors import StorageFullError
from mikroscope import resolve_settings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
overrides = {"logs_path": sys.argv[1], "db_path": sys.argv[2], "min_free_bytes": 0}
settings = resolve_settings(env={}, overrides=overrides)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    back_up(settings, Path(sys.argv[3]), "1")
except StorageFullError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [20_000, 2_000_000])
def test_no_room_half_way(here: Machine, backups: Path, limit: int) -> None:
    """When the room ends in the index, or in a log file, what was copied so far is removed."""
    here.write("big.ndjson", lines(1, size=3_000_000))
    told = run_python(FULL, here.logs, here.index, backups, limit)
    assert "cannot be written" in told or "not enough space" in told
    assert not list(backups.iterdir())


def test_remains_of_a_killed_one_are_removed(here: Machine, backups: Path) -> None:
    """They have no name of a backup, and the next one takes them away."""
    (backups / ".20260218T102000.000Z.part" / "logs").mkdir(parents=True)
    backup = make(here, backups)
    assert list(backups.iterdir()) == [backup]


def test_beside_the_index(here: Machine, backups: Path) -> None:
    """The directory of an index, which its users lock, may hold backups."""
    backup = make(here, here.index.parent)
    assert verified(backup).entries == 151
    assert {one.name for one in here.index.parent.glob("*Z")} == {backup.name}


def test_two_at_a_time(here: Machine, backups: Path) -> None:
    """The second one is refused: it would take the first one for remains."""
    import fcntl

    backups.mkdir()
    descriptor = os.open(backups / ".mikroscope-backup.lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(MikroScopeError, match="another backup into"):
        make(here, backups)
    os.close(descriptor)


def test_the_same_name(here: Machine, backups: Path) -> None:
    """A backup is never written over."""
    moment = datetime(2026, 2, 18, 10, 20, tzinfo=UTC)
    backup = make(here, backups, clock=lambda: moment)
    assert backup.name == "20260218T102000.000Z"
    with pytest.raises(MikroScopeError, match="is there already"):
        make(here, backups, clock=lambda: moment)
    verified(backup)


def test_places_it_refuses(here: Machine, backups: Path) -> None:
    """Below the logs it would be indexed; a file is no directory; logs must be there."""
    with pytest.raises(MikroScopeError, match="lies below the logs"):
        make(here, here.logs / "backups")
    with pytest.raises(MikroScopeError, match="is a file"):
        make(here, here.index)
    shutil.rmtree(here.logs)
    with pytest.raises(MikroScopeError, match="there is no directory"):
        make(here, backups)


def test_a_damaged_index_is_not_backed_up(here: Machine, backups: Path) -> None:
    """The error says so; the log files alone can be."""
    tear(here.index)
    with pytest.raises(MikroScopeError, match="damaged"):
        make(here, backups)
    assert not list(backups.iterdir())
    assert verified(make(here, backups, only="logs")).entries is None


def test_no_index(here: Machine, backups: Path) -> None:
    """Where there is none yet, the error says how to get one."""
    here.index.unlink()
    with pytest.raises(MikroScopeError, match="there is no index at"):
        make(here, backups)


def tear(index: Path) -> None:
    """Damage the inverted index, in such a way that every table can still be read."""
    with closing(sqlite3.connect(index)) as connection, connection:
        name = "SELECT name FROM sqlite_schema WHERE name LIKE '%\\_data' ESCAPE '\\'"
        (table,) = connection.execute(name).fetchone()
        connection.execute(f"UPDATE {table} SET block = zeroblob(50) WHERE id > 100")  # noqa: S608


# --- reading it back --------------------------------------------------------------------------


def test_a_file_that_was_changed(here: Machine, there: Machine, backups: Path) -> None:
    """One byte is enough; nothing is restored then."""
    backup = make(here, backups)
    path = backup / "logs" / FILE
    path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
    with pytest.raises(MikroScopeError, match=r"is damaged: logs/app.ndjson has"):
        restore(there.settings, backup)
    assert not there.logs.exists()


def test_a_file_that_is_missing(here: Machine, backups: Path) -> None:
    """It is named."""
    backup = make(here, backups)
    (backup / "logs" / FILE).unlink()
    with pytest.raises(MikroScopeError, match=r"is not whole: logs/app\.ndjson"):
        verified(backup)


def test_an_index_that_is_damaged_inside(here: Machine, backups: Path) -> None:
    """The index is examined, and its entries are counted, apart from its hash."""
    backup = make(here, backups)
    manifest = json.loads((backup / "manifest.json").read_bytes())
    manifest["entries"] += 1
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MikroScopeError, match="has 151 entries, expected 152"):
        verified(backup)


def test_a_part_whose_other_part_is_damaged(
    here: Machine, there: Machine, backups: Path, tmp_path: Path
) -> None:
    """Either part is checked and restored without a look at the other."""
    backup = make(here, backups)
    other = shutil.copytree(backup, tmp_path / "other")
    (backup / "index.db").write_bytes(b"")
    (other / "logs" / FILE).unlink()
    restore(there.settings, backup, only="logs")
    restore(there.settings, other, only="index")
    assert there.numbers() == [*range(151)]
    assert content(there.logs) == content(backup / "logs")


def test_an_index_of_another_version(here: Machine, there: Machine, backups: Path) -> None:
    """It cannot be restored, and the error says how to restore the files, which can."""
    with closing(sqlite3.connect(here.index)) as connection:
        connection.execute("PRAGMA user_version = 2")
    backup = make(here, backups, only="logs")
    shutil.copy(here.index, backup / "index.db")
    manifest = archive.read_manifest(backup)
    files = [*manifest.files, archive.describe_file(backup / "index.db", "index.db")]
    (backup / "manifest.json").unlink()
    write_json(backup / archive.MANIFEST, msgspec.structs.replace(manifest, files=files))
    with pytest.raises(MikroScopeError, match=r"MikroScope 1\.2\.3, .* or .* with --only logs"):
        restore(there.settings, backup)
    restore(there.settings, backup, only="logs")
    there.read()
    assert there.numbers() == [*range(151)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 9}, "has format 9, expected 1: restore it with MikroScope 1.2.3"),
        ({"format": 9, "files": 3}, "has format 9, expected 1"),
        ({"files": [{"path": "logs/../../x", "size": 0, "sha256": "", "mtimeNs": 0}]}, "names"),
        ({"files": [{"path": "/etc/passwd", "size": 0, "sha256": "", "mtimeNs": 0}]}, "names"),
        ({"files": 3}, "is no manifest of a backup"),
    ],
)
def test_a_manifest_from_elsewhere(
    here: Machine, backups: Path, change: dict[str, object], told: str
) -> None:
    """One that cannot be used, or that names files outside, is refused."""
    backup = make(here, backups)
    manifest = json.loads((backup / "manifest.json").read_bytes())
    (backup / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(MikroScopeError, match=told):
        verified(backup)


def test_no_backup(tmp_path: Path) -> None:
    """A directory without a manifest is none."""
    with pytest.raises(MikroScopeError, match="is no backup"):
        verified(tmp_path)


# --- restoring over something -----------------------------------------------------------------


def test_nothing_is_written_over(here: Machine, backups: Path) -> None:
    """What is there is named, and stays as it is."""
    backup, before = make(here, backups), content(here.logs)
    with pytest.raises(MikroScopeError, match=r"logs and .*mikroscope\.db already"):
        restore(here.settings, backup)
    assert content(here.logs) == before


def test_force_sets_aside(here: Machine, backups: Path) -> None:
    """What was there is kept, all of it, under the names that are told."""
    backup = make(here, backups)
    here.write(FILE, lines(7777))
    before = content(here.logs)
    logs, index = map(Path, restore(here.settings, backup, force=True).kept)
    assert content(logs) == before
    assert index.name.startswith("mikroscope.db.before-restore-")
    assert here.numbers() == [*range(151)]
    assert {path.name for path in here.logs.parent.iterdir()} == {"logs", "data", logs.name}


def test_an_empty_directory_is_kept(here: Machine, there: Machine, backups: Path) -> None:
    """Its owner and mode may have been chosen with care."""
    there.logs.mkdir(parents=True, mode=0o750)
    inode = there.logs.stat().st_ino
    restore(there.settings, make(here, backups))
    assert there.logs.stat().st_ino == inode


def test_a_running_server(here: Machine, backups: Path) -> None:
    """While it uses the index nothing is restored, whatever is said."""
    backup = make(here, backups)
    with (
        start_server(here.settings),
        pytest.raises(MikroScopeError, match="another MikroScope server"),
    ):
        restore(here.settings, backup, force=True)


def test_a_part_that_is_not_in_it(here: Machine, there: Machine, backups: Path) -> None:
    """It is said."""
    with pytest.raises(MikroScopeError, match="holds no index"):
        restore(there.settings, make(here, backups, only="logs"), only="index")


def test_an_index_below_the_logs(here: Machine, backups: Path, tmp_path: Path) -> None:
    """To move the logs away would move it as well: refused."""
    settings = settings_in(tmp_path / "x", db_path=tmp_path / "x" / "logs" / "i.db")
    with pytest.raises(MikroScopeError, match="lies below the logs"):
        restore(settings, make(here, backups))


@pytest.fixture
def mounted(there: Machine) -> Iterator[None]:
    """The logs are a file system of their own, as they are in a container."""
    there.logs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(there.logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield
    subprocess.run(["umount", "--lazy", str(there.logs)], check=True)


@pytest.mark.usefixtures("mounted")
def test_logs_on_a_disk_of_their_own(here: Machine, there: Machine, backups: Path) -> None:
    """A mount point is filled if it is empty; what is in it cannot be set aside, and stays."""
    backup = make(here, backups)
    restore(there.settings, backup)
    assert there.read() == 0
    assert sorted(path.name for path in there.logs.iterdir()) == [FILE, "deep", "ingest"]
    with pytest.raises(MikroScopeError, match="move what is in it away"):
        restore(there.settings, backup, force=True)
    assert there.numbers() == [*range(151)]


def test_no_room_to_restore(
    here: Machine, there: Machine, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for beforehand."""
    monkeypatch.setattr("mikroscope.backup.restore.free_bytes", lambda _path: 1000)
    with pytest.raises(StorageFullError, match="make room"):
        restore(there.settings, make(here, backups))
    assert not there.logs.exists()


def test_remains_of_a_killed_restore(here: Machine, there: Machine, backups: Path) -> None:
    """What one that was killed has left beside the places is removed by the next."""
    there.index.parent.mkdir(parents=True)
    (there.logs.parent / ".logs.restoring" / "x").mkdir(parents=True)
    (there.index.parent / "mikroscope.db.restoring").write_text("half")
    restore(there.settings, make(here, backups))
    assert there.numbers() == [*range(151)]
    assert {path.name for path in there.logs.parent.iterdir()} == {"logs", "data"}
    assert {path.name for path in there.index.parent.iterdir()} == {
        "mikroscope.db",
        "mikroscope.db.lock",
    }
