"""The alert policy, and the checks of a change to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mikroscope.errors import AlertPolicyError
from mikroscope.errors.wording import nearest
from mikroscope.json_body import JsonBody
from mikroscope.settings.values import (
    WEBHOOK_FORMATS,
    WebhookFormat,
    shown,
    web_url,
    whole_number,
)


class AlertPolicy(JsonBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When alerts fire and how they are delivered; the JSON of `/api/alerts/config`."""

    enabled: bool
    webhook_url: str | None
    webhook_format: WebhookFormat
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

    Setting a URL enables alerts and clearing it (null or "") disables them, unless `enabled` is
    also given.
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
    if key == "webhookFormat":
        return _checked_format(value)
    if key == "enabled":
        if isinstance(value, bool):
            return value
        raise AlertPolicyError(f"{key}: expected true or false, got {shown(value)}")
    if key not in limits:
        raise _unknown(key, ("enabled", "webhookUrl", "webhookFormat", *limits))
    low, high = limits[key]
    number = whole_json_number(value)
    if number is None or not low <= number <= high:
        raise AlertPolicyError(
            f"{key}: expected a whole number from {low} to {high}, got {shown(value)}"
        )
    return number


def _unknown(key: str, fields: Sequence[str]) -> AlertPolicyError:
    meant = nearest(key, fields)
    advice = "" if meant is None else f"Did you mean {meant}?"
    return AlertPolicyError(
        f"Unknown field {shown(key)}. {advice or 'Expected one of ' + ', '.join(fields)}"
    )


def _checked_url(value: object) -> str | None:
    """Return the URL; None clears it, and so does an empty text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return web_url(value)
    except ValueError as error:
        raise AlertPolicyError(f"webhookUrl {error}") from None


def _checked_format(value: object) -> str:
    if isinstance(value, str) and value.strip().lower() in WEBHOOK_FORMATS:
        return value.strip().lower()
    expected = f"{', '.join(WEBHOOK_FORMATS[:-1])} or {WEBHOOK_FORMATS[-1]}"
    raise AlertPolicyError(f"webhookFormat: expected {expected}, got {shown(value)}")


def whole_json_number(value: object) -> int | None:
    """Return a JSON number as an integer, None if it is not whole: 5.0 is 5."""
    return None if isinstance(value, str) else whole_number(value)


class WebhookToTest(msgspec.Struct, frozen=True):
    """Where to send a test, and as what; None means as the policy says."""

    url: str | None = None
    format: WebhookFormat | None = None


def webhook_to_test(content: object) -> WebhookToTest:
    """Check the body of a request for a test. Raises AlertPolicyError."""
    if not isinstance(content, dict):
        raise AlertPolicyError('expected {} or {"webhookUrl": "https://…"}')
    fields = ("webhookUrl", "webhookFormat")
    if unknown := [key for key in content if key not in fields]:
        raise _unknown(unknown[0], fields)
    chosen = _checked_format(content["webhookFormat"]) if "webhookFormat" in content else None
    checked = {"url": _checked_url(content.get("webhookUrl")), "format": chosen}
    return msgspec.convert(checked, WebhookToTest)
