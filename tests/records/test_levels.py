"""Loggers spell severities in many ways; some of them are errors."""

import pytest

from mikroscope.records.levels import (
    SEVERITIES,
    SEVERITY_OF_NAME,
    is_error,
    level_named,
    severity_of,
)


def test_every_other_name_stands_for_a_severity() -> None:
    """Every other name maps to a severity."""
    assert set(SEVERITY_OF_NAME.values()) <= set(SEVERITIES)
    assert not set(SEVERITY_OF_NAME) & set(SEVERITIES)


@pytest.mark.parametrize(
    "names",
    [
        "TRACE VERBOSE FINEST SILLY TRCE VRB DEBUG-5",
        "DEBUG FINE CONFIG DBUG DBG DEBUG1 DEBUG+1 INFO-1",
        "INFO NOTICE INFORMATION INF LOG NOTE INFO+2 INFO+3",
        "WARN WARNING WRN WARN+1 INFO+4",
        "ERROR ERR SEVERE FAIL ERROR+2 ERROR+8",
        "FATAL CRITICAL CRIT ALERT EMERG EMERGENCY PANIC DPANIC FTL",
    ],
)
def test_names_of_one_severity(names: str) -> None:
    """All of these mean the first one; from ERROR on they are errors."""
    severity, *others = names.split()
    assert [severity_of(name) for name in (severity, *others)] == [severity] * (len(others) + 1)
    assert {is_error(name) for name in names.split()} == {severity in ("ERROR", "FATAL")}


@pytest.mark.parametrize("level", ["AUDIT", "HTTP", "SUCCESS", "INFO+", "INFO2", "", "ERROR:"])
def test_other_levels_stand_for_themselves(level: str) -> None:
    """A level that no logger is known for is no severity and no error."""
    assert severity_of(level) == level
    assert not is_error(level)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("warn", "WARN"),
        ("WARN ", "WARN"),
        ("\tError\n", "ERROR"),
        ("\x1b[31merror\x1b[39m", "ERROR"),
        ("\x1b[1;38:5:9m error \x1b[0m", "ERROR"),
        ("my level", "MY LEVEL"),
        (" ", ""),
        ("\x1b[31m\x1b[0m", ""),
        ("x" * 5_000, "X" * 5_000),
    ],
)
def test_spaces_and_colours_are_no_part_of_a_level(text: str, level: str) -> None:
    """What stands around the name is left out; the name is in upper case."""
    assert level_named(text) == level


def test_any_number_of_levels_is_remembered_in_bounded_space() -> None:
    """Levels that are all different cost no more memory than a thousand."""
    assert [level_named(f"l{n}") for n in range(3_000)] == [f"L{n}" for n in range(3_000)]
    assert [severity_of(f"L{n}") for n in range(3_000)] == [f"L{n}" for n in range(3_000)]
