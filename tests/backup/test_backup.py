"""A backup made during any activity restores without losing or duplicating an entry."""

import threading
from collections import Counter
from itertools import count
from pathlib import Path

import httpx
import msgspec

from mikroscope import start_server
from mikroscope.backup.restore import restore
from tests.helpers.machine import FILE, Machine, make, raw_lines
from tests.helpers.stores import line
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.system.test_kill import Clients, Server


def test_entries_are_the_same(here: Machine, there: Machine, backups: Path) -> None:
    """A restored machine returns the same entries, one by one, with the same ids."""
    restore(there.settings, make(here, backups))
    assert len(here.entries()) == 151
    for before, after in zip(here.entries(), there.entries(), strict=True):
        assert before == after


class Writer:
    """A service that writes to its own file, which is rotated constantly."""

    def __init__(self, logs: Path, numbers: "count[int]") -> None:
        self.written: list[int] = []
        self._logs = logs
        self._numbers = numbers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Stop the service and wait for its end."""
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


def wait_for_run(url: str) -> None:
    """Wait until a server has updated its index from the files."""

    def has_run() -> bool:
        health = httpx.get(f"{url}/health", trust_env=False, timeout=DEADLINE_S).json()
        return bool(health["ingest"]["runs"]) and not health["ingest"]["running"]

    wait_until(has_run)
