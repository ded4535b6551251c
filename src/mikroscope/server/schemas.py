"""The JSON bodies that the server answers with."""

from typing import Annotated, Literal

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.indexing.stats import IndexReport
from mikroscope.json_body import Count, JsonBody, Time


class IngestResponse(JsonBody, frozen=True, kw_only=True):
    """What became of the logs of one request; `queued` says that they are not written yet."""

    accepted: Count
    queued: bool
    producer_id: str
    received_at: Time
    rejected: Count


class ResetReport(JsonBody, frozen=True, kw_only=True):
    """What the index held before it was made anew."""

    entries_deleted: Count
    fields_deleted: Count


class ReindexResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The index was made anew from the files."""

    report: IndexReport
    reset: ResetReport


class AlertPolicyResponse(AlertPolicy, frozen=True, kw_only=True, omit_defaults=True):
    """The alert policy in force; `webhookUrl` is left out where there is none."""

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


class ErrorResponse(msgspec.Struct, frozen=True):
    """Every error: a text to act on."""

    error: str


class IngestHealth(JsonBody, frozen=True, kw_only=True):
    """The runs that bring the index up with the files."""

    running: bool
    runs: Count
    last_run_at: Time | None
    last_success_at: Time | None
    last_duration_ms: Count | None
    last_error: str | None
    records_inserted_last_run: Count
    records_inserted_total: Count
    records_skipped_last_run: Count
    records_skipped_total: Count
    parse_errors_last_run: Count
    parse_errors_total: Count
    lines_scanned_last_run: Count
    lines_scanned_total: Count
    files_scanned_last_run: Count
    files_scanned_total: Count
    last_mode: Literal["incremental", "full"]


class AuthHealth(JsonBody, frozen=True, kw_only=True):
    """Which credentials open the API; with neither it is open to all."""

    api_token_enabled: bool
    basic_enabled: bool


class IngestPolicy(JsonBody, frozen=True, kw_only=True):
    """Whether, and how often, new lines are looked for while the server runs."""

    enabled: bool
    interval_ms: Count


class QueueHealth(JsonBody, frozen=True, kw_only=True):
    """The queue of records that were answered with 202."""

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
    """The endpoint that takes logs."""

    enabled: bool
    max_body_bytes: Count
    producer_count: Count
    queue: QueueHealth


class AlertingHealth(JsonBody, frozen=True, kw_only=True):
    """Evaluations of the alert rules, and what came of them."""

    running: bool
    runs: Count
    sent: Count
    suppressed: Count
    last_run_at: Time | None
    last_success_at: Time | None
    last_duration_ms: Count | None
    last_error: str | None
    last_trigger_at_by_rule: dict[str, Time]


class MaintenanceHealth(JsonBody, frozen=True, kw_only=True):
    """The clean-ups that retention asks for."""

    running: bool
    runs: Count
    last_run_at: Time | None
    last_success_at: Time | None
    last_duration_ms: Count | None
    last_error: str | None
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
    fields_deleted_last_run: Count
    fields_deleted_total: Count
    vacuum_runs: Count


class RetentionDays(JsonBody, frozen=True, kw_only=True):
    """Days that entries and files stay; 0 is for good."""

    db: Count
    db_audit: Count
    logs: Count
    logs_audit: Count


class Backup(JsonBody, frozen=True, kw_only=True):
    """Where audit files are copied to before they are deleted."""

    audit_directory: str | None


class Storage(JsonBody, frozen=True, kw_only=True):
    """Size of the index, free bytes, and the least that must be free to take logs."""

    db_approximate_size_bytes: Count
    db_directory_free_bytes: Count | None
    logs_directory_free_bytes: Count | None
    min_free_bytes: Count


class Health(JsonBody, frozen=True, kw_only=True):
    """How a server is doing; `problems` says in words why `ok` is false, and is empty else."""

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
