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
    last_log_ms: int | None
    """None while there has never been an entry."""


class Notification(msgspec.Struct, frozen=True):
    """A rule that has fired: the details to send, and a sentence that says the same."""

    rule: Rule
    severity: Literal["critical", "warning"]
    details: dict[str, int | str]
    sentence: str

    def heading(self, lines: int) -> str:
        """Return what introduces this number of log lines."""
        if self.rule == "no_logs":
            return "The last entry" if lines == 1 else f"The last {lines} entries"
        return "The newest" if lines == 1 else f"The newest {lines}"


MANUAL_TEST = Notification(
    "manual_test",
    "warning",
    {"message": "Manual webhook test from MikroScope"},
    "Manual webhook test. Alerts of this server arrive here.",
)


def firing_rules(policy: AlertPolicy, seen: Observation, now_ms: int) -> list[Notification]:
    """Return the rules that fire now, including those that are cooling down."""
    found = []
    if seen.error_count >= policy.error_threshold:
        found.append(_too_many_errors(policy, seen))
    quiet_minutes = policy.no_logs_threshold_minutes
    quiet_ms = None if seen.last_log_ms is None else now_ms - seen.last_log_ms
    if quiet_minutes and (quiet_ms is None or quiet_ms >= quiet_minutes * _MINUTE_MS):
        found.append(_silence(quiet_minutes, quiet_ms))
    return found


def _too_many_errors(policy: AlertPolicy, seen: Observation) -> Notification:
    details: dict[str, int | str] = {
        "errorCount": seen.error_count,
        "threshold": policy.error_threshold,
        "totalWindowCount": seen.total_count,
        "windowMinutes": policy.window_minutes,
    }
    window = "minute" if policy.window_minutes == 1 else f"{policy.window_minutes} minutes"
    sentence = (
        f"{_counted(seen.error_count, 'error')} in the last {window}; "
        f"the threshold is {policy.error_threshold}."
    )
    return Notification("error_threshold", "critical", details, sentence)


def _silence(threshold_minutes: int, quiet_ms: int | None) -> Notification:
    if quiet_ms is None:
        seen = "the index has no log entry"
    else:
        seen = f"no new log entry for {_counted(quiet_ms // _MINUTE_MS, 'minute')}"
    sentence = f"{seen}; the threshold is {_counted(threshold_minutes, 'minute')}."
    details: dict[str, int | str] = {"thresholdMinutes": threshold_minutes}
    return Notification("no_logs", "warning", details, sentence)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
