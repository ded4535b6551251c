"""Builds the response of `/health` from the parts of a server."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from mikroscope.alerts.alerter import Alerter
from mikroscope.alerts.policy import AlertPolicy
from mikroscope.disk import free_bytes
from mikroscope.indexing.stats import IndexStats
from mikroscope.job_status import JobStatus
from mikroscope.logfiles.skipped import Skipped
from mikroscope.maintenance.maintainer import Maintainer, Removed
from mikroscope.records.timestamps import format_time
from mikroscope.server.schemas import (
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
    SkippedFiles,
    Storage,
)
from mikroscope.sidecar import Sidecar

SERVICE_NAME = "mikroscope"


def health(sidecar: Sidecar) -> Health:
    """The response of `/health`, from counters and settings; it does not query the index."""
    settings, problems = sidecar.settings, sidecar.problems()
    return Health(
        ok=not problems,
        problems=problems,
        service=SERVICE_NAME,
        uptime_sec=round(time.monotonic() - sidecar.started_s, 3),
        ingest=_ingest_health(sidecar),
        auth=AuthHealth(
            api_token_enabled=settings.api_token is not None,
            basic_enabled=settings.auth_username is not None,
        ),
        ingest_policy=IngestPolicy(
            enabled=not settings.disable_auto_ingest,
            interval_ms=settings.ingest_interval_ms,
        ),
        ingest_endpoint=_endpoint_health(sidecar),
        alerting=_alerting_health(sidecar.alerter),
        alert_policy=_masked(sidecar.alerter.policy),
        maintenance=_maintenance_health(sidecar.maintainer),
        retention_days=_retention_days(sidecar),
        backup=Backup(audit_directory=_path_text(settings.audit_backup_directory)),
        storage=_storage(sidecar),
    )


def _storage(sidecar: Sidecar) -> Storage:
    index = sidecar.store.status()
    return Storage(
        db_approximate_size_bytes=index.size_bytes or 0,
        db_upgrading=index.is_outdated,
        db_directory_free_bytes=free_bytes(sidecar.db_directory),
        logs_directory_free_bytes=free_bytes(sidecar.settings.logs_path),
        db_max_bytes=sidecar.settings.db_max_bytes,
        min_free_bytes=sidecar.settings.min_free_bytes,
    )


def _ingest_health(sidecar: Sidecar) -> IngestHealth:
    """Indexing runs, and what they leave out."""
    writer = sidecar.writer
    run = writer.run
    return IngestHealth(
        **_runs(run),
        last_error=run.last_error,
        last_mode=run.last_mode,
        skipped_files=_skipped(sidecar.skipped_files()),
        **_counts(run.last_run, "last_run"),
        **_counts(writer.stats, "total"),
    )


def _skipped(found: Skipped | None) -> SkippedFiles | None:
    return found and SkippedFiles(count=found.total, text=found.text, fix=found.fix)


def _endpoint_health(sidecar: Sidecar) -> EndpointHealth:
    """The ingest endpoint and its queue."""
    settings, writer = sidecar.settings, sidecar.writer
    queue = writer.queue_status
    batches, records = writer.pending()
    return EndpointHealth(
        enabled=sidecar.ingest_enabled,
        max_body_bytes=settings.ingest_max_body_bytes,
        producer_count=len({producer for _, producer in settings.ingest_producers}),
        queue=QueueHealth(
            enabled=settings.ingest_async_queue,
            flush_ms=settings.ingest_queue_flush_ms,
            draining=writer.draining,
            pending_batches=batches,
            pending_records=records,
            records_flushed=queue.records_flushed,
            records_queued=queue.records_queued,
            last_error=queue.last_error,
            last_flush_at=_ms_text(queue.last_flush_ms),
        ),
    )


def _alerting_health(alerter: Alerter) -> AlertingHealth:
    """Evaluations of the alert rules, and their notifications."""
    state = alerter.state
    return AlertingHealth(
        **_runs(state.evaluations),
        sent=state.sent,
        suppressed=state.suppressed,
        last_error=state.last_error,
        last_trigger_at_by_rule={
            rule: format_time(sent_ms) for rule, sent_ms in alerter.last_sent_ms.items()
        },
    )


def _maintenance_health(maintainer: Maintainer) -> MaintenanceHealth:
    """Maintenance runs."""
    state = maintainer.state
    return MaintenanceHealth(
        **_runs(state.job),
        last_error=state.job.last_error,
        vacuum_runs=state.vacuum_runs,
        **_removed(state.last, "last_run"),
        **_removed(state.total, "total"),
    )


def _retention_days(sidecar: Sidecar) -> RetentionDays:
    """Days to keep everything."""
    settings = sidecar.settings
    return RetentionDays(
        db=settings.db_retention_days,
        db_audit=settings.db_audit_retention_days,
        logs=settings.log_retention_days,
        logs_audit=settings.log_audit_retention_days,
    )


def _masked(policy: AlertPolicy) -> AlertPolicy:
    """The policy without its webhook URL, which often contains a key."""
    if policy.webhook_url is None:
        return policy
    return msgspec.structs.replace(policy, webhook_url="[configured]")


def _counts(stats: IndexStats, suffix: str) -> dict[str, Any]:
    """records_inserted_last_run and so on."""
    counts = msgspec.structs.asdict(stats)
    return {f"{name}_{suffix}": value for name, value in counts.items()}


def _runs(status: JobStatus) -> dict[str, Any]:
    return {
        "running": status.running,
        "runs": status.runs,
        "last_run_at": _ms_text(status.last_run_ms),
        "last_success_at": _ms_text(status.last_success_ms),
        "last_duration_ms": status.last_duration_ms,
    }


def _removed(removed: Removed, suffix: str) -> dict[str, Any]:
    counts = {
        "oversize_entries": removed.oversize.entries,
        "files": removed.normal_files + removed.audit_files,
        "normal_files": removed.normal_files,
        "audit_files": removed.audit_files,
        "entries": removed.entries.entries,
        "normal_entries": removed.entries.normal_entries,
        "audit_entries": removed.entries.audit_entries,
        "fields": removed.entries.field_values or 0,
    }
    return {f"{name}_deleted_{suffix}": value for name, value in counts.items()}


def _ms_text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else format_time(milliseconds)


def _path_text(path: Path | None) -> str | None:
    return None if path is None else os.path.abspath(path)
