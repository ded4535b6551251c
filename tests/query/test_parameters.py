"""Parameters become a Query or a Grouping, or an error that names the parameter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.errors import QueryError
from mikroscope.query.model import DEFAULT_LIMIT, GROUPINGS, MAX_LIMIT, Grouping, PageRequest, Query
from mikroscope.query.parameters import (
    FILTERS,
    PARAMETERS,
    parse_grouping,
    parse_limit,
    parse_page,
    parse_query,
)

MOMENT = 1_771_410_000_000  # 2026-02-18T10:20:00Z


# --- the table ----------------------------------------------------------------------------------


def test_every_filter_sets_its_attribute() -> None:
    """The filters of the table set the attributes of Query, each its own."""
    assert [row.attribute for row in FILTERS] == list(Query.__struct_fields__)


def test_names_of_parameters() -> None:
    """No two parameters share a name, and a flag is the name in lower case with hyphens."""
    flags = {row.name: row.flag for row in PARAMETERS}
    assert len(flags) == len(PARAMETERS)
    assert (flags["from"], flags["groupField"]) == ("--from", "--group-field")


def test_help_names_only_parameters() -> None:
    """A help text that refers to a parameter names one of the table."""
    names = {row.name: row.name for row in PARAMETERS}
    assert all(row.help.format(**names) for row in PARAMETERS)


# --- given parameters ---------------------------------------------------------------------------


def test_nothing_given() -> None:
    """Without parameters a query selects everything, a hundred entries a page."""
    assert (parse_query({}), parse_page({})) == (Query(), PageRequest(DEFAULT_LIMIT))


def test_everything_given() -> None:
    """Each parameter sets its attribute."""
    given_all = {
        "from": "2026-02-18T10:20:00Z",
        "to": "2026-02-18T10:20:01Z",
        "level": "error",
        "audit": "true",
        "field": "orderId",
        "value": "ORD-1",
        "text": "Payment declined",
        "limit": "5",
        "cursor": "abc",
    }
    assert parse_query(given_all) == Query(
        from_ms=MOMENT,
        to_ms=MOMENT + 1000,
        level="ERROR",
        audit=True,
        field="orderId",
        value="ORD-1",
        text="Payment declined",
    )
    assert parse_page(given_all) == PageRequest(limit=5, cursor="abc")


@pytest.mark.parametrize("name", ["from", "to", "level", "audit", "text", "limit", "cursor"])
def test_empty_values(name: str) -> None:
    """An empty parameter counts as not given."""
    assert parse_query({name: ""}) == Query()
    assert parse_page({name: ""}) == PageRequest()


def test_empty_field_and_value() -> None:
    """An empty field with an empty value is not a filter."""
    assert parse_query({"field": "", "value": ""}) == Query()


def test_unknown_names() -> None:
    """Unknown names are ignored."""
    assert parse_query({"groupBy": "level", "utm_source": "x"}) == Query()


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-02-18T10:20:00Z",
        "2026-02-18T12:20:00+02:00",
        "2026-02-18T12:20:00+0200",
        "2026-02-18T12:20:00 02:00",
        "2026-02-18T12:20:00 0200",
        "2026-02-18 12:20:00 02:00",
        "2026-02-18 12:20:00.000 0200",
        "2026-02-18 10:20",
        "2026-02-18 10:20:00",
        "1771410000",
        "1771410000000",
    ],
)
def test_times(name: str, text: str) -> None:
    """Times may be in any known form, even if the plus sign was lost in transit."""
    query = parse_query({name: text})
    assert (query.from_ms if name == "from" else query.to_ms) == MOMENT


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "-", " ", "2026-02-18T10:20:00 99:99"])
def test_bad_times(name: str, text: str) -> None:
    """A value that is not a time is an error with its name, its value and an example."""
    with pytest.raises(
        QueryError, match=rf"'{name}' is '{text}', expected an ISO 8601 time such as"
    ):
        parse_query({name: text})


def test_bounds_upside_down() -> None:
    """`from` after `to` is an error: nothing could match."""
    with pytest.raises(QueryError, match="'from' is '2026-02-19', which is after 'to'"):
        parse_query({"from": "2026-02-19", "to": "2026-02-18"})


# --- filters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "level"), [("error", "ERROR"), ("Warn", "WARN"), ("custom level", "CUSTOM LEVEL")]
)
def test_levels(text: str, level: str) -> None:
    """Levels are case-insensitive, custom ones too."""
    assert parse_query({"level": text}).level == level


@pytest.mark.parametrize(
    ("text", "audit"),
    [
        *(("true", True), ("1", True), ("yes", True), ("TRUE", True)),
        *(("false", False), ("0", False), ("no", False), ("False", False)),
    ],
)
def test_audit(text: str, audit: bool) -> None:
    """`audit` is a boolean in any of its spellings."""
    assert parse_query({"audit": text}).audit is audit


@pytest.mark.parametrize("text", ["maybe", "2", " ", "truee", "on"])
def test_bad_audit(text: str) -> None:
    """Any other text is an error."""
    with pytest.raises(QueryError, match=f"'audit' is '{text}', expected true or false"):
        parse_query({"audit": text})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"field": "orderId"}, "'field' is given without 'value'"),
        ({"field": "orderId", "value": ""}, "'field' is given without 'value'"),
        ({"value": "ORD-1"}, "'value' is given without 'field'"),
        ({"value": "ORD-1", "field": ""}, "'value' is given without 'field'"),
    ],
)
def test_half_a_field_filter(parameters: dict[str, str], message: str) -> None:
    """A field filter needs both a field and a value."""
    with pytest.raises(QueryError, match=message):
        parse_query(parameters)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_values_stay_as_they_are(field: str, value: str, text: str) -> None:
    """Field, value and text are not changed, not even spaces."""
    query = parse_query({"field": field, "value": value, "text": text})
    assert (query.field, query.value, query.text) == (field, value, text)


@given(st.text(min_size=1))
def test_cursors_are_not_looked_into(cursor: str) -> None:
    """Any cursor is passed on: only the store interprets it."""
    assert parse_page({"cursor": cursor}).cursor == cursor


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        *(("1", 1), ("007", 7), ("1000", MAX_LIMIT), ("1001", MAX_LIMIT)),
        *(("999999999999999999999", MAX_LIMIT), ("9" * 5000, MAX_LIMIT)),
    ],
)
def test_limits(text: str, limit: int) -> None:
    """A limit above the highest one is lowered to it."""
    assert parse_limit({"limit": text}) == limit


@pytest.mark.parametrize(
    "text", ["0", "000", "-1", "+5", "1.5", "1e3", "ten", " 5", "5 ", "٣", "²", "0x10", "1_000"]
)
def test_bad_limits(text: str) -> None:
    """A limit that is not a whole number from 1 on is an error."""
    with pytest.raises(QueryError, match=r"'limit' is .*, expected a whole number from 1 to 1000"):
        parse_limit({"limit": text})


def test_default_limit() -> None:
    """A caller may give another default limit."""
    assert [parse_limit(one, 25) for one in ({}, {"limit": ""}, {"limit": "3"})] == [
        25,
        25,
        3,
    ]


# --- grouping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["level", "event", "correlation"])
def test_grouping(by: str) -> None:
    """Entries are grouped by one of their attributes; a field's name is ignored then."""
    expected = Grouping(by)  # type: ignore[arg-type]
    assert parse_grouping({"groupBy": by}) == expected
    assert parse_grouping({"groupBy": by, "groupField": "tenant"}) == expected


def test_grouping_by_field() -> None:
    """Entries are grouped by any field."""
    parameters = {"groupBy": "field", "groupField": "http.status"}
    assert parse_grouping(parameters) == Grouping("field", "http.status")


@pytest.mark.parametrize(
    "parameters", [{"groupBy": "field"}, {"groupBy": "field", "groupField": ""}]
)
def test_grouping_by_no_field(parameters: dict[str, str]) -> None:
    """Grouping by a field needs its name."""
    with pytest.raises(QueryError, match="'groupField' is missing"):
        parse_grouping(parameters)


@pytest.mark.parametrize(
    "parameters", [{}, {"groupBy": ""}, {"groupBy": "Level"}, {"groupBy": "x"}]
)
def test_bad_grouping(parameters: dict[str, str]) -> None:
    """An unknown grouping is an error that names the known ones."""
    with pytest.raises(
        QueryError, match=f"'groupBy' is .*, expected one of {', '.join(GROUPINGS)}"
    ):
        parse_grouping(parameters)
