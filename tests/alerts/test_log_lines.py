"""The line of text that shows an entry in a notification."""

from typing import Any

import msgspec
import pytest

from mikroscope.alerts.log_lines import line_of
from mikroscope.alerts.redaction import Redactor
from tests.helpers.alerts import entry

REDACTOR = Redactor(["password", "token"])
TIME = "2026-02-18T10:19:59.123Z"


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"level": "error", "message": "boom"}, f"{TIME} ERROR boom"),
        ({"level": "error", "message": "a\nb\r\n"}, f"{TIME} ERROR a\\nb"),
        ({"level": "error", "message": "\x1b[31mred\x00"}, f"{TIME} ERROR \\x1b[31mred\\x00"),
        ({"level": "error", "message": "\u202egnp.exe"}, f"{TIME} ERROR \\u202egnp.exe"),
        ({"level": "error", "message": "\u05e9\u05dc"}, f"{TIME} ERROR \u05e9\u05dc"),
        ({"level": "error", "message": "\ud800"}, f"{TIME} ERROR \\ud800"),
        ({"level": "fatal", "event": "order.failed"}, f"{TIME} FATAL order.failed"),
        ({"level": "error", "code": 5}, f'{TIME} ERROR {{"level": "error", "code": 5}}'),
        ({"level": "error", "token": "abc"}, f'{TIME} ERROR {{"level": "error", "token": "***"}}'),
        ({"message": "for hunter2", "password": "hunter2"}, f"{TIME} INFO for ***"),
        ({"message": {"token": "abc"}}, f'{TIME} INFO {{"token":"***"}}'),
        (
            {"timestamp": "2026-02-18T10:20:00+01:00", "message": "x"},
            "2026-02-18T10:20:00+01:00 INFO x",
        ),
    ],
)
def test_line(record: dict[str, Any], text: str) -> None:
    """It has time, level and message, else the event, else the record; no control, no secret."""
    assert line_of(entry(record), REDACTOR) == text


def test_lone_surrogate_beside_a_secret() -> None:
    """A record that strict parsers refuse has its secrets masked all the same."""
    found = entry({"message": "for hunter2", "password": "hunter2", "x": "\ud800"})
    assert line_of(found, REDACTOR) == f"{TIME} INFO for ***"


def test_record_that_cannot_be_read() -> None:
    """Data that is no JSON leaves the message, masked by the names in it."""
    found = msgspec.structs.replace(entry({"message": "token=abc"}), data=msgspec.Raw(b"{"))
    assert line_of(found, REDACTOR) == f"{TIME} INFO token=***"


def test_long_words() -> None:
    """Nothing in a record makes the line long without end."""
    found = line_of(entry({"level": "x" * 10_000, "message": "y" * 1_000_000}), REDACTOR)
    assert len(found) < 20_000
    assert found.startswith(f"{TIME} {'X' * 40} y")
