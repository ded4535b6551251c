"""The alert demo delivers a real alert and leaves no process running."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.waiting import wait_until


class Demo:
    """The demo's commands, run in a separate directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one command."""
        command = [sys.executable, "-m", "mikroscope", "demo", "alerts"]
        command += ["--dir", str(self.directory), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def answer(self, *words: str) -> Any:
        """Run one command that succeeds; return the JSON it prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def state(self) -> dict[str, Any]:
        """Return what the demo has stored about its processes."""
        found: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that is stopped after the test."""
    one = Demo(tmp_path / "demo")
    yield one
    if (one.directory / "state.json").exists():
        one.run("down")


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def assert_refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    """Check for an error of one line and exit code 1."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_spike(demo: Demo) -> None:
    """After `up`, an error spike is delivered to the webhook; `down` ends both processes."""
    assert demo.answer("up", "error")["url"].startswith("http://127.0.0.1:")
    state = demo.state()
    assert (demo.directory / "state.json").stat().st_mode & 0o777 == 0o600
    webhook = demo.answer("trigger-error")["webhook"]
    assert (webhook["rule"], webhook["source"]) == ("error_threshold", "mikroscope")
    wait_until(lambda: demo.answer("status")["alerting"]["sent"] >= 1)
    assert webhook in demo.answer("logs")["webhooks"]
    done = demo.run("down")
    assert done.returncode == 0
    assert not is_alive(state["server"]["pid"])
    assert not is_alive(state["catcher"]["pid"])


def test_no_logs(demo: Demo) -> None:
    """In the mode nologs, the silence rule is on and the error threshold cannot be reached."""
    demo.answer("up", "nologs")
    policy = demo.answer("status")["alertPolicy"]
    assert policy["enabled"] is True
    assert policy["noLogsThresholdMinutes"] == 1
    assert policy["errorThreshold"] > 1000
    assert demo.answer("trigger-error") == {"sent": 5, "webhook": None}


def test_up_twice(demo: Demo) -> None:
    """A second up is refused, and the first demo continues."""
    demo.answer("up")
    assert_refused(demo.run("up"), "already running")
    demo.answer("status")


@pytest.mark.parametrize("words", ["trigger-error", "status", "logs", "down"])
def test_nothing_runs(demo: Demo, words: str) -> None:
    """Every other command is refused before up."""
    assert_refused(demo.run(words), "demo alerts up")


def test_a_server_that_has_ended(demo: Demo) -> None:
    """A dead server is reported; after down the demo can be started again."""
    demo.answer("up")
    server = demo.state()["server"]["pid"]
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_alive(server))
    assert_refused(demo.run("status"), "has ended")
    assert demo.run("down").returncode == 0
    demo.answer("up")


def test_up_after_the_server_has_ended(demo: Demo) -> None:
    """After the server died, up starts a new demo and ends the old receiver."""
    demo.answer("up")
    old = demo.state()
    os.kill(old["server"]["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(old["server"]["pid"]))
    demo.answer("up")
    assert not is_alive(old["catcher"]["pid"])
    demo.answer("status")


def test_another_process_of_the_same_number(demo: Demo) -> None:
    """A process that reuses the id of the dead server is not ended."""
    demo.answer("up")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        state = demo.state()
        real = state["server"]["pid"]
        state["server"]["pid"] = other.pid
        (demo.directory / "state.json").write_text(json.dumps(state))
        assert demo.run("down").returncode == 0
        assert other.poll() is None
        other.kill()
    os.kill(real, signal.SIGTERM)


def test_a_wrong_mode(demo: Demo) -> None:
    """An unknown mode is a usage error."""
    assert demo.run("up", "loud").returncode == 2


def test_a_directory_that_cannot_be(demo: Demo) -> None:
    """A directory that cannot be created is an error of one line."""
    demo.directory.write_text("a file")
    done = demo.run("up")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
