"""The demo of alerts shows a real alert, and leaves nothing running."""

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
    """The command, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One command."""
        command = [sys.executable, "-m", "mikroscope", "demo", "alerts"]
        command += ["--dir", str(self.directory), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def tell(self, *words: str) -> Any:
        """What one prints on stdout, as JSON."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def state(self) -> dict[str, Any]:
        """What it remembers of its processes."""
        found: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that is ended."""
    one = Demo(tmp_path / "demo")
    yield one
    if (one.directory / "state.json").exists():
        one.run("down")


def is_alive(pid: int) -> bool:
    """Whether a process runs that is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def assert_refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    """One line of error, exit code 1."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_spike(demo: Demo) -> None:
    """From up to down: the webhook arrives, and both processes end."""
    assert demo.tell("up", "error")["url"].startswith("http://127.0.0.1:")
    state = demo.state()
    assert (demo.directory / "state.json").stat().st_mode & 0o777 == 0o600
    webhook = demo.tell("trigger-error")["webhook"]
    assert (webhook["rule"], webhook["source"]) == ("error_threshold", "mikroscope")
    wait_until(lambda: demo.tell("status")["alerting"]["sent"] >= 1)
    assert webhook in demo.tell("logs")["webhooks"]
    done = demo.run("down")
    assert done.returncode == 0
    assert not is_alive(state["server"]["pid"])
    assert not is_alive(state["catcher"]["pid"])


def test_no_logs(demo: Demo) -> None:
    """The rule of a minute without logs is in force, and the other one out of the way."""
    demo.tell("up", "nologs")
    policy = demo.tell("status")["alertPolicy"]
    assert policy["enabled"] is True
    assert policy["noLogsThresholdMinutes"] == 1
    assert policy["errorThreshold"] > 1000
    assert demo.tell("trigger-error") == {"sent": 5, "webhook": None}


def test_up_twice(demo: Demo) -> None:
    """The second is refused, and the first goes on."""
    demo.tell("up")
    assert_refused(demo.run("up"), "runs already")
    demo.tell("status")


@pytest.mark.parametrize("words", ["trigger-error", "status", "logs", "down"])
def test_nothing_runs(demo: Demo, words: str) -> None:
    """Without `up` there is nothing to ask."""
    assert_refused(demo.run(words), "demo alerts up")


def test_a_server_that_has_ended(demo: Demo) -> None:
    """It is told, `down` clears up, and `up` starts anew."""
    demo.tell("up")
    server = demo.state()["server"]["pid"]
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_alive(server))
    assert_refused(demo.run("status"), "has ended")
    assert demo.run("down").returncode == 0
    demo.tell("up")


def test_up_after_the_server_has_ended(demo: Demo) -> None:
    """It starts anew, and leaves nothing of the old demo running."""
    demo.tell("up")
    old = demo.state()
    os.kill(old["server"]["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(old["server"]["pid"]))
    demo.tell("up")
    assert not is_alive(old["catcher"]["pid"])
    demo.tell("status")


def test_another_process_of_the_same_number(demo: Demo) -> None:
    """It is not ended."""
    demo.tell("up")
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
    """It is wrong usage."""
    assert demo.run("up", "loud").returncode == 2


def test_a_directory_that_cannot_be(demo: Demo) -> None:
    """One line, no traceback."""
    demo.directory.write_text("a file")
    done = demo.run("up")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
