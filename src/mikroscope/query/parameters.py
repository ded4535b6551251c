"""The table of query parameters: what HTTP and the command line accept, and how it is parsed."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC
from typing import Any, Literal, NamedTuple, cast

from mikroscope.errors import QueryError
from mikroscope.errors.wording import nearest
from mikroscope.query.model import (
    DEFAULT_LIMIT,
    GROUPINGS,
    MAX_LIMIT,
    GroupBy,
    Grouping,
    PageRequest,
    Query,
)
from mikroscope.records.fields import BOOLEAN_WORDS
from mikroscope.records.levels import level_named
from mikroscope.records.timestamps import parse_time

Kind = Literal["time", "level", "boolean", "text", "count", "choice"]

_LOST_PLUS = re.compile(r" (?=\d\d:?\d\d$)")
_FIELD_NAME = re.compile(r"[\w@.-]+")  # as it can stand in a URL
_CAPITAL = re.compile(r"(?=[A-Z])")


class QueryParameter(NamedTuple):
    """One parameter; `help` writes the name of another parameter as `{name}`."""

    name: str
    kind: Kind
    metavar: str
    help: str
    example: str | None = None
    default: int | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    repeatable: bool = False

    @property
    def flag(self) -> str:
        """The parameter as a flag: groupBy is --group-by."""
        return "--" + _CAPITAL.sub("-", self.name).lower()

    @property
    def attribute(self) -> str:
        """The attribute of Query that a filter sets."""
        return f"{self.name}_ms" if self.kind == "time" else self.name


_TIME_FORMS = "inclusive: ISO 8601, or epoch seconds, ms, µs or ns."

_TIME = "2026-02-18T10:20:00Z"
_TIME_WITH_ZONE = "2026-02-18T13:20:00+02:00"

FILTERS = (
    QueryParameter("from", "time", "TIME", f"Earliest time, {_TIME_FORMS}", _TIME),
    QueryParameter("to", "time", "TIME", f"Latest time, {_TIME_FORMS}", _TIME_WITH_ZONE),
    QueryParameter(
        "level",
        "level",
        "LEVEL",
        "Level, or several: a list with commas, or {level} several times. Case-insensitive; WARN "
        "also finds WARNING.",
        "ERROR,FATAL",
        repeatable=True,
    ),
    QueryParameter(
        "audit", "boolean", "[BOOL]", "true: only audit entries; false: only all others."
    ),
    QueryParameter(
        "field",
        "text",
        "NAME",
        "With {value}: a field of the record; `a.b` reaches into nested objects.",
        "orderId",
    ),
    QueryParameter(
        "value", "text", "VALUE", "With {field}: the exact value of that field.", "ORD-000123"
    ),
    QueryParameter(
        "text",
        "text",
        "WORDS",
        "Words that must all occur: in the message, in the error's text, or as the value of a "
        "field. Case-insensitive.",
    ),
)
LIMIT = QueryParameter(
    "limit",
    "count",
    "N",
    f"Maximum number of results; more than {MAX_LIMIT} counts as {MAX_LIMIT}.",
    default=DEFAULT_LIMIT,
)
CURSOR = QueryParameter(
    "cursor",
    "text",
    "CURSOR",
    "`nextCursor` of the previous page; any other text asks for the first page.",
)
GROUPING = (
    QueryParameter(
        "groupBy", "choice", "WHAT", "What to count by.", choices=GROUPINGS, required=True
    ),
    QueryParameter("groupField", "text", "NAME", "The field to count by, if {groupBy} is `field`."),
)
PARAMETERS = (*FILTERS, LIMIT, CURSOR, *GROUPING)
REPEATABLE = frozenset(parameter.name for parameter in PARAMETERS if parameter.repeatable)


def take_known(given: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request by name, without those that are empty.

    Names that begin with `_` are left out; the values of a repeatable one are put into one list.
    Raises QueryError for a name that is not known, and for another one that is given twice, since
    one of the two would be ignored.
    """
    taken: dict[str, str] = {}
    for name, text in given:
        if name.startswith("_") or text == "":
            continue
        if name not in known:
            raise QueryError(f"{name!r} is not a parameter of this path{_meant(name, known)}")
        if name in taken and name not in REPEATABLE:
            raise QueryError(f"{name!r} is given twice, expected it once")
        taken[name] = f"{taken[name]},{text}" if name in taken else text
    return taken


def _meant(name: str, known: Collection[str]) -> str:
    meant = nearest(name, known)
    if meant is not None:
        return f": did you mean {meant!r}?"
    return f", which knows {', '.join(known)}" if known else ", which knows none"


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Read the filters.

    An empty value counts as not given; other names are ignored. Raises QueryError naming the
    parameter.
    """
    given = _given(parameters)
    if ("field" in given) != ("value" in given):
        missing, present = ("value", "field") if "field" in given else ("field", "value")
        raise QueryError(f"'{present}' is given without '{missing}'")
    values: dict[str, Any] = {
        filter_.attribute: _PARSERS[filter_.kind](filter_.name, given[filter_.name])
        for filter_ in FILTERS
        if filter_.name in given
    }
    query = Query(**values)
    if query.from_ms is not None and query.to_ms is not None and query.from_ms > query.to_ms:
        raise QueryError(
            f"'from' is {given['from']!r}, which is after 'to', {given['to']!r}: nothing can match"
        )
    return query


def parse_page(parameters: Mapping[str, str]) -> PageRequest:
    """Read `limit` and `cursor`. Raises QueryError naming the parameter."""
    return PageRequest(parse_limit(parameters), _given(parameters).get(CURSOR.name))


def parse_limit(parameters: Mapping[str, str], default: int = DEFAULT_LIMIT) -> int:
    """Read `limit`, at most MAX_LIMIT. Raises QueryError naming the parameter."""
    text = _given(parameters).get(LIMIT.name)
    return default if text is None else _count(LIMIT.name, text)


def parse_grouping(parameters: Mapping[str, str]) -> Grouping:
    """Read `groupBy` and `groupField`. Raises QueryError naming the parameter."""
    by = parameters.get("groupBy", "")
    field = parameters.get("groupField") or None
    if by not in GROUPINGS:
        raise QueryError(_wrong_grouping(by))
    if by == "field" and field is None:
        raise QueryError("'groupField' is missing: groupBy=field needs the name of a field")
    return Grouping(cast(GroupBy, by), field if by == "field" else None)


def _wrong_grouping(by: str) -> str:
    expected = f"expected one of {', '.join(GROUPINGS)}"
    if not by:
        return f"'groupBy' is missing, {expected}"
    if not _FIELD_NAME.fullmatch(by):
        return f"'groupBy' is {by!r}, {expected}"
    return f"'groupBy' is {by!r}, {expected}; to count by a field: groupBy=field&groupField={by}"


def _given(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in parameters.items() if text != ""}


def _time_ms(name: str, text: str) -> int:
    # A plus sign that was not percent-encoded arrives as a space: 10:00:00 02:00.
    milliseconds = parse_time(text, UTC)
    if milliseconds is None:
        milliseconds = parse_time(_LOST_PLUS.sub("+", text), UTC)
    if milliseconds is None:
        raise QueryError(
            f"{name!r} is {text!r}, expected an ISO 8601 time such as {_TIME}, "
            "or seconds since 1970"
        )
    return milliseconds


def _level(name: str, text: str) -> str:
    return level_named(text) or text.upper()


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in BOOLEAN_WORDS:
        raise QueryError(f"{name!r} is {text!r}, expected true or false")
    return BOOLEAN_WORDS[text.lower()]


def _text(name: str, text: str) -> str:
    return text


def _count(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not text.strip("0"):
        raise QueryError(
            f"{name!r} is {text!r}, expected a whole number from 1 to {MAX_LIMIT} (more counts as "
            f"{MAX_LIMIT})"
        )
    return MAX_LIMIT if len(text) > 9 else min(int(text), MAX_LIMIT)


_PARSERS: dict[Kind, Callable[[str, str], object]] = {
    "time": _time_ms,
    "level": _level,
    "boolean": _boolean,
    "text": _text,
    "count": _count,
}
