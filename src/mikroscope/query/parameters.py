"""The parameters of a query, as HTTP and the command line give them: parsed once for both."""

import re
from collections.abc import Mapping
from typing import cast

from mikroscope.errors import QueryError
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    GROUPINGS,
    MAX_LIMIT,
    GroupBy,
    Grouping,
    PageRequest,
    Query,
)
from mikroscope.records.timestamps import parse_time

_LOST_PLUS = re.compile(r" (?=\d\d:?\d\d$)")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Read `from`, `to`, `level`, `audit`, `field`, `value` and `text`.

    An empty value counts as not given; unknown names are ignored. Raises QueryError naming the
    parameter.
    """
    given = _given(parameters)
    field, value = given.get("field"), given.get("value")
    if (field is None) != (value is None):
        lacking, present = ("field", "value") if field is None else ("value", "field")
        raise QueryError(f"'{present}' needs '{lacking}' beside it")
    level = given.get("level")
    return Query(
        from_ms=_time("from", given),
        to_ms=_time("to", given),
        level=level.upper() if level else None,
        audit=_boolean("audit", given),
        field=field,
        value=value,
        text=given.get("text"),
    )


def parse_page(parameters: Mapping[str, str]) -> PageRequest:
    """Read `limit` and `cursor`. Raises QueryError naming the parameter."""
    return PageRequest(parse_limit(parameters), _given(parameters).get("cursor"))


def parse_grouping(parameters: Mapping[str, str]) -> Grouping:
    """Read `groupBy` and `groupField`. Raises QueryError naming the parameter."""
    by = parameters.get("groupBy", "")
    field = parameters.get("groupField") or None
    if by not in GROUPINGS:
        raise QueryError(f"'groupBy' is {by!r}, expected one of {', '.join(GROUPINGS)}")
    if by == "field" and field is None:
        raise QueryError("'groupField' is missing: groupBy=field needs the name of a field")
    return Grouping(cast(GroupBy, by), field if by == "field" else None)


def _given(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in parameters.items() if text != ""}


def _time(name: str, given: Mapping[str, str]) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    # A plus sign that was not percent-encoded arrives as a space: 10:00:00 02:00.
    milliseconds = parse_time(text)
    if milliseconds is None:
        milliseconds = parse_time(_LOST_PLUS.sub("+", text))
    if milliseconds is None:
        raise QueryError(
            f"{name!r} is {text!r}, expected an ISO 8601 time such as 2026-02-18T10:20:00Z"
        )
    return milliseconds


def _boolean(name: str, given: Mapping[str, str]) -> bool | None:
    text = given.get(name)
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise QueryError(f"{name!r} is {text!r}, expected true or false")
    return _BOOLEANS[text.lower()]


def parse_limit(parameters: Mapping[str, str], default: int = DEFAULT_LIMIT) -> int:
    """Read `limit`, at most MAX_LIMIT. Raises QueryError naming the parameter."""
    text = _given(parameters).get("limit")
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or not text.strip("0"):
        raise QueryError(f"'limit' is {text!r}, expected a whole number from 1 to {MAX_LIMIT}")
    return MAX_LIMIT if len(text) > 9 else min(int(text), MAX_LIMIT)
