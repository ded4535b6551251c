"""Measures ways to copy an index while a server accepts logs and answers queries from it.

Some clients send batches of ten records and one requests pages, all without a pause: while nothing
else happens, and during each way of copying. Prints JSON and saves it below `benches/results/`.

    python -m benches.backup --records 500000
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benches.corpus import write_corpus
from benches.figures import machine

RESULTS = Path(__file__).parent / "results"
TOKEN = "bench"
INGEST_CLIENTS = 4
IDLE_S = 5

# Each runs in its own process, as `mikroscope backup` does: argv is index, target.
OPEN = "import apsw, sys; c = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY); "
BACKUP = """
c.execute('BEGIN'); c.execute('SELECT count(*) FROM sqlite_schema').fetchall()
t = apsw.Connection(sys.argv[2])
with t.backup('main', c, 'main') as b:
    while not b.done: b.step({pages})
t.close()
"""
WAYS = {
    "VACUUM INTO": OPEN + "c.execute('VACUUM INTO ?', (sys.argv[2],))",
    "backup API, one step": OPEN + BACKUP.format(pages=-1),
    "backup API, 1024 pages a step": OPEN + BACKUP.format(pages=1024),
}


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        result = measure(Path(directory), arguments.records, arguments.rounds)
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"backup-{arguments.records}-{int(time.time())}.json").write_text(text + "\n")
    print(text)


def measure(directory: Path, records: int, rounds: int) -> dict[str, Any]:
    """Measure each way in turn, and the whole command, several times."""
    logs, index = directory / "logs", directory / "index.db"
    logs.mkdir()
    write_corpus(logs / "corpus.ndjson", records, shape="plain")
    command = [sys.executable, "-m", "mikroscope", "index", f"--logs={logs}", f"--db={index}"]
    run(command)
    result: dict[str, Any] = {"machine": machine(), "records": records, "ways": {}}
    with serve(logs, index) as server:
        for _ in range(rounds):
            add(result, "nothing", during(server, lambda: time.sleep(IDLE_S)))
            for way, program in WAYS.items():
                target = directory / "copy.db"
                command = [sys.executable, "-c", program, str(index), str(target)]
                found = during(server, lambda command=command: run(command))
                add(result, way, found | {"bytes": target.stat().st_size})
                target.unlink()
            backups = directory / "backups"
            command = [sys.executable, "-m", "mikroscope", "backup", str(backups)]
            command += [f"--logs={logs}", f"--db={index}", "--min-free-bytes=0"]
            add(result, "mikroscope backup", during(server, lambda: run(command)))  # noqa: B023
            shutil.rmtree(backups)
    return result


def run(command: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def add(result: dict[str, Any], way: str, found: dict[str, Any]) -> None:
    """Add the figures of one round."""
    result["ways"].setdefault(way, []).append(found)


def during(server: str, act: Any) -> dict[str, Any]:
    """Measure ingest and queries while `act` runs."""
    stop = threading.Event()
    ingest: list[float] = []
    query: list[float] = []
    threads = [
        threading.Thread(target=clock, args=(server, stop, ingest, send))
        for _ in range(INGEST_CLIENTS)
    ]
    threads.append(threading.Thread(target=clock, args=(server, stop, query, ask)))
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    ingest.clear()
    query.clear()
    started = time.perf_counter()
    act()
    seconds = time.perf_counter() - started
    stop.set()
    for thread in threads:
        thread.join()
    return {
        "seconds": round(seconds, 2),
        "ingest": figures(ingest, seconds),
        "query": figures(query, seconds),
    }


def clock(server: str, stop: threading.Event, times: list[float], act: Any) -> None:
    """Repeat `act`, and append the seconds that each call takes."""
    with httpx.Client(base_url=server, timeout=60) as client:
        while not stop.is_set():
            started = time.perf_counter()
            act(client)
            times.append(time.perf_counter() - started)


def send(client: httpx.Client) -> None:
    """Send ten records."""
    records = [{"level": "INFO", "message": "a record sent meanwhile", "n": n} for n in range(10)]
    headers = {"authorization": f"Bearer {TOKEN}"}
    client.post("/api/ingest", json=records, headers=headers).raise_for_status()


def ask(client: httpx.Client) -> None:
    """Request a page of a hundred entries."""
    client.get("/api/logs?limit=100&level=ERROR").raise_for_status()


def figures(times: list[float], seconds: float) -> dict[str, float]:
    """Return requests per second, and latencies in milliseconds."""
    cuts = statistics.quantiles(times, n=100)
    return {
        "perSecond": round(len(times) / seconds),
        "medianMs": round(cuts[49] * 1000, 1),
        "p99Ms": round(cuts[98] * 1000, 1),
        "slowestMs": round(max(times) * 1000, 1),
    }


@contextmanager
def serve(logs: Path, index: Path) -> Iterator[str]:
    """Run a server in its own process, and yield its URL."""
    flags = [f"--logs={logs}", f"--db={index}", "--port=0", "--min-free-bytes=0"]
    flags += ["--db-retention-days=0", "--log-retention-days=0", f"--ingest-producers={TOKEN}=b"]
    command = [sys.executable, "-m", "mikroscope", "serve", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" listens on ")[1].split()[0]
        process.terminate()


if __name__ == "__main__":
    main()
