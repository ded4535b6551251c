"""The state of a restored server, and the files that a restore replaces."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope import start_server
from mikroscope.backup.restore import restore
from mikroscope.errors import MikroScopeError, StorageFullError
from tests.helpers.machine import FILE, Machine, content, make
from tests.helpers.server import settings_in
from tests.helpers.stores import lines


def test_restored_files_are_known_again(here: Machine, there: Machine, backups: Path) -> None:
    """Restored files are recognised, despite other inodes: no line is read again."""
    restore(there.settings, make(here, backups))
    assert there.read() == 0
    assert len(there.entries()) == 151


def test_what_is_new_after_a_restore_is_read(here: Machine, there: Machine, backups: Path) -> None:
    """Lines written after a restore are read, and no others."""
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
    """Lines that the backed-up index has not read are read at the start."""
    here.write(FILE, lines(*range(1000, 1010)))
    restore(there.settings, make(here, backups))
    assert len(there.entries()) == 151
    assert there.read() == 10
    assert there.numbers() == [*range(151), *range(1000, 1010)]


def test_entries_of_deleted_files_are_in_it(here: Machine, there: Machine, backups: Path) -> None:
    """Entries whose file was deleted are restored, and stay."""
    (here.logs / FILE).unlink()
    here.read()
    restore(there.settings, make(here, backups))
    there.read()
    assert there.numbers() == [*range(151)]


def test_from_raw_logs_only(here: Machine, there: Machine, backups: Path) -> None:
    """An index built from the log files of a backup has the same entries."""
    restore(there.settings, make(here, backups, only="logs"))
    assert not there.index.exists()
    there.read()
    assert there.numbers() == here.numbers()


def test_index_only_beside_logs(here: Machine, backups: Path) -> None:
    """A damaged index is replaced by a backup's, and newer lines are read."""
    backup = make(here, backups)
    here.write(FILE, lines(1000))
    here.index.write_bytes(b"damaged" * 1000)
    kept = restore(here.settings, backup, only="index", force=True).kept
    assert [Path(one).read_bytes()[:7] for one in kept] == [b"damaged"]
    assert here.read() == 1
    assert here.numbers() == [*range(151), 1000]


def test_mode_and_time_are_kept(here: Machine, there: Machine, backups: Path) -> None:
    """Mode and time are restored: retention deletes files by their time."""
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
    """A file that all may read, in a directory that few may enter, keeps its mode; so does a
    directory that is set aside for another one.
    """
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


def test_alert_policy(here: Machine, there: Machine, backups: Path) -> None:
    """The alert policy is restored, readable by its owner only."""
    policy = here.settings.alert_config_file
    policy.write_text('{"enabled": false}')
    policy.chmod(0o600)
    restore(there.settings, make(here, backups))
    restored = there.settings.alert_config_file
    assert restored.read_text() == '{"enabled": false}'
    assert restored.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_over(here: Machine, backups: Path) -> None:
    """Existing files are named in the error, and stay as they are."""
    backup, before = make(here, backups), content(here.logs)
    with pytest.raises(MikroScopeError, match=r"would replace .*logs and .*mikroscope\.db"):
        restore(here.settings, backup)
    assert content(here.logs) == before


def test_force_sets_aside(here: Machine, backups: Path) -> None:
    """With force, existing files are all kept, under the names that are reported."""
    backup = make(here, backups)
    here.write(FILE, lines(7777))
    before = content(here.logs)
    logs, index = map(Path, restore(here.settings, backup, force=True).kept)
    assert content(logs) == before
    assert index.name.startswith("mikroscope.db.before-restore-")
    assert here.numbers() == [*range(151)]
    assert {path.name for path in here.logs.parent.iterdir()} == {"logs", "data", logs.name}


def test_an_empty_directory_is_kept(here: Machine, there: Machine, backups: Path) -> None:
    """An empty log directory is filled, not replaced: its owner and mode may be chosen."""
    there.logs.mkdir(parents=True, mode=0o750)
    inode = there.logs.stat().st_ino
    restore(there.settings, make(here, backups))
    assert there.logs.stat().st_ino == inode


def test_a_running_server(here: Machine, backups: Path) -> None:
    """While a server uses the index nothing is restored, even with force."""
    backup = make(here, backups)
    with (
        start_server(here.settings),
        pytest.raises(MikroScopeError, match="Stop it before restoring"),
    ):
        restore(here.settings, backup, force=True)


def test_a_store_without_snapshots(
    here: Machine, there: Machine, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a store has no snapshots, nothing is restored."""
    backup = make(here, backups)
    monkeypatch.setattr("mikroscope.backup.create.administer", lambda _address: object())
    with pytest.raises(MikroScopeError, match="restored with that store's own tools"):
        restore(there.settings, backup)
    assert not there.logs.exists()


def test_a_part_that_is_not_in_it(here: Machine, there: Machine, backups: Path) -> None:
    """A part that the backup lacks is an error."""
    with pytest.raises(MikroScopeError, match="has no index"):
        restore(there.settings, make(here, backups, only="logs"), only="index")


def test_an_index_below_the_logs(here: Machine, backups: Path, tmp_path: Path) -> None:
    """An index inside the log directory is refused: renaming the logs would move it."""
    settings = settings_in(tmp_path / "x", db_path=tmp_path / "x" / "logs" / "i.db")
    with pytest.raises(MikroScopeError, match="is inside the log directory"):
        restore(settings, make(here, backups))


@pytest.fixture
def mounted(there: Machine) -> Iterator[None]:
    """The logs on a separate file system, as in a container."""
    there.logs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(there.logs)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield
    subprocess.run(["umount", "--lazy", str(there.logs)], check=True)


@pytest.mark.usefixtures("mounted")
def test_logs_on_a_disk_of_their_own(here: Machine, there: Machine, backups: Path) -> None:
    """An empty mount point is filled; one with content cannot be renamed, and stays."""
    backup = make(here, backups)
    restore(there.settings, backup)
    assert there.read() == 0
    assert sorted(path.name for path in there.logs.iterdir()) == [FILE, "deep", "ingest"]
    with pytest.raises(MikroScopeError, match="move its content away"):
        restore(there.settings, backup, force=True)
    assert there.numbers() == [*range(151)]


def test_no_room_to_restore(
    here: Machine, there: Machine, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free space is checked first."""
    monkeypatch.setattr("mikroscope.backup.restore.free_bytes", lambda _path: 1000)
    with pytest.raises(StorageFullError, match="free some space"):
        restore(there.settings, make(here, backups))
    assert not there.logs.exists()


def test_remains_of_a_killed_restore(here: Machine, there: Machine, backups: Path) -> None:
    """The next restore deletes what a killed one left."""
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
