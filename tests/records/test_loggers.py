"""Loggers and servers that people use: a line of each, as its documentation has it."""

import json
from typing import Any

import pytest

from mikroscope.records.attributes import correlation_of, find_time, level_of, message_of
from mikroscope.records.parsing import parse_line
from mikroscope.records.wrappers import unwrap

MOMENT = 1_771_410_000_000  # 2026-02-18T10:20:00Z
ISO = "2026-02-18T10:20:00Z"
MESSAGE = "card declined"

# Each is an error with the same message at the same moment, unless it says otherwise.
LINES: dict[str, dict[str, Any]] = {
    # Node.js
    "pino": {"level": 50, "time": MOMENT, "pid": 1, "hostname": "h", "msg": MESSAGE},
    "bunyan": {"name": "a", "level": 50, "msg": MESSAGE, "time": ISO, "v": 0},
    "winston": {"level": "error", "message": MESSAGE, "timestamp": ISO},
    "winston in colour": {"level": "\x1b[31merror\x1b[39m", "message": MESSAGE, "timestamp": ISO},
    "log4js": {
        "startTime": ISO,
        "categoryName": "default",
        "data": ["card", "declined"],
        "level": {"level": 40000, "levelStr": "ERROR", "colour": "red"},
    },
    "roarr": {"context": {"logLevel": 50}, "message": MESSAGE, "time": MOMENT, "version": "2.0.0"},
    "consola": {"date": ISO, "args": [MESSAGE], "type": "error", "level": 0, "tag": ""},
    "tslog": {"0": MESSAGE, "_meta": {"logLevelName": "ERROR", "logLevelId": 5, "date": ISO}},
    "NestJS": {"level": "error", "pid": 1, "timestamp": MOMENT, "message": MESSAGE},
    "AWS Lambda": {"timestamp": ISO, "level": "ERROR", "message": MESSAGE, "requestId": "r"},
    # Python
    "python-json-logger": {
        "asctime": "2026-02-18 10:20:00,000",
        "levelname": "ERROR",
        "message": MESSAGE,
    },
    "structlog": {"event": MESSAGE, "level": "error", "timestamp": ISO},
    "loguru": {
        "text": f"10:20 | ERROR | {MESSAGE}\n",
        "record": {
            "level": {"icon": "x", "name": "ERROR", "no": 40},
            "message": MESSAGE,
            "time": {"repr": "2026-02-18 10:20:00+00:00", "timestamp": MOMENT / 1000},
        },
    },
    "LogRecord": {"created": MOMENT / 1000, "relativeCreated": 5, "levelno": 40, "msg": MESSAGE},
    "Twisted": {"log_time": MOMENT / 1000, "log_level": {"name": "error"}, "log_format": MESSAGE},
    "eliot": {
        "timestamp": MOMENT / 1000,
        "task_uuid": "u",
        "message_type": MESSAGE,
        "level": "error",
    },
    # Go
    "zap": {"level": "error", "ts": MOMENT / 1000, "caller": "a.go:1", "msg": MESSAGE},
    "zerolog": {"level": "error", "time": MOMENT // 1000, "message": MESSAGE},
    "slog": {"time": "2026-02-18T10:20:00.000000001Z", "level": "ERROR+2", "msg": MESSAGE},
    "logrus": {"level": "error", "msg": MESSAGE, "time": ISO},
    "log15": {"lvl": "eror", "msg": MESSAGE, "t": ISO},
    "hclog": {"@level": "error", "@message": MESSAGE, "@timestamp": ISO, "@module": "core"},
    "go-kit": {"level": "error", "ts": ISO, "caller": "a.go:1", "msg": MESSAGE},
    # JVM
    "Logback for Logstash": {
        "@timestamp": ISO,
        "message": MESSAGE,
        "level": "ERROR",
        "level_value": 40000,
    },
    "Logback's JsonEncoder": {
        "timestamp": MOMENT,
        "level": "ERROR",
        "formattedMessage": MESSAGE,
        "throwable": None,
    },
    "Log4j JsonLayout": {
        "instant": {"epochSecond": MOMENT // 1000, "nanoOfSecond": 999},
        "level": "ERROR",
        "message": MESSAGE,
    },
    "Tomcat": {"time": "2026-02-18T10:20:00.000Z", "level": "SEVERE", "message": MESSAGE},
    "Quarkus": {"timestamp": "2026-02-18T11:20:00.000+01:00", "level": "ERROR", "message": MESSAGE},
    "ECS": {"@timestamp": ISO, "log.level": "error", "message": MESSAGE, "ecs.version": "1.2.0"},
    "ECS, nested": {"@timestamp": ISO, "log": {"level": "error"}, "message": MESSAGE},
    "scribe": {"timeStamp": MOMENT, "level": "ERROR", "levelValue": 400.0, "message": MESSAGE},
    "μ/log": {"mulog/timestamp": MOMENT, "mulog/event-name": MESSAGE, "level": "error"},
    # .NET
    "Serilog CLEF": {"@t": ISO, "@l": "Error", "@mt": MESSAGE},
    "Serilog JsonFormatter": {
        "Timestamp": "2026-02-18T11:20:00.0000001+01:00",
        "Level": "Error",
        "MessageTemplate": "card {Outcome}",
        "RenderedMessage": MESSAGE,
    },
    ".NET console": {
        "Timestamp": ISO,
        "EventId": 0,
        "LogLevel": "Error",
        "Category": "c",
        "Message": MESSAGE,
    },
    "NLog": {"time": "2026-02-18 10:20:00.0000", "level": "ERROR", "message": MESSAGE},
    # Ruby, PHP, Rust, Elixir, Haskell
    "Ruby": {"severity": "ERROR", "time": "2026-02-18 10:20:00 UTC", "message": MESSAGE},
    "semantic_logger": {
        "timestamp": "2026-02-18T10:20:00.000000Z",
        "level": "error",
        "message": MESSAGE,
    },
    "ougai": {"name": "a", "v": 0, "level": 50, "msg": MESSAGE, "time": ISO},
    "Monolog": {"message": MESSAGE, "level": 400, "level_name": "ERROR", "datetime": ISO},
    "Monolog 1": {
        "message": MESSAGE,
        "level": 400,
        "level_name": "ERROR",
        "datetime": {"date": "2026-02-18 10:20:00.000000", "timezone_type": 3, "timezone": "UTC"},
    },
    "tracing": {"timestamp": ISO, "level": "ERROR", "fields": {"message": MESSAGE}, "target": "a"},
    "log4rs": {"time": "2026-02-18T11:20:00.0+01:00", "level": "ERROR", "message": MESSAGE},
    "LoggerJSON": {"time": ISO, "severity": "error", "message": MESSAGE, "metadata": {}},
    "LoggerJSON for Datadog": {
        "message": MESSAGE,
        "syslog": {"hostname": "h", "severity": "error", "timestamp": ISO},
    },
    "katip": {"at": ISO, "sev": "Error", "msg": MESSAGE, "ns": ["a"]},
    # Databases and servers
    "PostgreSQL": {
        "timestamp": "2026-02-18 11:20:00.000 CET",
        "error_severity": "ERROR",
        "message": MESSAGE,
    },
    "MySQL": {
        "prio": 1,
        "err_code": 10,
        "msg": MESSAGE,
        "time": "2026-02-18T10:20:00.000001Z",
        "label": "Error",
    },
    "MongoDB": {
        "t": {"$date": "2026-02-18T11:20:00.000+01:00"},
        "s": "E",
        "c": "NETWORK",
        "ctx": "conn1",
        "msg": MESSAGE,
    },
    "ClickHouse": {"date_time": f"{MOMENT // 1000}.000001", "level": "Error", "message": MESSAGE},
    "CockroachDB": {
        "timestamp": f"{MOMENT // 1000}.000000001",
        "severity": "ERROR",
        "severity_numeric": 3,
        "message": MESSAGE,
    },
    "CockroachDB, compact": {"t": f"{MOMENT // 1000}.0", "sev": "E", "message": MESSAGE},
    "RabbitMQ": {"time": "2026-02-18 10:20:00.000000+00:00", "level": "error", "msg": MESSAGE},
    "Caddy": {"level": "error", "ts": MOMENT / 1000, "logger": "http", "msg": MESSAGE},
    "Nextcloud": {"reqId": "r", "level": 3, "time": ISO, "remoteAddr": "", "message": MESSAGE},
    "Falco": {"output": MESSAGE, "priority": "Error", "rule": "r", "time": ISO},
    "GitLab": {"severity": "ERROR", "time": ISO, "correlation_id": "c", "message": MESSAGE},
    # Collectors and services
    "Google Cloud": {
        "severity": "ERROR",
        "textPayload": MESSAGE,
        "timestamp": {"seconds": MOMENT // 1000, "nanos": 9},
    },
    "Google Cloud, exported": {
        "severity": 500,
        "jsonPayload": {"message": MESSAGE},
        "timestamp": ISO,
    },
    "journald": {
        "__REALTIME_TIMESTAMP": f"{MOMENT}000",
        "PRIORITY": "3",
        "MESSAGE": MESSAGE,
    },
    "syslog-ng": {"PRIORITY": "err", "MESSAGE": MESSAGE, "ISODATE": ISO, "HOST": "h"},
    "rsyslog": {"timereported": ISO, "syslogseverity": "3", "msg": MESSAGE},
    "Logstash's syslog input": {
        "@timestamp": ISO,
        "severity": 3,
        "severity_label": "Error",
        "message": MESSAGE,
    },
    "GELF": {
        "version": "1.1",
        "host": "h",
        "short_message": MESSAGE,
        "timestamp": MOMENT / 1000,
        "level": 3,
    },
    "OpenTelemetry": {
        "timeUnixNano": f"{MOMENT}000000",
        "severityNumber": 17,
        "body": {"stringValue": MESSAGE},
    },
    "Datadog": {"ddsource": "go", "status": "error", "message": MESSAGE, "timestamp": MOMENT},
    "Application Insights": {"time": ISO, "severityLevel": 3, "message": MESSAGE},
    "NXLog": {"EventTime": ISO, "SeverityValue": 4, "Message": MESSAGE},
    "Fluent Bit": {"date": MOMENT / 1000, "level": "error", "log": f"{MESSAGE}\n"},
}
# The names that `level` holds where it is a text: it stays as the logger wrote it.
OWN_LEVELS = {"slog": "ERROR+2", "Tomcat": "SEVERE"}


@pytest.mark.parametrize("name", LINES)
def test_a_logger(name: str) -> None:
    """Its time, level and message are those that it meant."""
    fields, _ = parse_line(json.dumps(LINES[name]).encode())
    found = find_time(fields)
    assert (found.milliseconds, found.unreadable) == (MOMENT, "")
    assert (level_of(fields), message_of(fields)) == (OWN_LEVELS.get(name, "ERROR"), MESSAGE)


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        # Names that mean something else in other people's records
        ({"label": "error", "s": "E", "status": "error"}, "INFO"),
        ({"status": 500}, "INFO"),
        ({"priority": 1}, "INFO"),
        ({"priority": "high"}, "INFO"),
        ({"sev": "2"}, "INFO"),
        ({"lvl": "warn"}, "WARN"),
        ({"level": " "}, "INFO"),
        ({"level": " ", "levelname": "ERROR"}, "ERROR"),
        ({"level": None, "severity": "warning"}, "WARN"),
        # The numbers of GELF and of pino, by what stands beside them
        ({"level": 6, "short_message": "x"}, "INFO"),
        ({"level": 0, "short_message": "x"}, "FATAL"),
        ({"level": 6}, "TRACE"),
        ({"level": 60}, "FATAL"),
    ],
)
def test_what_a_level_is(fields: dict[str, Any], level: str) -> None:
    """A key is enough where only loggers use it; else it needs another one beside it."""
    assert level_of(fields) == level


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"timeUnixNano": "0", "observedTimeUnixNano": f"{MOMENT}000000"}, "observedTimeUnixNano"),
        ({"timeUnixNano": 0, "observedTimeUnixNano": MOMENT * 1_000_000}, "observedTimeUnixNano"),
        ({"timestamp": "0001-01-01T00:00:00Z", "time": ISO}, "time"),
        ({"timestamp": "", "time": ISO}, "time"),
        ({"timestamp": None, "ts": MOMENT}, "ts"),
        ({"time": "0000-00-00 00:00:00", "ingestedAt": ISO}, "ingestedAt"),
    ],
)
def test_a_time_that_is_not_set_gives_way(fields: dict[str, Any], name: str) -> None:
    """The next field that holds a time counts, and nothing is unreadable."""
    assert find_time(fields) == (MOMENT, name, fields[name], "")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"timestamp": "yesterday", "time": ISO}, (MOMENT, "time", ISO, "timestamp")),
        ({"timestamp": "yesterday"}, (None, "", None, "timestamp")),
        ({"timestamp": True, "time": []}, (None, "", None, "timestamp")),
        ({"time": "12:30", "ts": "0"}, (None, "", None, "time")),
        ({"timestamp": "0001-01-01"}, (None, "", None, "")),
        ({"t": "not a time", "at": 5, "created": 5, "startTime": "x"}, (None, "", None, "")),
        ({"x": 1}, (None, "", None, "")),
    ],
)
def test_a_time_that_cannot_be_read_is_named(
    fields: dict[str, Any], found: tuple[object, ...]
) -> None:
    """The field is named so that it can be counted; a later field may still give the time."""
    assert find_time(fields) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"correlationId": "c", "requestId": "r", "traceId": "t"}, "c"),
        ({"requestId": "r", "reqId": "q"}, "r"),
        *(({name: "x"}, "x") for name in ("reqId", "request_id", "req_id", "trace_id", "traceId")),
        ({"req": {"id": 7, "url": "/"}}, "7"),
        ({"trace": {"id": "x"}}, "x"),
        ({"req.id": "x"}, "x"),
        ({"trace.id": "x"}, "x"),
        ({"reqId": None, "trace_id": "x"}, "x"),
        ({"traceId": "0" * 32, "trace_id": ""}, None),
        ({"traceId": "00000000-0000-0000-0000-000000000000"}, None),
        ({"requestId": "0"}, "0"),
        ({"@tr": "x"}, "x"),
        ({"logging.googleapis.com/trace": "projects/p/traces/x"}, "projects/p/traces/x"),
        ({"req": "GET /", "trace": ["x"]}, None),
    ],
)
def test_the_id_of_a_request_or_trace(fields: dict[str, Any], found: str | None) -> None:
    """The two names of the original come first; an id of zeros is none."""
    assert correlation_of(fields) == found


# --- lines that carry records ----------------------------------------------------------------


def records_in(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a line, which their texts say as well."""
    records = unwrap(*parse_line(json.dumps(line).encode()))
    assert [json.loads(raw) for _, raw in records] == [fields for fields, _ in records]
    return [fields for fields, _ in records]


INNER = {"level": 50, "time": MOMENT, "msg": MESSAGE, "orderId": "ORD-11"}
INNER_TEXT = json.dumps(INNER)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ({"log": INNER_TEXT + "\n", "stream": "stdout", "time": ISO}, INNER),
        ({"log": f"  {INNER_TEXT}\r\n", "stream": "stderr"}, INNER),
        ({"log": '{"msg":"x"}', "stream": "stdout", "time": ISO}, {"msg": "x", "time": ISO}),
        (
            {"log": INNER_TEXT, "stream": "stdout", "kubernetes": {"pod_name": "p"}},
            {**INNER, "kubernetes": {"pod_name": "p"}},
        ),
        ({"log": json.dumps({"log": INNER_TEXT}), "time": ISO}, INNER),
        (
            {"MESSAGE": INNER_TEXT, "PRIORITY": "6", "_SYSTEMD_UNIT": "shop.service"},
            {**INNER, "PRIORITY": "6", "_SYSTEMD_UNIT": "shop.service"},
        ),
    ],
)
def test_json_inside_a_text(line: dict[str, Any], record: dict[str, Any]) -> None:
    """The object is the record; what Docker itself says is left out, other facts stay."""
    assert records_in(line) == [record]


@pytest.mark.parametrize(
    "line",
    [
        {"log": "plain text\n", "stream": "stdout", "time": ISO},
        {"log": "[1, 2]\n", "stream": "stdout", "time": ISO},
        {"log": '{"cut": "in the mid', "stream": "stdout", "time": ISO},
        {"log": '{"a":1} {"b":2}', "stream": "stdout", "time": ISO},
        {"log": {"level": "error"}, "message": "x"},
        {"log": '{"a":1}', "message": "an app's own field"},
        {"MESSAGE": None, "PRIORITY": "3"},
        {"resourceLogs": "x"},
        {"x": 1},
    ],
)
def test_other_lines_are_their_record(line: dict[str, Any]) -> None:
    """A line stays as it is where the text is no object, or only one field of a record."""
    assert records_in(line) == [line]


def attribute(key: str, **value: object) -> dict[str, Any]:
    """Return an attribute as OTLP JSON writes it."""
    return {"key": key, "value": value}


def test_a_line_of_otlp_holds_many_records() -> None:
    """Attributes of resource, scope and record are fields; values are plain JSON."""
    first = {
        "timeUnixNano": f"{MOMENT}000000",
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": {"stringValue": MESSAGE},
        "traceId": "t1",
        "attributes": [
            attribute("order.id", stringValue="ORD-9"),
            attribute("count", intValue="12"),
            attribute("ok", boolValue=False),
            attribute("ratio", doubleValue=0.5),
            attribute("body", stringValue="an attribute"),
            attribute("tags", arrayValue={"values": [{"stringValue": "a"}, {"intValue": "2"}]}),
            attribute("user", kvlistValue={"values": [attribute("id", intValue=7)]}),
            attribute("none"),
        ],
    }
    second = {"observedTimeUnixNano": f"{MOMENT}000000", "body": {"intValue": "5"}}
    line = {
        "resourceLogs": [
            {
                "resource": {"attributes": [attribute("service.name", stringValue="shop")]},
                "scopeLogs": [
                    {"scope": {"name": "pay", "version": "1"}, "logRecords": [first]},
                    {"logRecords": [second]},
                ],
            },
            {"scopeLogs": [{"logRecords": [{"body": {"stringValue": "alone"}}, "junk"]}]},
        ]
    }
    one, two, three = records_in(line)
    assert one == {
        "timeUnixNano": f"{MOMENT}000000",
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": MESSAGE,
        "traceId": "t1",
        "order.id": "ORD-9",
        "count": 12,
        "ok": False,
        "ratio": 0.5,
        "attributes.body": "an attribute",
        "tags": ["a", 2],
        "user": {"id": 7},
        "none": None,
        "service.name": "shop",
        "scope.name": "pay",
        "scope.version": "1",
    }
    assert two == {**second, "body": 5, "service.name": "shop"}
    assert three == {"body": "alone"}
    assert (level_of(one), message_of(one), correlation_of(one)) == ("ERROR", MESSAGE, "t1")
    assert (level_of(two), message_of(two), find_time(two).milliseconds) == ("INFO", "5", MOMENT)


@pytest.mark.parametrize(
    "logs", [[], [None], [{}], [{"scopeLogs": None}], [{"scopeLogs": [{"logRecords": {}}]}]]
)
def test_a_line_of_otlp_without_records(logs: list[Any]) -> None:
    """Such a line holds nothing."""
    assert records_in({"resourceLogs": logs}) == []
