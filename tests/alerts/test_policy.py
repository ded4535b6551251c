"""The alert policy: where its values come from, and how a change is checked."""

import pytest

from mikroscope import resolve_settings
from mikroscope.alerts.policy import AlertPolicy, apply_change, same_delivery, url_to_test
from mikroscope.errors import AlertPolicyError
from mikroscope.sidecar import alert_policy, policy_limits
from tests.helpers.alerts import LIMITS, POLICY, policy


def test_options_become_the_policy() -> None:
    """Every field but `enabled` has the value of the option named `alert_` and the field."""
    given = {"alert_webhook_url": "http://hook.example/", "alert_window_minutes": 7}
    settings = resolve_settings(env={}, overrides=given)
    found = alert_policy(settings)
    assert (found.webhook_url, found.window_minutes) == ("http://hook.example/", 7)
    assert found.cooldown_ms == settings.alert_cooldown_ms


def test_a_webhook_option_enables() -> None:
    """The policy of the options is enabled exactly when they name a webhook."""
    assert not alert_policy(resolve_settings(env={})).enabled
    url = {"alert_webhook_url": "http://hook.example/"}
    assert alert_policy(resolve_settings(env={}, overrides=url)).enabled


def test_limits_are_those_of_the_options() -> None:
    """Every number of the policy has the bounds of its option, by its JSON key."""
    limits = policy_limits()
    numbers = {name for name, kind in AlertPolicy.__annotations__.items() if kind is int}
    assert len(limits) == len(numbers)
    assert limits["webhookRetryAttempts"] == (1, 100)
    assert limits["noLogsThresholdMinutes"][0] == 0


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"error_threshold": 9, "interval_ms": 50, "cooldown_ms": 1}, True),
        ({"enabled": False}, False),
        ({"webhook_url": "http://127.0.0.1:9/other"}, False),
        ({"webhook_timeout_ms": 1}, False),
        ({"webhook_retry_attempts": 1}, False),
        ({"webhook_backoff_ms": 1}, False),
    ],
)
def test_same_delivery(changes: dict[str, object], same: bool) -> None:
    """Two policies deliver alike unless `enabled` or a field of the webhook differs."""
    assert same_delivery(POLICY, policy(**changes)) is same


def test_change_replaces_what_is_given() -> None:
    """A change keeps the fields that it does not name."""
    found = apply_change(POLICY, {"errorThreshold": 7}, LIMITS)
    assert found == policy(error_threshold=7)


def test_setting_a_url_enables_and_clearing_it_disables() -> None:
    """Setting a URL enables and clearing it disables, unless `enabled` is also given."""
    off = apply_change(POLICY, {"webhookUrl": None}, LIMITS)
    assert (off.enabled, off.webhook_url) == (False, None)
    assert apply_change(off, {"webhookUrl": "https://example.com"}, LIMITS).enabled
    kept = apply_change(off, {"webhookUrl": "https://example.com", "enabled": False}, LIMITS)
    assert not kept.enabled


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, "at least one"),
        ([], "object"),
        ({"nope": 1}, "nope"),
        ({"intervalMs": "30000"}, "intervalMs"),
        ({"intervalMs": True}, "intervalMs"),
        ({"intervalMs": None}, "intervalMs"),
        ({"intervalMs": 999}, "intervalMs"),
        ({"intervalMs": 10_001}, "intervalMs"),
        ({"errorThreshold": 0}, "errorThreshold"),
        ({"enabled": "yes"}, "enabled"),
        ({"webhookUrl": "ftp://example.com"}, "webhookUrl"),
        ({"webhookUrl": "example.com"}, "webhookUrl"),
        ({"webhookUrl": "http://a..b"}, "webhookUrl"),
        ({"webhookUrl": 7}, "webhookUrl"),
        ({"webhookUrl": None, "enabled": True}, "webhookUrl"),
    ],
)
def test_wrong_change_is_refused(change: object, named: str) -> None:
    """Unknown fields, wrong kinds, values out of bounds and contradictions name the field."""
    with pytest.raises(AlertPolicyError, match=named):
        apply_change(POLICY, change, LIMITS)


def test_url_to_test() -> None:
    """A test names a URL or none; anything else is refused."""
    assert url_to_test({}) is None
    assert url_to_test({"webhookUrl": None}) is None
    assert url_to_test({"webhookUrl": "https://example.com"}) == "https://example.com"


@pytest.mark.parametrize("wrong", [[], {"url": "x"}, {"webhookUrl": "ftp://example.com"}])
def test_wrong_url_to_test(wrong: object) -> None:
    """Another shape, another field and another kind of URL are refused."""
    with pytest.raises(AlertPolicyError):
        url_to_test(wrong)
