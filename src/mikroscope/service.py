"""Builds the parts of a server from Settings, starts and stops them, and tells how they are."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mikroscope.alerter import Alerter
from mikroscope.alerts import AlertPolicy
from mikroscope.health import (
    AlertingHealth,
    AuthHealth,
    Backup,
    EndpointHealth,
    Health,
    IngestHealth,
    IngestPolicy,
    MaintenanceHealth,
    QueueHealth,
    RetentionDays,
    Storage,
)
from mikroscope.indexer import Indexer, Tally
from mikroscope.logfiles import LogTree
from mikroscope.logwriter import LogWriter
from mikroscope.preflight import free_bytes, prepare_directory
from mikroscope.query import MAX_LIMIT, Grouping, Query
from mikroscope.settings import Settings, options
from mikroscope.stores.base import Store
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.timestamps import format_time, parse_time
from mikroscope.watcher import Watcher
from mikroscope.worker import Worker

logger = logging.getLogger(__name__)

SERVICE_NAME = "mikroscope"


def open_tree(settings: Settings) -> LogTree:
    """The tree of log files; its root is absolute, so that changes are reported by such paths."""
    return LogTree(settings.logs_path.resolve(), settings.log_file_suffixes)


class Service:
    """A running sidecar without its HTTP side. Raises MikroScopeError if it cannot start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._db_directory = settings.db_path.resolve().parent
        prepare_directory(self._db_directory, "database", settings.min_free_bytes)
        prepare_directory(settings.logs_path, "logs", settings.min_free_bytes)
        self._started = time.monotonic()
        self.store: Store = SqliteStore(settings.db_path, alone=True)
        tree = open_tree(settings)
        try:
            self.worker = _make_worker(settings, self.store, tree)
            self.alerter = self._make_alerter()
        except BaseException:
            self.store.close()
            raise
        watched = not settings.disable_auto_ingest
        self._watcher = Watcher(tree, self.worker.notice) if watched else None

    def start(self, url: str) -> None:
        """Begin to index what is there, and to watch for more; `url` is what alerts name."""
        self.worker.start()
        self.alerter.start(url)
        if self._watcher is not None:
            self._watcher.start()

    def close(self) -> None:
        """Write and index what was accepted, then let go of everything."""
        if self._watcher is not None:
            self._watcher.stop()
        self.alerter.stop()
        self.worker.stop()
        self.store.close()

    @property
    def takes_ingest(self) -> bool:
        """Whether anybody may send logs."""
        return bool(self.settings.ingest_producers) or self.settings.auth_username is not None

    def health(self) -> Health:
        """The payload of `/health`: counters and settings; the index itself is not asked."""
        settings = self.settings
        return Health(
            ok=True,
            problems=[],
            service=SERVICE_NAME,
            uptime_sec=round(time.monotonic() - self._started, 3),
            ingest=self._ingest_health(),
            auth=AuthHealth(
                api_token_enabled=settings.api_token is not None,
                basic_enabled=settings.auth_username is not None,
            ),
            ingest_policy=IngestPolicy(
                enabled=not settings.disable_auto_ingest,
                interval_ms=settings.ingest_interval_ms,
            ),
            ingest_endpoint=self._endpoint_health(),
            alerting=self._alerting_health(),
            alert_policy=_masked(self.alerter.policy),
            maintenance=_maintenance_health(),
            retention_days=RetentionDays(
                db=settings.db_retention_days,
                db_audit=settings.db_audit_retention_days,
                logs=settings.log_retention_days,
                logs_audit=settings.log_audit_retention_days,
            ),
            backup=Backup(audit_directory=_path_text(settings.audit_backup_directory)),
            storage=self._storage_health(),
        )

    def _make_alerter(self) -> Alerter:
        started_ms = _now_ms()

        def count_levels(from_ms: int, to_ms: int) -> dict[str, int]:
            query = Query(from_ms=from_ms, to_ms=to_ms, limit=MAX_LIMIT)
            buckets = self.store.aggregate(query, Grouping("level")).buckets
            return {bucket.key: bucket.count for bucket in buckets}

        def last_log_ms() -> int:
            newest = self.store.page(Query(to_ms=_now_ms(), limit=1)).entries
            found = parse_time(newest[0].timestamp) if newest else None
            return started_ms if found is None else found

        return Alerter(
            default=_alert_policy(self.settings),
            limits=policy_limits(),
            path=self.settings.alert_config_file,
            count_levels=count_levels,
            last_log_ms=last_log_ms,
            clock_ms=_now_ms,
        )

    def _alerting_health(self) -> AlertingHealth:
        state = self.alerter.state
        return AlertingHealth(
            running=state.running,
            runs=state.runs,
            sent=state.sent,
            suppressed=state.suppressed,
            last_run_at=_ms_text(state.last_run_ms),
            last_success_at=_ms_text(state.last_success_ms),
            last_duration_ms=state.last_duration_ms,
            last_error=state.last_error,
            last_trigger_at_by_rule={
                rule: format_time(sent_ms) for rule, sent_ms in self.alerter.last_sent_ms.items()
            },
        )

    def _ingest_health(self) -> IngestHealth:
        run = self.worker.run
        return IngestHealth(
            running=run.running,
            runs=run.runs,
            last_run_at=_time_text(run.last_run_at),
            last_success_at=_time_text(run.last_success_at),
            last_duration_ms=run.last_duration_ms,
            last_error=run.last_error,
            last_mode="incremental",
            **_counts(run.last_run, "last_run"),
            **_counts(self.worker.tally, "total"),
        )

    def _endpoint_health(self) -> EndpointHealth:
        settings, queue = self.settings, self.worker.queue
        batches, records = self.worker.pending()
        return EndpointHealth(
            enabled=self.takes_ingest,
            max_body_bytes=settings.ingest_max_body_bytes,
            producer_count=len({producer for _, producer in settings.ingest_producers}),
            queue=QueueHealth(
                enabled=settings.ingest_async_queue,
                flush_ms=settings.ingest_queue_flush_ms,
                draining=self.worker.draining,
                pending_batches=batches,
                pending_records=records,
                records_flushed=queue.records_flushed,
                records_queued=queue.records_queued,
                last_error=queue.last_error,
                last_flush_at=_time_text(queue.last_flush_at),
            ),
        )

    def _storage_health(self) -> Storage:
        return Storage(
            db_approximate_size_bytes=self.store.size_bytes(),
            db_directory_free_bytes=free_bytes(self._db_directory),
            logs_directory_free_bytes=free_bytes(self.settings.logs_path),
            min_free_bytes=self.settings.min_free_bytes,
        )


def _make_worker(settings: Settings, store: Store, tree: LogTree) -> Worker:
    interval_s = None if settings.disable_auto_ingest else settings.ingest_interval_ms / 1000
    return Worker(
        Indexer(store, tree),
        LogWriter(tree.root),
        interval_s=interval_s,
        flush_s=settings.ingest_queue_flush_ms / 1000,
        clock=time.time,
        monotonic=time.monotonic,
    )


def _alert_policy(settings: Settings) -> AlertPolicy:
    return AlertPolicy(
        enabled=settings.alert_webhook_url is not None,
        webhook_url=settings.alert_webhook_url,
        interval_ms=settings.alert_interval_ms,
        window_minutes=settings.alert_window_minutes,
        error_threshold=settings.alert_error_threshold,
        no_logs_threshold_minutes=settings.alert_no_logs_threshold_minutes,
        cooldown_ms=settings.alert_cooldown_ms,
        webhook_timeout_ms=settings.alert_webhook_timeout_ms,
        webhook_retry_attempts=settings.alert_webhook_retry_attempts,
        webhook_backoff_ms=settings.alert_webhook_backoff_ms,
    )


def policy_limits() -> dict[str, tuple[int, int]]:
    """The bounds of the policy's numbers: those of the options that they begin as."""
    return {
        _without_alert(option.key): (option.floor or 0, option.maximum)
        for option in options()
        if option.group == "Alerting" and option.kind == "integer" and option.key
    }


def _without_alert(key: str) -> str:
    """alertIntervalMs is intervalMs in the policy."""
    name = key.removeprefix("alert")
    return name[0].lower() + name[1:]


def _maintenance_health() -> MaintenanceHealth:
    """Nothing is cleaned up yet, so all of it is zero."""
    counters = (name for name in MaintenanceHealth.__struct_fields__ if "_deleted_" in name)
    return MaintenanceHealth(
        running=False,
        runs=0,
        last_run_at=None,
        last_success_at=None,
        last_duration_ms=None,
        last_error=None,
        vacuum_runs=0,
        **dict.fromkeys(counters, 0),
    )


def _masked(policy: AlertPolicy) -> AlertPolicy:
    """A policy to show to everybody: webhook URLs often hold a key."""
    if policy.webhook_url is None:
        return policy
    return msgspec.structs.replace(policy, webhook_url="[configured]")


def _counts(tally: Tally, suffix: str) -> dict[str, int]:
    """records_inserted_last_run and so on."""
    counts = msgspec.structs.asdict(tally)
    return {f"{name}_{suffix}": value for name, value in counts.items()}


def _time_text(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(int(seconds * 1000))


def _ms_text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else format_time(milliseconds)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _path_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def now_utc() -> datetime:
    """The moment a request is received."""
    return datetime.now(UTC)
