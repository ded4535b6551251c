"""Delivers a batch of lines: retries when that can help, splits a batch that was refused."""

import random
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple, Protocol

from mikroscope.logging.drops import DropCounter, drop_record
from mikroscope.logging.json_text import to_json
from mikroscope.logging.stderr import StderrWarnings
from mikroscope.logging.transport import Answer, SendError

_LEAST_BATCH_BYTES = 256
_LONGEST_RETRY_AFTER_S = 300.0
_RESENT = b',"resent":true}'


class Post(Protocol):
    """The part of `Transport` that a delivery needs."""

    def post(self, body: bytes, timeout_s: float) -> Answer:
        """Send a body. Raises SendError."""


class Pause(Protocol):
    """Waits between two attempts."""

    def __call__(self, seconds: float, may_hurry: bool) -> bool:
        """Wait; return True if it is time to give up.

        With `may_hurry`, a caller waiting in `flush` or `close` shortens the pause.
        """


class Backoff(NamedTuple):
    """Seconds between two attempts."""

    first: float
    longest: float

    def seconds(self, tries: int) -> float:
        """Return the pause after that many attempts: it doubles each time, up to `longest`.

        It is shortened randomly by up to a half, so that many senders do not retry all at once.
        """
        doubled = min(self.longest, self.first * 2.0 ** min(tries - 1, 30))
        return doubled * random.uniform(0.5, 1.0)  # noqa: S311 -- not a secret


class Verdict(Enum):
    """The meaning of an answer for a batch."""

    TAKEN = auto()
    UNACCEPTABLE = auto()
    """The batch is too large, or a record in it is invalid; sending it again cannot help."""
    LATER = auto()
    """The server is unavailable or overloaded; retrying can help."""
    WRONG = auto()
    """Refused until the address, the credentials or the server are corrected."""


def judge(answer: Answer) -> Verdict:
    """Return the verdict on an answer; only a batch refused for its content is never retried."""
    if 200 <= answer.status < 300:
        # A success from anything else, such as a login page, has stored nothing.
        return Verdict.TAKEN if answer.is_ingest else Verdict.WRONG
    if answer.status in (400, 413, 422):
        return Verdict.UNACCEPTABLE
    if answer.status in (408, 429) or answer.status >= 500:
        return Verdict.LATER
    return Verdict.WRONG


def may_have_been_taken(answer: Answer) -> bool:
    """Return True if the server may have stored the batch although this answer is not a success.

    A proxy may answer 502 or 504, or 200 with a page of its own, after it has forwarded the
    request. MikroScope's own 503 promises that nothing was stored.
    """
    if 200 <= answer.status < 300:
        return not answer.is_ingest
    return answer.status >= 500 and answer.status != 503


class Delivery:
    """Delivers batches to one server. Not thread-safe."""

    def __init__(
        self,
        post: Post,
        where: str,
        backoff: Backoff,
        drops: DropCounter,
        stderr: StderrWarnings,
        constants: Mapping[str, object],
        *,
        pause: Pause,
        timeout_s: Callable[[], float],
    ) -> None:
        self._post = post
        self._where = where
        self._backoff = backoff
        self._drops = drops
        self._stderr = stderr
        self._constants = constants
        self._pause = pause
        self._timeout_s = timeout_s
        self.sent = 0
        """The number of lines that the server has acknowledged."""
        self.largest_body: int | None = None
        """The largest body in bytes to send, learned from a 413; None before that."""

    def deliver(self, lines: list[bytes]) -> int:
        """Send all lines; return how many were given up because time ran out.

        A batch that is refused is halved until only the invalid lines are left; these are counted
        as refused.
        """
        parts = [lines]  # a stack with the oldest lines on top, so that the order is kept
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
                self._drops.add(time.time(), refused=1)
        return 0

    def report_drops(self) -> None:
        """Send a record that reports the lost records, if there are any."""
        unreported = self._drops.unreported
        if unreported is None:
            return
        now = time.time()
        line = to_json({**self._constants, **drop_record(unreported, now)})
        if self._send([line]) is not None:  # if the server refuses the report, do not repeat it
            self._drops.mark_reported(unreported, now)

    def _send(self, lines: list[bytes]) -> Verdict | None:
        """Send until the batch is TAKEN or UNACCEPTABLE; None if it is time to give up."""
        tries = 0
        while True:
            tries += 1
            verdict, retry_after_s = self._try(lines)
            if verdict in (Verdict.TAKEN, Verdict.UNACCEPTABLE):
                return verdict
            if self._give_up(verdict, tries, retry_after_s):
                return None

    def _try(self, lines: list[bytes]) -> tuple[Verdict, float | None]:
        """Send once; return the verdict, and the pause in seconds that the server asks for.

        If the lines may have arrived although the attempt failed, they are marked in place.
        """
        body = _body(lines)
        try:
            answer = self._post.post(body, self._timeout_s())
        except SendError as error:
            self._warn("cannot be reached", str(error))
            if error.maybe_taken:
                _mark(lines)
            return Verdict.LATER, None
        verdict = judge(answer)
        self._handle_failure(verdict, answer, lines, len(body))
        if may_have_been_taken(answer):
            _mark(lines)
        return verdict, answer.retry_after_s

    def _give_up(self, verdict: Verdict, tries: int, retry_after_s: float | None) -> bool:
        """Wait before the next attempt; return True if there should not be one."""
        if verdict is Verdict.WRONG:  # it takes a person to fix, so wait as long as we ever do
            return self._pause(self._backoff.seconds(31), may_hurry=False)
        if retry_after_s is not None:
            return self._pause(min(retry_after_s, _LONGEST_RETRY_AFTER_S), may_hurry=False)
        return self._pause(self._backoff.seconds(tries), may_hurry=True)

    def _handle_failure(
        self, verdict: Verdict, answer: Answer, lines: list[bytes], size: int
    ) -> None:
        """Warn about a failure; after a 413, lower the size of later bodies."""
        reply = f"{answer.status} {answer.reason}".strip()
        if verdict is Verdict.UNACCEPTABLE and len(lines) == 1:
            text = f"{self._where} refused a record of {len(lines[0])} bytes, it is lost: {reply}"
            self._stderr.warn("refused", text)
        elif verdict is Verdict.UNACCEPTABLE and answer.status == 413:
            # The limit itself is unknown, so later bodies are at most half as large.
            self.largest_body = max(_LEAST_BATCH_BYTES, size // 2)
        elif verdict is Verdict.WRONG:
            self._warn("does not accept these logs", reply)
        elif verdict is Verdict.LATER:
            self._warn("cannot accept logs now", reply)

    def _warn(self, what: str, why: str) -> None:
        lost = self._drops.dropped + self._drops.refused
        self._stderr.warn(
            what, f"{self._where} {what} ({why}); retrying, {lost} records lost so far"
        )


def _body(lines: list[bytes]) -> bytes:
    return b"[" + b",".join(lines) + b"]"


def _mark(lines: list[bytes]) -> None:
    """Mark each line, in place, as possibly delivered before."""
    if not lines[0].endswith(_RESENT):
        lines[:] = [line[:-1] + _RESENT for line in lines]
