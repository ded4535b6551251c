"""The messages that the server sends to systemd over a real datagram socket."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mikroscope.cli.systemd import SystemdNotifier
from tests.helpers.server import Serve
from tests.helpers.waiting import DEADLINE_S


class Listener:
    """A supervisor's socket and the messages that it has received."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(DEADLINE_S)

    def next(self) -> str:
        """Wait for the next message; return it."""
        return self._socket.recv(4096).decode()

    def is_empty(self) -> bool:
        """Return whether no message is pending; sent ones arrive immediately."""
        return not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """A supervisor's socket: in a directory, or in the abstract namespace, which only Linux has."""
    address = str(tmp_path / "notify")
    if request.param == "abstract":
        if sys.platform != "linux":
            pytest.skip("only Linux has abstract sockets")
        address = f"@mikroscope-test-{os.getpid()}"
    found = Listener(address)
    yield found
    found.close()


def supervisor(
    env: dict[str, str], monotonic: Callable[[], float] = lambda: 0.0
) -> SystemdNotifier:
    """Return the notifier of a process with id 7 in an environment."""
    return SystemdNotifier(env, 7, monotonic)


def test_ready(listener: Listener) -> None:
    """The server reports readiness with a line for people."""
    supervisor({"NOTIFY_SOCKET": listener.address}).ready("listens on http://127.0.0.1:1")
    assert listener.next() == "READY=1\nSTATUS=listens on http://127.0.0.1:1"


def test_stopping(listener: Listener) -> None:
    """The server reports that it begins to stop."""
    supervisor({"NOTIFY_SOCKET": listener.address}).stopping()
    assert listener.next() == "STOPPING=1"


def test_beats_at_half_of_the_time(listener: Listener) -> None:
    """The server notifies the watchdog once in half of its time, however often it checks."""
    times = iter((100.0, 114.9, 115.0))
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "30000000"}
    told = supervisor(env, lambda: next(times))
    for _ in range(3):
        told.ping_watchdog(lambda: True)
    assert [listener.next(), listener.next()] == ["WATCHDOG=1"] * 2
    assert listener.is_empty()


def test_no_beat_when_unwell(listener: Listener) -> None:
    """The server does not notify the watchdog while its own check fails, and resumes afterwards."""
    told = supervisor({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "30000000"})
    told.ping_watchdog(lambda: False)
    assert listener.is_empty()
    told.ping_watchdog(lambda: True)
    assert listener.next() == "WATCHDOG=1"


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
    ],
)
def test_no_watchdog(listener: Listener, watchdog: dict[str, str]) -> None:
    """Without a watchdog, or with another process's, nothing is sent and no check runs."""
    told = supervisor({"NOTIFY_SOCKET": listener.address, **watchdog})
    told.ping_watchdog(lambda: pytest.fail("was asked"))
    assert told.watchdog_interval_s is None
    assert listener.is_empty()


def test_children_do_not_inherit(listener: Listener) -> None:
    """The variables are removed, so that child processes cannot speak for the server."""
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "A": "b"}
    supervisor(env)
    assert env == {"A": "b"}


def test_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing socket causes a warning and does not stop the server."""
    supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("ready")
    assert "NOTIFY_SOCKET" in caplog.text


def test_serve_tells(listener: Listener, tmp_path: Path) -> None:
    """`mikroscope serve` reports that it is ready and alive, and on SIGTERM that it stops."""
    command = [sys.executable, "-m", "mikroscope", "serve", "--port", "0", "--min-free-bytes", "0"]
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "100000", "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        assert listener.next().startswith("READY=1\nSTATUS=listens on http://127.0.0.1:")
        assert listener.next() == "WATCHDOG=1"
        server.send_signal(signal.SIGTERM)
        rest = iter(listener.next, "STOPPING=1")
        assert set(rest) <= {"WATCHDOG=1"}
        assert server.wait(DEADLINE_S) == 0


def test_a_stuck_loop_is_noticed(serve: Serve) -> None:
    """A server is not responsive while its event loop is blocked, and recovers afterwards."""
    server = serve()
    assert server.is_responsive(DEADLINE_S)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        free.wait(DEADLINE_S)

    server._loop.call_soon_threadsafe(hold)
    assert held.wait(DEADLINE_S)
    assert not server.is_responsive(0.01)
    free.set()
    assert server.is_responsive(DEADLINE_S)


def test_a_closed_server_is_not_responsive(serve: Serve) -> None:
    """A closed server is not responsive."""
    server = serve()
    server.close()
    assert not server.is_responsive(0.01)
