"""Alerts: the policy and where it is kept, the two rules (pure), and what is posted."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from mikroscope.errors import AlertPolicyError
from mikroscope.json_body import JsonBody
from mikroscope.settings.values import HIDDEN, is_web_url, shown, whole_number

logger = logging.getLogger(__name__)
_OF_DELIVERY = (
    *("enabled", "webhook_url"),
    *("webhook_timeout_ms", "webhook_retry_attempts", "webhook_backoff_ms"),
)


class AlertPolicy(JsonBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


def same_delivery(policy: AlertPolicy, other: AlertPolicy) -> bool:
    """Whether two policies notify the same webhook in the same way."""
    return all(getattr(policy, name) == getattr(other, name) for name in _OF_DELIVERY)


def apply_change(
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
    number = whole_json_number(value)
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


def whole_json_number(value: object) -> int | None:
    """JSON knows one kind of number: 5.0 is 5."""
    return None if isinstance(value, str) else whole_number(value)


def url_to_test(content: object) -> str | None:
    """The URL that a test is asked for; None for that of the policy. Raises AlertPolicyError."""
    if not isinstance(content, dict) or set(content) - {"webhookUrl"}:
        raise AlertPolicyError('expected {} or {"webhookUrl": "https://…"}')
    return _checked_url(content.get("webhookUrl"))
