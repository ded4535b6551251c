"""Delivery: the effect of each response, connection failure and lost record."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from mikroscope.logging.buffer import Bounds, Buffer
from mikroscope.logging.delivery import Backoff, Delivery
from mikroscope.logging.drops import DropCounter
from mikroscope.logging.stderr import StderrWarnings
from mikroscope.logging.transport import Answer, SendError, authorization, parse_url, retry_after

OK = Answer(200, None, True, "")
UNSENT = SendError("refused", maybe_taken=False)
UNANSWERED = SendError("timed out", maybe_taken=True)


def _answer(status: int, retry_after_s: float | None = None) -> Answer:
    return Answer(status, retry_after_s, False, "no")


class Desk:
    """A delivery with given responses, whose pauses take no time."""

    def __init__(self, *answers: Answer | SendError, tries: int = 100, limit: int = 0) -> None:
        self.answers = list(answers)
        self.limit = limit
        self.bodies: list[list[dict[str, Any]]] = []
        self.pauses: list[tuple[float, bool]] = []
        self.drops = DropCounter()
        self._tries = tries
        self.delivery = Delivery(
            self,
            "http://there",
            Backoff(1.0, 32.0),
            self.drops,
            StderrWarnings(),
            {"service": "shop"},
            pause=self._pause,
            timeout_s=lambda: 5.0,
        )

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Record a body; return the next response."""
        self.bodies.append(json.loads(body))
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, SendError):
            raise answer
        return _answer(413) if self.limit and len(body) > self.limit else answer

    def _pause(self, seconds: float, may_hurry: bool) -> bool:
        self.pauses.append((seconds, may_hurry))
        return len(self.pauses) >= self._tries

    def deliver(self, count: int) -> int:
        """Deliver numbered lines."""
        return self.delivery.deliver([b'{"n":%d}' % number for number in range(count)])

    def numbers(self) -> list[list[int]]:
        """Return the numbers of the lines in each body."""
        return [[one["n"] for one in body] for body in self.bodies]


@pytest.mark.parametrize("failure", [UNSENT, UNANSWERED, *map(_answer, (408, 429, 500, 503))])
def test_tried_again(failure: Answer | SendError) -> None:
    """A temporary failure is retried until the server accepts the batch."""
    desk = Desk(failure, failure)
    assert desk.deliver(2) == 0
    assert (desk.numbers(), desk.delivery.sent) == ([[0, 1]] * 3, 2)


def test_backoff() -> None:
    """The pause doubles up to its maximum, and is randomly shortened by up to half."""
    desk = Desk(*[UNSENT] * 10)
    desk.deliver(1)
    full = [1, 2, 4, 8, 16, 32, 32, 32, 32, 32]
    assert all(
        most / 2 <= seconds <= most for (seconds, _), most in zip(desk.pauses, full, strict=True)
    )
    assert len({seconds for seconds, _ in desk.pauses}) > 1


def test_retry_after_is_kept() -> None:
    """The handler waits as long as Retry-After says, even during a flush."""
    desk = Desk(_answer(503, 7.0))
    desk.deliver(1)
    assert desk.pauses == [(7.0, False)]


def test_retry_after_has_a_limit() -> None:
    """Retry-After is limited, so that a server cannot silence a handler for a day."""
    desk = Desk(_answer(429, 86_400.0))
    desk.deliver(1)
    assert desk.pauses == [(300.0, False)]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("Thu, 01 Jan 1970 00:00:20 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_forms_of_retry_after(value: str | None, seconds: float | None) -> None:
    """Retry-After is read as seconds or an HTTP date; any other value is ignored."""
    assert retry_after(value, lambda: 10.0) == seconds


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
def test_wrong_setup_is_waited_for(status: int) -> None:
    """Errors that only a new setup can fix lose nothing and are retried at the slowest rate."""
    desk = Desk(_answer(status))
    assert desk.deliver(1) == 0
    assert desk.delivery.sent == 1
    assert 16 <= desk.pauses[0][0] <= 32


def test_success_of_something_else() -> None:
    """A 200 that an ingest endpoint would not send does not count as success."""
    desk = Desk(Answer(200, None, False, ""))
    desk.deliver(1)
    assert len(desk.bodies) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_batch_is_split(status: int) -> None:
    """A rejected batch is sent in halves, in order."""
    desk = Desk(_answer(status))
    assert desk.deliver(5) == 0
    assert desk.numbers() == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4]]
    assert desk.delivery.sent == 5


def test_single_record_is_given_up() -> None:
    """A record that is rejected alone is counted as lost; its neighbours arrive."""
    desk = Desk(_answer(400), _answer(400))
    assert desk.deliver(2) == 0
    assert (desk.delivery.sent, desk.drops.refused) == (1, 1)


def test_size_is_learned() -> None:
    """After a 413, the next batches are smaller."""
    desk = Desk(limit=1000)
    desk.deliver(300)
    assert desk.delivery.sent == 300
    assert desk.delivery.largest_body is not None
    assert desk.delivery.largest_body <= 1000


def test_lost_answer_marks_what_is_sent_again() -> None:
    """A batch that may have arrived before is marked as a retry."""
    desk = Desk(UNANSWERED)
    desk.deliver(1)
    assert desk.bodies == [[{"n": 0}], [{"n": 0, "resent": True}]]


@pytest.mark.parametrize("status", [200, 500, 502, 504])
def test_answer_of_a_proxy_marks_what_is_sent_again(status: int) -> None:
    """A batch that a proxy has answered is also marked as a retry."""
    desk = Desk(_answer(status), _answer(status))
    desk.deliver(1)
    assert desk.bodies == [[{"n": 0}], *[[{"n": 0, "resent": True}]] * 2]


def test_mark_stays_in_the_halves() -> None:
    """The halves of a marked batch are also marked."""
    desk = Desk(UNANSWERED, _answer(413))
    desk.deliver(2)
    assert desk.bodies[2:] == [[{"n": 0, "resent": True}], [{"n": 1, "resent": True}]]


@pytest.mark.parametrize("failure", [UNSENT, *map(_answer, (401, 404, 429, 503))])
def test_what_was_not_taken_is_not_marked(failure: Answer | SendError) -> None:
    """A batch that cannot have arrived before is sent without a mark."""
    desk = Desk(failure)
    desk.deliver(1)
    assert desk.bodies == [[{"n": 0}]] * 2


def test_given_up() -> None:
    """When the time is over, the delivery returns the number of records left."""
    desk = Desk(_answer(413), OK, UNSENT, UNSENT, tries=2)
    assert desk.deliver(5) == 3
    assert desk.delivery.sent == 2


def test_losses_are_told() -> None:
    """A record reports how many records were lost and why, and each loss is reported once."""
    desk = Desk()
    desk.drops.add(1771410000.0, dropped=3)
    desk.drops.add(1771410001.0, refused=1)
    desk.delivery.report_drops()
    desk.delivery.report_drops()
    ((told,),) = desk.bodies
    assert (told["event"], told["level"], told["service"]) == ("logs.dropped", "WARN", "shop")
    assert (told["dropped"], told["droppedBufferFull"], told["droppedRefused"]) == (4, 3, 1)
    assert told["droppedSince"] == "2026-02-18T10:20:00.000Z"


def test_losses_that_cannot_be_told() -> None:
    """A loss stays pending until a report of it is delivered."""
    desk = Desk(UNSENT, tries=1)
    desk.drops.add(1.0, dropped=3)
    desk.delivery.report_drops()
    assert desk.drops.unreported is not None


def test_losses_meanwhile() -> None:
    """A loss during a report of losses is in the next report."""
    drops = DropCounter()
    drops.add(1.0, dropped=3)
    first = drops.unreported
    drops.add(2.0, dropped=4)
    assert first is not None
    drops.mark_reported(first, 3.0)
    assert drops.unreported is not None
    assert drops.unreported.total == 4


# --- the buffer -----------------------------------------------------------------------------


def _buffer(**bounds: int) -> tuple[Buffer, DropCounter]:
    given = {
        "max_buffer_records": 4,
        "max_buffer_bytes": 1000,
        "batch_records": 2,
        "batch_bytes": 100,
    }
    drops = DropCounter()
    return Buffer(Bounds(**(given | bounds)), drops), drops


def test_oldest_records_leave() -> None:
    """A full buffer drops the oldest records and counts them."""
    buffer, drops = _buffer()
    for number in range(10):
        buffer.put(b"%d" % number, False)
    assert buffer.take(100) + buffer.take(100) == [b"6", b"7", b"8", b"9"]
    assert drops.dropped == 6


def test_bytes_are_bounded() -> None:
    """The buffer is also limited in bytes; a record larger than the limit is dropped itself."""
    buffer, drops = _buffer(max_buffer_bytes=10)
    for line in (b"aaaa", b"bbbb", b"cccc"):
        buffer.put(line, False)
    assert (len(buffer), drops.dropped) == (2, 1)
    buffer.put(b"x" * 11, False)
    assert (len(buffer), drops.dropped) == (0, 4)


def test_batch_has_its_size() -> None:
    """A batch ends before it exceeds its size, but has at least one record."""
    buffer, _ = _buffer(batch_records=10)
    for line in (b"a" * 30, b"b" * 30, b"c" * 200):
        buffer.put(line, False)
    assert [len(buffer.take(70)), len(buffer.take(70)), len(buffer.take(70))] == [2, 1, 0]


def test_waiting_for_a_batch_on_its_way() -> None:
    """Lines count as waiting until their batch is settled, even if lines after it are dropped."""
    buffer, _ = _buffer()
    for number in range(12):
        buffer.put(b"%d" % number, False)
        if number == 1:
            buffer.take(100)
    assert buffer.has_any_before(2)
    buffer.settle()
    assert not buffer.has_any_before(2)


def test_due() -> None:
    """A full batch or an urgent line ends the wait for more lines."""
    for lines, urgent in ((2, False), (1, True)):
        buffer, _ = _buffer()
        for _number in range(lines):
            assert not buffer.is_due
            buffer.put(b"x", urgent)
        assert buffer.is_due


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:4310", "/api/ingest"),
        ("https://logs.example.com/", "/api/ingest"),
        ("http://[::1]:4310/api/ingest", "/api/ingest"),
        ("https://example.com/mikroscope", "/mikroscope/api/ingest"),
    ],
)
def test_url(url: str, path: str) -> None:
    """A URL may name the server, the endpoint, or a proxy's prefix."""
    assert parse_url(url).path == path


@pytest.mark.parametrize(
    "make",
    [
        lambda: parse_url("127.0.0.1:4310"),
        lambda: parse_url("ftp://there"),
        lambda: parse_url("http://user:secret@there"),
        lambda: parse_url("http://there?x=1"),
        lambda: parse_url("http://there:99999"),
        lambda: authorization("t", "u", "p"),
        lambda: authorization(None, "u", None),
        lambda: authorization("", None, None),
        lambda: authorization("a\nb", None, None),
    ],
)
def test_wrong_arguments(make: Callable[[], object]) -> None:
    """Impossible arguments are refused when the handler is created, without showing a secret."""
    with pytest.raises(ValueError, match=r"expected|Port") as caught:
        make()
    assert "secret" not in str(caught.value)


# --- stderr ---------------------------------------------------------------------------------


def test_complaints_are_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of warning is printed at most once a minute."""
    stderr = StderrWarnings()
    for _ in range(3):
        stderr.warn("one", "this is wrong")
        stderr.warn("two", "that is wrong")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["mikroscope.logging: this is wrong", "mikroscope.logging: that is wrong"]


def test_complaints_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An application without `logging.lastResort` gets no warnings on stderr."""
    monkeypatch.setattr(logging, "lastResort", None)
    StderrWarnings().warn("one", "this is wrong")
    assert capsys.readouterr().err == ""


def test_time_of_a_loss_is_its_own() -> None:
    """A loss has the time of its first lost record."""
    drops = DropCounter()
    before = time.time()
    drops.add(before, dropped=1)
    drops.add(before + 10, dropped=1)
    assert drops.unreported is not None
    assert drops.unreported.since == before
