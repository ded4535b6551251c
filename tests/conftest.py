"""What tests of the outside share: servers that are closed again, a client, a patient wait."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mikroscope import RunningServer, start_server
from tests.helpers.release import Release, build_release
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S

# Whoever starts the tests in the background may have them ignore Ctrl-C, and what is started by
# them would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
