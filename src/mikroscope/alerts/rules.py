"""The alert rules: from an observation and a time to what fires."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.records.levels import is_error

Rule = Literal["error_threshold", "no_logs", "manual_test"]
_MINUTE_MS = 60_000
_JITTER_MS = 100  # evaluations are not exactly an interval apart


class Observation(msgspec.Struct, frozen=True):
    """The input of the rules: counts within the window, and the time of the last entry."""

    error_count: int
    total_count: int
    last_log_ms: int


class Notification(msgspec.Struct, frozen=True):
    """A rule that has fired, with the details to send."""

    rule: Rule
    severity: Literal["critical", "warning"]
    details: dict[str, int]


def firing_rules(policy: AlertPolicy, seen: Observation, now_ms: int) -> list[Notification]:
    """Return the rules that fire now, including those that are cooling down."""
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


def cooldown_over(policy: AlertPolicy, last_sent_ms: int | None, now_ms: int) -> bool:
    """Return whether a rule may notify again.

    With an interval equal to the cooldown it may at every evaluation. A clock that was set back
    does not silence a rule for longer than the cooldown.
    """
    if last_sent_ms is None or last_sent_ms > now_ms:
        return True
    return now_ms - last_sent_ms >= policy.cooldown_ms - _JITTER_MS


def cooldown_start(policy: AlertPolicy, evaluated_ms: int, delivered_ms: int) -> int:
    """Return when the cooldown of a notification starts: at its delivery.

    If the interval is not shorter than the cooldown, it starts at the evaluation instead: then
    every evaluation may notify, however long a delivery takes.
    """
    return evaluated_ms if policy.interval_ms >= policy.cooldown_ms else delivered_ms


def count_errors(counts: Mapping[str, int]) -> int:
    """Return how many entries have the level ERROR or a more severe one."""
    return sum(count for level, count in counts.items() if is_error(level))
