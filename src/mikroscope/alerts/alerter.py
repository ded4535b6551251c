"""Evaluates the alert rules on their cadence and has notifications delivered."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

import msgspec

from mikroscope.alerts.channels.formats import format_of, hint
from mikroscope.alerts.channels.webhook import DeliveryError, RefusedError, post
from mikroscope.alerts.delivery import DeliveryThread, deliver
from mikroscope.alerts.policy import AlertPolicy, WebhookToTest, apply_change, same_delivery
from mikroscope.alerts.rules import (
    MANUAL_TEST,
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
from mikroscope.query.model import Entry

logger = logging.getLogger(__name__)

_STOP = "the server stops"
_CATCH_UP_S = 10.0  # at most: how long the first evaluation waits for the index to catch up

CountLevels = Callable[[int, int], Mapping[str, int]]
"""Counts the entries of each level between two epoch milliseconds, both inclusive."""
NewestEntries = Callable[[int | None, int, bool], Sequence[Entry]]
"""Returns a few entries between two epoch milliseconds, both inclusive, newest first.

The first may be None: from the beginning. The last asks for errors only.
"""


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
    """The deliveries under way by rule, the errors by rule until one is delivered, and the rules
    that fired last, under one webhook policy.
    """

    def __init__(self) -> None:
        self.under_way: dict[str, Future[None]] = {}
        self.errors: dict[str, str] = {}
        self.firing: set[str] = set()


class Alerter:
    """Owns the policy in force and its file. All methods may be called from any thread.

    Rules are evaluated in one thread and delivered in another, each rule on its own: neither a
    slow webhook nor a rule that cannot be delivered delays the evaluations or the other rule.
    """

    def __init__(
        self,
        *,
        default: AlertPolicy,
        limits: Mapping[str, tuple[int, int]],
        path: Path,
        count_levels: CountLevels,
        last_log_ms: Callable[[], int | None],
        newest_entries: NewestEntries,
        redact_fields: Sequence[str],
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
        self._newest_entries = newest_entries
        self._redact_fields = redact_fields
        self._caught_up = caught_up
        self._service_url = ""
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._deliveries = _Deliveries()
        self.state.delivery_errors = self._deliveries.errors
        self._delivery_thread = DeliveryThread()
        self._begin = threading.Event()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mikroscope-alerts", daemon=True)

    def start(self, service_url: str) -> None:
        """Evaluate the rules now, then on their cadence; notifications name `service_url`.

        The first evaluation waits until the index has caught up with the files, but not for long.
        """
        self._service_url = service_url
        self._caught_up.add_done_callback(lambda _: self._begin.set())
        self._thread.start()

    def stop(self) -> None:
        """End the evaluations, and give up the deliveries that are under way."""
        self._stopping.set()
        self._begin.set()
        self._changed.set()
        self._delivery_thread.close()
        if self._thread.is_alive():
            self._thread.join()

    def change(self, change: object) -> AlertPolicy:
        """Replace fields of the policy, store it, apply it at once. Raises AlertPolicyError."""
        with self._lock:
            policy = apply_change(self.policy, change, self._limits)
            write_json(self.path, policy)
            self._apply(policy)
        return policy

    def reload(self, default: AlertPolicy) -> None:
        """Apply the stored policy, or else the default. Raises MikroScopeError if it is wrong."""
        with self._lock:
            self._apply(load_policy(self.path, default, self._limits))

    def _apply(self, policy: AlertPolicy) -> None:
        if not same_delivery(self.policy, policy):
            self._reset_deliveries()
        self.policy = policy
        self._changed.set()

    def send_test(self, webhook: WebhookToTest) -> tuple[int, str]:
        """Post a test to this webhook, or to the policy's; return when it was sent, and where to.

        Raises AlertPolicyError with the reason when it cannot be delivered.
        """
        target = webhook.url or self.policy.webhook_url
        if target is None:
            raise AlertPolicyError("no webhookUrl: set one in the policy or in the request")
        chosen = webhook.format or self.policy.webhook_format
        policy = msgspec.structs.replace(
            self.policy, webhook_url=target, webhook_format=format_of(chosen, target)
        )
        now_ms = self._clock_ms()
        body = self._encode(policy, MANUAL_TEST, (), now_ms)
        try:
            self._delivery_thread.submit(_deliver(policy, body)).result()
        except CancelledError:
            raise AlertPolicyError(f"the webhook was given up: {_STOP}") from None
        except DeliveryError as error:
            raise AlertPolicyError(f"the webhook {error}") from error
        with self._lock:
            if target == self.policy.webhook_url:
                self._deliveries.errors.clear()
        return now_ms, target

    def _reset_deliveries(self) -> None:
        """Give up the deliveries under the old policy, and forget its errors."""
        for delivery in self._deliveries.under_way.values():
            delivery.cancel()
        self._deliveries = _Deliveries()
        self.state.delivery_errors = self._deliveries.errors
        self.state.evaluations.last_error = None

    # --- the thread that evaluates --------------------------------------------------------------

    def _loop(self) -> None:
        self._begin.wait(_CATCH_UP_S)
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
        since_ms = now_ms - policy.window_minutes * 60_000
        counts = self._count_levels(since_ms, now_ms)
        seen = Observation(count_errors(counts), sum(counts.values()), self._last_log_ms())
        notifications = firing_rules(policy, seen, now_ms)
        problem = None
        for one in self._due(policy, deliveries, notifications, now_ms):
            try:
                self._begin_delivery(policy, deliveries, one, now_ms)
            except Exception as error:  # the other rule is delivered all the same
                problem = error
        if problem is not None:
            raise problem

    def _due(
        self,
        policy: AlertPolicy,
        deliveries: _Deliveries,
        notifications: Sequence[Notification],
        now_ms: int,
    ) -> list[Notification]:
        """Return what is to be sent: rules that neither cool down nor are being delivered."""
        due = []
        with self._lock:
            if deliveries is not self._deliveries:
                return []  # the policy has changed meanwhile, and its evaluation follows
            deliveries.firing = {one.rule for one in notifications}
            for one in notifications:
                is_over = cooldown_over(policy, self.last_sent_ms.get(one.rule), now_ms)
                if is_over and one.rule not in deliveries.under_way:
                    due.append(one)
                else:
                    self.state.suppressed += 1
        return due

    def _begin_delivery(
        self,
        policy: AlertPolicy,
        deliveries: _Deliveries,
        notification: Notification,
        now_ms: int,
    ) -> None:
        format_ = format_of(policy.webhook_format, policy.webhook_url or "")
        policy = msgspec.structs.replace(policy, webhook_format=format_)
        # Only messages have lines, so that nothing else pays for reading them.
        lines = [] if format_ == "mikroscope" else self._lines(policy, notification, now_ms)
        body = self._encode(policy, notification, lines, now_ms)
        with self._lock:
            if deliveries is not self._deliveries:
                return  # the policy has changed meanwhile
            notify = self._notify(policy, deliveries, notification, body, now_ms)
            deliveries.under_way[notification.rule] = self._delivery_thread.submit(notify)

    def _lines(
        self,
        policy: AlertPolicy,
        notification: Notification,
        now_ms: int,
    ) -> list[str]:
        """Return the newest log lines of a rule, without secrets; none if they cannot be read."""
        # Loaded here, since only messages need them.
        from mikroscope.alerts.log_lines import line_of
        from mikroscope.alerts.redaction import Redactor

        only_errors = notification.rule == "error_threshold"
        since_ms = now_ms - policy.window_minutes * 60_000 if only_errors else None
        try:
            entries = self._newest_entries(since_ms, now_ms, only_errors)
            redactor = Redactor(self._redact_fields)
            return [line_of(entry, redactor) for entry in entries]
        except Exception as error:  # a notification without lines is better than none
            _log(f"alert {notification.rule} is sent without log lines", error)
            return []

    def _encode(
        self, policy: AlertPolicy, notification: Notification, lines: Sequence[str], now_ms: int
    ) -> bytes:
        from mikroscope.alerts.channels.messages import encode  # most servers never alert

        return encode(
            policy.webhook_format,
            notification,
            lines,
            now_ms=now_ms,
            service_url=self._service_url,
            webhook_url=policy.webhook_url or "",
        )

    # --- the thread that delivers ---------------------------------------------------------------

    async def _notify(
        self,
        policy: AlertPolicy,
        deliveries: _Deliveries,
        notification: Notification,
        body: bytes,
        now_ms: int,
    ) -> None:
        rule = notification.rule
        problem = None
        try:
            await _deliver(policy, body)
            self._remember(rule, cooldown_start(policy, now_ms, self._clock_ms()))
        except asyncio.CancelledError:
            reason = _STOP if self._stopping.is_set() else "the policy has changed"
            logger.info("alert %s was given up: %s", rule, reason)
            raise
        except Exception as error:
            _log(f"alert {rule} was not delivered", error)
            problem = error_text(error)
        with self._lock:
            deliveries.under_way.pop(rule, None)
            if problem is not None:
                deliveries.errors[rule] = problem
            else:  # the receiver takes notifications: rules that are over have no error
                for other in [*deliveries.errors]:
                    if other == rule or other not in deliveries.firing:
                        del deliveries.errors[other]

    def _remember(self, rule: str, sent_ms: int) -> None:
        with self._lock:
            self.state.sent += 1
            self.last_sent_ms[rule] = sent_ms
            write_json(self._state_path, self.last_sent_ms)


async def _deliver(policy: AlertPolicy, body: bytes) -> None:
    """Deliver a body to the policy's webhook, whose format is not `auto`. Raises DeliveryError."""
    url, timeout_s = policy.webhook_url or "", policy.webhook_timeout_ms / 1000
    try:
        await deliver(
            lambda: post(url, body, timeout_s),
            attempts=policy.webhook_retry_attempts,
            backoff_s=policy.webhook_backoff_ms / 1000,
        )
    except RefusedError as error:
        raise RefusedError(f"{error}{hint(policy.webhook_format, str(error))}") from error


def _log(what: str, error: Exception) -> None:
    """Log an error meant for users in one line, any other with its traceback."""
    trace = None if isinstance(error, MikroScopeError) else error
    logger.warning("%s: %s", what, error_text(error), exc_info=trace)
