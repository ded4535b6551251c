"""The files that a backup holds, and the cleanup after one that fails."""

import fcntl
import gzip
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mikroscope.backup.create import verified
from mikroscope.backup.restore import restore
from mikroscope.errors import MikroScopeError, StorageFullError
from tests.helpers.machine import FILE, Machine, content, make, tear
from tests.helpers.server import settings_in
from tests.helpers.stores import lines, run_python


def test_whole_lines_only(here: Machine, backups: Path) -> None:
    """A backup leaves out half a line, whose rest is written after the backup."""
    backup = make(here, backups)
    assert (backup / "logs/ingest/p/2026-02-18.ndjson").read_bytes() == lines(150)


def test_an_indexed_line_without_its_end(here: Machine, there: Machine, backups: Path) -> None:
    """A last line that was indexed without its line end is copied: the index has it."""
    here.write("once.ndjson", lines(500).rstrip())
    here.read()
    restore(there.settings, make(here, backups))
    assert (there.logs / "once.ndjson").read_bytes() == lines(500).rstrip()
    assert there.read() == 0


def test_what_is_in_it(here: Machine, backups: Path) -> None:
    """A backup has the log files, the index and the manifest, and no other file."""
    backup = make(here, backups)
    assert set(content(backup)) == {
        "manifest.json",
        "index.db",
        f"logs/{FILE}",
        "logs/deep/er/other.ndjson",
        "logs/ingest/p/2026-02-18.ndjson",
    }


def test_a_rotated_file_that_is_followed(here: Machine, there: Machine, backups: Path) -> None:
    """A rotated file that the index follows is copied, although its new name is not read."""
    (here.logs / FILE).rename(here.logs / "app.ndjson.kept")
    here.read()
    restore(there.settings, make(here, backups))
    there.write("app.ndjson.kept", lines(1000))
    there.read()
    assert there.numbers() == [*range(151), 1000]


def test_only_the_owner_may_look_into_it(here: Machine, backups: Path) -> None:
    """Logs may be secret: only the owner can read a backup."""
    backup = make(here, backups)
    assert [path.stat().st_mode & 0o777 for path in (backups, backup)] == [0o700, 0o700]


def test_packed_files(here: Machine, there: Machine, backups: Path) -> None:
    """Packed files are copied as they are."""

    here.write("old.ndjson.gz", gzip.compress(lines(*range(200, 300))))
    here.read()
    restore(there.settings, make(here, backups))
    assert there.read() == 0
    assert there.numbers() == [*range(151), *range(200, 300)]


def test_unchanged_files_are_linked(here: Machine, backups: Path) -> None:
    """A file that has not changed since the last backup is linked, not copied."""
    first = make(here, backups)
    here.write("deep/er/other.ndjson", lines(500))
    second = make(here, backups)
    assert (first / "logs" / FILE).samefile(second / "logs" / FILE)
    other = "logs/deep/er/other.ndjson"
    assert not (first / other).samefile(second / other)
    shutil.rmtree(first)
    verified(here.settings, second)


def test_linked_files_that_are_damaged(here: Machine, backups: Path) -> None:
    """A file that an older backup shares is verified as well; the error says what to do."""
    path = make(here, backups) / "logs" / FILE
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"97", b"98"))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    with pytest.raises(MikroScopeError, match="share this file: back up into another directory"):
        make(here, backups)


def test_links_past_a_backup_without_logs(here: Machine, backups: Path) -> None:
    """Files are linked from the newest backup that has log files."""
    first = make(here, backups)
    make(here, backups, only="index")
    assert (make(here, backups) / "logs" / FILE).samefile(first / "logs" / FILE)


def test_no_room(here: Machine, backups: Path) -> None:
    """Free space is checked first, with the server's reserve; nothing is left behind."""
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
    """If the disk fills up while the index or a log file is copied, the copies are deleted."""
    here.write("big.ndjson", lines(1, size=3_000_000))
    text = run_python(FULL, here.logs, here.index, backups, limit)
    assert "cannot be written" in text or "not enough space" in text
    assert not list(backups.iterdir())


def test_remains_of_a_killed_one_are_removed(here: Machine, backups: Path) -> None:
    """A killed backup has no backup's name, and the next one deletes its files."""
    (backups / ".20260218T102000.000Z.part" / "logs").mkdir(parents=True)
    backup = make(here, backups)
    assert list(backups.iterdir()) == [backup]


def test_beside_the_index(here: Machine, backups: Path) -> None:
    """The directory of an index, which its users lock, may hold backups."""
    backup = make(here, here.index.parent)
    assert verified(here.settings, backup).entries == 151
    assert {one.name for one in here.index.parent.glob("*Z")} == {backup.name}


def test_two_at_a_time(here: Machine, backups: Path) -> None:
    """A second backup is refused: it would delete the files of the first."""

    backups.mkdir()
    descriptor = os.open(backups / ".mikroscope-backup.lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(MikroScopeError, match="another backup into"):
        make(here, backups)
    os.close(descriptor)


def test_the_same_name(here: Machine, backups: Path) -> None:
    """A backup is never overwritten."""
    moment = datetime(2026, 2, 18, 10, 20, tzinfo=UTC)
    backup = make(here, backups, clock=lambda: moment)
    assert backup.name == "20260218T102000.000Z"
    with pytest.raises(MikroScopeError, match="already exists"):
        make(here, backups, clock=lambda: moment)
    verified(here.settings, backup)


def test_places_it_refuses(here: Machine, backups: Path) -> None:
    """The target must be a directory outside the logs, and the logs must exist."""
    with pytest.raises(MikroScopeError, match="is inside the log directory"):
        make(here, here.logs / "backups")
    with pytest.raises(MikroScopeError, match="is a file"):
        make(here, here.index)
    shutil.rmtree(here.logs)
    with pytest.raises(MikroScopeError, match=r"No logs directory at .* or pass --logs"):
        make(here, backups)


def test_a_store_without_snapshots(
    here: Machine, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a store has no snapshots, the error says so; the log files alone can be saved."""
    monkeypatch.setattr("mikroscope.backup.create.administer", lambda _address: object())
    with pytest.raises(MikroScopeError, match=r"own tools; .*--only logs"):
        make(here, backups)
    assert not list(backups.iterdir())
    assert verified(here.settings, make(here, backups, only="logs")).entries is None


def test_a_damaged_index_is_not_backed_up(here: Machine, backups: Path) -> None:
    """A damaged index is an error; the log files alone can be saved."""
    tear(here.index)
    with pytest.raises(MikroScopeError, match="damaged"):
        make(here, backups)
    assert not list(backups.iterdir())
    assert verified(here.settings, make(here, backups, only="logs")).entries is None


def test_no_index(here: Machine, backups: Path) -> None:
    """If there is no index yet, the error says how to create one."""
    here.index.unlink()
    with pytest.raises(MikroScopeError, match="No index at"):
        make(here, backups)
