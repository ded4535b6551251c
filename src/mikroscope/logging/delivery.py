"""Brings a batch of lines to the server: again where that can help, in parts where it must."""

import random
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple, Protocol

from mikroscope.logging.drops import Losses, loss_record
from mikroscope.logging.json_text import to_json
from mikroscope.logging.stderr import Complaints
from mikroscope.logging.transport import Answer, SendError

_LEAST_BATCH_BYTES = 256
_LONGEST_RETRY_AFTER_S = 300.0
_RESENT = b',"resent":true}'


class Post(Protocol):
    """The part of `Transport` that a delivery needs."""

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Send a body. Raises SendError."""


class Pause(Protocol):
    """Waits between two tries."""

    def __call__(self, seconds: float, may_hurry: bool) -> bool:
        """True if it is time to give up. Somebody who waits may shorten it, if that may help."""


class Backoff(NamedTuple):
    """Seconds between two tries."""

    first: float
    longest: float

    def seconds(self, tries: int) -> float:
        """After so many tries: doubling, and by chance up to a half less, so that many senders do
        not come all at once."""
        doubled = min(self.longest, self.first * 2.0 ** min(tries - 1, 30))
        return doubled * random.uniform(0.5, 1.0)  # noqa: S311 -- no secret


class Verdict(Enum):
    """What an answer means for a batch."""

    TAKEN = auto()
    UNACCEPTABLE = auto()
    """It is too large, or a record in it is of a kind that will never be taken."""
    LATER = auto()
    WRONG = auto()
    """Not before somebody has changed something: the address, the credentials, the server."""


def judge(answer: Answer) -> Verdict:
    """Only what is refused for what it is will be given up; for all else, waiting may help."""
    if 200 <= answer.status < 300:
        return Verdict.TAKEN if answer.is_ingest else Verdict.WRONG
    if answer.status in (400, 413, 422):
        return Verdict.UNACCEPTABLE
    if answer.status in (408, 429) or answer.status >= 500:
        return Verdict.LATER
    return Verdict.WRONG


def may_have_been_taken(answer: Answer) -> bool:
    """Whether an answer that is no success leaves that open: a proxy gives 502 and 504 (and a page
    of its own) whatever became of the request. MikroScope's 503 says that nothing was kept."""
    if 200 <= answer.status < 300:
        return not answer.is_ingest
    return answer.status >= 500 and answer.status != 503


class Delivery:
    """Used by one thread."""

    def __init__(
        self,
        post: Post,
        where: str,
        backoff: Backoff,
        losses: Losses,
        complaints: Complaints,
        constants: Mapping[str, object],
        *,
        pause: Pause,
        timeout_s: Callable[[], float],
    ) -> None:
        self._post = post
        self._where = where
        self._backoff = backoff
        self._losses = losses
        self._complaints = complaints
        self._constants = constants
        self._pause = pause
        self._timeout_s = timeout_s
        self.sent = 0
        """How many lines the server has acknowledged."""
        self.largest_body: int | None = None
        """How large a body may be, if the server has refused one."""

    def deliver(self, lines: list[bytes]) -> int:
        """Return when each line is sent, refused and counted, or given up: how many are that."""
        parts = [lines]
        while parts:
            part = parts.pop()
            verdict = self._send(part)
            if verdict is None:
                return len(part) + sum(map(len, parts))
            if verdict is Verdict.TAKEN:
                self.sent += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                self._losses.add(time.time(), refused=1)
        return 0

    def tell_losses(self) -> None:
        """Send a record that tells what was lost, if anything was."""
        loss = self._losses.untold
        if loss is None:
            return
        now = time.time()
        line = to_json({**self._constants, **loss_record(loss, now)})
        if self._send([line]) is not None:  # a server that refuses this is not asked again
            self._losses.told(loss, now)

    def _send(self, lines: list[bytes]) -> Verdict | None:
        """TAKEN, UNACCEPTABLE, or None if it is time to give up."""
        tries = 0
        while True:
            tries += 1
            verdict, retry_after_s = self._try(lines)
            if verdict in (Verdict.TAKEN, Verdict.UNACCEPTABLE):
                return verdict
            if self._give_up(verdict, tries, retry_after_s):
                return None

    def _try(self, lines: list[bytes]) -> tuple[Verdict, float | None]:
        """Send once: what came of it, and the pause that the server asks for.

        Lines that may have arrived all the same are marked, in place.
        """
        body = _body(lines)
        try:
            answer = self._post.post(body, self._timeout_s())
        except SendError as error:
            self._complain("cannot be reached", str(error))
            if error.maybe_taken:
                _mark(lines)
            return Verdict.LATER, None
        verdict = judge(answer)
        self._note(verdict, answer, lines, len(body))
        if may_have_been_taken(answer):
            _mark(lines)
        return verdict, answer.retry_after_s

    def _give_up(self, verdict: Verdict, tries: int, retry_after_s: float | None) -> bool:
        """Wait for the next try; True if there shall be none."""
        if verdict is Verdict.WRONG:
            return self._pause(self._backoff.seconds(31), may_hurry=False)
        if retry_after_s is not None:
            return self._pause(min(retry_after_s, _LONGEST_RETRY_AFTER_S), may_hurry=False)
        return self._pause(self._backoff.seconds(tries), may_hurry=True)

    def _note(self, verdict: Verdict, answer: Answer, lines: list[bytes], size: int) -> None:
        """Say what went wrong, and learn from it."""
        said = f"{answer.status} {answer.reason}".strip()
        if verdict is Verdict.UNACCEPTABLE and len(lines) == 1:
            text = f"{self._where} refused a record of {len(lines[0])} bytes, which is lost: {said}"
            self._complaints.say("refused", text)
        elif verdict is Verdict.UNACCEPTABLE and answer.status == 413:
            self.largest_body = max(_LEAST_BATCH_BYTES, size // 2)
        elif verdict is Verdict.WRONG:
            self._complain("does not take these logs", said)
        elif verdict is Verdict.LATER:
            self._complain("cannot take logs now", said)

    def _complain(self, what: str, why: str) -> None:
        lost = self._losses.dropped + self._losses.refused
        self._complaints.say(
            what, f"{self._where} {what} ({why}); it is tried again, {lost} records are lost so far"
        )


def _body(lines: list[bytes]) -> bytes:
    return b"[" + b",".join(lines) + b"]"


def _mark(lines: list[bytes]) -> None:
    """Have each line say that it may have arrived before."""
    if not lines[0].endswith(_RESENT):
        lines[:] = [line[:-1] + _RESENT for line in lines]
