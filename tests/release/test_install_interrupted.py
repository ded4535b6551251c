"""The installer interrupted, killed, and run twice at once."""

import os
import signal
import subprocess
from collections.abc import Callable
from http.server import ThreadingHTTPServer

import pytest

from tests.helpers.installer import SCRIPT, User, write_release
from tests.helpers.release import bare_environment
from tests.helpers.waiting import DEADLINE_S, wait_until


class Running:
    """An installer in the background, in a separate process group."""

    def __init__(self, user: User, **more: str) -> None:
        self.process = subprocess.Popen(
            ["sh", str(SCRIPT)],
            cwd=user.home,
            env=bare_environment(user.home, **user.env | more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def interrupt(self, how: Callable[[], None]) -> str:
        """Interrupt the installer and wait; return its output."""
        how()
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 130
        return errors


@pytest.mark.parametrize("everybody", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_while_fetching(
    user: User, stuck_site: ThreadingHTTPServer, everybody: bool
) -> None:
    """Ctrl-C, or SIGTERM to the shell alone, ends the installer's download and leaves nothing."""
    url = f"http://127.0.0.1:{stuck_site.server_port}"
    running = Running(user, MIKROSCOPE_INSTALL_BASE_URL=url)
    assert stuck_site.asked.wait(DEADLINE_S)  # type: ignore[attr-defined]
    number = running.process.pid
    if everybody:
        said = running.interrupt(lambda: os.killpg(number, signal.SIGINT))
    else:
        said = running.interrupt(lambda: os.kill(number, signal.SIGTERM))
    assert said.strip() == "install.sh: interrupted: run it again to finish"
    assert not user.left()


def test_interrupted_while_compiling(user: User) -> None:
    """An interrupt while modules are compiled leaves no process and no version."""
    user.publish("0.1.0").archive.unlink()
    write_release(user.site.directory, user.tag, modules=200)
    running = Running(user)
    wait_until(lambda: any("__pycache__" in path for path in user.left()))
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert not list((user.directory / "versions").iterdir())
    with pytest.raises(ProcessLookupError):  # its group has ended with it
        os.killpg(running.process.pid, 0)


def test_interrupted_while_trying(user: User) -> None:
    """An interrupt while the new version is tried ends the trial and keeps the old version."""
    user.installs()
    before = user.left()
    user.publish("0.2.0", "slow")
    running = Running(user)
    wait_until(lambda: any("server.log" in path for path in user.left()))
    log = next(user.directory.rglob("server.log"))
    wait_until(lambda: "starting" in log.read_text())
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert user.version == "0.1.0"
    wait_until(lambda: user.left() == before)


def test_after_a_kill(user: User) -> None:
    """The next run removes the files that a killed run has left."""
    left = user.directory / ".incoming"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    with subprocess.Popen(["true"]) as ended:
        (left / "process").write_text(f"{ended.pid}\n")
    user.installs()
    assert not left.exists()


def test_two_at_once(user: User, stuck_site: ThreadingHTTPServer) -> None:
    """A second installer in the same directory is refused and does not disturb the first."""
    running = Running(
        user, MIKROSCOPE_INSTALL_BASE_URL=f"http://127.0.0.1:{stuck_site.server_port}"
    )
    assert stuck_site.asked.wait(DEADLINE_S)  # type: ignore[attr-defined]
    before = user.left()
    assert f"another installer, process {running.process.pid}, is working" in user.is_refused()
    assert user.left() == before
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert not user.left()
