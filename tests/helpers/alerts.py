"""An alert policy, its limits and a time, for the tests of alerts."""

import json
from typing import Any

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.query.model import Entry
from mikroscope.records.attributes import event_of, level_of, message_of
from mikroscope.sidecar import policy_limits

POLICY = AlertPolicy(
    enabled=True,
    webhook_url="http://127.0.0.1:9/hook",
    webhook_format="auto",
    interval_ms=20,
    window_minutes=5,
    error_threshold=3,
    no_logs_threshold_minutes=0,
    cooldown_ms=60_000,
    webhook_timeout_ms=2_000,
    webhook_retry_attempts=3,
    webhook_backoff_ms=10,
)
LIMITS = policy_limits() | {"intervalMs": (1000, 10_000), "errorThreshold": (1, 100)}
NOW = 1_771_410_000_000


def policy(**changes: Any) -> AlertPolicy:
    """Return POLICY with other values."""
    return msgspec.structs.replace(POLICY, **changes)


def entry(record: dict[str, Any], entry_id: int = 1) -> Entry:
    """Return a record as an entry of the index."""
    time = record.get("timestamp", "2026-02-18T10:19:59.123Z")
    texts = (time, level_of(record), event_of(record), message_of(record))
    return Entry(entry_id, *texts, msgspec.Raw(json.dumps(record).encode()), "app.ndjson", 1)
