"""The JSON bodies of responses."""

from typing import Annotated, Literal

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.indexing.stats import IndexReport
from mikroscope.json_body import Count, JsonBody, Time


class IngestResponse(JsonBody, frozen=True, kw_only=True):
    """Result of an ingest request; `queued`: the records are not written yet."""

    accepted: Count
    queued: bool
    producer_id: str
    received_at: Time
    rejected: Count


class ResetReport(JsonBody, frozen=True, kw_only=True):
    """What the old index held."""

    entries_deleted: Count
    fields_deleted: Count


class ReindexResponse(JsonBody, frozen=True, kw_only=True):
    """Result of a rebuild."""

    report: IndexReport
    reset: ResetReport


class AlertPolicyResponse(AlertPolicy, frozen=True, kw_only=True, omit_defaults=True):
    """The alert policy in force; without `webhookUrl` if none is set."""

    webhook_url: str | None = None


class AlertConfigResponse(JsonBody, frozen=True, kw_only=True):
    """The alert policy in force, and the file that keeps it."""

    config_path: str
    policy: AlertPolicyResponse


class WebhookTestResponse(JsonBody, frozen=True, kw_only=True):
    """A test notification was delivered."""

    ok: bool
    sent_at: Time
    target_url: str


class ErrorResponse(JsonBody, frozen=True):
    """Every error; the text says what to do about it."""

    error: str


class JobHealth(JsonBody, frozen=True, kw_only=True):
    """The status of a repeated job."""

    running: bool
    runs: Count
    last_run_at: Time | None
    last_success_at: Time | None
    last_duration_ms: Count | None
    last_error: str | None


class SkippedFiles(JsonBody, frozen=True, kw_only=True):
    """Files below the logs directory that are not indexed, and what would include them."""

    count: Count
    text: str
    fix: str


class IngestHealth(JobHealth, frozen=True, kw_only=True):
    """Indexing runs, which bring the index up to date with the log files."""

    records_inserted_last_run: Count
    records_inserted_total: Count
    records_skipped_last_run: Count
    records_skipped_total: Count
    parse_errors_last_run: Count
    parse_errors_total: Count
    unreadable_timestamps_last_run: Count
    unreadable_timestamps_total: Count
    lines_scanned_last_run: Count
    lines_scanned_total: Count
    files_scanned_last_run: Count
    files_scanned_total: Count
    last_mode: Literal["incremental", "full"]
    skipped_files: SkippedFiles | None


class AuthHealth(JsonBody, frozen=True, kw_only=True):
    """Credentials that the API accepts; with neither, it is open to every client."""

    api_token_enabled: bool
    basic_enabled: bool


class IngestPolicy(JsonBody, frozen=True, kw_only=True):
    """Periodic scans for new lines: enabled or not, and their interval."""

    enabled: bool
    interval_ms: Count


class QueueHealth(JsonBody, frozen=True, kw_only=True):
    """The queue of records that were accepted with 202."""

    enabled: bool
    flush_ms: Count
    draining: bool
    pending_batches: Count
    pending_records: Count
    records_flushed: Count
    records_queued: Count
    last_error: str | None
    last_flush_at: Time | None


class EndpointHealth(JsonBody, frozen=True, kw_only=True):
    """The ingest endpoint."""

    enabled: bool
    max_body_bytes: Count
    producer_count: Count
    queue: QueueHealth


class AlertingHealth(JobHealth, frozen=True, kw_only=True):
    """Evaluations of the alert rules, and their notifications."""

    sent: Count
    suppressed: Count
    last_trigger_at_by_rule: dict[str, Time]


class MaintenanceHealth(JobHealth, frozen=True, kw_only=True):
    """Maintenance runs, which apply retention.

    Oversize entries are those that were deleted because of `--db-max-bytes`; they are also in the
    other counts, and in the totals if they were deleted between two runs.
    """

    files_deleted_last_run: Count
    files_deleted_total: Count
    normal_files_deleted_last_run: Count
    normal_files_deleted_total: Count
    audit_files_deleted_last_run: Count
    audit_files_deleted_total: Count
    entries_deleted_last_run: Count
    entries_deleted_total: Count
    normal_entries_deleted_last_run: Count
    normal_entries_deleted_total: Count
    audit_entries_deleted_last_run: Count
    audit_entries_deleted_total: Count
    oversize_entries_deleted_last_run: Count
    oversize_entries_deleted_total: Count
    fields_deleted_last_run: Count
    fields_deleted_total: Count
    vacuum_runs: Count


class RetentionDays(JsonBody, frozen=True, kw_only=True):
    """Days to keep entries and log files; 0 keeps them forever."""

    db: Count
    db_audit: Count
    logs: Count
    logs_audit: Count


class Backup(JsonBody, frozen=True, kw_only=True):
    """The directory that audit files are copied to before they are deleted."""

    audit_directory: str | None


class Storage(JsonBody, frozen=True, kw_only=True):
    """Size of the index and its limit, free space, and the minimum that ingest needs.

    `dbUpgrading`: the index has the format of an earlier version; queries are answered from it
    until a new one is built. What arrives meanwhile is found after that.
    """

    db_approximate_size_bytes: Count
    db_upgrading: bool
    db_directory_free_bytes: Count | None
    logs_directory_free_bytes: Count | None
    db_max_bytes: Count
    min_free_bytes: Count


class Readiness(JsonBody, frozen=True, kw_only=True):
    """Whether the server works; `problems` says why `ok` is false and is empty otherwise."""

    ok: bool
    problems: list[str]


class Health(JsonBody, frozen=True, kw_only=True):
    """State of a server; `problems` says why `ok` is false and is empty otherwise."""

    ok: bool
    problems: list[str]
    service: str
    uptime_sec: Annotated[float, msgspec.Meta(ge=0)]
    ingest: IngestHealth
    auth: AuthHealth
    ingest_policy: IngestPolicy
    ingest_endpoint: EndpointHealth
    alerting: AlertingHealth
    alert_policy: AlertPolicy
    maintenance: MaintenanceHealth
    retention_days: RetentionDays
    backup: Backup
    storage: Storage
