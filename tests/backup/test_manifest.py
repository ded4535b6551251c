"""A backup is verified: its manifest, the hashes of its files, its index."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mikroscope.backup import manifest as archive
from mikroscope.backup.create import verified
from mikroscope.backup.restore import restore
from mikroscope.disk import write_json
from mikroscope.errors import MikroScopeError
from tests.helpers.machine import FILE, Machine, content, make
from tests.helpers.server import settings_in


def test_a_file_that_was_changed(here: Machine, there: Machine, backups: Path) -> None:
    """One changed byte is found, and then nothing is restored."""
    backup = make(here, backups)
    path = backup / "logs" / FILE
    path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
    with pytest.raises(MikroScopeError, match=r"is damaged: logs/app.ndjson has"):
        restore(there.settings, backup)
    assert not there.logs.exists()


def test_a_file_that_is_missing(here: Machine, backups: Path) -> None:
    """The error names a missing file."""
    backup = make(here, backups)
    (backup / "logs" / FILE).unlink()
    with pytest.raises(MikroScopeError, match=r"is incomplete: logs/app\.ndjson"):
        verified(here.settings, backup)


def test_an_index_that_is_damaged_inside(here: Machine, backups: Path) -> None:
    """Apart from its hash, the index is checked and its entries are counted."""
    backup = make(here, backups)
    manifest = json.loads((backup / "manifest.json").read_bytes())
    manifest["entries"] += 1
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MikroScopeError, match="has 151 entries, expected 152"):
        verified(here.settings, backup)


def test_a_part_whose_other_part_is_damaged(
    here: Machine, there: Machine, backups: Path, tmp_path: Path
) -> None:
    """Each part is verified and restored without reading the other."""
    backup = make(here, backups)
    other = shutil.copytree(backup, tmp_path / "other")
    (backup / "index.db").write_bytes(b"")
    (other / "logs" / FILE).unlink()
    restore(there.settings, backup, only="logs")
    restore(there.settings, other, only="index")
    assert there.numbers() == [*range(151)]
    assert content(there.logs) == content(backup / "logs")


def test_an_index_of_another_version(here: Machine, there: Machine, backups: Path) -> None:
    """An index in another format is refused; the error says how to restore the log files."""
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
    ("change", "text"),
    [
        ({"format": 9}, "has format 9, expected 1: restore it with MikroScope 1.2.3"),
        ({"format": 9, "files": 3}, "has format 9, expected 1"),
        ({"files": [{"path": "logs/../../x", "size": 0, "sha256": "", "mtimeNs": 0}]}, "names"),
        ({"files": [{"path": "/etc/passwd", "size": 0, "sha256": "", "mtimeNs": 0}]}, "names"),
        ({"files": 3}, "is not the manifest of a backup"),
    ],
)
def test_a_manifest_from_elsewhere(
    here: Machine, backups: Path, change: dict[str, object], text: str
) -> None:
    """A manifest that is unusable, or names files outside the backup, is refused."""
    backup = make(here, backups)
    manifest = json.loads((backup / "manifest.json").read_bytes())
    (backup / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(MikroScopeError, match=text):
        verified(here.settings, backup)


def test_no_backup(tmp_path: Path) -> None:
    """A directory without a manifest is not a backup."""
    with pytest.raises(MikroScopeError, match="is not a backup"):
        verified(settings_in(tmp_path), tmp_path)
