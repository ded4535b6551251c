"""Alerts: rules, policy, delivery and cooldown, against a real HTTP server."""

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from mikroscope import start_server
from mikroscope.alerts import delivery as webhook
from mikroscope.alerts.alerter import Alerter
from mikroscope.alerts.delivery import Cancellation, DeliveryCancelledError, DeliveryError, deliver
from mikroscope.alerts.policy import AlertPolicy, apply_change
from mikroscope.alerts.rules import (
    Observation,
    cooldown_over,
    cooldown_start,
    count_errors,
    firing_rules,
)
from mikroscope.alerts.storage import load_policy
from mikroscope.disk import write_json
from mikroscope.errors import AlertPolicyError, ConfigurationError, StoreError
from mikroscope.sidecar import policy_limits
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import (
    DRIP,
    DRIP_BODY,
    DROP,
    HANG,
    HOLD,
    Catcher,
    catching,
    make_certificate,
)

POLICY = AlertPolicy(
    enabled=True,
    webhook_url="http://127.0.0.1:9/hook",
    interval_ms=20,
    window_minutes=5,
    error_threshold=3,
    no_logs_threshold_minutes=0,
    cooldown_ms=60_000,
    webhook_timeout_ms=2_000,
    webhook_retry_attempts=3,
    webhook_backoff_ms=10,
)
LIMITS = policy_limits() | {"intervalMs": (1000, 10_000), "errorThreshold": (1, 100)}
NOW = 1_771_410_000_000


def policy(**changes: Any) -> AlertPolicy:
    """The policy above with other values."""
    return msgspec.structs.replace(POLICY, **changes)


def seen(errors: int = 0, total: int = 10, last_log_ms: int = NOW) -> Observation:
    """What the rules are shown."""
    return Observation(errors, total, last_log_ms)


# --- rules ------------------------------------------------------------------------------------


def rules(policy: AlertPolicy, sighting: Observation) -> list[str]:
    """The names of the rules that fire."""
    return [one.rule for one in firing_rules(policy, sighting, NOW)]


@pytest.mark.parametrize(("errors", "fires"), [(2, False), (3, True), (4, True)])
def test_error_threshold(errors: int, fires: bool) -> None:
    """The error rule fires when the threshold is reached."""
    assert rules(POLICY, seen(errors)) == (["error_threshold"] if fires else [])


def test_error_details() -> None:
    """The error rule tells its counts, threshold and window."""
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
    """The silence rule fires when the last log is as old as its threshold."""
    found = rules(policy(no_logs_threshold_minutes=2), seen(last_log_ms=NOW - quiet_ms))
    assert found == (["no_logs"] if fires else [])


def test_no_logs_is_off_at_zero() -> None:
    """A threshold of 0 minutes switches the silence rule off."""
    assert rules(POLICY, seen(last_log_ms=0)) == []


def test_errors_by_any_name() -> None:
    """ERROR and everything worse counts as an error, whatever the logger calls it."""
    counts = {"ERROR": 1, "ERR": 1, "CRITICAL": 1, "FATAL": 1, "DPANIC": 1, "WARN": 5, "INFO": 9}
    assert count_errors(counts) == 5


@pytest.mark.parametrize(
    ("since_ms", "cool"), [(None, True), (0, False), (59_000, False), (60_000, True), (-1, True)]
)
def test_cooldown(since_ms: int | None, cool: bool) -> None:
    """A rule may notify again after the cooldown; a clock set back does not silence it."""
    last = None if since_ms is None else NOW - since_ms
    assert cooldown_over(POLICY, last, NOW) is cool


@pytest.mark.parametrize(
    ("interval_ms", "begin_ms"), [(59_999, NOW + 4000), (60_000, NOW), (90_000, NOW)]
)
def test_cooldown_begin(interval_ms: int, begin_ms: int) -> None:
    """The cooldown begins with the delivery, but an interval as long as it always notifies."""
    assert cooldown_start(policy(interval_ms=interval_ms), NOW, NOW + 4000) == begin_ms


# --- changing the policy ----------------------------------------------------------------------


def test_change_replaces_what_is_given() -> None:
    """A change keeps what it does not name."""
    found = apply_change(POLICY, {"errorThreshold": 7}, LIMITS)
    assert found == policy(error_threshold=7)


def test_url_enables_and_its_clearing_disables() -> None:
    """Setting a URL enables, clearing it disables, unless `enabled` is said too."""
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


def test_policy_file(tmp_path: Path) -> None:
    """A stored policy is read back, and readable by its owner only."""
    path = tmp_path / "deeper" / "policy.json"
    stored = policy(interval_ms=2000, webhook_backoff_ms=25)
    write_json(path, stored)
    assert load_policy(path, policy(error_threshold=99), LIMITS) == stored
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["policy.json"]


def test_no_policy_file(tmp_path: Path) -> None:
    """Without a file the configured policy holds."""
    assert load_policy(tmp_path / "none.json", POLICY, LIMITS) == POLICY


def load(tmp_path: Path, content: str) -> AlertPolicy:
    """The policy that a file with this content makes."""
    path = tmp_path / "policy.json"
    path.write_text(content)
    return load_policy(path, POLICY, LIMITS)


def test_empty_policy_file(tmp_path: Path) -> None:
    """A policy file without any field leaves the configured policy as it is."""
    assert load(tmp_path, "{}") == POLICY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ('{"nope": 1}', "nope: no field of the policy, expected one of enabled, webhookUrl, "),
        ('{"enabled": "maybe"}', "enabled: expected true or false, got 'maybe'"),
        ('{"errorThreshold": "7"}', "errorThreshold: expected a whole number from 1 to 100"),
        ('{"errorThreshold": 101}', "from 1 to 100, got 101"),
        ('{"errorThreshold": 1.5}', "from 1 to 100, got 1.5"),
        ('{"noLogsThresholdMinutes": -1}', "whole number from 0 to "),
        ('{"webhookUrl": "ftp://SECRET"}', "webhookUrl: expected an http:// or https:// URL"),
        ('{"webhookUrl": null, "enabled": true}', "enabled: expected false while there is no web"),
    ],
)
def test_wrong_policy_file(tmp_path: Path, content: str, message: str) -> None:
    """What a file must not say is one line naming file, field and expectation, and no secret."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'policy.json'}")
    assert message in text
    assert "SECRET" not in text
    assert "\n" not in text


@pytest.mark.parametrize("number", ["0", "-5", "-5.0"])
def test_policy_file_below_a_floor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: str
) -> None:
    """A number below its floor is raised to it, with a warning that names file and field."""
    found = load(tmp_path, f'{{"intervalMs": {number}, "errorThreshold": 5}}')
    assert (found.interval_ms, found.error_threshold) == (1000, 5)
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path / 'policy.json'}: intervalMs: ")
    assert warning.endswith("is too low and is raised to 1000")


# --- delivery ---------------------------------------------------------------------------------


class Pauses(Cancellation):
    """Remembers the pauses that are asked for, and makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[float] = []

    def pause(self, seconds: float) -> None:
        """Remember it."""
        self.made.append(seconds)


def post(catcher: Catcher, attempts: int = 3, timeout_s: float = 5.0) -> list[float]:
    """Deliver something; returns the pauses that were made."""
    pauses = Pauses()
    deliver_test(catcher.url, pauses, attempts, timeout_s)
    return pauses.made


def deliver_test(
    url: str, cancellation: Cancellation, attempts: int = 1, timeout_s: float = 60.0
) -> None:
    """Deliver something."""
    deliver(
        url,
        b'{"rule": "manual_test"}',
        timeout_s=timeout_s,
        attempts=attempts,
        backoff_s=0.5,
        cancellation=cancellation,
    )


@pytest.mark.parametrize("trouble", [408, 429, 500, 503, DROP])
def test_retried(trouble: int) -> None:
    """What another try may mend is tried again, with pauses that double."""
    with catching(trouble, trouble) as catcher:
        assert post(catcher) == [0.5, 1.0]
        assert (catcher.requests, len(catcher.payloads)) == (3, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_not_retried(status: int) -> None:
    """An answer that another try would not change is an error at once."""
    with catching(status) as catcher, pytest.raises(DeliveryError, match=str(status)):
        post(catcher)
    assert catcher.requests == 1


def test_attempts_are_limited() -> None:
    """After the last attempt the delivery fails and says how often it was tried."""
    with catching(*[503] * 5) as catcher, pytest.raises(DeliveryError, match="2 attempts"):
        post(catcher, attempts=2)
    assert catcher.requests == 2


def test_timeout_is_retried() -> None:
    """A webhook that does not answer in time is tried again."""
    with catching(HANG) as catcher:
        assert post(catcher, timeout_s=0.3) == [0.5]


def deliveries() -> set[threading.Thread]:
    """The threads that wait for a webhook's answer."""
    return {one for one in threading.enumerate() if one.name == "mikroscope-webhook"}


def test_dripping_head_is_no_answer() -> None:
    """A webhook that sends a little now and then, but never a whole head, is a timeout."""
    with catching(DRIP) as catcher, pytest.raises(DeliveryError, match=r"within 0\.3 s"):
        post(catcher, attempts=1, timeout_s=0.3)


def test_dripping_head_is_left() -> None:
    """After the timeout the connection is closed, and no thread waits for it."""
    with catching(DRIP) as catcher:
        with pytest.raises(DeliveryError):
            post(catcher, attempts=1, timeout_s=0.3)
        wait_until(lambda: not deliveries())


def test_dripping_head_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds within TLS, too, and the connection is closed."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    webhook._trusted.cache_clear()
    with catching(DRIP, certificate=(certificate, key)) as catcher:
        with pytest.raises(DeliveryError, match="no answer within"):
            post(catcher, attempts=1, timeout_s=1.0)
        wait_until(lambda: not deliveries())
    webhook._trusted.cache_clear()


def test_body_is_not_waited_for() -> None:
    """The head of the answer decides; a body that never ends is left."""
    with catching(DRIP_BODY) as catcher:
        assert post(catcher, attempts=1, timeout_s=60.0) == []
        assert catcher.left.wait(DEADLINE_S)


def test_silent_peer_over_tls() -> None:
    """Where TLS was hoped for and nobody says anything, that is a timeout that leaves nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/hook"
        with pytest.raises(DeliveryError, match="no answer within"):
            deliver_test(url, Cancellation(), timeout_s=0.3)
        wait_until(lambda: not deliveries())


def test_name_that_nobody_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds while a name is looked up, and nothing is sent afterwards."""
    looked_up = threading.Event()
    resolve = socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        looked_up.wait()
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with catching() as catcher:
        with pytest.raises(DeliveryError, match="no answer within"):
            post(catcher, attempts=1, timeout_s=0.3)
        looked_up.set()
        wait_until(lambda: not deliveries())
    assert catcher.payloads == []


def test_cancelled_delivery() -> None:
    """A delivery that is cancelled ends at once, says why, and leaves no connection behind."""
    cancellation = Cancellation()
    with catching(HANG) as catcher, ThreadPoolExecutor() as pool:
        delivery = pool.submit(deliver_test, catcher.url, cancellation)
        wait_until(lambda: catcher.requests)
        cancellation.cancel("nobody wants it")
        with pytest.raises(DeliveryCancelledError, match="nobody wants it"):
            delivery.result(DEADLINE_S)
        wait_until(lambda: not deliveries())


def test_cancelled_pause() -> None:
    """A delivery that is cancelled between two attempts makes no further one."""
    cancellation = Cancellation()
    with catching(503) as catcher, ThreadPoolExecutor() as pool:
        delivery = pool.submit(
            deliver,
            catcher.url,
            b"{}",
            timeout_s=60.0,
            attempts=2,
            backoff_s=60.0,
            cancellation=cancellation,
        )
        wait_until(lambda: catcher.requests)
        cancellation.cancel("nobody wants it")
        with pytest.raises(DeliveryCancelledError):
            delivery.result(DEADLINE_S)
        assert catcher.requests == 1


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook over TLS is delivered where its certificate is trusted, and nowhere else."""
    certificate, key = make_certificate(tmp_path)
    with catching(certificate=(certificate, key)) as catcher:
        webhook._trusted.cache_clear()
        with pytest.raises(DeliveryError, match="certificate"):
            post(catcher, attempts=1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        webhook._trusted.cache_clear()
        assert post(catcher) == []
    webhook._trusted.cache_clear()


def test_connection_refused() -> None:
    """Where nobody listens the delivery fails and says so."""
    with catching() as catcher:
        pass
    with pytest.raises(DeliveryError, match="cannot be reached"):
        post(catcher)


@pytest.mark.parametrize("host", ["a..b", "xn--"])
def test_host_that_cannot_be(host: str) -> None:
    """A host that cannot be looked up fails as one that is not there does."""
    with pytest.raises(DeliveryError, match="cannot be reached"):
        deliver_test(f"http://{host}/", Cancellation())


def test_error_names_no_url() -> None:
    """Webhook URLs often hold a key: errors do not show them."""
    with catching(400) as catcher, pytest.raises(DeliveryError) as caught:
        post(catcher)
    assert "/hook" not in str(caught.value)


# --- the alerter ------------------------------------------------------------------------------


class World:
    """What an alerter sees: counts, the last log, and a clock that tests move."""

    def __init__(self, directory: Path) -> None:
        self.counts: Mapping[str, int] = {"ERROR": 5, "INFO": 20}
        self.now_ms = NOW
        self.last_log_ms = NOW
        self.windows: list[tuple[int, int]] = []
        self.error: Exception | None = None
        self._path = directory / "alerts.json"

    def alerter(self, default: AlertPolicy, read: "Future[None] | None" = None) -> Alerter:
        """An alerter in this world, whose index has all that is in the files when `read` is done.

        None: it has it already.
        """
        if read is None:
            read = Future()
            read.set_result(None)
        return Alerter(
            default=default,
            limits=LIMITS,
            path=self._path,
            count_levels=self._count,
            last_log_ms=lambda: self.last_log_ms,
            caught_up=read,
            clock_ms=lambda: self.now_ms,
        )

    def _count(self, from_ms: int, to_ms: int) -> Mapping[str, int]:
        self.windows.append((from_ms, to_ms))
        if self.error is not None:
            raise self.error
        return self.counts


Start = Callable[[AlertPolicy], Alerter]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Five errors and twenty other entries."""
    return World(tmp_path)


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts alerters, and stops them after the test."""
    started: list[Alerter] = []

    def run(policy: AlertPolicy) -> Alerter:
        started.append(world.alerter(policy))
        started[-1].start("http://127.0.0.1:4310")
        return started[-1]

    yield run
    for alerter in started:
        alerter.stop()


def test_notification(world: World, start: Start) -> None:
    """A rule that fires is posted with all the payload promises."""
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
    assert catcher.payloads[0] == {
        "source": "mikroscope",
        "rule": "error_threshold",
        "severity": "critical",
        "triggeredAt": "2026-02-18T10:20:00.000Z",
        "serviceUrl": "http://127.0.0.1:4310",
        "details": {
            "errorCount": 5,
            "threshold": 3,
            "totalWindowCount": 25,
            "windowMinutes": 5,
        },
    }
    assert world.windows[0] == (NOW - 300_000, NOW)


def test_cooldown_suppresses(world: World, start: Start) -> None:
    """While a rule cools down it is suppressed, and notifies again after that."""
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.suppressed > 2)
        assert alerter.state.sent == 1
        world.now_ms += 60_000
        wait_until(lambda: alerter.state.sent == 2)


def test_cooldown_survives_a_restart(world: World, start: Start) -> None:
    """A new alerter knows when the one before has notified."""
    with catching() as catcher:
        first = start(policy(webhook_url=catcher.url))
        wait_until(first._state_path.exists)
        first.stop()
        second = start(policy(webhook_url=catcher.url))
        wait_until(lambda: second.state.suppressed)
        assert second.state.sent == 0


def test_failed_delivery_starts_no_cooldown(start: Start) -> None:
    """The cooldown starts with a notification that was delivered."""
    with catching(400, 400) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
        assert catcher.requests == 3


def test_one_rule_does_not_hold_up_the_other(world: World, start: Start) -> None:
    """While the delivery of one rule hangs, the other is delivered."""
    world.last_log_ms = NOW - 600_000
    with catching(HANG) as catcher:
        alerter = start(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5))
        wait_until(lambda: alerter.state.sent)
        assert len(catcher.payloads) == 1


def test_broken_index_is_told_and_tried_again(world: World, start: Start) -> None:
    """An evaluation that fails is in the state, and the next one may succeed."""
    world.error = StoreError("the index cannot be read")
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.last_error == "the index cannot be read")
        world.error = None
        wait_until(lambda: alerter.state.sent)


def test_stop_does_not_wait_for_a_webhook(start: Start) -> None:
    """A webhook that hangs does not hold up the stop."""
    with catching(HANG) as catcher:
        alerter = start(policy(webhook_url=catcher.url, webhook_timeout_ms=60_000))
        wait_until(lambda: catcher.requests)
        stopped = threading.Thread(target=alerter.stop)
        stopped.start()
        stopped.join(10)
        assert not stopped.is_alive()


def test_change_applies_at_once(start: Start) -> None:
    """A policy that is changed is evaluated right away, not after the old interval."""
    with catching() as catcher:
        alerter = start(policy(enabled=False, webhook_url=None, interval_ms=3_600_000))
        alerter.change({"webhookUrl": catcher.url})
        wait_until(lambda: alerter.state.sent)


def test_change_of_the_webhook_gives_up_the_old_one(start: Start) -> None:
    """While the old webhook hangs, a new one is notified at once, and the old one is left."""
    with catching(HANG) as old, catching() as new:
        alerter = start(policy(webhook_url=old.url, webhook_timeout_ms=600_000))
        wait_until(lambda: old.requests)
        alerter.change({"webhookUrl": new.url})
        wait_until(lambda: alerter.state.sent)
        wait_until(lambda: not deliveries())
    assert new.rules() == ["error_threshold"]


def test_change_of_a_rule_gives_up_nothing(start: Start) -> None:
    """A delivery goes on if nothing about the webhook changes: nobody is notified twice."""
    with catching(HOLD) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: catcher.requests)
        alerter.change({"errorThreshold": 4})
        suppressed = alerter.state.suppressed
        wait_until(lambda: alerter.state.suppressed > suppressed + 1)
        catcher.held.set()
        wait_until(lambda: alerter.state.sent)
        assert catcher.requests == 1


def test_cooldown_counts_from_the_delivery(world: World, start: Start) -> None:
    """A webhook that takes its time is left in peace for the whole cooldown afterwards."""
    with catching(HOLD) as catcher:
        alerter = start(policy(webhook_url=catcher.url, webhook_timeout_ms=600_000))
        wait_until(lambda: catcher.requests)
        world.now_ms += 50_000
        catcher.held.set()
        wait_until(lambda: alerter.state.sent)
        world.now_ms += 50_000
        suppressed = alerter.state.suppressed
        wait_until(lambda: alerter.state.suppressed > suppressed + 1)
        assert catcher.requests == 1
        world.now_ms += 10_000
        wait_until(lambda: alerter.state.sent == 2)


def failing(start: Start, catcher: Catcher) -> Alerter:
    """An alerter whose webhook refuses everything."""
    alerter = start(policy(webhook_url=catcher.url))
    wait_until(lambda: alerter.state.last_error == "error_threshold: answered with status 404")
    return alerter


REFUSE = [404] * 10_000


def test_error_is_past_when_delivered(start: Start) -> None:
    """After a delivery that failed, one that succeeds clears the error."""
    with catching(404) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
        wait_until(lambda: alerter.state.last_error is None)


def test_error_is_past_with_its_webhook(start: Start) -> None:
    """Another webhook clears the errors of the old one, also when there is nothing to notify."""
    with catching(*REFUSE) as catcher:
        alerter = failing(start, catcher)
        alerter.change({"webhookUrl": "http://127.0.0.1:9/", "errorThreshold": 100})
        assert alerter.state.last_error is None


def test_error_is_past_when_alerts_are_off(start: Start) -> None:
    """Without a webhook nothing fails."""
    with catching(*REFUSE) as catcher:
        alerter = failing(start, catcher)
        alerter.change({"webhookUrl": None})
        assert alerter.state.last_error is None


def test_error_is_past_with_its_rule(world: World, start: Start) -> None:
    """A rule that fires no longer has nothing that nobody was told of."""
    with catching(*REFUSE) as catcher:
        alerter = failing(start, catcher)
        world.counts = {"INFO": 20}
        wait_until(lambda: alerter.state.last_error is None)


def test_error_of_an_evaluation_is_past_after_the_next(world: World, start: Start) -> None:
    """An evaluation that succeeds clears the error of the one before; nothing need fire."""
    world.counts, world.error = {}, StoreError("the index cannot be read")
    alerter = start(POLICY)
    wait_until(lambda: alerter.state.last_error)
    world.error = None
    wait_until(lambda: alerter.state.last_error is None)


def test_one_rule_does_not_hide_the_error_of_the_other(world: World, start: Start) -> None:
    """While one rule cannot be delivered, the success of the other one leaves its error."""
    world.last_log_ms = NOW - 600_000
    with catching() as catcher:
        catcher.refused_rules.add("no_logs")
        alerter = start(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5))
        wait_until(lambda: alerter.state.sent and catcher.requests > 3)
        wait_until(lambda: alerter.state.last_error == "no_logs: answered with status 404")


def test_unexpected_error_is_told(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in an evaluation is told, logged with its origin, and tried again."""
    world.error = ZeroDivisionError("nobody foresaw this")
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.last_error == "nobody foresaw this")
        world.error = None
        wait_until(lambda: alerter.state.sent)
    assert "Traceback" in caplog.text


def test_no_thread_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification for which the system has no thread is tried again."""
    begin = threading.Thread.start
    refused: list[str] = []

    def start_some(thread: threading.Thread) -> None:
        if thread.name.startswith("mikroscope-alert-") and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
    assert len(refused) == 2


def test_first_evaluation_waits_for_the_index(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start the rules see what was logged meanwhile: the files are read first."""
    read: Future[None] = Future()
    world.error = AssertionError("evaluated before the files were read")
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url), read)
        alerter.start("http://127.0.0.1:4310")
        alerter.change({"errorThreshold": 4})  # does not hurry it
        world.error = None
        read.set_result(None)
        wait_until(lambda: alerter.state.sent)
        alerter.stop()
    assert "before the files" not in caplog.text


def test_first_evaluation_does_not_wait_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes until the files are read, alerts begin after a while."""
    monkeypatch.setattr("mikroscope.alerts.alerter._CATCH_UP_S", 0.05)
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url), Future())
        alerter.start("http://127.0.0.1:4310")
        wait_until(lambda: alerter.state.sent)
        alerter.stop()


def test_stop_before_the_first_evaluation(world: World) -> None:
    """An alerter that still waits for the index stops at once, and notifies nobody."""
    alerter = world.alerter(POLICY, Future())
    alerter.start("http://127.0.0.1:4310")
    stopping = threading.Thread(target=alerter.stop)
    stopping.start()
    stopping.join(DEADLINE_S)
    assert (stopping.is_alive(), alerter.state.evaluations.runs) == (False, 0)


# --- over HTTP --------------------------------------------------------------------------------


def test_policy_over_http(serve: Serve, connect: Connect) -> None:
    """The policy is read, changed, stored, and there after a restart."""
    with catching() as catcher:
        server = serve(alert_error_threshold=5)
        client = connect(server)
        before = client.get("/api/alerts/config").json()
        assert before["policy"]["errorThreshold"] == 5
        assert (before["policy"]["enabled"], "webhookUrl" in before["policy"]) == (False, False)
        change = {"webhookUrl": catcher.url, "windowMinutes": 7}
        after = client.put("/api/alerts/config", json=change).json()
        assert after["policy"]["windowMinutes"] == 7
        assert json.loads(Path(after["configPath"]).read_text()) == after["policy"]
        server.close()
        again = connect(serve()).get("/api/alerts/config").json()
        assert again == after


def test_errors_that_are_ingested_alert(serve: Serve, connect: Connect) -> None:
    """Error logs over HTTP lead to one notification, and `/health` tells of it."""
    with catching() as catcher:
        server = serve(
            alert_webhook_url=catcher.url,
            alert_error_threshold=3,
            alert_interval_ms=1000,
            ingest_producers="t=app",
        )
        client = connect(server)
        logs = [{"level": "error", "message": "boom"}] * 3
        client.post("/api/ingest", json=logs, headers={"authorization": "Bearer t"})
        wait_until(lambda: catcher.payloads)
        assert catcher.rules() == ["error_threshold"]
        wait_until(lambda: client.get("/health").json()["alerting"]["sent"])
        health = client.get("/health").json()
        assert "error_threshold" in health["alerting"]["lastTriggerAtByRule"]
        assert health["alertPolicy"]["webhookUrl"] == "[configured]"


def test_test_webhook(serve: Serve, connect: Connect) -> None:
    """A manual test is posted to the given URL, or to the policy's."""
    with catching() as catcher:
        client = connect(serve(alert_webhook_url=catcher.url))
        sent = client.post("/api/alerts/test-webhook", json={}).json()
        assert (sent["ok"], sent["targetUrl"]) == (True, catcher.url)
        other = f"{catcher.url}/other"
        sent = client.post("/api/alerts/test-webhook", json={"webhookUrl": other}).json()
        assert sent["targetUrl"] == other
        assert catcher.rules() == ["manual_test", "manual_test"]


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", '{"url": 1}', '{"webhookUrl": "x"}', '{"webhookUrl": "http://a..b/"}', "{"],
)
def test_test_webhook_refused(serve: Serve, connect: Connect, body: str) -> None:
    """A test without a URL, or with a wrong body, is a 400 that says why."""
    answer = connect(serve()).post("/api/alerts/test-webhook", content=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_test_webhook_that_fails(serve: Serve, connect: Connect) -> None:
    """A test that cannot be delivered is a 400 with the reason."""
    with catching(404) as catcher:
        client = connect(serve())
        answer = client.post("/api/alerts/test-webhook", json={"webhookUrl": catcher.url})
        assert (answer.status_code, "404" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("change", [{}, {"intervalMs": 999}, {"nope": 1}, {"enabled": True}])
def test_wrong_policy_over_http(serve: Serve, connect: Connect, change: dict[str, object]) -> None:
    """A wrong change is a 400 and changes nothing."""
    client = connect(serve())
    before = client.get("/api/alerts/config").json()
    assert client.put("/api/alerts/config", json=change).status_code == 400
    assert client.get("/api/alerts/config").json() == before


def test_slow_webhook_delays_nothing(serve: Serve, connect: Connect) -> None:
    """While a webhook hangs, ingest and queries are answered, and the server stops."""
    with catching(HANG, HANG) as catcher:
        server = serve(
            alert_webhook_url=catcher.url,
            alert_error_threshold=1,
            alert_webhook_timeout_ms=60_000,
            alert_interval_ms=1000,
            ingest_producers="t=app",
        )
        client = connect(server)
        headers = {"authorization": "Bearer t"}
        client.post("/api/ingest", json=[{"level": "fatal"}], headers=headers)
        wait_until(lambda: catcher.requests)
        answer: httpx.Response = client.post("/api/ingest", json=[{"n": 1}], headers=headers)
        assert answer.status_code == 200
        assert len(client.get("/api/logs").json()["entries"]) == 2
        server.close()


def test_stop_gives_up_a_test(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test whose webhook hangs does not hold up the stop, and is told why it was given up."""
    monkeypatch.setattr("mikroscope.server.run._GRACE_S", 600)
    with catching(HANG) as catcher, ThreadPoolExecutor() as pool:
        server = serve(alert_webhook_url=catcher.url, alert_webhook_timeout_ms=600_000)
        client = connect(server)
        waiting = pool.submit(client.post, "/api/alerts/test-webhook", json={})
        wait_until(lambda: catcher.requests)
        pool.submit(server.close).result(DEADLINE_S)
        answer = waiting.result()
    assert answer.status_code == 400
    assert answer.json() == {"error": "the webhook was given up: the server stops"}


def test_wrong_policy_file_refuses_the_start(tmp_path: Path) -> None:
    """A server does not start on a policy file that is wrong, and lets go of the index."""
    path = tmp_path / "alerts.json"
    path.write_text('{"enabled": true}')
    with pytest.raises(ConfigurationError, match=r"alerts\.json: enabled"):
        start_server(settings_in(tmp_path, alert_config_path=path))
    path.write_text("{}")
    start_server(settings_in(tmp_path, alert_config_path=path)).close()


def log(directory: Path, minutes_ago: int) -> None:
    """Add a record of that age to a log file."""
    (directory / "logs").mkdir(exist_ok=True)
    time = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    with (directory / "logs" / "app.ndjson").open("a") as file:
        file.write(json.dumps({"timestamp": time.isoformat()}) + "\n")


def index_old_log(serve: Serve, connect: Connect, directory: Path) -> None:
    """A server that has indexed a record of ten minutes ago, and was stopped."""
    log(directory, minutes_ago=10)
    with serve() as server:
        client = connect(server)
        wait_until(lambda: client.get("/api/logs").json()["entries"])


SILENCE: dict[str, object] = {"alert_no_logs_threshold_minutes": 5, "alert_interval_ms": 1000}


def evaluations(client: httpx.Client) -> int:
    """How many there were."""
    return int(client.get("/health").json()["alerting"]["runs"])


@pytest.mark.parametrize("disable_auto_ingest", [False, True])
def test_no_false_silence_after_a_pause(
    serve: Serve, connect: Connect, tmp_path: Path, disable_auto_ingest: bool
) -> None:
    """What was logged while no server ran is no silence."""
    index_old_log(serve, connect, tmp_path)
    log(tmp_path, minutes_ago=0)
    with catching() as catcher:
        server = serve(
            **SILENCE, alert_webhook_url=catcher.url, disable_auto_ingest=disable_auto_ingest
        )
        wait_until(lambda: evaluations(connect(server)) > 1)
        server.close()
    assert catcher.payloads == []


def test_silence_at_the_start(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """Where nothing was logged meanwhile, the evaluation at the start tells of the silence."""
    index_old_log(serve, connect, tmp_path)
    with catching() as catcher:
        settings = SILENCE | {"alert_interval_ms": 3_600_000}
        serve(**settings, alert_webhook_url=catcher.url)
        wait_until(lambda: catcher.payloads)
    assert catcher.rules() == ["no_logs"]


def test_no_false_silence_while_the_files_are_read(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a server does not know yet what the files hold, silence counts from its start."""
    index_old_log(serve, connect, tmp_path)
    monkeypatch.setattr("mikroscope.alerts.alerter._CATCH_UP_S", 0)
    monkeypatch.setattr("mikroscope.sidecar.WriterThread.start_scanning", lambda worker: None)
    with catching() as catcher:
        server = serve(**SILENCE, alert_webhook_url=catcher.url)
        wait_until(lambda: evaluations(connect(server)) > 1)
        server.close()
    assert catcher.payloads == []
