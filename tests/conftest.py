"""Fixtures and hooks for all tests: the run's form, kinds of tests, servers, clients, a release."""

import fcntl
import gc
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from mikroscope import RunningServer, start_server
from tests.helpers import forms, kinds
from tests.helpers.release import Release, build_release, find_release
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S

# A shell that starts the tests in the background may have them ignore Ctrl-C, and every process
# that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Lets pytest explain the assertions of the contract suites like those of tests.
pytest.register_assert_rewrite("tests.stores.contract")
GUARD = kinds.Guard()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--form`."""
    parser.addoption(
        "--form",
        choices=("check", "test", "long"),
        default="test",
        help="check: leave out tests that start processes; long: only tests with a long form",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the form of the run, and start to watch for processes."""
    forms.choose(config.getoption("form"))
    GUARD.install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every test its kind, and keep those that belong to the form of the run."""
    for item in items:
        if isinstance(item, pytest.Function):
            kinds.mark(item)
            if hypothesis.is_hypothesis_test(item.obj):
                item.add_marker("long")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (kept if _belongs(item) else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking thousands of tests again and again."""
    gc.collect()
    gc.freeze()


def _belongs(item: pytest.Item) -> bool:
    if forms.chosen == "check":
        return not kinds.may_start_processes(item)
    return forms.chosen == "test" or item.get_closest_marker("long") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch each test from its set-up to its end."""
    GUARD.begin(item)
    try:
        return (yield)
    finally:
        GUARD.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Fail a test also where the code under test survived the guard's error."""
    result = yield
    assert not GUARD.started, GUARD.started
    return result


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers that keep their files in `tmp_path`, and close them after the test."""
    with ExitStack() as servers:

        def start(**overrides: object) -> RunningServer:
            return servers.enter_context(start_server(settings_in(tmp_path, **overrides)))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make clients of servers, and close them after the test."""
    with ExitStack() as clients:

        def make(server: RunningServer, **options: Any) -> httpx.Client:
            # Without `verify` a client spends 25 ms on certificates that no test needs.
            given: dict[str, Any] = {"timeout": DEADLINE_S, "trust_env": False, "verify": False}
            return clients.enter_context(httpx.Client(base_url=server.url, **given | options))

        yield make


@pytest.fixture
def impatient_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop waits a moment, not seconds, for records that cannot be written."""
    monkeypatch.setattr("mikroscope.indexing.writer_thread.STOP_PATIENCE_S", 0.2)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release for this machine, built once in a run: the processes of pytest-xdist share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    built = shared / "release"
    with (shared / "release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            build_release(shared / "unfinished").directory.rename(built)
    return find_release(built)
