"""What `/health` tells, gathered from the parts of a server."""

import msgspec

from mikroscope.alerter import Alerter
from mikroscope.alerts import AlertPolicy
from mikroscope.health import (
    AlertingHealth,
    EndpointHealth,
    IngestHealth,
    MaintenanceHealth,
    QueueHealth,
    RetentionDays,
)
from mikroscope.maintenance import Maintainer, Removed
from mikroscope.settings import Settings
from mikroscope.tally import Tally
from mikroscope.timestamps import format_time
from mikroscope.worker import Worker


def ingest_health(worker: Worker) -> IngestHealth:
    """The runs that bring the index up with the files."""
    run = worker.run
    return IngestHealth(
        running=run.running,
        runs=run.runs,
        last_run_at=_time_text(run.last_run_at),
        last_success_at=_time_text(run.last_success_at),
        last_duration_ms=run.last_duration_ms,
        last_error=run.last_error,
        last_mode=run.last_mode,
        **_counts(run.last_run, "last_run"),
        **_counts(worker.tally, "total"),
    )


def endpoint_health(settings: Settings, worker: Worker, is_open: bool) -> EndpointHealth:
    """The endpoint that takes logs, and its queue."""
    queue = worker.queue
    batches, records = worker.pending()
    return EndpointHealth(
        enabled=is_open,
        max_body_bytes=settings.ingest_max_body_bytes,
        producer_count=len({producer for _, producer in settings.ingest_producers}),
        queue=QueueHealth(
            enabled=settings.ingest_async_queue,
            flush_ms=settings.ingest_queue_flush_ms,
            draining=worker.draining,
            pending_batches=batches,
            pending_records=records,
            records_flushed=queue.records_flushed,
            records_queued=queue.records_queued,
            last_error=queue.last_error,
            last_flush_at=_time_text(queue.last_flush_at),
        ),
    )


def alerting_health(alerter: Alerter) -> AlertingHealth:
    """Evaluations of the rules, and notifications."""
    state = alerter.state
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
            rule: format_time(sent_ms) for rule, sent_ms in alerter.last_sent_ms.items()
        },
    )


def maintenance_health(maintainer: Maintainer) -> MaintenanceHealth:
    """The clean-ups."""
    state = maintainer.state
    return MaintenanceHealth(
        running=state.running,
        runs=state.runs,
        last_run_at=_ms_text(state.last_run_ms),
        last_success_at=_ms_text(state.last_success_ms),
        last_duration_ms=state.last_duration_ms,
        last_error=state.last_error,
        vacuum_runs=state.vacuum_runs,
        **_removed(state.last, "last_run"),
        **_removed(state.total, "total"),
    )


def retention_days(settings: Settings) -> RetentionDays:
    """How long everything stays."""
    return RetentionDays(
        db=settings.db_retention_days,
        db_audit=settings.db_audit_retention_days,
        logs=settings.log_retention_days,
        logs_audit=settings.log_audit_retention_days,
    )


def masked(policy: AlertPolicy) -> AlertPolicy:
    """A policy to show to everybody: webhook URLs often hold a key."""
    if policy.webhook_url is None:
        return policy
    return msgspec.structs.replace(policy, webhook_url="[configured]")


def _counts(tally: Tally, suffix: str) -> dict[str, int]:
    """records_inserted_last_run and so on."""
    counts = msgspec.structs.asdict(tally)
    return {f"{name}_{suffix}": value for name, value in counts.items()}


def _removed(removed: Removed, suffix: str) -> dict[str, int]:
    counts = {
        "files": removed.normal_files + removed.audit_files,
        "normal_files": removed.normal_files,
        "audit_files": removed.audit_files,
        "entries": removed.entries.entries,
        "normal_entries": removed.entries.normal_entries,
        "audit_entries": removed.entries.audit_entries,
        "fields": removed.entries.field_values,
    }
    return {f"{name}_deleted_{suffix}": value for name, value in counts.items()}


def _time_text(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(int(seconds * 1000))


def _ms_text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else format_time(milliseconds)
