"""The output of commands on a terminal, into a pipe that closes, and onto a full disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.program import Processes
from tests.helpers.waiting import DEADLINE_S


def on_terminal(processes: Processes, stream: str, *arguments: str) -> tuple[str, str]:
    """Run a command with one stream on a terminal; return its output there, and the rest."""
    terminal, its_end = os.openpty()
    other = "stdout" if stream == "stderr" else "stderr"
    streams: dict[str, Any] = {stream: its_end, other: subprocess.PIPE}
    command = [sys.executable, "-m", "mikroscope", *arguments]
    with subprocess.Popen(command, cwd=processes.directory, text=True, **streams) as process:
        os.close(its_end)
        shown = b"".join(iter(lambda: read_terminal(terminal), b""))
        out, err = process.communicate(timeout=DEADLINE_S)
    os.close(terminal)
    assert process.returncode == 0
    return shown.decode(), out if other == "stdout" else err


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's sign that the other end is closed
        return b""


def test_progress(processes: Processes) -> None:
    """`index` shows its progress on a terminal, on stderr; stdout is JSON all the same."""
    processes.write("app.ndjson", {"n": 1}, {"n": 2}, {"n": 3})
    shown, out = on_terminal(processes, "stderr", "index")
    assert "indexing" in shown
    assert json.loads(out)["report"]["recordsInserted"] == 3


def test_json_on_a_terminal(processes: Processes) -> None:
    """On a terminal JSON is indented for people."""
    processes.write("app.ndjson", *({"level": "INFO"} for _ in range(3)))
    processes.ask("index")
    shown, _ = on_terminal(processes, "stdout", "query")
    assert '\n      "level": "INFO",' in shown.replace("\r\n", "\n")
    assert len(json.loads(shown)["entries"]) == 3


ACTING = "\x1b[31m\x9b2J\u202e"  # colour, erase, right to left


def test_log_line_cannot_act_on_a_terminal(processes: Processes) -> None:
    """Controls in a record or in a file name reach neither the output nor the log as such."""
    processes.write(f"a{ACTING}.ndjson", {"message": ACTING})
    with (processes.directory / "logs" / f"a{ACTING}.ndjson").open("a") as file:
        file.write("no json\n")
    done = processes.complete("index")
    assert "\\x1b[31m\\x9b2J\\u202e.ndjson:2" in done.stderr
    shown, _ = on_terminal(processes, "stdout", "query")
    (entry,) = json.loads(shown)["entries"]
    assert entry["message"] == ACTING
    for text in (done.stderr, shown, processes.complete("doctor").stdout):
        assert not any(one in text for one in "\x1b\x9b\u202e")


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_broken_pipe(processes: Processes, variables: dict[str, str]) -> None:
    """If the reader goes away (`mikroscope query | head`), the command prints no error."""
    processes.write("app.ndjson", *({"n": n, "pad": "x" * 1000} for n in range(500)))
    processes.ask("index")
    process = processes.start("query", "--limit", "1000", **variables)
    assert process.stdout is not None
    assert process.stdout.read(1) == "{"
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 1
    assert processes.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["--help", "query", "query --limit 1"])
def test_full_disk(processes: Processes, arguments: str) -> None:
    """Output that does not fit on the disk is a failure of one line."""
    processes.write("app.ndjson", *({"n": n, "pad": "x" * 1000} for n in range(100)))
    processes.ask("index")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mikroscope", *arguments.split()],
            check=False,
            cwd=processes.directory,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "mikroscope: No space left on device\n")
