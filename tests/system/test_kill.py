"""However often the server is killed, no acknowledged record is lost or duplicated."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

import pytest

from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.forms import amount
from tests.helpers.stores import all_entries

ROUNDS = amount(6, 40)
CLIENTS = 20
TOKEN = "kill-token"


class Server:
    """A real server process, on the same directories in every round."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "mikroscope", "serve", "--port", "0"]
        command += ["--logs", str(directory / "logs"), "--db", str(directory / "index.db")]
        command += ["--min-free-bytes", "0", "--ingest-producers", f"{TOKEN}=killed"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=directory
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(line.split(" listens on http://127.0.0.1:")[1].split()[0])

    def kill(self) -> None:
        """Kill the server without a chance to clean up."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Clients:
    """Threads that send numbered records until the server is gone."""

    def __init__(self, port: int, numbers: "count[int]", seed: int) -> None:
        self.acknowledged: list[int] = []
        self.answers = threading.Semaphore(0)
        self._port = port
        self._numbers = numbers
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(seed * 1000 + client),))
            for client in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all threads have noticed."""
        for thread in self._threads:
            thread.join()

    def _send(self, chance: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        try:
            while True:
                batch = [next(self._numbers) for _ in range(chance.choice((1, 1, 1, 5, 40)))]
                body = json.dumps(
                    [{"n": number, "message": f"record {number}"} for number in batch]
                )
                connection.request("POST", "/api/ingest", body, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                self.acknowledged += batch
                self.answers.release()
        except (OSError, HTTPException):
            return
        finally:
            connection.close()


@pytest.mark.long
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """20 clients send while the server is killed and restarted 6 times, or 40: each record that was
    answered with 200 is there exactly once, and none is there twice."""
    chance = random.Random(20)
    numbers = count()
    acknowledged: list[int] = []
    for number in range(ROUNDS):
        server = Server(tmp_path)
        clients = Clients(server.port, numbers, number)
        for _ in range(chance.randrange(1, 150)):  # counts answers, not seconds
            assert clients.answers.acquire(timeout=30)
        server.kill()
        clients.join()
        acknowledged += clients.acknowledged
    last = Server(tmp_path)  # it indexes the records that the last kill left behind
    try:
        connection = HTTPConnection("127.0.0.1", last.port, timeout=30)
        headers = {"authorization": f"Bearer {TOKEN}"}
        connection.request("POST", "/api/ingest", '[{"n": -1}]', headers)
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        last.process.terminate()
        last.process.wait()
        assert last.process.stdout is not None
        last.process.stdout.close()
    store = SqliteStore(tmp_path / "index.db", write=False)
    found = Counter(json.loads(bytes(entry.data))["n"] for entry in all_entries(store))
    store.close()
    assert len(acknowledged) > ROUNDS
    assert not [one for one in acknowledged if found[one] != 1]
    assert not [one for one, times in found.items() if times > 1]
