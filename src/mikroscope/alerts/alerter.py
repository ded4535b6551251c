"""Evaluates the alert rules on their cadence, and notifies, in threads of its own."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import msgspec

from mikroscope.alerts.delivery import Cancellation, DeliveryCancelledError, DeliveryError, deliver
from mikroscope.alerts.payload import payload
from mikroscope.alerts.policy import AlertPolicy, apply_change, same_delivery
from mikroscope.alerts.rules import (
    Notification,
    Observation,
    cooldown_over,
    cooldown_start,
    count_errors,
    firing_rules,
)
from mikroscope.alerts.storage import load_last_sent, load_policy
from mikroscope.disk import write_json
from mikroscope.errors import AlertPolicyError, MikroScopeError
from mikroscope.job_status import JobStatus, error_text

logger = logging.getLogger(__name__)

_STOP = "the server stops"
_CATCH_UP_S = 10.0  # that the first evaluation waits for what the files hold at the start

CountLevels = Callable[[int, int], Mapping[str, int]]
"""How many entries of each level there are between two epoch milliseconds, both inclusive."""


class AlertState:
    """The state of alerting, as `/health` reports it."""

    def __init__(self) -> None:
        self.evaluations = JobStatus()
        self.sent = 0
        self.suppressed = 0
        self.delivery_errors: dict[str, str] = {}

    @property
    def last_error(self) -> str | None:
        """The error of the last evaluation, then that of each rule that was not delivered."""
        found = [f"{rule}: {error}" for rule, error in list(self.delivery_errors.items())]
        if self.evaluations.last_error is not None:
            found.insert(0, self.evaluations.last_error)
        return "; ".join(found) or None


class _Deliveries:
    """What is under way, and what went wrong, with one way to deliver."""

    def __init__(self) -> None:
        self.cancellation = Cancellation()
        self.rules: set[str] = set()
        self.errors: dict[str, str] = {}


class Alerter:
    """Owns the policy in force and its file. All methods may be called from any thread.

    A rule is evaluated in one thread and delivered in another, so that neither a slow webhook nor
    a rule that cannot be delivered holds anything else up.
    """

    def __init__(
        self,
        *,
        default: AlertPolicy,
        limits: Mapping[str, tuple[int, int]],
        path: Path,
        count_levels: CountLevels,
        last_log_ms: Callable[[], int],
        caught_up: "Future[None]",
        clock_ms: Callable[[], int],
    ) -> None:
        self.path = path
        self.state = AlertState()
        self.policy = load_policy(path, default, limits)
        self._limits = limits
        self._state_path = path.with_name(f"{path.stem}.state.json")
        self.last_sent_ms = load_last_sent(self._state_path)
        self._count_levels = count_levels
        self._last_log_ms = last_log_ms
        self._caught_up = caught_up
        self._service_url = ""
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._deliveries = _Deliveries()
        self.state.delivery_errors = self._deliveries.errors
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._stop = Cancellation()
        self._thread = threading.Thread(target=self._loop, name="mikroscope-alerts", daemon=True)

    def start(self, service_url: str) -> None:
        """Evaluate once, and then on the cadence; notifications name this URL.

        The first evaluation is made when the index has caught up with the files, or after a while.
        """
        self._service_url = service_url
        self._thread.start()

    def stop(self) -> None:
        """Evaluate no more, and give up what is being delivered."""
        self._stopping.set()
        self._stop.cancel(_STOP)
        with self._lock:
            self._deliveries.cancellation.cancel(_STOP)
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def change(self, change: object) -> AlertPolicy:
        """Replace fields of the policy, store it, apply it at once. Raises AlertPolicyError."""
        with self._lock:
            policy = apply_change(self.policy, change, self._limits)
            write_json(self.path, policy)
            if not same_delivery(self.policy, policy):
                self._reset_deliveries()
            self.policy = policy
        self._changed.set()
        return policy

    def send_test(self, url: str | None) -> tuple[int, str]:
        """Post a test to this URL, or to the policy's; returns when, and to which.

        Raises AlertPolicyError with the reason when it cannot be delivered.
        """
        policy = self.policy
        target = url or policy.webhook_url
        if target is None:
            raise AlertPolicyError("there is no webhookUrl: set one in the policy, or send one")
        now_ms = self._clock_ms()
        notification = Notification("manual_test", "warning", {})
        try:
            policy = msgspec.structs.replace(policy, webhook_url=target)
            self._deliver(policy, notification, now_ms, self._stop)
        except DeliveryError as error:
            raise AlertPolicyError(f"the webhook {error}") from error
        return now_ms, target

    def _reset_deliveries(self) -> None:
        """What goes the old way is given up, and what went wrong with it is past."""
        self._deliveries.cancellation.cancel("the policy has changed")
        self._deliveries = _Deliveries()
        self.state.delivery_errors = self._deliveries.errors
        self.state.evaluations.last_error = None

    # --- the thread ---------------------------------------------------------------------------

    def _loop(self) -> None:
        self._stop.wait_for(self._caught_up, _CATCH_UP_S)
        while not self._stopping.is_set():
            self._changed.clear()
            if self.policy.enabled:
                self._evaluate_safely()
            self._changed.wait(self.policy.interval_ms / 1000 if self.policy.enabled else None)

    def _evaluate_safely(self) -> None:
        try:
            with self.state.evaluations.run(self._clock_ms) as began_ms:
                self._evaluate(began_ms)
        except Exception as error:  # whatever it is, the next evaluation may succeed
            _log("alerts cannot be evaluated", error)

    def _evaluate(self, now_ms: int) -> None:
        with self._lock:
            policy, deliveries = self.policy, self._deliveries
        counts = self._count_levels(now_ms - policy.window_minutes * 60_000, now_ms)
        seen = Observation(count_errors(counts), sum(counts.values()), self._last_log_ms())
        notifications = firing_rules(policy, seen, now_ms)
        with self._lock:
            for rule in deliveries.errors.keys() - {one.rule for one in notifications}:
                del deliveries.errors[rule]
        for notification in notifications:
            if self._may_notify(policy, deliveries, notification.rule, now_ms):
                self._begin_to_notify(policy, deliveries, notification, now_ms)
            else:
                self.state.suppressed += 1

    def _may_notify(
        self, policy: AlertPolicy, deliveries: _Deliveries, rule: str, now_ms: int
    ) -> bool:
        """Claims the rule: one notification of it is under way at a time."""
        with self._lock:
            is_over = cooldown_over(policy, self.last_sent_ms.get(rule), now_ms)
            if not is_over or rule in deliveries.rules:
                return False
            deliveries.rules.add(rule)
            return True

    def _begin_to_notify(
        self,
        policy: AlertPolicy,
        deliveries: _Deliveries,
        notification: Notification,
        now_ms: int,
    ) -> None:
        rule = notification.rule

        def notify() -> None:
            problem = self._notify(policy, deliveries, notification, now_ms)
            with self._lock:
                deliveries.rules.discard(rule)
                deliveries.errors.pop(rule, None)
                if problem is not None:
                    deliveries.errors[rule] = problem

        try:
            threading.Thread(target=notify, name=f"mikroscope-alert-{rule}", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            deliveries.rules.discard(rule)
            raise

    def _notify(
        self,
        policy: AlertPolicy,
        deliveries: _Deliveries,
        notification: Notification,
        now_ms: int,
    ) -> str | None:
        """Returns what went wrong."""
        rule = notification.rule
        try:
            self._deliver(policy, notification, now_ms, deliveries.cancellation)
            self._remember(rule, cooldown_start(policy, now_ms, self._clock_ms()))
        except DeliveryCancelledError as error:
            logger.info("alert %s %s", rule, error)
        except Exception as error:
            _log(f"alert {rule} was not delivered", error)
            return error_text(error)
        return None

    def _remember(self, rule: str, sent_ms: int) -> None:
        with self._lock:
            self.state.sent += 1
            self.last_sent_ms[rule] = sent_ms
            write_json(self._state_path, self.last_sent_ms)

    def _deliver(
        self,
        policy: AlertPolicy,
        notification: Notification,
        now_ms: int,
        cancellation: Cancellation,
    ) -> None:
        deliver(
            policy.webhook_url or "",
            payload(notification, now_ms, self._service_url),
            timeout_s=policy.webhook_timeout_ms / 1000,
            attempts=policy.webhook_retry_attempts,
            backoff_s=policy.webhook_backoff_ms / 1000,
            cancellation=cancellation,
        )


def _log(what: str, error: Exception) -> None:
    """In one line if it is an error meant for users, else with where it has come from."""
    trace = None if isinstance(error, MikroScopeError) else error
    logger.warning("%s: %s", what, error_text(error), exc_info=trace)
