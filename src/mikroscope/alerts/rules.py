"""The alert rules: from an observation and a time to what fires."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.records.levels import ERROR_LEVELS

Rule = Literal["error_threshold", "no_logs", "manual_test"]
_MINUTE_MS = 60_000
_JITTER_MS = 100  # evaluations are not exactly an interval apart


class Observation(msgspec.Struct, frozen=True):
    """What the rules are decided on: counts within the window, and the time of the last entry."""

    error_count: int
    total_count: int
    last_log_ms: int


class Notification(msgspec.Struct, frozen=True):
    """One rule that has fired."""

    rule: Rule
    severity: Literal["critical", "warning"]
    details: dict[str, int]


def firing_rules(policy: AlertPolicy, seen: Observation, now_ms: int) -> list[Notification]:
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


def cooldown_over(policy: AlertPolicy, last_sent_ms: int | None, now_ms: int) -> bool:
    """Whether a rule may notify again; an interval equal to the cooldown always may.

    A clock that was set back does not silence a rule for longer than the cooldown.
    """
    if last_sent_ms is None or last_sent_ms > now_ms:
        return True
    return now_ms - last_sent_ms >= policy.cooldown_ms - _JITTER_MS


def cooldown_start(policy: AlertPolicy, evaluated_ms: int, delivered_ms: int) -> int:
    """From when a notification's cooldown counts: from its delivery.

    Where evaluations are no closer than the cooldown it counts from the evaluation: each of them
    may notify then, however long a delivery takes.
    """
    return evaluated_ms if policy.interval_ms >= policy.cooldown_ms else delivered_ms


def count_errors(counts: Mapping[str, int]) -> int:
    """How many entries are errors, of the counts by level."""
    return sum(count for level, count in counts.items() if level in ERROR_LEVELS)
