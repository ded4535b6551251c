"""What is answered to requests that do something: structs that JSON is made from."""

from typing import Literal

import msgspec

from mikroscope.alerts import AlertPolicy
from mikroscope.health import Count, Time


class Received(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What became of the logs of one request; `queued` says that they are not written yet."""

    accepted: Count
    queued: bool
    producer_id: str
    received_at: Time
    rejected: Count


class IndexReport(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What one pass over the log files did."""

    files_scanned: Count
    lines_scanned: Count
    records_inserted: Count
    records_skipped: Count
    parse_errors: Count
    started_at: Time
    finished_at: Time
    mode: Literal["incremental", "full"]


class Reset(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What the index held before it was made anew."""

    entries_deleted: Count
    fields_deleted: Count


class Reindexed(msgspec.Struct, frozen=True, kw_only=True):
    """The index was made anew from the files."""

    report: IndexReport
    reset: Reset


class ShownPolicy(AlertPolicy, frozen=True, kw_only=True, omit_defaults=True):
    """The alert policy in force; `webhookUrl` is left out where there is none."""

    webhook_url: str | None = None


class AlertConfig(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The alert policy in force, and the file that keeps it."""

    config_path: str
    policy: ShownPolicy


class WebhookTest(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A test notification was delivered."""

    ok: bool
    sent_at: Time
    target_url: str


class Problem(msgspec.Struct, frozen=True):
    """Every error: a text to act on."""

    error: str
