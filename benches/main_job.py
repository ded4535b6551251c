"""Measures the main job on one machine: index a corpus, start on it, ask it over HTTP.

Every time is also given as a ratio to parsing the same lines with the standard library's `json`,
measured in the same run, so that machines can be compared. Prints JSON and keeps it below
`benches/results/`.

    python benches/main_job.py --records 1000000 --rounds 3
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx

from corpus import write_corpus

RESULTS = Path(__file__).parent / "results"
CHILD = """
import resource, sys, time
from mikroscope import resolve_settings
from mikroscope.indexing import index_once
settings = resolve_settings(env={}, overrides={"logs_path": sys.argv[1], "db_path": sys.argv[2]})
began = time.perf_counter()
tally = index_once(settings, show_progress=False)
took = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(tally.records_inserted, took, peak)
"""


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=("plain", "ragged"), default="plain")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        result = measure(Path(directory), arguments.records, arguments.rounds, arguments.shape)
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    name = f"main-job-{arguments.shape}-{arguments.records}-{int(time.time())}.json"
    (RESULTS / name).write_text(text + "\n")
    print(text)


def measure(directory: Path, records: int, rounds: int, shape: str) -> dict[str, Any]:
    """All figures of one corpus."""
    logs = directory / "logs"
    logs.mkdir()
    corpus = logs / "corpus.ndjson"
    raw_bytes = write_corpus(corpus, records, shape="plain" if shape == "plain" else "ragged")
    runs = [index_once(logs, directory / f"{number}.db", corpus) for number in range(rounds)]
    index = directory / "0.db"
    return {
        "machine": machine(),
        "records": records,
        "shape": shape,
        "bytesPerRecord": round(raw_bytes / records, 1),
        "index": {
            "recordsPerSecond": median(run["recordsPerSecond"] for run in runs),
            "jsonRecordsPerSecond": median(run["jsonRecordsPerSecond"] for run in runs),
            "timesTheJsonLoop": median(run["timesTheJsonLoop"] for run in runs),
            "peakMegabytes": median(run["peakMegabytes"] for run in runs),
            "runs": runs,
        },
        "size": {
            "bytesPerRecord": round(index.stat().st_size / records, 1),
            "timesTheRawBytes": round(index.stat().st_size / raw_bytes, 3),
        },
        "server": serve(logs, index, corpus),
    }


def machine() -> dict[str, Any]:
    """Where this was measured, and with what."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "commit": commit.stdout.strip(),
    }


def index_once(logs: Path, index: Path, corpus: Path) -> dict[str, float]:
    """A cold index in a process of its own, and the bare loop right before it."""
    json_seconds, records = parse_with_json(corpus)
    out = subprocess.run(
        [sys.executable, "-c", CHILD, str(logs), str(index)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    seconds = float(out[1])
    assert int(out[0]) == records
    return {
        "recordsPerSecond": round(records / seconds),
        "jsonRecordsPerSecond": round(records / json_seconds),
        "timesTheJsonLoop": round(seconds / json_seconds, 2),
        "peakMegabytes": int(out[2]) // 1024,
    }


def parse_with_json(corpus: Path) -> tuple[float, int]:
    """Seconds to parse every line, and how many there are; reading them is not counted."""
    loads, seconds, count = json.loads, 0.0, 0
    with corpus.open("rb") as file:
        while lines := file.readlines(16 << 20):
            began = time.perf_counter()
            for line in lines:
                loads(line)
            seconds += time.perf_counter() - began
            count += len(lines)
    return seconds, count


def serve(logs: Path, index: Path, corpus: Path) -> dict[str, Any]:
    """Start a server on the index that is there, and ask it."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mikroscope", "serve", "--port", "0"]
    command += ["--logs", str(logs), "--db", str(index), "--min-free-bytes", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" listens on ")[1].split()[0]
            with httpx.Client(base_url=url, timeout=120) as client:
                client.get("/health").raise_for_status()
                ready = time.perf_counter() - began
                idle = resident_megabytes(process.pid)
                answers = ask(client, corpus)
                health = client.get("/health").json()
            return {
                "readySeconds": round(ready, 3),
                "filesReadAtStart": health["ingest"]["filesScannedTotal"],
                "idleMegabytes": idle,
                "afterQueriesMegabytes": resident_megabytes(process.pid),
                "milliseconds": answers,
            }
        finally:
            process.terminate()


def ask(client: httpx.Client, corpus: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of each kind of question, by a client that waits for each answer."""
    samples = sample(corpus, 200)

    def filtered(*fields: str) -> Callable[[dict[str, Any]], dict[str, str]]:
        name = fields[-1]
        more = {"level": "level"} if "level" in fields[:-1] else {}
        return lambda record: {
            "field": name,
            "value": str(record[name]),
            **{key: str(record[field]) for key, field in more.items()},
        }

    pages: dict[str, Callable[[dict[str, Any]], dict[str, str]]] = {
        "page newest": lambda record: {},
        "page from a time": lambda record: {"to": record["timestamp"]},
        "page level": lambda record: {"level": record["level"]},
        **{f"page {name}": filtered(name) for name in samples[0] if name not in ("level",)},
        "page level+tenantId": filtered("level", "tenantId"),
        "page level+orderId": filtered("level", "orderId"),
        "page text": lambda record: {"text": " ".join(record["message"].split()[:2])},
    }
    groups = {
        "group by level": {"groupBy": "level"},
        "group by event": {"groupBy": "event"},
        "group by tenantId": {"groupBy": "field", "groupField": "tenantId"},
        "group by correlation": {"groupBy": "correlation"},
    }
    answers = {}
    for label, make in pages.items():
        answers[label] = timed(
            client, "/api/logs", [{"limit": "100", **make(one)} for one in samples]
        )
    day = {"from": "2026-01-10T00:00:00Z", "to": "2026-01-10T23:59:59.999Z"}
    for label, parameters in groups.items():
        answers[f"{label}, all"] = timed(client, "/api/logs/aggregate", [parameters] * 5)
        answers[f"{label}, one day"] = timed(
            client, "/api/logs/aggregate", [{**parameters, **day}] * 5
        )
    return answers


def timed(client: httpx.Client, path: str, requests: list[dict[str, str]]) -> dict[str, float]:
    """The median and the 99th percentile, the first request left out."""
    client.get(path, params=requests[0]).raise_for_status()
    times = []
    for parameters in requests:
        began = time.perf_counter()
        client.get(path, params=parameters).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {
        "median": round(statistics.median(times), 2),
        "p99": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
    }


def sample(corpus: Path, count: int) -> list[dict[str, Any]]:
    """Records from anywhere in the corpus."""
    random.seed(7)
    size = corpus.stat().st_size
    with corpus.open("rb") as file:
        found = []
        for _ in range(count):
            file.seek(random.randrange(size - 100_000))
            file.readline()
            found.append(json.loads(file.readline()))
    return found


def resident_megabytes(process: int) -> int:
    """The resident set of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def median(values: Iterator[float]) -> float:
    """The middle one."""
    return statistics.median(list(values))


if __name__ == "__main__":
    main()
