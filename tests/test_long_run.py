"""`make test-long` keeps a record of its last run, tests/long-run.md."""

import importlib
import re
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that runs and records; scripts/ is not a package."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("run_long_tests")


def test_last_run_passed() -> None:
    """The record has date, commit, machine, duration and a closing line without failures."""
    text = (ROOT / "tests" / "long-run.md").read_text()
    rows = dict(re.findall(r"^\| (\w[\w ]+) \| (.+) \|$", text, re.MULTILINE))
    assert list(rows) == ["date", "commit", "machine", "duration", "closing line"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", rows["date"])
    assert re.match(r"`\d+ passed", rows["closing line"])
    assert not re.search("failed|error", rows["closing line"])


def test_record_of_a_run(script: ModuleType) -> None:
    """A run is recorded with its time in UTC, its duration and pytest's closing line."""
    date, duration = datetime(2026, 2, 3, 4, 5, tzinfo=UTC), timedelta(minutes=12, seconds=3)
    text = script.record(date, "abc1234", "2 cores", duration, "1 passed in 723.0s")
    for row in (
        "| date | 2026-02-03 04:05 UTC |",
        "| commit | abc1234 |",
        "| duration | 0:12:03 |",
    ):
        assert row in text
    assert "| closing line | `1 passed in 723.0s` |" in text


def test_closing_line(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The output is passed on as it is; its last line counts, without its frame."""
    lines = ["begin\n", "===== 3 passed in 1.0s =====\n", "\n"]
    assert script.show(lines) == "3 passed in 1.0s"
    assert capsys.readouterr().out == "".join(lines)


@pytest.mark.parametrize(("load", "shared"), [(0.0, False), (1e6, True)])
def test_shared_machine(script: ModuleType, load: float, shared: bool) -> None:
    """The cores are called shared where other programs keep them busy at the start."""
    assert (" shared cores, " in script.machine_in_words(load)) is shared
