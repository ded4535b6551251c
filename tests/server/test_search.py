"""`GET /api/logs` and `/api/logs/aggregate`: every parameter, order, pages, values of all kinds."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mikroscope import start_server
from mikroscope.query.model import Page, PageRequest, Query
from tests.helpers.forms import examples
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S, wait_until

LONG = "Long value, " * 250  # 3,000 characters
TIMES = ["2026-02-18T10:00:00.000Z", "2026-02-18T10:00:00.001Z", "2026-02-18T10:00:01.000Z"]

# The records in the files of the shared server; `n` identifies each.
APP = [
    {"n": 1, "timestamp": TIMES[0], "level": "INFO", "event": "order.created", "message": "Made"},
    {"n": 2, "timestamp": TIMES[1], "level": "error", "event": "order.failed", "message": "No ink"},
    {"n": 3, "timestamp": TIMES[2], "level": "WARN", "message": "Paper is low", "tray": "A 4"},
    {"n": 4, "timestamp": TIMES[2], "level": "NOTICE", "audit": True, "correlationId": "c-1"},
    {"n": 5, "timestamp": TIMES[2], "requestId": "r-1", "audit": False, "tray": "a 4"},
    {
        "n": 6,
        "timestamp": "2026-02-19T00:00:00Z",
        "level": "INFO",
        "error": {"stack": "ÄRGER at f"},
    },
]
AUDIT = [
    {"n": 7, "timestamp": "2026-02-20T08:00:00+02:00", "level": "INFO", "correlationId": "c-1"}
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that receives no records."""
    directory = tmp_path_factory.mktemp("query")
    write(directory / "logs" / "app.ndjson", APP)
    write(directory / "logs" / "sub" / "Audit" / "people.ndjson", AUDIT)
    values = [{"kind": "value", "n": number, "v": v} for number, v in enumerate(VALUES)]
    write(directory / "logs" / "values.ndjson", values)
    write(directory / "logs" / "raw.ndjson", RAW)
    with (
        start_server(settings_in(directory)) as server,
        httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client,
    ):
        wait_until(lambda: client.get("/health").json()["ingest"]["runs"])
        yield client


def write(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [line if isinstance(line, str) else json.dumps(line) for line in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def ask(client: httpx.Client, path: str = "/api/logs", /, **parameters: object) -> dict[str, Any]:
    """The content of a response; `from_` means `from`."""
    given = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    answer = client.get(path, params=given)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def numbers(client: httpx.Client, **parameters: object) -> list[int]:
    """The numbers of the records of APP and AUDIT that a query returns, in its order."""
    content = ask(client, **{"from_": "2026-02-01", "to": "2026-03-01"} | parameters)
    return [entry["data"]["n"] for entry in content["entries"]]


def error(client: httpx.Client, path: str = "/api/logs", /, **parameters: object) -> str:
    answer = client.get(path, params={name.rstrip("_"): str(v) for name, v in parameters.items()})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


# --- values that field filters find -----------------------------------------------------------

VALUES: list[Any] = [
    "plain",
    "With Capitals",
    "with capitals",
    'quo"ted',
    "it's",
    "a=b",
    "a&b=c#d%20",
    "tab\tand\nline",
    "back\\slash",
    "ünïcödé",
    "Ünïcödé",
    "日本語",
    "😀",
    "e\u0301",
    "\u00e9",
    "a\u0000b",
    "a\u001fb",
    " leading and trailing ",
    "two  spaces",
    "*",
    "a*",
    "NOT a OR b AND c",
    "NEAR(a b)",
    "(a)",
    "%",
    "_",
    LONG,
    LONG + "!",
    "x" * 256,
    "x" * 257,
    0,
    1,
    -1,
    42,
    1.5,
    -0.25,
    1e21,
    1e-5,
    1e-9,
    2**53 + 1,
    123456789012345678901234567890,
    True,
    False,
    None,
]

# Field names and shapes that are out of the ordinary: n, the raw record, field, value.
SHAPES: list[tuple[str, str, str]] = [
    ('{"a":{"b":"nested"}}', "a.b", "nested"),
    ('{"a":{"b":{"c":{"d":7}}}}', "a.b.c.d", "7"),
    ('{"a":{"yes":true}}', "a.yes", "true"),
    ('{"a.b":"dotted name"}', "a.b", "dotted name"),
    ('{"a.b":{"c":"mixed"}}', "a.b.c", "mixed"),
    ('{"With Space":"v1"}', "With Space", "v1"),
    ('{"ключ":"v2"}', "ключ", "v2"),
    ('{"a=b":"v3"}', "a=b", "v3"),
    ('{"a":"b=v4"}', "a", "b=v4"),
    ('{"UPPER":"v5"}', "UPPER", "v5"),
    ('{"@timestamp":"2026-01-01T00:00:00Z"}', "@timestamp", "2026-01-01T00:00:00Z"),
    ('{"f":1.0}', "f", "1"),
    ('{"f":100.50}', "f", "100.5"),
    ('{"f":1e3}', "f", "1000"),
    ('{"message":"the message itself"}', "message", "the message itself"),
    ('{"event":"the.event"}', "event", "the.event"),
    ('{"level":"Custom"}', "level", "Custom"),
    ('{"audit":"yes"}', "audit", "yes"),
    ('{"%s":"long name"}' % ("n" * 400), "n" * 400, "long name"),
]
RAW = [f'{{"kind":"shape","id":"{number}",{raw[1:]}' for number, (raw, _, _) in enumerate(SHAPES)]


NUMBERS = {1e21: "1e+21", 1e-5: "0.00001", 1e-9: "1e-9"}  # as JavaScript prints them


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else NUMBERS.get(value) or json.dumps(value)


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_value(client: httpx.Client, number: int) -> None:
    """A filter finds the records with exactly this value; case, signs and spaces count."""
    entries = ask(client, field="v", value=text_of(VALUES[number]))["entries"]
    assert [entry["data"]["n"] for entry in entries] == [number]


@pytest.mark.parametrize(("raw", "field", "value"), SHAPES)
def test_field(client: httpx.Client, raw: str, field: str, value: str) -> None:
    """A filter finds a field whatever its name, at the top or, as `a.b`, inside an object."""
    entries = ask(client, field=field, value=value)["entries"]
    assert [entry["data"] for entry in entries if entry["data"].items() >= json.loads(raw).items()]


@pytest.mark.parametrize("value", ["Plain", "plai", "plain ", "", "PLAIN", "1.50", "TRUE", "01"])
def test_value_that_is_not_there(client: httpx.Client, value: str) -> None:
    """A filter takes the value as a whole and to the letter."""
    assert ask(client, field="v", value=value or "-")["entries"] == []


def test_field_that_is_not_there(client: httpx.Client) -> None:
    """A field that no record has gives an empty page."""
    assert ask(client, field="nowhere", value="x") == {
        "entries": [],
        "hasMore": False,
        "limit": 100,
    }


def test_value_in_another_field(client: httpx.Client) -> None:
    """The value must be in that field, not just anywhere."""
    assert ask(client, field="kind", value="plain")["entries"] == []


def test_field_and_value_go_together(client: httpx.Client) -> None:
    """One of `field` and `value` without the other is a 400 that says so."""
    assert error(client, field="a") == "'field' is given without 'value'"
    assert error(client, value="a") == "'value' is given without 'field'"


@settings(max_examples=examples(40))
@given(value=st.text(max_size=40), field=st.text(min_size=1, max_size=12))
def test_any_filter(client: httpx.Client, value: str, field: str) -> None:
    """No field, value or text breaks the query."""
    parameters = {"field": field, "value": value or "-", "text": value}
    encoded = {name: text.encode("utf-8", "replace") for name, text in parameters.items()}
    grouping = {"groupBy": "field", "groupField": "v"}
    for path, more in (("/api/logs", {}), ("/api/logs/aggregate", grouping)):
        answer = client.get(path, params={**encoded, **more})
        assert answer.status_code == 200, answer.text


# --- entries ----------------------------------------------------------------------------------


def test_entry(client: httpx.Client) -> None:
    """An entry has exactly the keys of the API."""
    (entry,) = ask(client, field="event", value="order.created")["entries"]
    assert entry == {
        "id": entry["id"],
        "timestamp": TIMES[0],
        "level": "INFO",
        "event": "order.created",
        "message": "Made",
        "data": APP[0],
        "sourceFile": "app.ndjson",
        "lineNumber": 1,
    }


def test_ids(client: httpx.Client) -> None:
    """Ids are unique whole numbers that JavaScript does not round."""
    ids = [entry["id"] for entry in ask(client, limit=1000)["entries"]]
    assert len(set(ids)) == len(ids) == len(APP) + len(AUDIT) + len(VALUES) + len(RAW)
    assert all(isinstance(number, int) and 0 < number < 2**53 for number in ids)


def test_source_and_line(client: httpx.Client) -> None:
    """`sourceFile` is relative to the logs root, with `/`; lines are counted from 1."""
    entries = ask(client, from_="2026-02-18", to="2026-02-21")["entries"]
    places = {entry["data"]["n"]: (entry["sourceFile"], entry["lineNumber"]) for entry in entries}
    assert places == {number: ("app.ndjson", number) for number in range(1, 7)} | {
        7: ("sub/Audit/people.ndjson", 1)
    }


def test_data_is_the_record_as_it_was(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """`data` is the record's own text: order of keys, digits and escapes as they were written."""
    raw = r'{"z":1.0,"a":1e2, "n":12345678901234567890.123,"u":"\u00e9\ud83d\ude00","a":[ ]}'
    write(tmp_path / "logs" / "app.ndjson", [raw])
    client = connect(serve())
    wait_until(lambda: raw in client.get("/api/logs").text)


def test_derived_attributes(client: httpx.Client) -> None:
    """Level, event and message of a record that lacks them are derived."""
    (entry,) = ask(client, field="requestId", value="r-1")["entries"]
    assert (entry["level"], entry["event"], entry["message"]) == ("INFO", "log.event", "")


def test_timestamp_is_the_records_own(client: httpx.Client) -> None:
    """`timestamp` is the record's own text, with its offset."""
    (entry,) = ask(client, field="n", value=7, level="INFO", audit="true")["entries"]
    assert entry["timestamp"] == "2026-02-20T08:00:00+02:00"


# --- time, level, audit, text -------------------------------------------------------------------


def test_order(client: httpx.Client) -> None:
    """Newest first; of the same moment the one that arrived last comes first."""
    assert numbers(client) == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("from_", "to", "expected"),
    [
        (TIMES[0], TIMES[0], [1]),
        (TIMES[0], TIMES[1], [2, 1]),
        (TIMES[1], TIMES[1], [2]),
        ("2026-02-18T10:00:00.002Z", TIMES[2], [5, 4, 3]),
        ("2026-02-18T11:00:00+01:00", "2026-02-18T05:00:00.001-05:00", [2, 1]),
        ("2026-02-18T11:00:00 01:00", "2026-02-18T10:00:00.001Z", [2, 1]),  # + not encoded
        ("2026-02-18 10:00:00", "2026-02-18T10:00:00.5", [2, 1]),
        ("2026-02-19", "2026-02-19", [6]),
        ("1771408800", "1771408800001", [2, 1]),  # epoch s and ms
    ],
)
def test_from_and_to(client: httpx.Client, from_: str, to: str, expected: list[int]) -> None:
    """`from` and `to` are inclusive instants, in any ISO 8601 form or as epoch numbers."""
    assert numbers(client, from_=from_, to=to) == expected


def test_from_or_to_alone(client: httpx.Client) -> None:
    """`from` or `to` alone leaves the other end open."""
    assert ask(client, to="2026-02-18T10:00:00Z")["entries"][0]["data"] == APP[0]
    assert ask(client, from_="2026-02-20", to="")["entries"][-1]["data"] == AUDIT[0]


@pytest.mark.parametrize("to", ["1969-01-01", "0001-01-01T00:00:00Z"])
def test_times_before_all(client: httpx.Client, to: str) -> None:
    """A time before all entries is valid."""
    assert ask(client, to=to)["entries"] == []


def test_times_after_all(client: httpx.Client) -> None:
    """A time after all entries is valid."""
    assert ask(client, from_="9999-12-31T23:59:59Z")["entries"] == []


@pytest.mark.parametrize("name", ["from_", "to"])
@pytest.mark.parametrize("value", ["yesterday", "2026-13-01", "2026-02-18T25:00:00Z", "{}", "NaN"])
def test_wrong_time(client: httpx.Client, name: str, value: str) -> None:
    """A value that is not a time is a 400 with the parameter, the value and what is expected."""
    text = error(client, **{name: value})
    assert text.startswith(f"'{name.rstrip('_')}' is {value!r}, expected an ISO 8601 time")


@pytest.mark.parametrize(
    ("level", "expected"),
    [("INFO", [7, 6, 5, 4, 1]), ("error", [2]), ("Err", [2]), ("warning", [3]), ("FATAL", [])],
)
def test_level(client: httpx.Client, level: str, expected: list[int]) -> None:
    """`level` finds every level of its severity, case-insensitively: NOTICE is an INFO."""
    assert numbers(client, level=level) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("level=error&level=WARN", [3, 2]),
        ("level=error,warning", [3, 2]),
        ("level=error,%20warn&level=info", [7, 6, 5, 4, 3, 2, 1]),
        ("level=&level=error&level=", [2]),
    ],
)
def test_several_levels(client: httpx.Client, query: str, expected: list[int]) -> None:
    """`level` may be a list, and may be given several times: any of them matches."""
    query += "&from=2026-02-01&to=2026-03-01"
    answer = client.get(f"/api/logs?{query}")
    assert answer.status_code == 200, answer.text
    assert [entry["data"]["n"] for entry in answer.json()["entries"]] == expected
    counted = client.get(f"/api/logs/aggregate?groupBy=level&{query}").json()["buckets"]
    assert sum(bucket["count"] for bucket in counted) == len(expected)


@pytest.mark.parametrize(
    ("audit", "expected"),
    [("true", [7, 4]), ("1", [7, 4]), ("YES", [7, 4]), ("false", [6, 5, 3, 2, 1]), ("", None)],
)
def test_audit(client: httpx.Client, audit: str, expected: list[int] | None) -> None:
    """`audit` separates entries that their record or directory marks as audit from all others."""
    assert numbers(client, audit=audit) == (expected or [7, 6, 5, 4, 3, 2, 1])


def test_wrong_audit(client: httpx.Client) -> None:
    """A value that is not a boolean is a 400 with the parameter and the value."""
    assert error(client, audit="maybe") == "'audit' is 'maybe', expected true or false"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paper", [3]),
        ("PAPER low", [3]),
        ("paper ink", []),
        ("ärger", [6]),
        ("Ärger f", [6]),
        ("c-1", [7, 4]),
        ("order.created", [1]),
        ("nothing", []),
        ("  ", [7, 6, 5, 4, 3, 2, 1]),
    ],
)
def test_text(client: httpx.Client, text: str, expected: list[int]) -> None:
    """`text` finds records with all its words in message or error, or as the value of a field."""
    assert numbers(client, text=text) == expected


def test_filters_together(client: httpx.Client) -> None:
    """All filters hold at once."""
    assert numbers(client, level="WARN", audit="true", field="correlationId", value="c-1") == []
    assert numbers(client, level="INFO", audit="true", field="n", value="7") == [7]
    assert numbers(client, level="INFO", audit="false", from_="2026-02-19", text="ärger") == [6]
    assert numbers(client, level="WARN", field="correlationId", value="c-1") == []


@pytest.mark.parametrize(
    "name", ["from", "to", "level", "audit", "field", "value", "text", "cursor"]
)
def test_empty_parameter(client: httpx.Client, name: str) -> None:
    """An empty parameter counts as not given."""
    everything = ask(client, limit=1000)
    assert ask(client, limit=1000, **{name: ""}) == everything


def test_unknown_parameter(client: httpx.Client) -> None:
    """An unknown parameter is a 400 with the nearest known one; names with `_` are ignored."""
    assert ask(client, limit=3, _x="2") == ask(client, limit=3)
    text = "'levle' is not a parameter of this path: did you mean 'level'?"
    assert error(client, levle="ERROR") == text
    assert error(client, "/api/logs/aggregate", groupBy="level", levle="ERROR") == text
    for path in ("/api/reindex", "/api/alerts/test-webhook"):
        answer = client.post(path, params={"x": "y"})
        assert answer.status_code == 400
        assert answer.json()["error"] == "'x' is not a parameter of this path, which knows none"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("since", "from"), ("start", "from"), ("until", "to"), ("end", "to")),
        *(("severity", "level"), ("Level", "level"), ("q", "text"), ("search", "text")),
        *(("size", "limit"), ("lmit", "limit"), ("page", "cursor"), ("filed", "field")),
    ],
)
def test_parameter_by_another_name(client: httpx.Client, name: str, meant: str) -> None:
    """The parameter is suggested that is spelled alike, or is called so elsewhere."""
    text = error(client, **{name: "1"})
    assert text == f"'{name}' is not a parameter of this path: did you mean '{meant}'?"


@pytest.mark.parametrize("name", ["format", "sort", "url", "x" * 5000, "é", "groupBy"])
def test_parameter_without_a_meaning(client: httpx.Client, name: str) -> None:
    """Where none is meant, the known ones are listed, not one that only looks similar."""
    known = "from, to, level, audit, field, value, text, limit, cursor"
    assert error(client, **{name: "1"}).endswith(f"of this path, which knows {known}")


def test_parameter_that_is_given_twice(client: httpx.Client) -> None:
    """Of two values one would be ignored: a 400; an empty one counts as not given."""
    answer = client.get("/api/logs?limit=1&limit=2")
    assert answer.status_code == 400
    assert answer.json()["error"] == "'limit' is given twice, expected it once"
    assert client.get("/api/logs?limit=1&limit=").status_code == 200


def test_range_that_is_upside_down(client: httpx.Client) -> None:
    """`from` after `to` is a 400: nothing could ever match."""
    text = f"'from' is '{TIMES[2]}', which is after 'to', '{TIMES[0]}': nothing can match"
    assert error(client, **{"from": TIMES[2], "to": TIMES[0]}) == text


# --- limit and cursor ---------------------------------------------------------------------------


def test_default_limit(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A page has up to 100 entries unless `limit` says otherwise, and at most 1000."""
    write(tmp_path / "logs" / "app.ndjson", [{"n": number} for number in range(1_050)])
    client = connect(serve())
    wait_until(lambda: client.get("/health").json()["ingest"]["runs"])
    sizes = []
    for parameters in (
        {},
        {"limit": "7"},
        {"limit": "1000"},
        {"limit": "1001"},
        {"limit": "9" * 30},
    ):
        content = ask(client, **parameters)
        assert (content["hasMore"], "nextCursor" in content) == (True, True)
        sizes.append((content["limit"], len(content["entries"])))
    assert sizes == [(100, 100), (7, 7), (1000, 1000), (1000, 1000), (1000, 1000)]


@pytest.mark.parametrize("limit", ["0", "00", "-1", "+1", "1.5", "1e3", "ten", "٣", "0x10", " 5"])
def test_wrong_limit(client: httpx.Client, limit: str) -> None:
    """A limit that is not a whole number from 1 on is a 400 with the parameter and the value."""
    for path, more in (("/api/logs", {}), ("/api/logs/aggregate", {"groupBy": "level"})):
        text = error(client, path, limit=limit, **more)
        expected = "a whole number from 1 to 1000 (more counts as 1000)"
        assert text == f"'limit' is {limit!r}, expected {expected}"


def pages(client: httpx.Client, **parameters: object) -> Iterator[list[dict[str, Any]]]:
    cursor = ""
    while True:
        content = ask(client, cursor=cursor, **parameters)
        yield content["entries"]
        if not content["hasMore"]:
            assert "nextCursor" not in content
            return
        assert len(content["entries"]) == content["limit"]
        cursor = content["nextCursor"]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages(client: httpx.Client, limit: int) -> None:
    """Pages of any size, put together, are the whole; the last one has no cursor."""
    parts = pages(client, limit=limit, from_="2026-02-18", to="2026-02-21")
    found = [entry["data"]["n"] for entry in itertools.chain(*parts)]
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_pages_with_filters(client: httpx.Client) -> None:
    """Pages continue with the filters of the first page."""
    parts = list(pages(client, limit=1, level="INFO", to="2026-02-21", from_="2026-02-18"))
    assert [entry["data"]["n"] for entry in itertools.chain(*parts)] == [7, 6, 5, 4, 1]


def test_pages_while_rows_arrive(serve: Serve, connect: Connect) -> None:
    """Pages neither skip nor repeat while newer, older and simultaneous records arrive."""
    server = serve(ingest_producers="t=p")
    client = connect(server, headers={"authorization": "Bearer t"})

    def send(mark: str, second: int, count: int) -> None:
        time = f"2026-02-18T10:00:{second:02}.000Z"
        records = [{"timestamp": time, "mark": mark} for _ in range(count)]
        assert client.post("/api/ingest", json=records).status_code == 200

    for second in (10, 20, 30):
        send("before", second, 25)
    seen: Counter[int] = Counter()
    before = {entry["id"] for entry in ask(client, limit=1000)["entries"]}
    for entries in pages(client, limit=7):
        seen.update(entry["id"] for entry in entries)
        for second in (5, 10, 20, 25, 30, 40):
            send("after", second, 1)
    assert all(seen[number] == 1 for number in before)
    assert max(seen.values()) == 1


@pytest.mark.parametrize("cursor", ["x", "AAAA", "!!!", "日本", "eyJhIjoxfQ==", "A" * 5000, "%00"])
def test_malformed_cursor(client: httpx.Client, cursor: str) -> None:
    """An invalid cursor starts at the first page."""
    assert ask(client, limit=3, cursor=cursor) == ask(client, limit=3)


# --- aggregates -----------------------------------------------------------------------------------


def buckets(client: httpx.Client, **parameters: object) -> list[tuple[str, int]]:
    range_ = {"from_": "2026-02-01", "to": "2026-03-01"}
    content = ask(client, "/api/logs/aggregate", **range_ | parameters)
    return [(bucket["key"], bucket["count"]) for bucket in content["buckets"]]


def test_aggregate_answer(client: httpx.Client) -> None:
    """The response has the buckets and what they are grouped by; `groupField` only for fields."""
    by_level = ask(client, "/api/logs/aggregate", groupBy="level", level="ERROR")
    assert by_level == {"buckets": [{"key": "ERROR", "count": 1}], "groupBy": "level"}
    by_field = ask(client, "/api/logs/aggregate", groupBy="field", groupField="n", level="ERROR")
    assert by_field == {
        "buckets": [{"key": "2", "count": 1}],
        "groupBy": "field",
        "groupField": "n",
    }


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("level", [("INFO", 4), ("ERROR", 1), ("NOTICE", 1), ("WARN", 1)]),
        (
            "event",
            [("log.event", 4), ("Paper is low", 1), ("order.created", 1), ("order.failed", 1)],
        ),
        ("correlation", [("(missing)", 4), ("c-1", 2), ("r-1", 1)]),
    ],
)
def test_group_by(client: httpx.Client, by: str, expected: list[tuple[str, int]]) -> None:
    """Highest count first, then by key; missing values count under their default or `(missing)`."""
    assert buckets(client, groupBy=by) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("tray", [("(missing)", 5), ("A 4", 1), ("a 4", 1)]),
        ("audit", [("(missing)", 5), ("false", 1), ("true", 1)]),
        ("error.stack", [("(missing)", 6), ("ÄRGER at f", 1)]),
        ("error", [("(missing)", 7)]),
        ("nowhere", [("(missing)", 7)]),
        ("level", [("INFO", 3), ("(missing)", 1), ("NOTICE", 1), ("WARN", 1), ("error", 1)]),
    ],
)
def test_group_by_field(client: httpx.Client, field: str, expected: list[tuple[str, int]]) -> None:
    """A field is grouped by its exact values; records without it count under `(missing)`."""
    assert buckets(client, groupBy="field", groupField=field) == expected


def test_group_by_a_field_of_any_kind(client: httpx.Client) -> None:
    """Values of every kind are buckets of their own, long ones with their whole text."""
    found = buckets(client, groupBy="field", groupField="v", limit=1000, to="", from_="")
    assert found[0] == ("(missing)", len(APP) + len(AUDIT) + len(RAW))
    assert found[1:] == sorted((text_of(value), 1) for value in VALUES)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"level": "info"}, [("INFO", 4), ("NOTICE", 1)]),
        ({"audit": "true"}, [("INFO", 1), ("NOTICE", 1)]),
        ({"audit": "false"}, [("INFO", 3), ("ERROR", 1), ("WARN", 1)]),
        ({"field": "correlationId", "value": "c-1"}, [("INFO", 1), ("NOTICE", 1)]),
        (
            {"from_": TIMES[1], "to": TIMES[2]},
            [("ERROR", 1), ("INFO", 1), ("NOTICE", 1), ("WARN", 1)],
        ),
        ({"text": "ink"}, [("ERROR", 1)]),
        ({"level": "FATAL"}, []),
    ],
)
def test_aggregate_filters(
    client: httpx.Client, filters: dict[str, object], expected: list[tuple[str, int]]
) -> None:
    """An aggregate accepts the filters of a query."""
    assert buckets(client, groupBy="level", **filters) == expected


def test_aggregate_limit(client: httpx.Client) -> None:
    """`limit` keeps the largest buckets."""
    assert buckets(client, groupBy="correlation", limit=2) == [("(missing)", 4), ("c-1", 2)]


def test_aggregate_default_limit(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """An aggregate has up to 100 buckets unless `limit` says otherwise, and at most 1000."""
    write(tmp_path / "logs" / "app.ndjson", [{"n": number} for number in range(1_050)])
    client = connect(serve())
    wait_until(lambda: client.get("/health").json()["ingest"]["runs"])
    given = {"groupBy": "field", "groupField": "n", "from_": "", "to": ""}
    sizes = [len(buckets(client, **given, limit=limit)) for limit in ("", 30, 1000, 1001)]
    assert sizes == [100, 30, 1000, 1000]


BY_FIELD = "to count by a field: groupBy=field&groupField="
GROUPINGS = "expected one of level, event, field, correlation"


@pytest.mark.parametrize(
    ("by", "text"),
    [
        ("", f"'groupBy' is missing, {GROUPINGS}"),
        ("level,event", f"'groupBy' is 'level,event', {GROUPINGS}"),
        ("a b", f"'groupBy' is 'a b', {GROUPINGS}"),
        ("Level", f"'groupBy' is 'Level', {GROUPINGS}; {BY_FIELD}Level"),
        ("http.status", f"'groupBy' is 'http.status', {GROUPINGS}; {BY_FIELD}http.status"),
        ("@template", f"'groupBy' is '@template', {GROUPINGS}; {BY_FIELD}@template"),
    ],
)
def test_wrong_group_by(client: httpx.Client, by: str, text: str) -> None:
    """An unknown `groupBy` is a 400 that names the choices, and how to count by a field."""
    assert error(client, "/api/logs/aggregate", groupBy=by) == text


def test_group_field_is_missing(client: httpx.Client) -> None:
    """groupBy=field without `groupField` is a 400 that names it."""
    assert error(client, "/api/logs/aggregate", groupBy="field").startswith(
        "'groupField' is missing"
    )


def test_group_field_that_is_not_needed(client: httpx.Client) -> None:
    """`groupField` is ignored with any other grouping."""
    content = ask(client, "/api/logs/aggregate", groupBy="level", groupField="n", level="WARN")
    assert content == {"buckets": [{"key": "WARN", "count": 1}], "groupBy": "level"}


@pytest.mark.parametrize("name", ["from_", "to", "audit", "limit"])
def test_wrong_parameter_of_an_aggregate(client: httpx.Client, name: str) -> None:
    """A wrong filter of an aggregate is a 400 that names it."""
    text = error(client, "/api/logs/aggregate", groupBy="level", **{name: "wrong"})
    assert text.startswith(f"'{name.rstrip('_')}' is 'wrong'")


def test_empty_index(serve: Serve, connect: Connect) -> None:
    """An empty index gives empty results."""
    client = connect(serve())
    assert ask(client) == {"entries": [], "hasMore": False, "limit": 100}
    for by in ("level", "event", "correlation"):
        content = ask(client, "/api/logs/aggregate", groupBy=by)
        assert content == {"buckets": [], "groupBy": by}


# --- large pages --------------------------------------------------------------------------------


def test_large_pages_do_not_hold_up_small_ones(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While large pages occupy all of their threads, small ones are answered; of very many waiting
    large pages the last are refused.
    """
    server = serve()
    client, store = connect(server), server._sidecar.store
    search, held, running = store.search, threading.Event(), threading.Semaphore(0)

    def slow(query: Query, page: PageRequest) -> Page:
        if page.limit > 200:
            running.release()
            held.wait()
        return search(query, page)

    monkeypatch.setattr(store, "search", slow)
    with ThreadPoolExecutor(80) as pool:
        asked = [pool.submit(connect(server).get, "/api/logs?limit=1000") for _ in range(80)]
        try:
            for _ in range(4):
                assert running.acquire(timeout=DEADLINE_S)
            assert client.get("/api/logs?limit=200").status_code == 200
            wait_until(lambda: sum(one.done() for one in asked) == 80 - 4 - 64)
        finally:
            held.set()
        statuses = Counter(one.result().status_code for one in asked)
    assert statuses == {200: 68, 503: 12}
