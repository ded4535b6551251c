"""Time, level, message, event, correlation and audit follow from the fields of a record."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.attributes import (
    audit_of,
    correlation_of,
    event_of,
    is_audit_path,
    level_of,
    message_of,
    time_of,
)
from mikroscope.records.parsing import MAX_NESTING, Fields, NotARecordError, parse_line
from tests.helpers.json_values import JSON_VALUES

# The keys that some convention reads, so that each meets every kind of value.
CONVENTION_KEYS = st.sampled_from(
    re.findall(
        r"\S+",
        "timestamp time ts @timestamp @t asctime datetime timeUnixNano __REALTIME_TIMESTAMP date "
        "ingestedAt level levelname level_name severityText severity log log.level @l levelno "
        "level_value severityNumber PRIORITY message msg MESSAGE textPayload @m @mt body fields "
        "event audit correlationId requestId",
    )
)


def test_timestamp_wins_over_other_times() -> None:
    """`timestamp` comes before the time field of every convention."""
    fields = {"time": 2_000, "ts": 3.0, "ingestedAt": "2026-01-01T00:00:00Z", "timestamp": 1_000}
    assert time_of(fields) == (1_000_000, "timestamp")


def test_ingested_at_is_the_last_resort() -> None:
    """`ingestedAt` is the time of a record without another time."""
    fields = {"message": "x", "ingestedAt": "1970-01-01T00:00:01.500Z"}
    assert time_of(fields) == (1_500, "ingestedAt")


@pytest.mark.parametrize("unreadable", ["", "yesterday", None, True, [], {}, "2026-13-01", 1e300])
def test_a_time_that_cannot_be_read_is_passed_over(unreadable: object) -> None:
    """If a time field cannot be read, the next field is tried."""
    assert time_of({"timestamp": unreadable, "time": 7}) == (7_000, "time")


def test_a_record_without_a_time_has_none() -> None:
    """A record without a time field has no time here; the store adds one."""
    assert time_of({"message": "x"}) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-18T10:20:00Z",
        "2026-02-18T10:20:00.000Z",
        "2026-02-18T10:20:00.000000000Z",
        "2026-02-18T12:20:00+02:00",
        "2026-02-18T12:20:00+0200",
        "2026-02-18 10:20:00",
        "2026-02-18 10:20:00,000",
        "2026-02-18t10:20:00z",
        "2026-02-18 10:20:00 UTC",
        "2026-02-18T10:20",
        1_771_410_000,
        1_771_410_000_000,
        1_771_410_000_000_000,
        1_771_410_000_000_000_000,
        1_771_410_000.0,
        {"seconds": 1_771_410_000, "nanos": 999_999},
        {"seconds": "1771410000"},
    ],
)
def test_one_instant_has_many_spellings(text: object) -> None:
    """ISO 8601, RFC 3339 and epoch numbers in any unit name the same millisecond."""
    assert time_of({"timestamp": text}) == (1_771_410_000_000, "timestamp")


def test_nanoseconds_are_cut_to_milliseconds() -> None:
    """Fractions below a millisecond are cut off."""
    assert time_of({"time": "1970-01-01T00:00:00.001999999Z"}) == (1, "time")


@pytest.mark.parametrize(
    ("level", "want"),
    [("info", "INFO"), ("Warning", "WARNING"), ("audit.high", "AUDIT.HIGH"), ("straße", "STRASSE")],
)
def test_a_text_in_level_is_upper_cased_and_kept(level: str, want: str) -> None:
    """A text in `level` is kept in upper case, custom levels included."""
    assert level_of({"level": level, "severity": "ERROR"}) == want


@pytest.mark.parametrize("level", [None, "", [], {}, True])
def test_without_a_usable_level_it_is_info(level: object) -> None:
    """The level of a record without a usable level is INFO."""
    assert level_of({"level": level}) == "INFO"


@pytest.mark.parametrize(
    ("number", "want"),
    [
        (9, "TRACE"),
        (10, "TRACE"),
        (20, "DEBUG"),
        (29.5, "DEBUG"),
        (30, "INFO"),
        (35, "INFO"),
        (40, "WARN"),
        (50, "ERROR"),
        (60, "FATAL"),
        (99, "FATAL"),
    ],
)
def test_a_number_in_level_is_pinos(number: float, want: str) -> None:
    """A number in `level` means what pino means; others fall to the band below."""
    assert level_of({"level": number}) == want


def test_a_text_in_message_is_the_message() -> None:
    """A text in `message` is the message, even if it is empty."""
    assert message_of({"message": "", "msg": "other"}) == ""


@pytest.mark.parametrize(
    ("value", "want"),
    [(5, "5"), (True, "true"), ([1, "a"], '[1,"a"]'), ({"a": {"b": None}}, '{"a":{"b":null}}')],
)
def test_a_message_of_another_type_is_its_json_text(value: object, want: str) -> None:
    """A message that is not a text becomes compact JSON."""
    assert message_of({"message": value}) == want


def test_a_null_message_is_none() -> None:
    """With a null `message` the logger's own convention decides."""
    assert message_of({"message": None, "msg": "hello"}) == "hello"


def test_a_record_without_a_message_has_an_empty_one() -> None:
    """A record without a message has an empty message."""
    assert message_of({"a": 1}) == ""


def test_a_message_as_deep_as_can_be_parsed_has_a_text() -> None:
    """A message as deeply nested as the parser allows has a text."""
    for depth in range(MAX_NESTING - 10, MAX_NESTING + 10):
        try:
            fields = parse_line(b'{"message":' + b"[" * depth + b"]" * depth + b"}")[0]
        except NotARecordError:
            return
        assert isinstance(message_of(fields), str)


@pytest.mark.parametrize("event", ["user.login", " "])
def test_a_text_in_event_is_the_event(event: str) -> None:
    """A text in `event` is the event, whatever the message is."""
    assert event_of({"event": event, "message": "other"}) == event


@pytest.mark.parametrize("event", [None, "", 5, {"kind": "x"}, ["x"]])
def test_without_a_usable_event_the_message_is_the_event(event: object) -> None:
    """If `event` is not a text or is empty, the message is the event."""
    assert event_of({"event": event, "msg": "hello"}) == "hello"


def test_without_event_and_message_it_is_log_event() -> None:
    """The event of a record without event and message is `log.event`."""
    assert event_of({"a": 1}) == "log.event"


@pytest.mark.parametrize("value", [True, 1, "true", "TRUE", "1", "yes", " Yes ", 1.0])
def test_a_record_can_say_it_is_audit(value: object) -> None:
    """Booleans, 0 and 1, and their words can mark a record as audit."""
    assert audit_of({"audit": value}, path_is_audit=False)


@pytest.mark.parametrize("value", [False, 0, "false", "No", "0"])
def test_a_record_can_say_it_is_not_audit(value: object) -> None:
    """A record can say that it is not audit, even below a directory named audit."""
    assert not audit_of({"audit": value}, path_is_audit=True)


@pytest.mark.parametrize("value", [None, "", "maybe", 2, [], {"by": "x"}])
@pytest.mark.parametrize("path_is_audit", [True, False])
def test_otherwise_the_path_decides(value: object, path_is_audit: bool) -> None:
    """If the record's `audit` means neither yes nor no, the path decides."""
    assert audit_of({"audit": value}, path_is_audit) is path_is_audit


@pytest.mark.parametrize("path", ["audit/a.ndjson", "x/Audit/y/a.ndjson", "AUDIT/a.ndjson"])
def test_a_directory_named_audit_makes_its_files_audit(path: str) -> None:
    """A directory named audit, at any depth and in any letter case, makes its files audit."""
    assert is_audit_path(path)


@pytest.mark.parametrize("path", ["audit.ndjson", "auditing/a.ndjson", "a/audit", "my-audit/a.b"])
def test_other_names_do_not(path: str) -> None:
    """A file named audit, or a directory with a longer name, does not make files audit."""
    assert not is_audit_path(path)


def test_correlation_id_comes_first() -> None:
    """`correlationId` comes before `requestId`."""
    assert correlation_of({"requestId": "r", "correlationId": "c"}) == "c"


@pytest.mark.parametrize("unusable", [None, "", True, [], {}])
def test_request_id_stands_in(unusable: object) -> None:
    """`requestId` is used if `correlationId` is null, empty, a boolean or an object."""
    assert correlation_of({"correlationId": unusable, "requestId": 12}) == "12"


def test_there_may_be_no_correlation() -> None:
    """A record without a usable id has no correlation; aggregates show it as `(missing)`."""
    assert correlation_of({"requestId": ""}) is None


@given(
    st.dictionaries(
        CONVENTION_KEYS, JSON_VALUES | st.integers(-(10**30), 10**30) | st.text("0123456789-.eE")
    )
)
def test_no_record_makes_deriving_fail(fields: Fields) -> None:
    """No record makes the functions that derive attributes fail."""
    found = time_of(fields)
    assert found is None or fields[found[1]] is not None
    for derive in (level_of, message_of, event_of):
        assert isinstance(derive(fields), str)
    assert isinstance(audit_of(fields, path_is_audit=False), bool)
    assert correlation_of(fields) != ""
