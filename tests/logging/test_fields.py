"""The JSON record that the handler makes of a record of Python's logging."""

import json
import logging
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.logging.fields import encode_record
from mikroscope.logging.json_text import to_json
from mikroscope.records.attributes import event_of, level_of, message_of, time_of
from mikroscope.records.parsing import parse_line


class Color(IntEnum):
    """A number with a name."""

    RED = 1


class Silent:
    """An object whose `str` and `repr` fail."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def _record(message: Any = "hello", *args: Any, **values: Any) -> logging.LogRecord:
    given = {"msg": message, "args": args, "name": "shop.cart", "levelno": 20, "levelname": "INFO"}
    return logging.makeLogRecord(given | values)


def _fields(message: Any = "hello", *args: Any, **values: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode_record(_record(message, *args, **values), {}))
    return fields


def _raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return sys.exc_info()


def test_attributes_of_the_entry() -> None:
    """An entry has the record's time, level and message."""
    line = encode_record(_record("Order %s", "ORD-1", created=1771410000.1239), {})
    fields, _ = parse_line(line)
    assert time_of(fields) == (1771410000123, "timestamp")
    assert fields["timestamp"] == "2026-02-18T10:20:00.123Z"
    assert (level_of(fields), message_of(fields)) == ("INFO", "Order ORD-1")


def test_logger_process_and_thread() -> None:
    """A record names its logger, process, thread and task."""
    fields = _fields(process=7, threadName="worker", taskName="task-1")
    names = ("logger", "process", "thread", "task")
    assert [fields[name] for name in names] == ["shop.cart", 7, "worker", "task-1"]


@pytest.mark.parametrize(
    ("number", "name", "level"),
    [
        (10, "DEBUG", "DEBUG"),
        (20, "INFO", "INFO"),
        (30, "WARNING", "WARN"),
        (40, "ERROR", "ERROR"),
        (50, "CRITICAL", "FATAL"),
        (30, "\x1b[33mWARNING\x1b[0m", "WARN"),
        (25, "notice", "NOTICE"),
        (5, "Trace", "TRACE"),
        (35, "Level 35", "WARN"),
        (5, "Level 5", "TRACE"),
        (0, "NOTSET", "TRACE"),
    ],
)
def test_level(number: int, name: str, level: str) -> None:
    """Standard levels get MikroScope's names; custom levels keep theirs."""
    assert _fields(levelno=number, levelname=name)["level"] == level


def test_extra_fields() -> None:
    """The values of `extra` become fields unchanged."""
    fields = _fields(orderId="ORD-1", amount=1.5, items=[{"sku": 1}], audit=True)
    wanted = {"orderId": "ORD-1", "amount": 1.5, "items": [{"sku": 1}], "audit": True}
    assert wanted.items() <= fields.items()


def test_extra_of_our_names() -> None:
    """An `extra` with a name of the handler's own is kept in an object and replaces nothing."""
    fields = _fields(level=3, logger="x", exc_info=_raised(ValueError("no")), error="timeout")
    assert (fields["level"], fields["logger"]) == ("INFO", "shop.cart")
    assert fields["error"]["type"] == "ValueError"
    assert fields["extra"] == {"level": 3, "logger": "x", "error": "timeout"}


def test_constants() -> None:
    """Constants are added to every record, and a call's values replace them."""
    constants = {"service": "shop", "region": "eu"}
    fields = json.loads(encode_record(_record(region="us"), constants))
    assert (fields["service"], fields["region"]) == ("shop", "us")


def test_exception() -> None:
    """An exception has type, message and stack under names that MikroScope searches."""
    error = _fields(exc_info=_raised(ZeroDivisionError("by zero")))["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "by zero")
    assert error["stack"].startswith("Traceback (most recent call last):\n")
    assert error["stack"].endswith("\nZeroDivisionError: by zero")


def test_exception_as_text() -> None:
    """A record from another process has its exception only as text."""
    assert _fields(exc_text="Traceback: boom")["error"] == {"stack": "Traceback: boom"}


def test_exc_info_without_exception() -> None:
    """`exc_info=True` without an exception adds nothing."""
    assert "error" not in _fields(exc_info=(None, None, None))


def test_stack() -> None:
    """`stack_info=True` is kept in its own field."""
    assert _fields(stack_info="Stack: here")["stack_info"] == "Stack: here"


def test_arguments_that_do_not_fit() -> None:
    """A message whose arguments do not fit is sent as its parts."""
    assert _fields("%d of %s", "a")["message"] == "%d of %s ('a',)"


def test_message_that_is_an_object() -> None:
    """A message that is an object becomes its text, as always in logging."""
    assert _fields(ValueError("no"))["message"] == "no"


def test_dict_as_message() -> None:
    """A dict as message becomes the record, with its names and with its level mapped."""
    said = {"event": "order.created", "level": "warning", "timestamp": "2020-01-01T00:00:00Z"}
    fields = _fields(said)
    assert (event_of(fields), message_of(fields)) == ("order.created", "order.created")
    assert (fields["level"], fields["timestamp"]) == ("WARN", "2020-01-01T00:00:00Z")


def test_exception_in_a_dict() -> None:
    """structlog's `exc_info` in such a dict also becomes the error."""
    info = _raised(KeyError("k"))
    for value in (info, info[1]):
        fields = _fields({"event": "failed", "exc_info": value})
        assert (fields["error"]["type"], "exc_info" in fields) == ("KeyError", False)


def test_current_exception_in_a_dict() -> None:
    """`exc_info` that is True means the exception that is being handled."""
    try:
        raise KeyError("k")
    except KeyError:
        assert _fields({"event": "failed", "exc_info": True})["error"]["type"] == "KeyError"


def test_broken_record() -> None:
    """A record that cannot be encoded is reported, not lost."""
    broken = _record("hello", created="yesterday")
    fields = json.loads(encode_record(broken, {}))
    assert (fields["level"], fields["message"]) == ("ERROR", "hello")
    assert "cannot be encoded" in fields["error"]


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {"name": "round"}
    circle["self"] = circle
    return circle


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), '"nan"'),
        (float("-inf"), '"-inf"'),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), '"2026-01-02T03:00:00+00:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (Decimal("1.10"), '"1.10"'),
        (Fraction(1, 2), "0.5"),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (PurePosixPath("/a/b"), '"/a/b"'),
        (b"a\xff", '"a\\ufffd"'),
        ({2, 1}, "[1,2]"),
        ((1, "a"), '[1,"a"]'),
        (Color.RED, "1"),
        ({(1, 2): "pair", None: 0}, '{"(1, 2)":"pair","None":0}'),
        ({"deep": [float("nan"), {1: Silent()}]}, None),
        (Silent(), '"<Silent that cannot be shown>"'),
        ("lone \ud800", '"lone ?"'),
        (10**400, "1" + "0" * 400),
        ({"n": 10**6000}, None),
        (_circle(), None),
        (_nested(800), None),
    ],
)
def test_json_of_any_value(value: object, text: str | None) -> None:
    """Any logged value becomes JSON that the server can read."""
    found = to_json(value)
    fields, _ = parse_line(b'{"x":' + found + b"}")
    assert "x" in fields
    if text is not None:
        assert json.loads(found) == json.loads(text)


_KEYS = st.one_of(st.text(), st.integers(), st.none(), st.tuples(st.integers()))
_LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    *(st.decimals(), st.datetimes(), st.complex_numbers(), st.builds(Silent)),
    st.text(st.characters(categories=("Cs", "Lu"))),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner), st.dictionaries(_KEYS, inner), st.frozensets(_KEYS)
    ),
)


@given(_VALUES)
def test_json_never_fails(value: object) -> None:
    """No value makes encoding fail, and the output is strict JSON in UTF-8 on one line."""
    text = to_json(value)
    assert b"\n" not in text
    json.loads(text.decode())


@given(st.dictionaries(st.text(), _LEAVES))
def test_line_is_a_record(extra: dict[str, Any]) -> None:
    """Whatever a call adds, the line is a JSON object that ends with a brace."""
    line = encode_record(_record(**{"x" + name: value for name, value in extra.items()}), {})
    parse_line(line)
    assert line.endswith(b"}")
