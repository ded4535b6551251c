"""`/metrics`: figures in the Prometheus text format, version 0.0.4.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import os
import resource
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from mikroscope.server.schemas import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Samples = Iterable[tuple[Mapping[str, object], float]]


class Metrics:
    """Counts requests as they are answered; may be called from any thread."""

    def __init__(self, version: str, started: float) -> None:
        self._version = version
        self._started = started
        self._lock = threading.Lock()
        self._durations: dict[tuple[str, str, str], list[float]] = {}
        self._ingested = {"accepted": 0, "rejected": 0, "bytes": 0}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. The last two numbers of a series are the sum and nothing else."""
        key = method, route, f"{status // 100}xx"
        with self._lock:
            series = self._durations.get(key)
            if series is None:
                series = self._durations[key] = [0.0] * (len(BOUNDS_S) + 2)
            series[bisect_left(BOUNDS_S, seconds)] += 1
            series[-1] += seconds

    def ingested(self, accepted: int, rejected: int, size: int) -> None:
        """Records were taken; `size` in bytes, unpacked."""
        with self._lock:
            self._ingested["accepted"] += accepted
            self._ingested["rejected"] += rejected
            self._ingested["bytes"] += size

    def text(self, health: Health) -> bytes:
        """All figures; those of the parts are what `/health` tells."""
        with self._lock:
            durations = {key: list(series) for key, series in self._durations.items()}
            ingested = dict(self._ingested)
        lines = [
            *self._process(health),
            *_ingest(health, ingested),
            *_index(health),
            *_upkeep(health),
            *_requests(durations),
        ]
        return "\n".join([*lines, ""]).encode()

    def _process(self, health: Health) -> Iterator[str]:
        yield from _metric(
            "build_info", "gauge", "The version that runs.", [({"version": self._version}, 1)]
        )
        yield from _one("up", "gauge", "Whether nothing is wrong (`ok` in /health).", health.ok)
        yield from _plain(
            "process_start_time_seconds", "gauge", "Start, in Unix time.", [({}, self._started)]
        )
        yield from _plain(
            "process_resident_memory_bytes", "gauge", "Memory in use.", [({}, _resident_bytes())]
        )
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield from _plain(
            "process_cpu_seconds_total",
            "counter",
            "Processor time used.",
            [({}, usage.ru_utime + usage.ru_stime)],
        )


def _ingest(health: Health, ingested: Mapping[str, int]) -> Iterator[str]:
    queue = health.ingest_endpoint.queue
    yield from _metric(
        "ingest_records_total",
        "counter",
        "Records that came over HTTP.",
        [({"outcome": name}, ingested[name]) for name in ("accepted", "rejected")],
    )
    yield from _one("ingest_bytes_total", "counter", "Bytes of such bodies.", ingested["bytes"])
    yield from _one(
        "ingest_queue_records", "gauge", "Records that wait in the queue.", queue.pending_records
    )
    yield from _one(
        "ingest_queue_failing", "gauge", "Whether the queue cannot be written.", queue.last_error
    )


def _index(health: Health) -> Iterator[str]:
    ingest = health.ingest
    for name, text, value in (
        ("index_runs_total", "Times that the index was brought up with the files.", ingest.runs),
        ("index_lines_total", "Lines read.", ingest.lines_scanned_total),
        ("index_records_total", "Entries made.", ingest.records_inserted_total),
        ("index_skipped_total", "Records left out.", ingest.records_skipped_total),
        ("index_parse_errors_total", "Lines that are no records.", ingest.parse_errors_total),
    ):
        yield from _one(name, "counter", text, value)
    yield from _one("index_running", "gauge", "Whether files are being read.", ingest.running)
    yield from _one("index_failing", "gauge", "Whether the last run failed.", ingest.last_error)
    storage = health.storage
    yield from _one(
        "index_size_bytes", "gauge", "Size of the index.", storage.db_approximate_size_bytes
    )
    free = {"index": storage.db_directory_free_bytes, "logs": storage.logs_directory_free_bytes}
    yield from _metric(
        "storage_free_bytes",
        "gauge",
        "Room that is left on the disk.",
        [({"of": name}, room) for name, room in free.items() if room is not None],
    )


def _upkeep(health: Health) -> Iterator[str]:
    alerting, upkeep = health.alerting, health.maintenance
    for name, text, value in (
        ("alert_evaluations_total", "Evaluations of the alert rules.", alerting.runs),
        ("alert_notifications_total", "Notifications delivered.", alerting.sent),
        ("alert_suppressed_total", "Notifications held back by the cooldown.", alerting.suppressed),
        ("maintenance_runs_total", "Clean-ups.", upkeep.runs),
        ("maintenance_files_deleted_total", "Log files deleted.", upkeep.files_deleted_total),
        ("maintenance_entries_deleted_total", "Entries deleted.", upkeep.entries_deleted_total),
    ):
        yield from _one(name, "counter", text, value)
    yield from _one("alert_failing", "gauge", "Whether alerting failed.", alerting.last_error)
    yield from _one("maintenance_failing", "gauge", "Whether it failed.", upkeep.last_error)


def _requests(durations: Mapping[tuple[str, str, str], list[float]]) -> Iterator[str]:
    name = "mikroscope_http_request_duration_seconds"
    yield f"# HELP {name} Time from a request's head to the end of its answer."
    yield f"# TYPE {name} histogram"
    for (method, route, status), series in sorted(durations.items()):
        labels = {"method": method, "route": route, "status": status}
        counts = list(accumulate(series[:-1]))
        for bound, total in zip([*BOUNDS_S, "+Inf"], counts, strict=True):
            yield _sample(f"{name}_bucket", {**labels, "le": bound}, total)
        yield _sample(f"{name}_sum", labels, series[-1])
        yield _sample(f"{name}_count", labels, counts[-1])


def _one(name: str, kind: str, text: str, value: object) -> Iterator[str]:
    """A figure without labels; what is no number counts as 1 if it is there."""
    number = value if isinstance(value, int | float) else value is not None
    return _metric(name, kind, text, [({}, float(number))])


def _metric(name: str, kind: str, text: str, samples: Samples) -> Iterator[str]:
    return _plain(f"mikroscope_{name}", kind, text, samples)


def _plain(name: str, kind: str, text: str, samples: Samples) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _sample(name: str, labels: Mapping[str, object], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(str(text))}"' for label, text in labels.items())
    number = int(value) if float(value).is_integer() else value
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident_bytes() -> int:
    """What the system says, where it says it; else the most there ever was."""
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
