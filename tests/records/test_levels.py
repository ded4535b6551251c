"""Loggers spell severities in many ways; some of them are errors."""

from mikroscope.records.levels import ERROR_LEVELS, SEVERITIES, SEVERITY_OF_NAME


def test_every_other_name_stands_for_a_severity() -> None:
    """Every other name maps to a severity."""
    assert set(SEVERITY_OF_NAME.values()) <= set(SEVERITIES)
    assert not set(SEVERITY_OF_NAME) & set(SEVERITIES)


def test_errors_under_every_name() -> None:
    """ERROR and FATAL are errors under every name; nothing less severe is one."""
    assert {"ERROR", "FATAL", "ERR", "SEVERE", "CRITICAL", "PANIC"} <= ERROR_LEVELS
    assert not {"TRACE", "DEBUG", "INFO", "WARN", "WARNING", "NOTICE"} & ERROR_LEVELS
