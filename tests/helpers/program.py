"""The program `mikroscope`, called inside the test's process or run in its own process."""

import contextlib
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Self

from mikroscope import cli
from tests.helpers.waiting import DEADLINE_S

SERVE = ("serve", "--port", "0", "--min-free-bytes", "0")
# Variables of the tests' own environment; Python's output is buffered as it is for a user.
NOT_PASSED_ON = ("MIKROSCOPE_", "MOCK_LOG_", "PYTHONUNBUFFERED")

Process = subprocess.Popen[str]


class Program:
    """Calls commands of `mikroscope` in this process, in a directory of their own.

    `serve` is not called that way: it takes over signals and limits of its process.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str, **variables: str) -> "CompletedProcess[str]":
        """Call a command with more variables in its environment."""
        out = TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True)
        err = TextIOWrapper(BytesIO(), "utf-8", "backslashreplace", write_through=True)
        with (
            contextlib.chdir(self.directory),
            _environment(environment(variables) | {"COLUMNS": "80"}),
            _own_logging(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = _exit_code(list(arguments))
        printed, said = (one.buffer.getvalue().decode() for one in (out, err))
        return CompletedProcess(arguments, code, printed, said)

    def ask(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Call a command that must succeed without output on stderr; return the JSON it prints."""
        done = self.run(*arguments, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    def refuse(self, code: int, *arguments: str, **variables: str) -> str:
        """Call a command that must fail with this code; return its one line on stderr."""
        return refused(code, self.run(*arguments, **variables))

    def write(self, name: str, *records: object) -> Path:
        """Write a log file."""
        path = self.directory / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
        return path


class Processes(Program):
    """Starts `mikroscope` in separate processes, too, and ends them when it is closed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.running: list[Process] = []

    def start(self, *arguments: str, **variables: str) -> Process:
        """Start a process; its stderr goes to the file `stderr`."""
        with (self.directory / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "mikroscope", *arguments],
                cwd=self.directory,
                env=environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.running.append(process)
        return process

    def complete(self, *arguments: str, **variables: str) -> "CompletedProcess[str]":
        """Run a process to its end."""
        return subprocess.run(
            [sys.executable, "-m", "mikroscope", *arguments],
            check=False,
            cwd=self.directory,
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
        )

    @property
    def stderr(self) -> str:
        """Return the stderr of the process that was started last."""
        return (self.directory / "stderr").read_text()

    def close(self) -> None:
        """Kill the processes that still run."""
        for process in self.running:
            with process:  # closes its pipe and waits
                process.kill()


class Terminal:
    """The program in a process of its own that is connected to a terminal."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._own, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mikroscope", *arguments],
            cwd=directory,
            env=environment({"TERM": "dumb", "COLUMNS": "200"}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def read_until(self, text: str) -> str:
        """Return what was shown, up to the end of the line with this text."""
        shown = b""
        while text.encode() not in shown or not shown.endswith(b"\n"):
            ready, _, _ = select.select([self._own], [], [], DEADLINE_S)
            assert ready, shown
            shown += os.read(self._own, 65_536)
        return shown.decode()

    def interrupt(self) -> int:
        """Send the signal of Ctrl-C; return the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()
        os.close(self._own)


def refused(code: int, done: "CompletedProcess[str]") -> str:
    """Return the one line on stderr of a failed command."""
    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(r"mikroscope: .+\n", done.stderr), done.stderr
    return done.stderr.removeprefix("mikroscope: ").rstrip("\n")


def url_of(process: Process) -> str:
    """Wait for the line that a server prints at its start; return its URL."""
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"MikroScope listens on (http://127\.0\.0\.1:\d+) \(.*\)\n", line)
    assert match is not None, line
    return match[1]


def stop(process: Process, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal; return the exit code and the remaining stdout."""
    process.send_signal(number)
    rest, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, rest


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of the tests, without the program's variables, and with some more."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    return kept | variables


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """Remove the tests' log handlers, as at the start of a process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level


def _exit_code(arguments: list[str]) -> int:
    try:
        cli.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("the program ended without an exit code")
