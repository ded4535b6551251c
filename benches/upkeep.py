"""Measures how queries fare while retention deletes half of an index, and while it is rebuilt.

Every query is asked over HTTP by one client, one after the other, so a figure is what a user
waits. Prints JSON and keeps it below `benches/results/`.

    python benches/upkeep.py --records 1000000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from corpus import DAYS, START, write_corpus
from main_job import RESULTS, index_once, machine

QUESTIONS = (
    "/api/logs?limit=100",
    "/api/logs?limit=100&level=ERROR",
    "/api/logs?limit=100&field=tenantId&value=tenant-199",
    "/api/logs?limit=100&to=2026-01-25T12:00:00Z",
)


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        result = measure(Path(directory), arguments.records)
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"upkeep-{arguments.records}-{int(time.time())}.json").write_text(text + "\n")
    print(text)


def measure(directory: Path, records: int) -> dict[str, Any]:
    """Queries with nothing else to do, during a rebuild, and during a clean-up."""
    logs = directory / "logs"
    logs.mkdir()
    write_corpus(logs / "corpus.ndjson", records, shape="plain")
    index = directory / "index.db"
    index_once(logs, index, logs / "corpus.ndjson")
    result: dict[str, Any] = {"machine": machine(), "records": records}
    with serve(logs, index, retention_days=0) as server:
        result["idle"] = ask_for(server, lambda: time.sleep(5))
        result["rebuild"] = ask_for(server, lambda: reindex(server)) | {"records": records}
    size = index.stat().st_size
    half = START + timedelta(days=DAYS / 2)
    days = (datetime.now(UTC) - half).days
    with serve(logs, index, retention_days=days) as server:
        result["cleanUp"] = ask_for(server, lambda: wait_for_clean_up(server))
        result["cleanUp"] |= {"bytesBefore": size, **deleted(server)}
    result["cleanUp"]["bytesAfter"] = index.stat().st_size
    return result


@contextmanager
def serve(logs: Path, index: Path, retention_days: int) -> Iterator[str]:
    """A server in a process of its own; gives its URL."""
    flags: dict[str, object] = {
        "logs": logs,
        "db": index,
        "port": 0,
        "min-free-bytes": 0,
        "db-retention-days": retention_days,
        "db-audit-retention-days": retention_days,
        "log-retention-days": 0,
        "log-audit-retention-days": 0,
    }
    command = [sys.executable, "-m", "mikroscope", "serve"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[3]
        finally:
            process.terminate()


def ask_for(server: str, act: Callable[[], None]) -> dict[str, Any]:
    """Ask all the time while something is done; milliseconds, and what went wrong."""
    actor = threading.Thread(target=act)
    took: list[float] = []
    failed = partial = 0
    with httpx.Client(base_url=server, timeout=120, trust_env=False) as client:
        client.get("/health")
        began = time.perf_counter()
        actor.start()
        while actor.is_alive():
            for question in QUESTIONS:
                asked = time.perf_counter()
                answer = client.get(question)
                took.append((time.perf_counter() - asked) * 1000)
                failed += answer.status_code != 200
                partial += answer.status_code == 200 and len(answer.json()["entries"]) != 100
        seconds = time.perf_counter() - began
    took.sort()
    return {
        "seconds": round(seconds, 1),
        "queries": len(took),
        "failed": failed,
        "partial": partial,
        "medianMs": round(statistics.median(took), 2),
        "p99Ms": round(took[int(len(took) * 0.99)], 2),
        "slowestMs": round(took[-1], 2),
    }


def reindex(server: str) -> None:
    """Have the index made anew."""
    answer = httpx.post(f"{server}/api/reindex", timeout=3600, trust_env=False)
    answer.raise_for_status()


def wait_for_clean_up(server: str) -> None:
    """Return when the first clean-up has ended."""
    while not health(server)["runs"]:
        time.sleep(0.5)


def deleted(server: str) -> dict[str, int]:
    """What it has deleted."""
    return {"entriesDeleted": int(health(server)["entriesDeletedTotal"])}


def health(server: str) -> dict[str, Any]:
    """The part of `/health` that tells of clean-ups."""
    found: dict[str, Any] = httpx.get(f"{server}/health", trust_env=False).json()["maintenance"]
    return found


if __name__ == "__main__":
    main()
