"""The alert policy: where its values come from, and how a change is checked."""

import pytest

from mikroscope import resolve_settings
from mikroscope.alerts.policy import (
    AlertPolicy,
    WebhookToTest,
    apply_change,
    same_delivery,
    webhook_to_test,
)
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
        ({"webhook_format": "slack"}, False),
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
        ({"webhookUrl": "", "enabled": True}, "webhookUrl"),
        ({"webhookUrl": "https://"}, r"webhookUrl must be a URL with a valid host"),
        ({"webhookUrl": "https://a b"}, r"webhookUrl must be a URL .*no space inside"),
        ({"webhookFormat": "irc"}, "webhookFormat: expected auto, mikroscope, slack, discord or"),
        ({"webhookFormat": None}, "webhookFormat: expected auto"),
        ({"webhookFormat": ""}, "webhookFormat: expected auto"),
    ],
)
def test_wrong_change_is_refused(change: object, named: str) -> None:
    """Unknown fields, wrong kinds, values out of bounds and contradictions name the field."""
    with pytest.raises(AlertPolicyError, match=named):
        apply_change(POLICY, change, LIMITS)


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("errorTreshold", "errorThreshold"),
        ("errorthreshold", "errorThreshold"),
        ("webhookURL", "webhookUrl"),
        ("cooldown", "cooldownMs"),
        ("alertWindowMinutes", "windowMinutes"),
    ],
)
def test_misspelt_field(field: str, meant: str) -> None:
    """A field that is misspelt is refused with the one that was probably meant."""
    with pytest.raises(AlertPolicyError) as caught:
        apply_change(POLICY, {field: 1}, LIMITS)
    assert str(caught.value) == f"Unknown field '{field}'. Did you mean {meant}?"


def test_unknown_field() -> None:
    """A field that is like no other is refused with all that there are."""
    with pytest.raises(AlertPolicyError, match=r"Unknown field 'x'\. Expected one of enabled, web"):
        apply_change(POLICY, {"x": 1}, LIMITS)


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_empty_url(empty: str | None) -> None:
    """An empty URL clears it and disables alerts, like null."""
    found = apply_change(POLICY, {"webhookUrl": empty}, LIMITS)
    assert (found.enabled, found.webhook_url) == (False, None)


def test_space_around_a_url() -> None:
    """Space around a URL is no part of it."""
    found = apply_change(POLICY, {"webhookUrl": " https://example.com/a\n"}, LIMITS)
    assert found.webhook_url == "https://example.com/a"


@pytest.mark.parametrize("given", ["slack", " Slack "])
def test_format_alone(given: str) -> None:
    """The format can be changed alone; nothing else changes."""
    found = apply_change(POLICY, {"webhookFormat": given}, LIMITS)
    assert found == policy(webhook_format="slack")


def test_webhook_to_test() -> None:
    """A test names a URL or none, and a format or none."""
    assert webhook_to_test({}) == WebhookToTest()
    assert webhook_to_test({"webhookUrl": None}) == WebhookToTest()
    assert webhook_to_test({"webhookUrl": ""}) == WebhookToTest()
    assert webhook_to_test({"webhookUrl": "https://a"}) == WebhookToTest("https://a")
    assert webhook_to_test({"webhookFormat": "teams"}) == WebhookToTest(format="teams")


@pytest.mark.parametrize(
    "wrong",
    [[], {"url": "x"}, {"webhookUrl": "ftp://example.com"}, {"webhookFormat": 1}, {"x": 1}],
)
def test_wrong_webhook_to_test(wrong: object) -> None:
    """Another shape, another field and another kind of URL or format are refused."""
    with pytest.raises(AlertPolicyError):
        webhook_to_test(wrong)
