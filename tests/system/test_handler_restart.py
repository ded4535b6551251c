"""The handler outlives a server that is killed: each record arrives or is counted as dropped."""

import json
import logging
import logging.config
import logging.handlers
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.forms import amount
from tests.helpers.handlers import TOKEN, logging_to
from tests.helpers.ingest import free_port
from tests.helpers.stores import all_entries
from tests.helpers.waiting import wait_until


class Server:
    """A real server process on the same port and directories each time."""

    def __init__(self, directory: Path, port: int) -> None:
        command = [sys.executable, "-m", "mikroscope", "serve", "--port", str(port)]
        command += ["--logs", str(directory / "logs"), "--db", str(directory / "index.db")]
        command += ["--min-free-bytes", "0", "--ingest-producers", f"{TOKEN}=shop"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=directory
        )
        assert self.process.stdout is not None
        assert "listens on" in self.process.stdout.readline()

    def end(self, kill: bool) -> None:
        """End the server with SIGKILL, without a chance to clean up, or with SIGTERM."""
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


THREADS = 8
BEFORE, WHILE_DEAD, AFTER = amount(600, 3000), amount(1300, 6500), amount(600, 3000)
BUFFER = amount(4000, 20_000)
RECORDS = THREADS * (BEFORE + WHILE_DEAD + AFTER)


class Application:
    """Eight threads that log numbered records, whether or not there is a server."""

    def __init__(self, logger: logging.Logger) -> None:
        self.killed = threading.Event()
        self.restarted = threading.Event()
        self.is_done = threading.Barrier(THREADS + 1)
        self._logger = logger
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all records were logged."""
        for thread in self._threads:
            thread.join()

    def _work(self, thread: int) -> None:
        numbers = iter(range(thread, RECORDS, THREADS))
        for begin, count in ((None, BEFORE), (self.killed, WHILE_DEAD), (self.restarted, AFTER)):
            if begin is not None:
                begin.wait()
            for _ in range(count):
                number = next(numbers)
                self._logger.info("record %d", number, extra={"n": number})
            self.is_done.wait()


@pytest.mark.long
def test_server_is_killed_and_restarted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records from 8 threads (20,000, or 100,000), the server killed in between: all threads get
    through while it is dead; each record is there or counted as dropped; that number is reported;
    only a record that says `resent` is there twice."""
    port = free_port()
    server = Server(tmp_path, port)
    options: dict[str, Any] = {"max_buffer_records": BUFFER, "flush_timeout_s": 60.0}
    with logging_to(f"http://127.0.0.1:{port}", **options) as (logger, handler):
        application = Application(logger)
        wait_until(lambda: handler.counts.sent > 0, "the first acknowledged batch")
        server.end(kill=True)
        application.is_done.wait()
        application.killed.set()
        application.is_done.wait()  # more than the buffer holds was logged without a server
        server = Server(tmp_path, port)
        application.restarted.set()
        application.is_done.wait()
        application.join()
        assert handler.flush()
        counts = handler.counts
    server.end(kill=False)

    store = SqliteStore(tmp_path / "index.db", write=False)
    records = [json.loads(bytes(entry.data)) for entry in all_entries(store)]
    store.close()
    found = Counter((one["n"], "resent" in one) for one in records if "n" in one)
    losses = [one for one in records if one.get("event") == "logs.dropped"]
    told = {(one["timestamp"], one["droppedSince"]): one["dropped"] for one in losses}
    buffer_and_batch = BUFFER + 1000
    assert counts.dropped >= THREADS * WHILE_DEAD - buffer_and_batch
    assert (counts.sent + counts.dropped, counts.waiting, counts.refused) == (RECORDS, 0, 0)
    assert len({number for number, _ in found}) == counts.sent
    assert set(found.values()) == {1}
    assert sum(told.values()) == counts.dropped  # its answer may have been lost, too
    assert "cannot be reached" in capsys.readouterr().err
