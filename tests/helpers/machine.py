"""Logs and an index on a machine that is backed up or restored to."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mikroscope.backup.create import back_up
from mikroscope.stores import open_store
from tests.helpers.server import index_logs, settings_in
from tests.helpers.stores import all_entries

FILE = "app.ndjson"


class Machine:
    """Logs and an index in one directory."""

    def __init__(self, directory: Path, **overrides: object) -> None:
        self.settings = settings_in(directory, **overrides)
        self.logs = self.settings.logs_path
        self.index = self.settings.db_path

    def write(self, path: str, content: bytes) -> Path:
        """Append to a log file."""
        file = self.logs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(content)
        return file

    def read(self) -> int:
        """Update the index from the files; return the number of lines read."""
        return index_logs(self.settings).lines_scanned

    def entries(self) -> list[Any]:
        """Return all entries, newest first."""
        with closing(open_store(self.index)) as store:
            return all_entries(store)

    def numbers(self) -> list[int]:
        """Return the numbers of all records."""
        return sorted(json.loads(bytes(one.data))["n"] for one in self.entries())


def make(machine: Machine, backups: Path, **options: Any) -> Path:
    """Make a backup of a machine."""
    return Path(back_up(machine.settings, backups, "1.2.3", **options).backup)


def content(directory: Path) -> dict[str, bytes]:
    """Return the content of every file in a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def raw_lines(logs: Path) -> Iterator[bytes]:
    """Return the lines of all files."""
    for path in logs.rglob("*.ndjson"):
        yield from path.read_bytes().splitlines()


def tear(index: Path) -> None:
    """Damage entries that are not sealed; every table can still be read."""
    with closing(sqlite3.connect(index)) as connection, connection:
        changed = connection.execute("UPDATE fresh SET data = zeroblob(50)").rowcount
    assert changed > 0
