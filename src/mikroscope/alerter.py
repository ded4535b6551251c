"""Evaluates the alert rules on their cadence, and notifies, in threads of its own."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mikroscope import alerts
from mikroscope.alerts import AlertPolicy, Notification, Sighting
from mikroscope.errors import AlertPolicyError, MikroScopeError
from mikroscope.webhook import Cancellation, DeliveryError, deliver

logger = logging.getLogger(__name__)

CountLevels = Callable[[int, int], Mapping[str, int]]
"""How many entries of each level there are between two epoch milliseconds, both inclusive."""


class AlertState:
    """What `/health` tells; times in epoch milliseconds."""

    def __init__(self) -> None:
        self.running = False
        self.runs = 0
        self.sent = 0
        self.suppressed = 0
        self.last_run_ms: int | None = None
        self.last_success_ms: int | None = None
        self.last_duration_ms: int | None = None
        self.last_error: str | None = None


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
        clock_ms: Callable[[], int],
    ) -> None:
        self.path = path
        self.state = AlertState()
        self.policy = alerts.load_policy(path, default, limits)
        self._limits = limits
        self._state_path = path.with_name(f"{path.stem}.state.json")
        self.last_sent_ms = alerts.load_last_sent(self._state_path)
        self._count_levels = count_levels
        self._last_log_ms = last_log_ms
        self._service_url = ""
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._delivering: set[str] = set()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._stop = Cancellation()
        self._thread = threading.Thread(target=self._loop, name="mikroscope-alerts", daemon=True)

    def start(self, service_url: str) -> None:
        """Evaluate once, and then on the cadence; notifications name this URL."""
        self._service_url = service_url
        self._thread.start()

    def stop(self) -> None:
        """Evaluate no more, and give up what is being delivered."""
        self._stopping.set()
        self._stop.cancel("the server stops")
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def change(self, change: object) -> AlertPolicy:
        """Replace fields of the policy, store it, apply it at once. Raises AlertPolicyError."""
        with self._lock:
            policy = alerts.changed(self.policy, change, self._limits)
            alerts.store(self.path, policy)
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
            self._deliver(msgspec.structs.replace(policy, webhook_url=target), notification, now_ms)
        except DeliveryError as error:
            raise AlertPolicyError(f"the webhook {error}") from error
        return now_ms, target

    # --- the thread ---------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            if self.policy.enabled:
                self._evaluate_safely()
            self._changed.wait(self.policy.interval_ms / 1000 if self.policy.enabled else None)

    def _evaluate_safely(self) -> None:
        state = self.state
        state.running = True
        state.last_run_ms = began_ms = self._clock_ms()
        try:
            self._evaluate(self.policy, began_ms)
            state.last_success_ms = self._clock_ms()
        except MikroScopeError as error:
            state.last_error = str(error)
            logger.warning("alerts cannot be evaluated: %s", error)
        finally:
            state.last_duration_ms = max(0, self._clock_ms() - began_ms)
            state.runs += 1
            state.running = False

    def _evaluate(self, policy: AlertPolicy, now_ms: int) -> None:
        counts = self._count_levels(now_ms - policy.window_minutes * 60_000, now_ms)
        seen = Sighting(alerts.count_errors(counts), sum(counts.values()), self._last_log_ms())
        for notification in alerts.firing(policy, seen, now_ms):
            if self._may_notify(policy, notification, now_ms):
                threading.Thread(
                    target=self._notify,
                    args=(policy, notification, now_ms),
                    name=f"mikroscope-alert-{notification.rule}",
                    daemon=True,
                ).start()
            else:
                self.state.suppressed += 1

    def _may_notify(self, policy: AlertPolicy, notification: Notification, now_ms: int) -> bool:
        """Claims the rule: one notification of it is under way at a time."""
        rule = notification.rule
        with self._lock:
            cool = alerts.is_cool(policy, self.last_sent_ms.get(rule), now_ms)
            if not cool or rule in self._delivering:
                return False
            self._delivering.add(rule)
            return True

    def _notify(self, policy: AlertPolicy, notification: Notification, now_ms: int) -> None:
        rule = notification.rule
        try:
            self._deliver(policy, notification, now_ms)
            with self._lock:
                self.state.sent += 1
                self.state.last_error = None
                self.last_sent_ms[rule] = now_ms
                alerts.store(self._state_path, self.last_sent_ms)
        except MikroScopeError as error:
            self.state.last_error = f"{rule}: {error}"
            logger.warning("alert %s was not delivered: %s", rule, error)
        finally:
            with self._lock:
                self._delivering.discard(rule)

    def _deliver(self, policy: AlertPolicy, notification: Notification, now_ms: int) -> None:
        deliver(
            policy.webhook_url or "",
            alerts.payload(notification, now_ms, self._service_url),
            timeout_s=policy.webhook_timeout_ms / 1000,
            attempts=policy.webhook_retry_attempts,
            backoff_s=policy.webhook_backoff_ms / 1000,
            cancellation=self._stop,
        )
