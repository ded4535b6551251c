"""Delivering: attempts and pauses, cancellation, and the thread that delivers."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from mikroscope.alerts.channels.webhook import DeliveryError, post
from mikroscope.alerts.delivery import DeliveryThread, deliver
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import DROP, HANG, Catcher, catching


def deliver_to(catcher: Catcher, attempts: int = 3, timeout_s: float = 60.0) -> list[float]:
    """Deliver to a catcher without waiting between attempts; return the pauses asked for."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    asyncio.run(
        deliver(
            lambda: post(catcher.url, b'{"rule": "manual_test"}', timeout_s),
            attempts=attempts,
            backoff_s=0.5,
            pause=pause,
        )
    )
    return pauses


@pytest.mark.parametrize("trouble", [408, 429, 500, 503, DROP])
def test_retried(trouble: int) -> None:
    """A failure that another attempt may fix is retried, with pauses that double."""
    with catching(trouble, trouble) as catcher:
        assert deliver_to(catcher) == [0.5, 1.0]
        assert (catcher.requests, len(catcher.payloads)) == (3, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_not_retried(status: int) -> None:
    """A refusal is an error at once, and not retried."""
    with catching(status) as catcher, pytest.raises(DeliveryError, match=rf"{status}$"):
        deliver_to(catcher)
    assert catcher.requests == 1


@pytest.mark.parametrize(("attempts", "text"), [(1, "1 attempt"), (2, "2 attempts")])
def test_attempts_are_limited(attempts: int, text: str) -> None:
    """After the last attempt the delivery fails and says how many it made."""
    with catching(*[503] * 5) as catcher, pytest.raises(DeliveryError, match=rf"\({text}\)$"):
        deliver_to(catcher, attempts)
    assert catcher.requests == attempts


def test_timeout_is_retried() -> None:
    """A webhook that does not answer in time is tried again."""
    with catching(HANG) as catcher:
        assert deliver_to(catcher, timeout_s=0.3) == [0.5]


def test_refused_connection_is_retried() -> None:
    """A webhook that cannot be reached is tried again."""
    with catching() as catcher:
        pass
    with pytest.raises(DeliveryError, match=r"^cannot be reached: .* \(3 attempts\)$"):
        deliver_to(catcher)


def test_cancelled_attempt(deliveries: DeliveryThread) -> None:
    """A delivery that is cancelled ends at once and closes its connection."""
    with catching(HANG) as catcher:
        delivery = deliveries.submit(post(catcher.url, b"{}", 600.0))
        wait_until(lambda: catcher.requests)
        delivery.cancel()
        assert catcher.left.wait(DEADLINE_S)
        with pytest.raises(CancelledError):
            delivery.result(DEADLINE_S)


def test_cancelled_pause(deliveries: DeliveryThread) -> None:
    """A delivery that is cancelled between two attempts makes no other one."""
    ended = threading.Event()

    async def run(url: str) -> None:
        try:
            await deliver(lambda: post(url, b"{}", 60.0), attempts=2, backoff_s=600.0)
        finally:
            ended.set()

    with catching(503) as catcher:
        delivery = deliveries.submit(run(catcher.url))
        wait_until(lambda: catcher.requests)
        delivery.cancel()
        assert ended.wait(DEADLINE_S)
        assert catcher.requests == 1


def webhook_threads() -> list[threading.Thread]:
    """Return the threads that deliver."""
    return [one for one in threading.enumerate() if one.name == "mikroscope-webhooks"]


async def nothing() -> None:
    """Return at once."""


def test_thread_starts_with_the_first_delivery(deliveries: DeliveryThread) -> None:
    """The thread starts with the first delivery, serves all of them, and ends with `close`."""
    assert webhook_threads() == []
    for _ in range(2):
        deliveries.submit(nothing()).result(DEADLINE_S)
        assert len(webhook_threads()) == 1
    deliveries.close()
    assert webhook_threads() == []


def test_close_without_deliveries() -> None:
    """Closing a thread that never started does nothing."""
    DeliveryThread().close()


def test_close_cancels(deliveries: DeliveryThread) -> None:
    """Close cancels what is under way, and returns when its connection is closed."""
    with catching(HANG) as catcher:
        delivery = deliveries.submit(post(catcher.url, b"{}", 600.0))
        wait_until(lambda: catcher.requests)
        deliveries.close()
        deliveries.close()
        assert catcher.left.wait(DEADLINE_S)
    assert delivery.cancelled()


def test_after_close(deliveries: DeliveryThread) -> None:
    """A delivery submitted after close is cancelled at once."""
    deliveries.close()
    assert deliveries.submit(nothing()).cancelled()


def test_no_thread_left(deliveries: DeliveryThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no thread left, submit raises, and the next one may succeed."""
    with monkeypatch.context() as patch:

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            deliveries.submit(nothing())
    deliveries.submit(nothing()).result(DEADLINE_S)


def run_program(program: str) -> str:
    """Run a program in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert done.stderr == ""
    return done.stdout


def test_imports_are_lazy() -> None:
    """Commands do not load asyncio for alerts, and a server loads httpx with the first delivery."""
    modules = "{'asyncio', 'httpx'} & set(sys.modules)"
    assert run_program(f"import sys, mikroscope.sidecar; print({modules})") == "set()\n"
    server = f"import sys, mikroscope.alerts.alerter; print({modules})"
    assert run_program(server) == "{'asyncio'}\n"


HANGING_LOOKUP = """
import socket, threading
from mikroscope.alerts.channels.webhook import DeliveryError, post
from mikroscope.alerts.delivery import DeliveryThread

socket.getaddrinfo = lambda *arguments, **options: threading.Event().wait()
deliveries = DeliveryThread()
try:
    deliveries.submit(post("http://hook.invalid/", b"{}", 0.2)).result()
except DeliveryError as error:
    print(error)
deliveries.submit(post("http://hook.invalid/", b"{}", 600.0))
deliveries.close()
print([one.name for one in threading.enumerate()])
"""


def test_hanging_lookup_does_not_keep_the_process() -> None:
    """A process ends although its lookups hang, both of one that timed out and a cancelled one."""
    printed = run_program(HANGING_LOOKUP)
    assert printed.startswith("gave no answer within 0.2 s\n")
    assert "mikroscope-lookup" in printed
