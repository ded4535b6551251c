"""The alerter: evaluations, notifications, cooldown, and what a changed policy or a stop ends."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mikroscope.alerts.alerter import Alerter
from mikroscope.alerts.policy import AlertPolicy, WebhookToTest
from mikroscope.errors import AlertPolicyError, StoreError
from mikroscope.query.model import Entry
from tests.helpers.alerts import LIMITS, NOW, POLICY, entry, policy
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import HANG, HOLD, Catcher, catching


class World:
    """The surroundings of an alerter: counts, the last entry, and a clock that tests advance."""

    def __init__(self, directory: Path) -> None:
        self.counts: Mapping[str, int] = {"ERROR": 5, "INFO": 20}
        self.now_ms = NOW
        self.last_log_ms: int | None = NOW
        self.entries: list[Entry] = []
        self.asked: list[tuple[int | None, int, bool]] = []
        self.lines_error: Exception | None = None
        self.windows: list[tuple[int, int]] = []
        self.error: Exception | None = None
        self.on_count: Callable[[], object] = lambda: None
        self._path = directory / "alerts.json"

    def alerter(self, default: AlertPolicy, read: "Future[None] | None" = None) -> Alerter:
        """Make an alerter whose index has caught up with the files when `read` is done.

        None: it has caught up already.
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
            newest_entries=self._newest,
            redact_fields=["token"],
            caught_up=read,
            clock_ms=lambda: self.now_ms,
        )

    def _count(self, from_ms: int, to_ms: int) -> Mapping[str, int]:
        self.windows.append((from_ms, to_ms))
        self.on_count()
        if self.error is not None:
            raise self.error
        return self.counts

    def _newest(self, from_ms: int | None, to_ms: int, only_errors: bool) -> Sequence[Entry]:
        self.asked.append((from_ms, to_ms, only_errors))
        if self.lines_error is not None:
            raise self.lines_error
        return self.entries


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
    """A rule that fires is posted with everything the payload promises."""
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
    """A rule that cools down is suppressed, and notifies again afterwards."""
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
        suppressed = alerter.state.suppressed
        wait_until(lambda: alerter.state.suppressed > suppressed + 1)
        assert alerter.state.sent == 1
        world.now_ms += 60_000
        wait_until(lambda: alerter.state.sent == 2)


def test_cooldown_survives_a_restart(world: World, start: Start) -> None:
    """A new alerter knows when the previous one last notified."""
    with catching() as catcher:
        first = start(policy(webhook_url=catcher.url))
        wait_until(first._state_path.exists)
        first.stop()
        second = start(policy(webhook_url=catcher.url))
        wait_until(lambda: second.state.suppressed)
        assert second.state.sent == 0


def test_failed_delivery_starts_no_cooldown(start: Start) -> None:
    """Only a notification that is delivered starts the cooldown."""
    with catching(400, 400) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
        assert catcher.requests == 3


def test_one_rule_does_not_delay_the_other(world: World, start: Start) -> None:
    """While the delivery of one rule hangs, the other is delivered."""
    world.last_log_ms = NOW - 600_000
    with catching(HANG) as catcher:
        alerter = start(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5))
        wait_until(lambda: alerter.state.sent)
        assert len(catcher.payloads) == 1


def test_broken_index_is_reported_and_retried(world: World, start: Start) -> None:
    """The state has the error of an evaluation that fails, and the next one may succeed."""
    world.error = StoreError("the index cannot be read")
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.last_error == "the index cannot be read")
        world.error = None
        wait_until(lambda: alerter.state.sent)


def test_stop_does_not_wait_for_a_webhook(start: Start) -> None:
    """A webhook that hangs does not delay the stop."""
    with catching(HANG) as catcher:
        alerter = start(policy(webhook_url=catcher.url, webhook_timeout_ms=60_000))
        wait_until(lambda: catcher.requests)
        stopped = threading.Thread(target=alerter.stop)
        stopped.start()
        stopped.join(DEADLINE_S)
        assert not stopped.is_alive()


def test_change_applies_at_once(start: Start) -> None:
    """A changed policy is evaluated at once, not after the old interval."""
    with catching() as catcher:
        alerter = start(policy(enabled=False, webhook_url=None, interval_ms=3_600_000))
        alerter.change({"webhookUrl": catcher.url})
        wait_until(lambda: alerter.state.sent)


def test_change_of_the_webhook_gives_up_the_old_one(start: Start) -> None:
    """While the old webhook hangs, a new one is notified at once, and the old delivery ends."""
    with catching(HANG) as old, catching() as new:
        alerter = start(policy(webhook_url=old.url, webhook_timeout_ms=600_000))
        wait_until(lambda: old.requests)
        alerter.change({"webhookUrl": new.url})
        wait_until(lambda: alerter.state.sent)
        assert old.left.wait(DEADLINE_S)
    assert new.rules() == ["error_threshold"]


def test_change_of_a_rule_gives_up_nothing(start: Start) -> None:
    """A delivery continues if nothing about the webhook changes: no one is notified twice."""
    with catching(HOLD) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: catcher.requests)
        alerter.change({"errorThreshold": 4})
        suppressed = alerter.state.suppressed
        wait_until(lambda: alerter.state.suppressed > suppressed + 1)
        catcher.held.set()
        wait_until(lambda: alerter.state.sent)
        assert catcher.requests == 1


def test_change_during_an_evaluation(world: World, start: Start) -> None:
    """An evaluation during which the webhook changes does not notify the old one."""
    world.counts = {}
    with catching() as old, catching() as new:
        alerter = start(policy(webhook_url=old.url))

        def change() -> None:
            world.on_count, world.counts = lambda: None, {"ERROR": 5}
            alerter.change({"webhookUrl": new.url})

        world.on_count = change
        wait_until(lambda: alerter.state.sent)
        assert (old.requests, new.rules()) == (0, ["error_threshold"])


@pytest.mark.parametrize("ends", ["stop", "change"])
def test_given_up_delivery_is_logged(
    start: Start, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    """A delivery that a stop or another webhook ends is logged with the reason, not as failed."""
    caplog.set_level("INFO")
    with catching(HANG) as catcher:
        alerter = start(policy(webhook_url=catcher.url, webhook_timeout_ms=600_000))
        wait_until(lambda: catcher.requests)
        if ends == "stop":
            alerter.stop()
        else:
            alerter.change({"webhookUrl": None})
        reason = {"stop": "the server stops", "change": "the policy has changed"}[ends]
        line = f"alert error_threshold was given up: {reason}"
        wait_until(lambda: line in caplog.messages)
    assert alerter.state.last_error is None


def test_test_without_a_webhook(world: World) -> None:
    """A test needs a URL from the request or the policy."""
    alerter = world.alerter(policy(enabled=False, webhook_url=None))
    with pytest.raises(AlertPolicyError, match="no webhookUrl"):
        alerter.send_test(WebhookToTest())


def test_test_after_the_stop(world: World) -> None:
    """A test after the stop is given up at once."""
    alerter = world.alerter(POLICY)
    alerter.stop()
    with pytest.raises(AlertPolicyError, match="given up: the server stops"):
        alerter.send_test(WebhookToTest())


def test_cooldown_counts_from_the_delivery(world: World, start: Start) -> None:
    """After a slow delivery the whole cooldown passes before the next notification."""
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
    """Start an alerter whose webhook refuses everything."""
    alerter = start(policy(webhook_url=catcher.url))
    wait_until(lambda: alerter.state.last_error == "error_threshold: answered with status 404")
    return alerter


REFUSE = [404] * 10_000


def test_delivery_clears_the_error(start: Start) -> None:
    """A delivery that succeeds clears the error of one that failed."""
    with catching(404) as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.sent)
        wait_until(lambda: alerter.state.last_error is None)


def test_another_webhook_clears_the_error(start: Start) -> None:
    """A new webhook clears the errors of the old one, even if there is nothing to notify."""
    with catching(*REFUSE) as catcher:
        alerter = failing(start, catcher)
        alerter.change({"webhookUrl": "http://127.0.0.1:9/", "errorThreshold": 100})
        assert alerter.state.last_error is None


def test_switching_alerts_off_clears_the_error(start: Start) -> None:
    """Clearing the webhook clears the error."""
    with catching(*REFUSE) as catcher:
        alerter = failing(start, catcher)
        alerter.change({"webhookUrl": None})
        assert alerter.state.last_error is None


def test_error_stays_until_something_is_delivered(world: World, start: Start) -> None:
    """A rule that no longer fires keeps its error, until the receiver takes a notification."""
    with catching() as catcher:
        catcher.refused_rules.add("error_threshold")
        alerter = failing(start, catcher)
        world.counts = {"INFO": 20}
        runs = alerter.state.evaluations.runs
        wait_until(lambda: alerter.state.evaluations.runs > runs + 3)
        assert alerter.state.last_error is not None
        alerter.send_test(WebhookToTest())
        assert alerter.state.last_error is None


def test_evaluation_clears_the_error_of_the_previous_one(world: World, start: Start) -> None:
    """An evaluation that succeeds clears the previous error, even if no rule fires."""
    world.counts, world.error = {}, StoreError("the index cannot be read")
    alerter = start(POLICY)
    wait_until(lambda: alerter.state.last_error)
    world.error = None
    wait_until(lambda: alerter.state.last_error is None)


def test_one_rule_does_not_hide_the_error_of_the_other(world: World, start: Start) -> None:
    """The success of one rule does not clear the error of a rule that cannot be delivered."""
    world.last_log_ms = NOW - 600_000
    with catching() as catcher:
        catcher.refused_rules.add("no_logs")
        alerter = start(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5))
        wait_until(lambda: alerter.state.sent and catcher.requests > 3)
        wait_until(lambda: alerter.state.last_error == "no_logs: answered with status 404")


def test_unexpected_error_is_reported(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is in the state and, with a traceback, in the log; it is retried."""
    world.error = ZeroDivisionError("unforeseen")
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.last_error == "unforeseen")
        world.error = None
        wait_until(lambda: alerter.state.sent)
    assert "Traceback" in caplog.text


def test_no_thread_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no thread left for a notification, the next evaluation tries again."""
    begin = threading.Thread.start
    refused: list[str] = []

    def start_some(thread: threading.Thread) -> None:
        if thread.name == "mikroscope-webhooks" and len(refused) < 2:
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
    """The first evaluation waits until the files are read; a changed policy does not hurry it."""
    read: Future[None] = Future()
    world.error = AssertionError("evaluated before the files were read")
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url), read)
        alerter.start("http://127.0.0.1:4310")
        alerter.change({"errorThreshold": 4})
        world.error = None
        read.set_result(None)
        wait_until(lambda: alerter.state.sent)
        alerter.stop()
    assert "before the files" not in caplog.text


def test_first_evaluation_does_not_wait_forever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long reading the files takes, alerts start after a while."""
    monkeypatch.setattr("mikroscope.alerts.alerter._CATCH_UP_S", 0.05)
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url), Future())
        alerter.start("http://127.0.0.1:4310")
        wait_until(lambda: alerter.state.sent)
        alerter.stop()


def test_stop_before_the_first_evaluation(world: World) -> None:
    """An alerter that still waits for the index stops at once, without an evaluation."""
    alerter = world.alerter(POLICY, Future())
    alerter.start("http://127.0.0.1:4310")
    stopping = threading.Thread(target=alerter.stop)
    stopping.start()
    stopping.join(DEADLINE_S)
    assert (stopping.is_alive(), alerter.state.evaluations.runs) == (False, 0)


SLACK = {"webhook_format": "slack"}


def test_message_has_the_newest_errors(world: World, start: Start) -> None:
    """A message about errors has their newest lines in the window, without secrets."""
    world.counts = {"ERROR": 3, "fatal": 1, "CRIT": 2, "INFO": 9}
    world.entries = [entry({"level": "error", "message": "token=abc"})]
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url, **SLACK))
        wait_until(lambda: alerter.state.sent)
    assert world.asked == [(NOW - 300_000, NOW, True)]
    (message,) = catcher.payloads
    assert "5 errors in the last 5 minutes; the threshold is 3." in message["text"]
    assert "ERROR token=***\n```" in message["text"]


def test_message_has_the_last_entries_before_the_silence(world: World, start: Start) -> None:
    """A message about silence has the last entries, whatever their level and age."""
    world.counts, world.last_log_ms = {}, NOW - 600_000
    world.entries = [entry({"message": "bye"})]
    with catching() as catcher:
        start(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5, **SLACK))
        wait_until(lambda: catcher.payloads)
    assert world.asked == [(None, NOW, False)]
    assert "INFO bye" in catcher.payloads[0]["text"]


def test_lines_are_read_only_for_messages_that_are_sent(world: World, start: Start) -> None:
    """Nothing is read for a rule that is suppressed, nor for MikroScope's own JSON."""
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.suppressed > 2)
        assert world.asked == []
        alerter.change({"webhookFormat": "discord", "cooldownMs": 120_000})
        wait_until(lambda: alerter.state.suppressed > 5)
        assert (world.asked, alerter.state.sent) == ([], 1)


def test_message_without_lines_that_cannot_be_read(
    world: World, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """If the lines cannot be read, the message is sent without them, and the log says why."""
    world.lines_error = StoreError("the index cannot be read")
    with catching() as catcher:
        alerter = start(policy(webhook_url=catcher.url, **SLACK))
        wait_until(lambda: alerter.state.sent)
    assert "```" not in catcher.payloads[0]["text"]
    line = "alert error_threshold is sent without log lines: the index cannot be read"
    assert line in caplog.messages


def test_slow_lines_do_not_delay_a_change(world: World, start: Start) -> None:
    """While the lines of a message are read, the policy can be changed; then it is not sent."""
    with catching() as old, catching() as new:

        def change(*_: object) -> list[Entry]:
            world.entries = []
            alerter.change({"webhookUrl": new.url})
            return []

        alerter = world.alerter(policy(webhook_url=old.url, **SLACK))
        newest, alerter._newest_entries = alerter._newest_entries, change
        alerter.start("http://127.0.0.1:4310")
        wait_until(lambda: alerter.policy.webhook_url != old.url)
        alerter._newest_entries = newest
        wait_until(lambda: alerter.state.sent)
        alerter.stop()
    assert (old.requests, len(new.payloads)) == (0, 1)


def test_rule_that_cannot_begin_does_not_stop_the_other(world: World, start: Start) -> None:
    """If the notification of one rule cannot even be made, the other is delivered."""
    world.last_log_ms = None
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url, no_logs_threshold_minutes=5))
        begin = alerter._begin_delivery

        def begin_some(*arguments: Any) -> None:
            if arguments[2].rule == "error_threshold":
                raise RuntimeError("can't start new thread")
            begin(*arguments)

        alerter._begin_delivery = begin_some  # type: ignore[method-assign, assignment]
        alerter.start("http://127.0.0.1:4310")
        wait_until(lambda: catcher.rules() == ["no_logs"])
        wait_until(lambda: alerter.state.last_error == "can't start new thread")
        alerter.stop()


def test_refusal_with_a_hint(start: Start) -> None:
    """A service that wants its own format is named in the error, with what to set."""
    with catching(*REFUSE) as catcher:
        catcher.refusal = b"no_text"
        alerter = start(policy(webhook_url=catcher.url))
        wait_until(lambda: alerter.state.last_error)
        text = 'answered with status 404: no_text. Slack expects {"text": …}; see Alerts into Slack'
        with pytest.raises(AlertPolicyError) as refused:
            alerter.send_test(WebhookToTest())
        assert str(refused.value).startswith(f"the webhook {text}")
        assert str(alerter.state.last_error).startswith(f"error_threshold: {text}")


def test_test_in_a_format(world: World) -> None:
    """A test is sent as the request says, else as the policy says, else by the URL."""
    with catching() as catcher:
        alerter = world.alerter(policy(webhook_url=catcher.url, webhook_format="discord"))
        alerter.send_test(WebhookToTest())
        alerter.send_test(WebhookToTest(format="teams"))
        alerter.send_test(WebhookToTest(format="auto"))
        alerter.stop()
    kinds = [body.keys() & {"content", "attachments", "rule"} for body in catcher.payloads]
    assert kinds == [{"content"}, {"attachments"}, {"rule"}]
    assert catcher.payloads[2]["details"]["message"].startswith("Manual webhook test")
    assert world.asked == []
