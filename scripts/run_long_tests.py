"""Runs the long forms of tests, by the command it is given, and records the run.

`make test-long` calls it. The record, tests/long-run.md, has the last run that passed or failed:
when, at which commit, how long, on what machine, and the line that pytest ends with.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "long-run.md"
_TEXT = """\
# The last run of `make test-long`

`make test-long` runs what `make test` has in a short form at full length: kills, floods, installs
of every kind, and input that hypothesis invents for each run. It writes this file itself.

| | |
|---|---|
| date | {date} |
| commit | {commit} |
| machine | {machine} |
| duration | {duration} |
| closing line | `{closing}` |
"""


def main() -> None:
    """Run the command, write the record, and end with the command's exit code."""
    begin, machine = time.monotonic(), machine_in_words(os.getloadavg()[0])
    code, closing = run(sys.argv[1:])
    duration = timedelta(seconds=round(time.monotonic() - begin))
    RECORD.write_text(record(datetime.now(UTC), commit(), machine, duration, closing))
    sys.exit(code)


def run(command: list[str]) -> tuple[int, str]:
    """Run a command, show what it prints, and return its exit code and its last line."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = show(process.stdout)
    return process.returncode, last


def show(lines: Iterable[str]) -> str:
    """Print lines as they come; return the last one that is not empty, without its frame."""
    last = ""
    for line in lines:
        print(line, end="", flush=True)
        last = line.strip().strip("=").strip() or last
    return last


def commit() -> str:
    """The commit that is checked out; a `+` after it stands for changes since."""
    if not (ROOT / ".git").exists():
        return "unknown"
    changes = ["git", "status", "--porcelain", "--", ".", f":!{RECORD.relative_to(ROOT)}"]
    return _output(["git", "rev-parse", "--short", "HEAD"]) + ("+" if _output(changes) else "")


def machine_in_words(load: float) -> str:
    """The machine; its cores are shared if other programs keep them busy at the start."""
    cores = os.cpu_count() or 1
    shared = "shared " if load > cores / 2 else ""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{cores} {shared}cores, {platform.system()}, Python {python}"


def record(date: datetime, at_commit: str, machine: str, duration: timedelta, closing: str) -> str:
    """The text of the record."""
    day = f"{date:%Y-%m-%d %H:%M} UTC"
    return _TEXT.format(
        date=day, commit=at_commit, machine=machine, duration=duration, closing=closing
    )


def _output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
