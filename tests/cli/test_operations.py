"""backup, restore and doctor as commands: what they print, and their exit codes."""

import json
import os

import pytest

from mikroscope import cli
from tests.helpers.program import SERVE, Processes, Program, stop, url_of


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The amounts by which commands have lowered the priority of the tests' process."""
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    return asked


@pytest.fixture(autouse=True)
def indexed(program: Program, niceness: list[int]) -> None:
    """Ten indexed records."""
    program.write("app.ndjson", *({"n": number} for number in range(10)))
    program.ask("index")


def test_backup_and_restore(program: Program) -> None:
    """Both commands print their result in JSON."""
    saved = program.ask("backup", "backups")
    assert (saved["entries"], saved["files"]) == (10, 2)
    assert saved["bytes"] > 0
    restored = program.ask("restore", saved["backup"], "--logs", "x/logs", "--db", "x/i.db")
    assert restored == saved | {"kept": []}
    assert program.ask("query", "--db", "x/i.db") == program.ask("query")


def test_check(program: Program) -> None:
    """`--check` reads a backup and restores nothing."""
    saved = program.ask("backup", "backups", "--only", "logs")
    assert saved["entries"] is None
    assert program.ask("restore", saved["backup"], "--check", "--logs", "x") == saved
    assert not (program.directory / "x").exists()


def test_restore_over_something(program: Program) -> None:
    """Existing files are refused on one line; with --force their new names are printed."""
    saved = program.ask("backup", "backups")
    assert "--force" in program.refuse(1, "restore", saved["backup"])
    kept = program.ask("restore", saved["backup"], "--force")["kept"]
    assert len(kept) == 2
    assert all((program.directory / path).exists() for path in kept)


def test_restore_beside_a_server(program: Program, processes: Processes) -> None:
    """A restore is refused while the server runs, and works after it stops."""
    saved = program.ask("backup", "backups")
    process = processes.start(*SERVE)
    url_of(process)
    text = program.refuse(1, "restore", saved["backup"], "--force")
    assert text.startswith(
        f"A server (process {process.pid}) is using this index. Stop it before restoring to "
    )
    stop(process)
    program.ask("restore", saved["backup"], "--force")


@pytest.mark.parametrize(
    ("code", "arguments", "text"),
    [
        (2, "backup", "Missing argument 'DIR'"),
        (2, "backup b --only x", "'x' is not one of 'logs', 'index'"),
        (1, "backup logs/b", "is inside the log directory"),
        (1, "backup b --db none.db", "none.db. Run this where the server runs, or pass --db"),
        (1, "restore nowhere", "nowhere is not a backup"),
        (2, "doctor --online=maybe", "does not take a value"),
    ],
)
def test_refusals(program: Program, code: int, arguments: str, text: str) -> None:
    """One line names the expected value; the exit code is 2 for usage and 1 for failure."""
    assert text in program.refuse(code, *arguments.split())


def test_backup_lets_others_go_first(program: Program, niceness: list[int]) -> None:
    """A backup lowers the priority of its own process."""
    program.ask("backup", "backups")
    assert niceness == [10]


def test_doctor_for_people(program: Program) -> None:
    """The doctor prints one line per finding, problems last and with their fixes; warnings leave
    the exit code 0.
    """
    (program.directory / "logs" / "notes.txt").write_text("x")
    flags = ("--port", "0", "--min-free-bytes", "0", "--cors-allow-origin", "*")
    done = program.run("doctor", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    *_, last, verdict = done.stdout.splitlines()
    assert last.startswith("warning: files left out: 1 file is not indexed: notes.txt (.txt)")
    assert " -- fix: to index it, set --log-file-suffixes " in last
    assert verdict.startswith("problems: 0, warnings: 1, ok: ")


def test_doctor_for_programs(program: Program) -> None:
    """`--json` prints findings with check, status, text and fix."""
    found = program.ask("doctor", "--json", "--port", "0", "--min-free-bytes", "0")
    assert found["ok"] is True
    assert {tuple(one) for one in found["findings"]} == {("check", "status", "text", "fix")}


def test_doctor_with_a_problem(program: Program) -> None:
    """A problem makes the exit code 1, and the output has the same form."""
    done = program.run("doctor", "--json", "--ingest-interval-ms", "soon")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert "--ingest-interval-ms: expected a whole number" in found["findings"][1]["text"]


@pytest.mark.parametrize("command", ["backup", "restore", "doctor"])
def test_help(program: Program, command: str) -> None:
    """Each command's help explains the command and its flags."""
    done = program.run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: mikroscope {command} ")
    flags = {flag for option in cli.cli.commands[command].params for flag in option.opts}
    assert all(flag in done.stdout for flag in flags if flag.startswith("-"))
