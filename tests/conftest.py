"""What tests of the outside share: servers that are closed again, a client, a patient wait."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from mikroscope import RunningServer, Settings, resolve_settings, start_server
from tests.shipping import Release, build_release

DEADLINE_S = 30.0  # far above what anything takes, on a machine that is busy with other things


# Whoever starts the tests in the background may have them ignore Ctrl-C, and what is started by
# them would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Serve(Protocol):
    """Start a server in the test's directory, with other settings as wanted."""

    def __call__(self, **overrides: object) -> RunningServer: ...


class Connect(Protocol):
    """A client of a server; `options` are those of httpx.Client."""

    def __call__(self, server: RunningServer, **options: Any) -> httpx.Client: ...


def wait_until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as the condition holds; fail if it does not within the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s"
        time.sleep(0.005)


def has_ipv6() -> bool:
    """Whether this machine can listen on an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def settings_in(directory: Path, **overrides: object) -> Settings:
    """Settings of a server that keeps everything in a directory and listens on a free port."""
    given: dict[str, object] = {
        "logs_path": directory / "logs",
        "db_path": directory / "data" / "mikroscope.db",
        "port": 0,
        "min_free_bytes": 0,
        "db_retention_days": 0,  # records of tests are of any time
        "db_audit_retention_days": 0,
    }
    return resolve_settings(env={}, overrides=given | overrides)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers that keep their files in `tmp_path`, and closes them after the test."""
    with ExitStack() as servers:

        def start(**overrides: object) -> RunningServer:
            return servers.enter_context(start_server(settings_in(tmp_path, **overrides)))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of servers, and closes them after the test."""
    with ExitStack() as clients:

        def make(server: RunningServer, **options: Any) -> httpx.Client:
            # Without `verify` a client takes 25 ms to load certificates that nobody here has.
            given: dict[str, Any] = {"timeout": DEADLINE_S, "trust_env": False, "verify": False}
            return clients.enter_context(httpx.Client(base_url=server.url, **given | options))

        yield make


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release for this machine, built once."""
    return build_release(tmp_path_factory.mktemp("release") / "dist")
