"""The machines that backups are made of and restored to."""

from pathlib import Path

import pytest

from tests.helpers.machine import FILE, Machine
from tests.helpers.stores import lines


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
