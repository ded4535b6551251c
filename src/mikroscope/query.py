"""What can be asked, and the shape of the answers: parsed once, for HTTP and the CLI alike."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, cast, get_args

import msgspec

from mikroscope.errors import QueryError
from mikroscope.timestamps import parse_time

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100

GroupBy = Literal["level", "event", "field", "correlation"]
GROUPINGS: tuple[str, ...] = get_args(GroupBy)
_LOST_PLUS = re.compile(r" (?=\d\d:?\d\d$)")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: every filter that is set must hold.

    `from_ms` and `to_ms` are inclusive epoch milliseconds; `level` is upper-case; `field` may
    be a dotted path; `text` asks for all its words in the message or the error's text.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    level: str | None = None
    audit: bool | None = None
    field: str | None = None
    value: str | None = None
    text: str | None = None
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class Grouping(msgspec.Struct, frozen=True):
    """What an aggregate groups by; `field` only where `by` is "field"."""

    by: GroupBy
    field: str | None = None


class Entry(msgspec.Struct, rename="camel", frozen=True):
    """One indexed record as the API shows it; `data` is its JSON text, passed through as it is."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    timestamp: str
    level: str
    event: str
    message: str
    data: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    source_file: str
    line_number: int


class Page(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Entries, newest first; with the cursor of the next page where there is one."""

    entries: list[Entry]
    has_more: bool
    limit: int
    next_cursor: str | None = None


class Bucket(msgspec.Struct, frozen=True):
    """How many entries share one value."""

    key: str
    count: int


class Aggregate(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Buckets, highest count first, then by key."""

    buckets: list[Bucket]
    group_by: GroupBy
    group_field: str | None = None


def parse_query(parameters: Mapping[str, str], default_limit: int = DEFAULT_LIMIT) -> Query:
    """Read `from`, `to`, `level`, `audit`, `field`, `value`, `text`, `limit` and `cursor`.

    An empty value counts as not given; names that are not known are left alone. Raises
    QueryError naming the parameter.
    """
    given = {name: text for name, text in parameters.items() if text != ""}
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
        limit=_limit(given, default_limit),
        cursor=given.get("cursor"),
    )


def parse_grouping(parameters: Mapping[str, str]) -> Grouping:
    """Read `groupBy` and `groupField`. Raises QueryError naming the parameter."""
    by = parameters.get("groupBy", "")
    field = parameters.get("groupField") or None
    if by not in GROUPINGS:
        raise QueryError(f"'groupBy' is {by!r}, expected one of {', '.join(GROUPINGS)}")
    if by == "field" and field is None:
        raise QueryError("'groupField' is missing: groupBy=field needs the name of a field")
    return Grouping(cast(GroupBy, by), field if by == "field" else None)


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


def _limit(given: Mapping[str, str], default: int) -> int:
    text = given.get("limit")
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or not text.strip("0"):
        raise QueryError(f"'limit' is {text!r}, expected a whole number from 1 to {MAX_LIMIT}")
    return MAX_LIMIT if len(text) > 9 else min(int(text), MAX_LIMIT)
