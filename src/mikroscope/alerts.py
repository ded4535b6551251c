"""Alerts: the policy and where it is kept, the two rules (pure), and what is posted."""

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from mikroscope.errors import AlertPolicyError, ConfigurationError, MikroScopeError
from mikroscope.settings_values import HIDDEN, is_web_url, shown, whole_number
from mikroscope.timestamps import format_time

logger = logging.getLogger(__name__)

Rule = Literal["error_threshold", "no_logs", "manual_test"]

# ERROR and everything worse, whatever the logger calls it.
ERROR_LEVELS = frozenset(
    ("ERROR", "ERR", "SEVERE", "CRIT", "CRITICAL", "FATAL", "ALERT", "EMERG", "PANIC", "DPANIC")
)
_OF_DELIVERY = (
    *("enabled", "webhook_url"),
    *("webhook_timeout_ms", "webhook_retry_attempts", "webhook_backoff_ms"),
)
_MINUTE_MS = 60_000
_JITTER_MS = 100  # evaluations are not exactly an interval apart


class AlertPolicy(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What is watched, and whom it is told; the JSON of `/api/alerts/config`."""

    enabled: bool
    webhook_url: str | None
    interval_ms: int
    window_minutes: int
    error_threshold: int
    no_logs_threshold_minutes: int
    cooldown_ms: int
    webhook_timeout_ms: int
    webhook_retry_attempts: int
    webhook_backoff_ms: int


class Sighting(msgspec.Struct, frozen=True):
    """What the rules are decided on: counts within the window, and the time of the last entry."""

    error_count: int
    total_count: int
    last_log_ms: int


class Notification(msgspec.Struct, frozen=True):
    """One rule that has fired."""

    rule: Rule
    severity: Literal["critical", "warning"]
    details: dict[str, int]


# --- the rules ------------------------------------------------------------------------------


def firing(policy: AlertPolicy, seen: Sighting, now_ms: int) -> list[Notification]:
    """The rules that hold now, whether anybody was told lately or not."""
    found = []
    if seen.error_count >= policy.error_threshold:
        details = {
            "errorCount": seen.error_count,
            "threshold": policy.error_threshold,
            "totalWindowCount": seen.total_count,
            "windowMinutes": policy.window_minutes,
        }
        found.append(Notification("error_threshold", "critical", details))
    quiet_minutes = policy.no_logs_threshold_minutes
    if quiet_minutes and now_ms - seen.last_log_ms >= quiet_minutes * _MINUTE_MS:
        found.append(Notification("no_logs", "warning", {"thresholdMinutes": quiet_minutes}))
    return found


def is_cool(policy: AlertPolicy, last_sent_ms: int | None, now_ms: int) -> bool:
    """Whether a rule may notify again; an interval equal to the cooldown always may.

    A clock that was set back does not silence a rule for longer than the cooldown.
    """
    if last_sent_ms is None or last_sent_ms > now_ms:
        return True
    return now_ms - last_sent_ms >= policy.cooldown_ms - _JITTER_MS


def cooldown_begin(policy: AlertPolicy, evaluated_ms: int, delivered_ms: int) -> int:
    """From when a notification's cooldown counts: from its delivery.

    Where evaluations are no closer than the cooldown it counts from the evaluation: each of them
    may notify then, however long a delivery takes.
    """
    return evaluated_ms if policy.interval_ms >= policy.cooldown_ms else delivered_ms


def delivers_alike(policy: AlertPolicy, other: AlertPolicy) -> bool:
    """Whether two policies notify the same webhook in the same way."""
    return all(getattr(policy, name) == getattr(other, name) for name in _OF_DELIVERY)


def count_errors(counts: Mapping[str, int]) -> int:
    """How many entries are errors, of the counts by level."""
    return sum(count for level, count in counts.items() if level in ERROR_LEVELS)


def payload(notification: Notification, now_ms: int, service_url: str) -> bytes:
    """What is posted to the webhook."""
    return msgspec.json.encode(
        {
            "source": "mikroscope",
            "rule": notification.rule,
            "severity": notification.severity,
            "triggeredAt": format_time(now_ms),
            "serviceUrl": service_url,
            "details": notification.details,
        }
    )


# --- changing the policy --------------------------------------------------------------------


def changed(
    policy: AlertPolicy, change: object, limits: Mapping[str, tuple[int, int]]
) -> AlertPolicy:
    """The policy with the given fields replaced; `limits` are the bounds of numbers by JSON key.

    Setting a URL enables, clearing it disables, unless `enabled` is said too. Raises
    AlertPolicyError naming the field, what was expected, and the value unless it is a URL.
    """
    if not isinstance(change, dict) or not change:
        raise AlertPolicyError("expected a JSON object with at least one field of the policy")
    merged: dict[str, Any] = msgspec.to_builtins(policy)
    merged |= {key: _checked(key, value, limits) for key, value in change.items()}
    if "webhookUrl" in change and "enabled" not in change:
        merged["enabled"] = merged["webhookUrl"] is not None
    if merged["enabled"] and merged["webhookUrl"] is None:
        raise AlertPolicyError("enabled: expected false while there is no webhookUrl, got true")
    return msgspec.convert(merged, AlertPolicy)


def _checked(key: str, value: Any, limits: Mapping[str, tuple[int, int]]) -> object:
    if key == "webhookUrl":
        return _checked_url(value)
    if key == "enabled":
        if isinstance(value, bool):
            return value
        raise AlertPolicyError(f"{key}: expected true or false, got {shown(value)}")
    if key not in limits:
        fields = ", ".join(("enabled", "webhookUrl", *limits))
        raise AlertPolicyError(f"{key}: no field of the policy, expected one of {fields}")
    low, high = limits[key]
    number = _whole(value)
    if number is None or not low <= number <= high:
        raise AlertPolicyError(
            f"{key}: expected a whole number from {low} to {high}, got {shown(value)}"
        )
    return number


def _checked_url(value: object) -> str | None:
    if value is None or (isinstance(value, str) and is_web_url(value)):
        return value
    raise AlertPolicyError(
        f"webhookUrl: expected an http:// or https:// URL with a host, or null, got {HIDDEN}"
    )


def _whole(value: object) -> int | None:
    """JSON knows one kind of number: 5.0 is 5."""
    return None if isinstance(value, str) else whole_number(value)


def url_to_test(content: object) -> str | None:
    """The URL that a test is asked for; None for that of the policy. Raises AlertPolicyError."""
    if not isinstance(content, dict) or set(content) - {"webhookUrl"}:
        raise AlertPolicyError('expected {} or {"webhookUrl": "https://…"}')
    return _checked_url(content.get("webhookUrl"))


# --- files ----------------------------------------------------------------------------------


def load_policy(
    path: Path, default: AlertPolicy, limits: Mapping[str, tuple[int, int]]
) -> AlertPolicy:
    """The policy that was stored, else the default.

    Numbers below their floor are raised to it, with a warning. Raises ConfigurationError naming
    file and field for all else that `changed` refuses.
    """
    stored = _load(path)
    if stored == {}:
        return default
    try:
        return changed(default, _raised(path, stored, limits), limits)
    except AlertPolicyError as error:
        raise ConfigurationError(f"{path}: {error}; correct the file, or delete it") from None


def _raised(path: Path, stored: Any, limits: Mapping[str, tuple[int, int]]) -> Any:
    """The content with each number raised to its floor, if it has one."""
    if not isinstance(stored, dict):
        return stored
    raised = {}
    for key, (low, _) in limits.items():
        number = _whole(stored.get(key))
        if low and number is not None and number < low:
            logger.warning("%s: %s: %d is too low and is raised to %d", path, key, number, low)
            raised[key] = low
    return stored | raised


def load_last_sent(path: Path) -> dict[str, int]:
    """When each rule has notified last, in epoch milliseconds; nothing if that is not known."""
    with contextlib.suppress(MikroScopeError, msgspec.ValidationError):
        return msgspec.convert(_load(path), dict[str, int])
    return {}


def store(path: Path, content: object) -> None:
    """Replace a JSON file at once, readable by its owner only. Raises MikroScopeError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MikroScopeError(f"{path} cannot be written: {error.strerror}") from error


def _load(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MikroScopeError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
