"""The alert rules: when they fire, and when a rule may notify again."""

import pytest

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.alerts.rules import (
    Observation,
    cooldown_over,
    cooldown_start,
    count_errors,
    firing_rules,
)
from tests.helpers.alerts import NOW, POLICY, policy


def seen(errors: int = 0, total: int = 10, last_log_ms: int | None = NOW) -> Observation:
    """Return the values that the rules evaluate."""
    return Observation(errors, total, last_log_ms)


def rules(policy: AlertPolicy, observation: Observation) -> list[str]:
    """Return the names of the rules that fire."""
    return [one.rule for one in firing_rules(policy, observation, NOW)]


@pytest.mark.parametrize(("errors", "fires"), [(2, False), (3, True), (4, True)])
def test_error_threshold(errors: int, fires: bool) -> None:
    """The error rule fires when the threshold is reached."""
    assert rules(POLICY, seen(errors)) == (["error_threshold"] if fires else [])


def test_error_details() -> None:
    """The details of the error rule are its counts, threshold and window."""
    (notification,) = firing_rules(POLICY, seen(5, 40), NOW)
    assert notification.severity == "critical"
    assert notification.details == {
        "errorCount": 5,
        "threshold": 3,
        "totalWindowCount": 40,
        "windowMinutes": 5,
    }


@pytest.mark.parametrize(("quiet_ms", "fires"), [(119_999, False), (120_000, True)])
def test_no_logs(quiet_ms: int, fires: bool) -> None:
    """The silence rule fires when the last entry is as old as its threshold."""
    found = rules(policy(no_logs_threshold_minutes=2), seen(last_log_ms=NOW - quiet_ms))
    assert found == (["no_logs"] if fires else [])


def test_no_logs_without_any_entry() -> None:
    """While there has never been an entry, it has been silent for long enough."""
    (found,) = firing_rules(policy(no_logs_threshold_minutes=99), seen(last_log_ms=None), NOW)
    assert found.details == {"thresholdMinutes": 99}
    assert found.sentence == "the index has no log entry; the threshold is 99 minutes."
    assert rules(POLICY, seen(last_log_ms=None)) == []


@pytest.mark.parametrize(
    ("changes", "observation", "sentence"),
    [
        ({}, seen(3), "3 errors in the last 5 minutes; the threshold is 3."),
        (
            {"error_threshold": 1, "window_minutes": 1},
            seen(1),
            "1 error in the last minute; the threshold is 1.",
        ),
        (
            {"no_logs_threshold_minutes": 1},
            seen(last_log_ms=NOW - 119_000),
            "no new log entry for 1 minute; the threshold is 1 minute.",
        ),
    ],
)
def test_sentence(changes: dict[str, int], observation: Observation, sentence: str) -> None:
    """A rule says what it has counted and its threshold, in one sentence."""
    (found,) = firing_rules(policy(**changes), observation, NOW)
    assert found.sentence == sentence


def test_no_logs_is_off_at_zero() -> None:
    """A threshold of 0 minutes switches the silence rule off."""
    assert rules(POLICY, seen(last_log_ms=0)) == []


def test_errors_by_any_name() -> None:
    """ERROR and every more severe level count as errors, whatever the logger calls them."""
    counts = {"ERROR": 1, "ERR": 1, "CRITICAL": 1, "FATAL": 1, "DPANIC": 1, "WARN": 5, "INFO": 9}
    assert count_errors(counts) == 5


@pytest.mark.parametrize(
    ("since_ms", "over"), [(None, True), (0, False), (59_000, False), (60_000, True), (-1, True)]
)
def test_cooldown(since_ms: int | None, over: bool) -> None:
    """A rule may notify again after the cooldown; a clock set back does not silence it."""
    last = None if since_ms is None else NOW - since_ms
    assert cooldown_over(POLICY, last, NOW) is over


@pytest.mark.parametrize(
    ("interval_ms", "start_ms"), [(59_999, NOW + 4000), (60_000, NOW), (90_000, NOW)]
)
def test_cooldown_start(interval_ms: int, start_ms: int) -> None:
    """The cooldown starts at the delivery, or at the evaluation if the interval is as long."""
    assert cooldown_start(policy(interval_ms=interval_ms), NOW, NOW + 4000) == start_ms
