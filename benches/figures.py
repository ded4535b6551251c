"""Measured values by name and unit, their spread, and their equivalent in bare `json` work.

The yardstick is a loop that parses lines of the corpus with the standard library's `json`. It runs
before every round, and each time is also given as the number of records that the loop parses in it.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from benches.cache import Corpus
from mikroscope import __version__

YARDSTICK_RECORDS = 100_000
SECONDS: dict[str, Callable[[float], float]] = {
    "s": lambda value: value,
    "ms": lambda value: value / 1e3,
    "µs": lambda value: value / 1e6,
    "records/s": lambda value: 1 / value,
    "requests/s": lambda value: 1 / value,
}


class Recorder:
    """Collects the values of a scenario, round by round."""

    def __init__(self, corpus: Corpus, rounds: int, effort: float = 1.0) -> None:
        self._corpus = corpus
        self._rounds = rounds
        self.effort = effort  # a share of the usual number of samples, of pauses
        self._rates: list[float] = []
        self._values: dict[tuple[str, str], list[float]] = {}
        self._in_json: dict[str, list[float]] = {}
        self._latencies: dict[str, list[float]] = {}
        self.notes: list[str] = []

    def samples(self, usual: int) -> int:
        """Return how many samples to take at this effort, given the usual number."""
        return max(1, round(usual * self.effort))

    def rounds(self) -> Iterator[int]:
        """Yield the number of each round, after measuring the yardstick."""
        for number in range(self._rounds):
            self._rates.append(json_rate(self._corpus.path))
            yield number

    def add(self, name: str, unit: str, value: float) -> None:
        """Add one value of this round."""
        self._values.setdefault((name, unit), []).append(value)
        if unit in SECONDS and value:
            records = SECONDS[unit](value) * self._rates[-1]
            self._in_json.setdefault(name, []).append(records)

    def add_latencies(self, name: str, milliseconds: Iterable[float]) -> None:
        """Add the latencies of one kind of request in this round."""
        taken = list(milliseconds)
        self._latencies.setdefault(name, []).extend(taken)
        self.add(name, "ms", statistics.median(taken))

    def result(self, scenario: str) -> dict[str, Any]:
        """Return everything, in the form of the result files."""
        return {
            "scenario": scenario,
            "shape": self._corpus.shape,
            "records": self._corpus.records,
            "rounds": self._rounds,
            "effort": self.effort,
            "bytesPerRecord": round(self._corpus.size / self._corpus.records, 1),
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": machine(),
            "jsonRecordsPerSecond": _spread(self._rates),
            "figures": [self._figure(name, unit) for name, unit in self._values],
            "notes": self.notes,
        }

    def _figure(self, name: str, unit: str) -> dict[str, Any]:
        figure = {"name": name, "unit": unit, **_spread(self._values[name, unit])}
        if name in self._in_json:
            figure["jsonRecords"] = _rounded(statistics.median(self._in_json[name]))
        if name in self._latencies:
            figure["p99"] = _rounded(percentile(self._latencies[name], 0.99))
            figure["samples"] = len(self._latencies[name])
        return figure


def _spread(values: list[float]) -> dict[str, Any]:
    median = _rounded(statistics.median(values))
    return {"median": median, "low": _rounded(min(values)), "high": _rounded(max(values))}


def _rounded(value: float) -> float:
    """Round to four digits."""
    return float(f"{value:.4g}")


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def json_rate(corpus: Path) -> float:
    """Return how many records `json.loads` parses per second, without reading the lines."""
    loads, seconds, count = json.loads, 0.0, 0
    with corpus.open("rb") as file:
        lines = islice(file, YARDSTICK_RECORDS)
        while chunk := list(islice(lines, 10_000)):
            began = time.perf_counter()
            for line in chunk:
                loads(line)
            seconds += time.perf_counter() - began
            count += len(chunk)
    return count / seconds


def machine() -> dict[str, Any]:
    """Return the machine and the versions of this measurement."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "mikroscope": __version__,
        "commit": _commit(),
    }


def _processor() -> str:
    """Return the model as the system names it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of this checkout, marked if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
