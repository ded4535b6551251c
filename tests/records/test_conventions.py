"""Lines of real loggers mean what their loggers meant."""

import json
from typing import Any

import pytest

from mikroscope.records.attributes import (
    level_of,
    message_of,
    time_of,
)
from mikroscope.records.parsing import Fields, parse_line
from tests.helpers.paths import ROOT

LOGGERS = ROOT / "tests" / "fixtures" / "loggers"
EXPECTED: list[dict[str, Any]] = json.loads((LOGGERS / "expected.json").read_text())
FIXTURE_LINES = {path.name: path.read_bytes().splitlines() for path in LOGGERS.glob("*.ndjson")}


def test_every_fixture_line_has_an_expectation() -> None:
    """No line of the loggers' fixtures goes unchecked."""
    lines = {(name, n) for name, raws in FIXTURE_LINES.items() for n in range(1, len(raws) + 1)}
    assert {(one["file"], one["line"]) for one in EXPECTED} == lines


@pytest.mark.parametrize("want", EXPECTED, ids=lambda one: f"{one['file']}:{one['line']}")
def test_a_line_of_a_real_logger_gives_its_time_level_and_message(want: dict[str, Any]) -> None:
    """Time, level and message come out as the logger meant them."""
    fields = parse_line(FIXTURE_LINES[want["file"]][want["line"] - 1])[0]
    found = time_of(fields)
    time_ms = found[0] if found else None
    assert (time_ms, level_of(fields), message_of(fields)) == (
        want["timeMs"],
        want["level"],
        want["message"],
    )


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"levelno": 30}, "WARN"),
        ({"level_value": 40_000}, "ERROR"),
        ({"severityNumber": 17}, "ERROR"),
        ({"severityNumber": 0}, "INFO"),
        ({"severity": 500}, "ERROR"),
        ({"severity": "CRITICAL"}, "FATAL"),
        ({"levelname": "WARNING"}, "WARN"),
        ({"level_name": "NOTICE", "level": 250}, "INFO"),
        ({"log.level": "error"}, "ERROR"),
        ({"log": {"level": "error"}}, "ERROR"),
        ({"@l": "Verbose"}, "TRACE"),
        ({"PRIORITY": "3"}, "ERROR"),
        ({"PRIORITY": 0}, "FATAL"),
    ],
)
def test_a_convention_is_known_by_its_key(fields: Fields, want: str) -> None:
    """The key determines the meaning of a number."""
    assert level_of(fields) == want


def test_a_priority_of_many_digits_is_survived() -> None:
    """No text in `PRIORITY` keeps a record from being indexed."""
    assert level_of({"PRIORITY": "1" * 5_000}) == "DEBUG"


def test_a_convention_wins_over_ingested_at() -> None:
    """The logger's own time comes before the time of receipt."""
    assert time_of({"ingestedAt": "2026-01-01T00:00:00Z", "time": 5}) == (5_000, "time")
