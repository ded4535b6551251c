"""The installer asks questions on a terminal and repeats those with unusable answers."""

import json
import os
import pty
import select
import socket
import termios

from tests.helpers.installer import SCRIPT, User
from tests.helpers.release import bare_environment
from tests.helpers.waiting import DEADLINE_S


def test_questions(user: User) -> None:
    """The installer asks on a terminal even if the script is piped; secrets are not shown."""
    shown = answer_questions(user, ["", "4998", "", "", "s3cret", "", "ann", "pass word"])
    content = json.loads(user.config.read_text())
    assert (content["port"], content["host"]) == (4998, "127.0.0.1")
    assert (content["apiToken"], content["authPassword"]) == ("s3cret", "pass word")
    assert "s3cret" not in shown
    assert "Port [4310]: 4998" in shown


def test_questions_again(user: User) -> None:
    """After a wrong answer, the installer names the expected value and asks again."""
    shown = answer_questions(user, ["", "many", "4998"])
    assert "Port: expected a whole number from 0 to 65535, got 'many'" in shown
    assert json.loads(user.config.read_text())["port"] == 4998


def test_one_way_to_say_none(user: User) -> None:
    """A hyphen clears a default, and ~ in a path means the home directory."""
    answers = ["", "4998", "~/my logs", "", "", "", "-"]
    answer_questions(user, answers, MIKROSCOPE_AUTH_USERNAME="ann", MIKROSCOPE_AUTH_PASSWORD="x")
    content = json.loads(user.config.read_text())
    assert content["logsPath"] == f"{user.home}/my logs"
    assert not {"authUsername", "authPassword"} & set(content)


def test_a_refused_combination_can_be_mended(user: User) -> None:
    """After contradictory answers the installer asks again, and a hyphen clears one."""
    shown = answer_questions(user, ["", "4998", *[""] * 4, "ann", "", *[""] * 6, "-"])
    assert "expected together with --auth-password" in shown
    assert "authUsername" not in json.loads(user.config.read_text())


def test_address_in_use(user: User) -> None:
    """The installer asks again for an address in use, and accepts it the second time."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        shown = answer_questions(user, ["", str(port)])
    assert f"cannot listen on 127.0.0.1:{port} now: Address already in use" in shown
    assert json.loads(user.config.read_text())["port"] == port


def test_address_in_use_without_questions(user: User) -> None:
    """Without questions, an address in use is a warning, since the other server may stop soon."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        printed = user.installs(MIKROSCOPE_PORT=port)
    assert f"warning: cannot listen on 127.0.0.1:{port} now" in printed


def test_interrupted_at_a_secret(user: User) -> None:
    """Ctrl-C while typing a secret leaves no files and restores the terminal's echo."""
    process, terminal = on_terminal(user)
    shown = ""
    while (
        "run it again to finish" not in shown and select.select([terminal], [], [], DEADLINE_S)[0]
    ):
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:
            break
        if shown.endswith("]: "):
            os.write(terminal, b"\x03" if "Token required" in shown else b"\n")
    os.waitpid(process, 0)
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(terminal)
    assert "run it again to finish" in shown
    assert not user.left()


def on_terminal(user: User, **more: str) -> tuple[int, int]:
    """Run `cat install.sh | sh` on a terminal; return its process and the terminal."""
    env = bare_environment(user.home, **user.env | {"MIKROSCOPE_INSTALL_NONINTERACTIVE": ""} | more)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(user.home)
        os.execve("/bin/sh", ["sh", "-c", f"cat {SCRIPT} | sh"], env)  # noqa: S606 -- a shell
    return process, terminal


def answer_questions(user: User, answers: list[str], **more: str) -> str:
    """Type the answers, then Enter for all other questions; return the terminal's output."""
    process, terminal = on_terminal(user, **more)
    left, shown, seen = iter(answers), "", 0
    while select.select([terminal], [], [], DEADLINE_S)[0]:
        try:
            read = os.read(terminal, 4096).decode()
        except OSError:  # the other end is closed
            break
        shown += read
        if not read:
            break
        for _ in range(shown.count("]: ", seen)):
            os.write(terminal, next(left, "").encode() + b"\n")
        seen = len(shown)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown
    os.close(terminal)
    return shown
