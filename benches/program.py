"""The program under test, run as its users run it: as processes, queried over HTTP."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

MIKROSCOPE = (sys.executable, "-m", "mikroscope")
TOKEN = "bench-token"
SAMPLE_S = 0.01
AT_REST = 0.02  # at most, of one core
TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # in which the system counts processor time
PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Run:
    """The time and memory that a command took, and its output."""

    seconds: float
    processor_seconds: float
    peak_mb: float
    output: str


def run(*command: str | Path, cpus: set[int] | None = None) -> Run:
    """Run a command to its end, only on `cpus` if given; raise CalledProcessError if it fails."""
    limit = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    before = _children_seconds()
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=limit) as process:
        with peak_memory(process.pid) as peak:
            output, _ = process.communicate()
        seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, _children_seconds() - before, peak.megabytes, output)


def index(logs: Path, index: Path, cpus: set[int] | None = None) -> tuple[Run, dict[str, Any]]:
    """Run `mikroscope index`; return the run and its report."""
    flags = ("--logs", logs, "--db", index)
    done = run(*MIKROSCOPE, "index", *flags, cpus=cpus)
    report: dict[str, Any] = json.loads(done.output)["report"]
    return done, report


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Server:
    """A server in another process."""

    process: int
    url: str
    began: float

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the response to a GET request; raise RuntimeError unless its status is 200."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        return self._ask("GET", target)

    def post(self, path: str) -> dict[str, Any]:
        """Return the response to a POST request without a body."""
        return self._ask("POST", path)

    def _ask(self, method: str, target: str) -> dict[str, Any]:
        address = urlsplit(self.url)
        connection = HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {target}: {response.status} {body.decode()}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def count(self, **filters: str) -> int:
        """Return how many entries match the filters."""
        buckets = self.get("/api/logs/aggregate", groupBy="level", **filters)["buckets"]
        return sum(bucket["count"] for bucket in buckets)

    def wait(self, condition: Callable[[dict[str, Any]], bool], every_s: float = 0.002) -> None:
        """Return when `/health` meets a condition; request it every `every_s` seconds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.get("/health")):
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not reach the expected state")
            time.sleep(every_s)

    def wait_until_indexed(self) -> None:
        """Return when the first indexing run has ended."""
        self.wait(lambda health: health["ingest"]["runs"] > 0)

    def wait_until_rested(self) -> None:
        """Return when the first maintenance run has ended too, which merges the index."""
        self.wait_until_indexed()
        self.wait(lambda health: health["maintenance"]["runs"] > 0, every_s=0.05)

    def wait_until_quiet(self, quiet_s: float) -> None:
        """Return when the server has used hardly any processor time for this many seconds."""
        deadline = time.monotonic() + PATIENCE_S
        since, used = time.monotonic(), processor_seconds(self.process)
        while time.monotonic() < since + quiet_s:
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not come to rest")
            time.sleep(quiet_s / 20)
            now = processor_seconds(self.process)
            if now - used > max(AT_REST * quiet_s, 2 * TICK_S):
                since, used = time.monotonic(), now


@contextmanager
def serve(logs: Path, index: Path, **options: object) -> Iterator[Server]:
    """Yield a running server; options have the names of the flags. Retention is off by default."""
    flags: dict[str, object] = {
        "logs": logs,
        "db": index,
        "port": 0,
        "min_free_bytes": 0,
        "ingest_producers": f"{TOKEN}=bench",
        **dict.fromkeys(("db_retention_days", "db_audit_retention_days"), 0),
        **dict.fromkeys(("log_retention_days", "log_audit_retention_days"), 0),
        **options,
    }
    command = [*MIKROSCOPE, "serve"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            _, _, said = process.stdout.readline().partition(" listens on ")
            if not said:
                process.wait()
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read()}")
            yield Server(process.pid, said.split()[0], began)
        finally:
            process.terminate()


class Peak:
    """The most memory that was used."""

    megabytes = 0.0


@contextmanager
def peak_memory(process: int) -> Iterator[Peak]:
    """Sample a process and all its children while the block runs."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while True:
            peak.megabytes = max(peak.megabytes, resident_mb(process))
            if stop.wait(SAMPLE_S):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def resident_mb(process: int) -> float:
    """Return the resident MiB of a process and its children; shared pages count in each."""
    pages = 0
    for one in process_tree(process):
        with suppress(OSError):  # it has just ended
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def processor_seconds(process: int) -> float:
    """Return the processor time that a process and its children have used."""
    ticks = 0
    for one in process_tree(process):
        with suppress(OSError):  # it has just ended
            _, _, numbers = Path(f"/proc/{one}/stat").read_text().rpartition(")")
            ticks += sum(map(int, numbers.split()[11:13]))
    return ticks * TICK_S


def process_tree(process: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [process]
    for one in found:
        with suppress(OSError):
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found
