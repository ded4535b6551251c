"""Records whose fields merely share a name with a logger's, and loggers easily taken for others."""

import json
from typing import Any

import pytest

from mikroscope.records.attributes import correlation_of, find_time, level_of, message_of
from mikroscope.records.parsing import parse_line
from mikroscope.records.timestamps import format_time, is_unset, parse_time
from mikroscope.records.wrappers import unwrap

ISO = "2026-02-18T10:20:00.123Z"


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        # pino's numbers beside names that Nextcloud, consola, GELF and Monolog use
        ({"level": 30, "remoteAddr": "1.2.3.4"}, "INFO"),
        ({"level": 50, "args": ["--verbose"]}, "ERROR"),
        ({"level": 50, "short_message": "x"}, "ERROR"),
        ({"level": 30, "channel": "sales"}, "INFO"),
        ({"level": 2, "remoteAddr": "1.2.3.4"}, "WARN"),
        ({"level": 0, "args": ["x"]}, "ERROR"),
        # Monolog without the name
        ({"level": 400, "channel": "app", "datetime": ISO}, "ERROR"),
        ({"level": 200, "channel": "app", "datetime": ISO}, "INFO"),
        ({"level": 250, "channel": "app"}, "INFO"),
        ({"level": 600, "datetime": ISO}, "FATAL"),
        # Names that are none of a level
        ({"priority": "critical", "message": "a ticket"}, "INFO"),
        ({"priority": "critical", "rule": "r"}, "FATAL"),
        ({"severity": "high"}, "INFO"),
        ({"lvl": "gold"}, "INFO"),
        ({"Level": "Gold"}, "INFO"),
        # A number says what a name of one's own means
        ({"record": {"level": {"name": "SUCCESS", "no": 25}}}, "INFO"),
        ({"record": {"level": {"name": "AUDIT", "no": 45}}}, "ERROR"),
        ({"severityText": "Uh oh", "severityNumber": 17}, "ERROR"),
        ({"levelname": "Level 35", "levelno": 35}, "WARN"),
        ({"levelname": "AUDIT"}, "AUDIT"),
        ({"severity_text": "WARN", "severity_number": 13}, "WARN"),
        ({"SeverityText": "", "SeverityNumber": 17}, "ERROR"),
        ({"@fields": {"level": "error"}, "@message": "winston"}, "ERROR"),
    ],
)
def test_a_level_is_that_of_its_logger(fields: dict[str, Any], level: str) -> None:
    """A number counts by what stands beside it, and within the range of that logger."""
    assert level_of(fields) == level


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": ["--x"], "event": "start"}, "start"),
        ({"args": ["--x"]}, ""),
        ({"args": ["a", 3], "tag": ""}, "a 3"),
        ({"log": "catalina.out", "event": "rotated"}, "rotated"),
        ({"body": "<html>", "event": "mail sent"}, "mail sent"),
        ({"body": {"a": 1}, "method": "POST"}, ""),
        ({"body": {"a": 1}, "severityNumber": 9}, '{"a":1}'),
        ({"body": "text"}, "text"),
        ({"fields": {"message": "bad email"}, "event": "form"}, "form"),
    ],
)
def test_a_message_is_that_of_its_logger(fields: dict[str, Any], message: str) -> None:
    """What was given to a call, or sent in a body, is no message of a record that has one."""
    assert message_of(fields) == message


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"date": "1999-01-01"}, ""),
        ({"date": 20260218}, ""),
        ({"date": "18 Feb 2026"}, ""),
        ({"date": "2026-02-18", "ingestedAt": ISO}, "ingestedAt"),
        ({"date": "2026-02-18 10:20"}, "date"),
        ({"date": 1771410000.5}, "date"),
        ({"date": "1771410000"}, "date"),
        ({"date": "2026-02-18", "time": "10:20:00"}, "date"),
        ({"eventTime": ISO}, ""),
        ({"eventTime": ISO, "eventName": "x"}, "eventTime"),
        ({"instant": True}, ""),
        ({"time": 35.2, "@timestamp": ISO}, "@timestamp"),
        ({"time": 35, "ingestedAt": ISO}, "time"),
        ({"ts": 12, "time": 5}, "time"),
        ({"timestamp": 5, "time": ISO}, "timestamp"),
        ({"timestampSeconds": 1771410000, "timestampNanos": 1}, "timestampSeconds"),
    ],
)
def test_the_field_that_a_time_comes_from(fields: dict[str, Any], name: str) -> None:
    """A due date or a duration does not give the time where another field does."""
    assert find_time(fields).name == name


@pytest.mark.parametrize(
    "fields",
    [
        {"record": {"extra": {"request_id": "x"}}},
        {"extra": {"request_id": "x"}},
        {"Properties": {"RequestId": "x"}},
        {"mdc": {"traceId": "x"}},
        {"contextMap": {"traceId": "x"}},
        {"_request_id": "x"},
        {"TraceId": "x"},
    ],
)
def test_ids_in_a_loggers_context(fields: dict[str, Any]) -> None:
    """Ids that a logger puts into its context, extra data or properties are correlations."""
    assert correlation_of(fields) == "x"


def records_in(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a line."""
    return [fields for fields, _ in unwrap(*parse_line(json.dumps(line).encode()))]


@pytest.mark.parametrize("inner", ["0001-01-01T00:00:00Z", "noon", 0])
def test_dockers_time_counts_where_the_records_cannot(inner: object) -> None:
    """The record's own field stays as it is."""
    line = {"log": json.dumps({"time": inner, "msg": "x"}), "stream": "stdout", "time": ISO}
    [record] = records_in(line)
    assert record["time"] == inner
    assert find_time(record).value == ISO


@pytest.mark.parametrize("inner", [{"t": 5}, {"date": "2026-01-01"}, {"created": 5}])
def test_dockers_time_counts_where_a_name_means_something_else(inner: dict[str, Any]) -> None:
    """A name that is a time only beside others does not hide Docker's."""
    assert records_in({"log": json.dumps(inner), "time": ISO}) == [{**inner, "time": ISO}]


@pytest.mark.parametrize(
    "line",
    [
        {"log": '{"a":1}', "event": "dumped"},
        {"log": '{"a":1}', "level": "info"},
        {"resourceLogs": [1], "message": "an app's own"},
    ],
)
def test_an_apps_own_record_stays_whole(line: dict[str, Any]) -> None:
    """A record with a level or event of its own is not taken for a wrapper."""
    assert records_in(line) == [line]


def test_what_else_a_line_of_otlp_says_is_kept() -> None:
    """The producer that sent a line, and when, belong to its log records."""
    logs = [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "a"}}]}]}]
    around = {"producerId": "p", "ingestedAt": ISO}
    assert records_in({"resourceLogs": logs, **around}) == [{"body": "a", **around}]
    assert records_in({"resourceLogs": [], **around}) == []


def test_what_lies_too_deep_in_otlp_is_text() -> None:
    """Deep values become the JSON of what they hold; nothing of them is lost."""
    value: dict[str, Any] = {"stringValue": "deepest"}
    for _ in range(60):
        value = {"arrayValue": {"values": [value]}}
    log = {"body": {"stringValue": "a"}, "attributes": [{"key": "x", "value": value}]}
    [record] = records_in({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]})
    assert "deepest" in json.dumps(record["x"])


def test_a_record_separator_before_a_line() -> None:
    """Twisted writes JSON text sequences (RFC 7464): each line begins with 1E."""
    assert parse_line(b'\x1e{"log_format": "x"}') == ({"log_format": "x"}, b'{"log_format": "x"}')


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("18-FEB-26 10.20.00.123456 AM", "2026-02-18T10:20:00.123Z"),
        ("18-FEB-26 10.20.00 PM +01:00", "2026-02-18T21:20:00.000Z"),
        ("2026-Feb-18 10:20:00.123456", "2026-02-18T10:20:00.123Z"),
        ("2026-049T10:20:00Z", "2026-02-18T10:20:00.000Z"),
        ("2024-366 10:20:00+01", "2024-12-31T09:20:00.000Z"),
    ],
)
def test_times_of_databases_and_libraries(text: str, want: str) -> None:
    """Oracle, Boost, and ISO 8601 by the day of the year."""
    found = parse_time(text)
    assert found is not None
    assert format_time(found) == want


@pytest.mark.parametrize("text", ["2026-366T00:00:00Z", "2026-000T00:00:00Z", "31-FEB-26 10.20.00"])
def test_days_that_there_are_not(text: str) -> None:
    """They cannot be read as times, and count as such."""
    assert parse_time(text) is None
    assert not is_unset(text)


@pytest.mark.parametrize(
    "value",
    [
        *(" ", "-", "null", "None", "NaT", "N/A", "0", "0.0", "0.000000", "-1", -1, 0.0),
        *("01/01/0001 00:00:00", "1/1/0001 12:00:00 AM", "0000-01-01T00:00:00Z"),
        *("-0001-11-30T00:00:00+00:00", "1900-01-01T00:00:00", "1899-12-30", "1753-01-01"),
    ],
)
def test_values_that_mean_no_time(value: object) -> None:
    """The next field counts, and nothing is unreadable."""
    assert find_time({"timestamp": value, "time": ISO})[1:] == ("time", ISO, "")


@pytest.mark.parametrize("value", ["1970-01-01T00:00:00.000Z", "1969-12-31T23:59:59Z", "noon", -2])
def test_values_that_mean_a_time(value: object) -> None:
    """A text that says 1970 is a time; a text that cannot be a time is unreadable, not unset."""
    assert not is_unset(value)
