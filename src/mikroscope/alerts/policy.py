"""The alert policy, and the checks of a change to it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mikroscope.errors import AlertPolicyError
from mikroscope.json_body import JsonBody
from mikroscope.settings.values import HIDDEN, is_web_url, shown, whole_number


class AlertPolicy(JsonBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When alerts fire and how they are delivered; the JSON of `/api/alerts/config`."""

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
    """Return whether two policies notify the same webhook in the same way."""
    names = [name for name in policy.__struct_fields__ if name.startswith("webhook_")]
    return all(getattr(policy, name) == getattr(other, name) for name in ("enabled", *names))


def apply_change(
    policy: AlertPolicy, change: object, limits: Mapping[str, tuple[int, int]]
) -> AlertPolicy:
    """Return the policy with fields replaced; `limits` are the bounds of numbers by JSON key.

    Setting a URL enables alerts and clearing it disables them, unless `enabled` is also given.
    Raises AlertPolicyError naming the field, what was expected, and the value unless it is a URL.
    """
    if not isinstance(change, dict) or not change:
        raise AlertPolicyError("expected a JSON object with at least one field of the policy")
    merged: dict[str, Any] = msgspec.to_builtins(policy)
    merged |= {key: _checked(key, value, limits) for key, value in change.items()}
    if "webhookUrl" in change and "enabled" not in change:
        merged["enabled"] = merged["webhookUrl"] is not None
    if merged["enabled"] and merged["webhookUrl"] is None:
        raise AlertPolicyError("enabled: expected false without a webhookUrl, got true")
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
        raise AlertPolicyError(f"{key}: unknown field, expected one of {fields}")
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
    """Return a JSON number as an integer, None if it is not whole: 5.0 is 5."""
    return None if isinstance(value, str) else whole_number(value)


def url_to_test(content: object) -> str | None:
    """Return the URL of a test request, None to test the policy's. Raises AlertPolicyError."""
    if not isinstance(content, dict) or set(content) - {"webhookUrl"}:
        raise AlertPolicyError('expected {} or {"webhookUrl": "https://…"}')
    return _checked_url(content.get("webhookUrl"))
