"""The metrics of a server for Prometheus; imported only when `/metrics` is first requested."""

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from mikroscope.server.metrics import BOUNDS_S, Snapshot
from mikroscope.server.schemas import Health


class ServerCollector(NamedTuple):
    """The metrics of one moment: the counts of the HTTP side, the others from `/health`."""

    health: Health
    counted: Snapshot

    def collect(self) -> Iterator[Metric]:
        """Every metric, in the order of the page."""
        yield from self._process()
        yield from self._ingest()
        yield from self._index()
        yield from self._storage()
        yield from self._alerts()
        yield from self._maintenance()
        yield self._requests()

    def _process(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "mikroscope_build_info", "Version of the server.", labels=["version"]
        )
        build.add_metric([self.counted.version], 1)
        yield build
        yield _gauge("up", "1 if the server has no problem (`ok` in /health).", self.health.ok)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        # Prometheus client libraries have these three under the same names.
        yield GaugeMetricFamily(
            "process_start_time_seconds", "Start time, in seconds since 1970.", self.counted.started
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory.", _resident_bytes()
        )
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "CPU time, user and system.",
            usage.ru_utime + usage.ru_stime,
        )

    def _ingest(self) -> Iterator[Metric]:
        ingested, queue = self.counted.ingested, self.health.ingest_endpoint.queue
        records = {name: ingested[name] for name in ("accepted", "rejected")}
        yield _labelled(
            CounterMetricFamily(
                "mikroscope_ingest_records_total", "Records received over HTTP.", labels=["outcome"]
            ),
            records,
        )
        yield _counter("ingest_bytes_total", "Bytes of ingest request bodies.", ingested["bytes"])
        yield _gauge("ingest_queue_records", "Records in the queue.", queue.pending_records)
        yield _failing("ingest_queue_failing", "the queue cannot be written", queue.last_error)

    def _index(self) -> Iterator[Metric]:
        ingest = self.health.ingest
        yield _counter("index_runs_total", "Indexing runs.", ingest.runs)
        yield _counter("index_lines_total", "Lines read.", ingest.lines_scanned_total)
        yield _counter("index_records_total", "Entries indexed.", ingest.records_inserted_total)
        yield _counter("index_skipped_total", "Records skipped.", ingest.records_skipped_total)
        yield _counter(
            "index_parse_errors_total", "Lines that are not records.", ingest.parse_errors_total
        )
        yield _counter(
            "index_unreadable_timestamps_total",
            "Records with a time that cannot be understood.",
            ingest.unreadable_timestamps_total,
        )
        yield _gauge("index_running", "1 while files are being indexed.", ingest.running)
        yield _failing("index_failing", "the last indexing run failed", ingest.last_error)

    def _storage(self) -> Iterator[Metric]:
        storage = self.health.storage
        yield _gauge("index_size_bytes", "Size of the index.", storage.db_approximate_size_bytes)
        free = {"index": storage.db_directory_free_bytes, "logs": storage.logs_directory_free_bytes}
        yield _labelled(
            GaugeMetricFamily(
                "mikroscope_storage_free_bytes", "Free space on the disk.", labels=["of"]
            ),
            {name: size for name, size in free.items() if size is not None},
        )

    def _alerts(self) -> Iterator[Metric]:
        alerting = self.health.alerting
        yield _counter("alert_evaluations_total", "Evaluations of the alert rules.", alerting.runs)
        yield _counter("alert_notifications_total", "Notifications delivered.", alerting.sent)
        yield _counter(
            "alert_suppressed_total",
            "Notifications suppressed by the cooldown.",
            alerting.suppressed,
        )
        yield _failing("alert_failing", "alerting failed", alerting.last_error)

    def _maintenance(self) -> Iterator[Metric]:
        state = self.health.maintenance
        yield _counter("maintenance_runs_total", "Maintenance runs.", state.runs)
        yield _counter(
            "maintenance_files_deleted_total", "Log files deleted.", state.files_deleted_total
        )
        yield _counter(
            "maintenance_entries_deleted_total", "Entries deleted.", state.entries_deleted_total
        )
        yield _failing("maintenance_failing", "the last maintenance run failed", state.last_error)

    def _requests(self) -> Metric:
        family = HistogramMetricFamily(
            "mikroscope_http_request_duration_seconds",
            "Time from the head of a request to the end of its response.",
            labels=["method", "route", "status"],
        )
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        for labels, (counts, sum_s) in sorted(self.counted.durations.items()):
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, sum_s)
        return family


def exposition(health: Health, counted: Snapshot) -> bytes:
    """The metrics in the text format, version 0.0.4."""
    return generate_latest(ServerCollector(health, counted))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"mikroscope_{name}", text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mikroscope_{name}", text, value)


def _failing(name: str, condition: str, error: str | None) -> Metric:
    return _gauge(name, f"1 if {condition}.", error is not None)


def _labelled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]
) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _resident_bytes() -> int:
    """Resident memory now if the system reports it, else its peak."""
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
