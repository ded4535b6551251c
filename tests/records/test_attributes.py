"""What a raw line becomes: its fields, and the time, level, event and so on derived from them."""

import json
import re
import struct
from typing import Any

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
from mikroscope.records.fields import field_text, field_values, scalar_text
from mikroscope.records.parsing import MAX_NESTING, Fields, NotARecordError, parse_json, parse_line
from tests.helpers.paths import ROOT

LOGGERS = ROOT / "tests" / "fixtures" / "loggers"
EXPECTED: list[dict[str, Any]] = json.loads((LOGGERS / "expected.json").read_text())
FIXTURE_LINES = {path.name: path.read_bytes().splitlines() for path in LOGGERS.glob("*.ndjson")}

JSON_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON_VALUES = st.recursive(
    JSON_SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
# The keys that some convention looks at, so that each meets every kind of value.
CONVENTION_KEYS = st.sampled_from(
    re.findall(
        r"\S+",
        "timestamp time ts @timestamp @t asctime datetime timeUnixNano __REALTIME_TIMESTAMP date "
        "ingestedAt level levelname level_name severityText severity log log.level @l levelno "
        "level_value severityNumber PRIORITY message msg MESSAGE textPayload @m @mt body fields "
        "event audit correlationId requestId",
    )
)


def fields_of(raw: bytes) -> Fields:
    """The fields of one line."""
    return parse_line(raw)[0]


# --- real loggers -------------------------------------------------------------------------


def test_every_fixture_line_has_an_expectation() -> None:
    """No line of the loggers' fixtures goes unchecked."""
    lines = {(name, n) for name, raws in FIXTURE_LINES.items() for n in range(1, len(raws) + 1)}
    assert {(one["file"], one["line"]) for one in EXPECTED} == lines


@pytest.mark.parametrize("want", EXPECTED, ids=lambda one: f"{one['file']}:{one['line']}")
def test_a_line_of_a_real_logger_gives_its_time_level_and_message(want: dict[str, Any]) -> None:
    """Time, level and message come out as the logger meant them."""
    fields = fields_of(FIXTURE_LINES[want["file"]][want["line"] - 1])
    found = time_of(fields)
    time_ms = found[0] if found else None
    assert (time_ms, level_of(fields), message_of(fields)) == (
        want["timeMs"],
        want["level"],
        want["message"],
    )


# --- time ---------------------------------------------------------------------------------


def test_timestamp_wins_over_other_times() -> None:
    """`timestamp` is asked before every convention."""
    fields = {"time": 2_000, "ts": 3.0, "ingestedAt": "2026-01-01T00:00:00Z", "timestamp": 1_000}
    assert time_of(fields) == (1_000_000, "timestamp")


def test_a_convention_wins_over_ingested_at() -> None:
    """What the logger said comes before the moment of receipt."""
    assert time_of({"ingestedAt": "2026-01-01T00:00:00Z", "time": 5}) == (5_000, "time")


def test_ingested_at_is_the_last_resort() -> None:
    """Without any other time, that of receipt counts."""
    fields = {"message": "x", "ingestedAt": "1970-01-01T00:00:01.500Z"}
    assert time_of(fields) == (1_500, "ingestedAt")


@pytest.mark.parametrize("unreadable", ["", "yesterday", None, True, [], {}, "2026-13-01", 1e300])
def test_a_time_that_cannot_be_read_is_passed_over(unreadable: object) -> None:
    """The next field is asked then."""
    assert time_of({"timestamp": unreadable, "time": 7}) == (7_000, "time")


def test_a_record_without_a_time_has_none() -> None:
    """Nothing is made up here; the moment of indexing is the store's to add."""
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
    """Times compare to the millisecond: a fraction below it is cut off."""
    assert time_of({"time": "1970-01-01T00:00:00.001999999Z"}) == (1, "time")


# --- level --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "want"),
    [("info", "INFO"), ("Warning", "WARNING"), ("audit.high", "AUDIT.HIGH"), ("straße", "STRASSE")],
)
def test_a_text_in_level_is_upper_cased_and_kept(level: str, want: str) -> None:
    """Existing clients see the level they wrote, custom ones too."""
    assert level_of({"level": level, "severity": "ERROR"}) == want


@pytest.mark.parametrize("level", [None, "", [], {}, True])
def test_without_a_usable_level_it_is_info(level: object) -> None:
    """INFO is what counts where nothing is said."""
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
    """Custom numbers fall to the band below."""
    assert level_of({"level": number}) == want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"levelno": 30}, "WARN"),
        ({"level_value": 40_000}, "ERROR"),
        ({"severityNumber": 17}, "ERROR"),
        ({"severityNumber": 0}, "INFO"),
        ({"severity": 500}, "ERROR"),
        ({"severity": "CRITICAL"}, "FATAL"),
        ({"levelname": "WARNING"}, "WARN"),
        ({"level_name": "NOTICE", "level": 250}, "INFO"),
        ({"log.level": "error"}, "ERROR"),
        ({"log": {"level": "error"}}, "ERROR"),
        ({"@l": "Verbose"}, "TRACE"),
        ({"PRIORITY": "3"}, "ERROR"),
        ({"PRIORITY": 0}, "FATAL"),
    ],
)
def test_a_convention_is_known_by_its_key(fields: Fields, want: str) -> None:
    """The same number means what the key says it means."""
    assert level_of(fields) == want


def test_a_priority_of_many_digits_is_survived() -> None:
    """No text in `PRIORITY` keeps a record from being indexed."""
    assert level_of({"PRIORITY": "1" * 5_000}) == "DEBUG"


# --- message, event -----------------------------------------------------------------------


def test_a_text_in_message_is_the_message() -> None:
    """Also an empty one: the record has said what it is."""
    assert message_of({"message": "", "msg": "other"}) == ""


@pytest.mark.parametrize(
    ("value", "want"),
    [(5, "5"), (True, "true"), ([1, "a"], '[1,"a"]'), ({"a": {"b": None}}, '{"a":{"b":null}}')],
)
def test_a_message_of_another_type_is_its_json_text(value: object, want: str) -> None:
    """Compact JSON, as it came."""
    assert message_of({"message": value}) == want


def test_a_null_message_is_none() -> None:
    """The logger's convention is asked then."""
    assert message_of({"message": None, "msg": "hello"}) == "hello"


def test_a_record_without_a_message_has_an_empty_one() -> None:
    """Nothing is made up."""
    assert message_of({"a": 1}) == ""


def test_a_message_as_deep_as_can_be_parsed_has_a_text() -> None:
    """What could be read can be shown: no record makes deriving fail."""
    for depth in range(MAX_NESTING - 10, MAX_NESTING + 10):
        try:
            fields = fields_of(b'{"message":' + b"[" * depth + b"]" * depth + b"}")
        except NotARecordError:
            return
        assert isinstance(message_of(fields), str)


@pytest.mark.parametrize("event", ["user.login", " "])
def test_a_text_in_event_is_the_event(event: str) -> None:
    """Whatever the message says."""
    assert event_of({"event": event, "message": "other"}) == event


@pytest.mark.parametrize("event", [None, "", 5, {"kind": "x"}, ["x"]])
def test_without_a_usable_event_the_message_is_the_event(event: object) -> None:
    """Only a text that is not empty names an event."""
    assert event_of({"event": event, "msg": "hello"}) == "hello"


def test_without_event_and_message_it_is_log_event() -> None:
    """The original's default."""
    assert event_of({"a": 1}) == "log.event"


# --- audit --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, 1, "true", "TRUE", "1", "yes", " Yes ", 1.0])
def test_a_record_can_say_it_is_audit(value: object) -> None:
    """Booleans, 0 and 1, and their words."""
    assert audit_of({"audit": value}, path_is_audit=False)


@pytest.mark.parametrize("value", [False, 0, "false", "No", "0"])
def test_a_record_can_say_it_is_not_audit(value: object) -> None:
    """Even below a directory named audit."""
    assert not audit_of({"audit": value}, path_is_audit=True)


@pytest.mark.parametrize("value", [None, "", "maybe", 2, [], {"by": "x"}])
@pytest.mark.parametrize("path_is_audit", [True, False])
def test_otherwise_the_path_decides(value: object, path_is_audit: bool) -> None:
    """A word that says neither is no word."""
    assert audit_of({"audit": value}, path_is_audit) is path_is_audit


@pytest.mark.parametrize("path", ["audit/a.ndjson", "x/Audit/y/a.ndjson", "AUDIT/a.ndjson"])
def test_a_directory_named_audit_makes_its_files_audit(path: str) -> None:
    """At any depth and in any case."""
    assert is_audit_path(path)


@pytest.mark.parametrize("path", ["audit.ndjson", "auditing/a.ndjson", "a/audit", "my-audit/a.b"])
def test_other_names_do_not(path: str) -> None:
    """Neither a file's name nor a part of a directory's counts."""
    assert not is_audit_path(path)


# --- correlation --------------------------------------------------------------------------


def test_correlation_id_comes_first() -> None:
    """Then `requestId`."""
    assert correlation_of({"requestId": "r", "correlationId": "c"}) == "c"


@pytest.mark.parametrize("unusable", [None, "", True, [], {}])
def test_request_id_stands_in(unusable: object) -> None:
    """Null, empty texts, booleans and objects are no ids."""
    assert correlation_of({"correlationId": unusable, "requestId": 12}) == "12"


def test_there_may_be_no_correlation() -> None:
    """`(missing)` is what an aggregate calls that."""
    assert correlation_of({"requestId": ""}) is None


# --- scalar texts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Text = as it is ", "Text = as it is "),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (12345678901234567890123, "12345678901234567890123"),
        (-7, "-7"),
        # As `String(x)` of Node 24 says.
        (1.0, "1"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1.23e-5, "0.0000123"),
        (1e-7, "1e-7"),
        (-1.5e-7, "-1.5e-7"),
        (5e-324, "5e-324"),
        (1e16, "10000000000000000"),
        (12345678901234567890.0, "12345678901234567000"),
        (-123456789012345680000.0, "-123456789012345680000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_a_scalar_has_one_text(value: object, text: str) -> None:
    """Numbers as ECMAScript prints them, integers with every digit."""
    assert scalar_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_reads_back_as_the_same_number(number: float) -> None:
    """Nothing is lost, and no other number has that text."""
    text = scalar_text(number)
    assert text is not None
    assert float(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_is_the_shortest(number: float) -> None:
    """It has no digit that Python's shortest form does not have, and zeros only as places."""
    text = (scalar_text(number) or "").partition("e")[0]
    shortest = repr(number).partition("e")[0]
    assert text.replace(".", "").strip("-0") == shortest.replace(".", "").strip("-0")


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}])
def test_arrays_and_objects_have_no_text(value: object) -> None:
    """Field filters compare scalars."""
    assert scalar_text(value) is None


# --- field names --------------------------------------------------------------------------


def test_a_dotted_name_reaches_into_objects() -> None:
    """`a.b.c` is the field c of the field b of the field a."""
    assert field_text({"a": {"b": {"c": 3}}}, "a.b.c") == "3"


def test_a_key_with_dots_comes_before_the_path() -> None:
    """The record's own key is meant first; the path is found too."""
    assert list(field_values({"a.b": 1, "a": {"b": 2}}, "a.b")) == [1, 2]


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "missing", "a.b.c.d"])
def test_a_name_that_leads_nowhere_gives_nothing(name: str) -> None:
    """It is no error to ask."""
    assert field_text({"a": {"b": 1}, "c": [1]}, name) is None


def test_an_empty_key_is_a_name() -> None:
    """JSON allows it, so it can be asked for."""
    assert field_text({"": "x"}, "") == "x"


# --- unusual JSON -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"42", "number"),
        (b"[]", "array"),
        (b"null", "null"),
        (b'"x"', "string"),
        (b"true", "boolean"),
        (b"1.5", "number"),
    ],
)
def test_json_that_is_no_object_is_no_record(raw: bytes, kind: str) -> None:
    """The error names what it is."""
    with pytest.raises(NotARecordError, match=f"^a JSON {kind}, expected an object$"):
        parse_line(raw)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_for_numbers_are_no_json(word: str) -> None:
    """RFC 8259 has none of them; the error says so, once."""
    with pytest.raises(NotARecordError, match=f"^not JSON: {word} is not a JSON value$"):
        parse_line(b'{"a": %s}' % word.encode())


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":1', b"{'a':1}", b'{"a":01}', b'{"a":1}{}'])
def test_broken_json_is_no_record(raw: bytes) -> None:
    """And says that it is not JSON."""
    with pytest.raises(NotARecordError, match=r"^not JSON: "):
        parse_line(raw)


@pytest.mark.parametrize("raw", [b'\x00{"a":1}', b'{"a":"\x00"}', b'{"a":1}\x00', b'{"a\x01":1}'])
def test_control_characters_are_no_json(raw: bytes) -> None:
    """RFC 8259 asks for them to be escaped."""
    with pytest.raises(NotARecordError):
        parse_line(raw)


def test_an_escaped_nul_is_a_character() -> None:
    """As any other."""
    assert fields_of(rb'{"a":"x\u0000y"}') == {"a": "x\0y"}


def test_of_a_key_that_stands_twice_the_last_one_counts() -> None:
    """As everywhere in the world of JSON."""
    assert fields_of(b'{"a":1,"b":2,"a":3}') == {"a": 3, "b": 2}


def test_the_line_is_kept_as_it_is() -> None:
    """Spaces, duplicate keys and the spelling of numbers are the record's own."""
    raw = b'{ "a" : 1.0e0 , "a":2,"b":"\\u00e9" }'
    assert parse_line(raw)[1] == raw


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    """The record is kept, as valid UTF-8."""
    fields, text = parse_line(b'{"a":"caf\xe9","\xff":"\xed\xa0\x80"}')
    assert fields == {"a": "caf\ufffd", "\ufffd": "\ufffd\ufffd\ufffd"}
    assert text.decode() == '{"a":"caf\ufffd","\ufffd":"\ufffd\ufffd\ufffd"}'


@pytest.mark.parametrize("key", ["a", "\\udc00"])
def test_a_lone_surrogate_costs_one_character(key: str) -> None:
    """It becomes `?` in the fields; the line keeps its escape."""
    raw = f'{{"{key}":"x\\ud800y"}}'.encode()
    fields, text = parse_line(raw)
    assert list(fields.values()) == ["x?y"]
    assert text == raw


def test_a_pair_of_surrogates_is_one_character() -> None:
    """Escapes of UTF-16 are read as such."""
    assert fields_of(rb'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("digits", ["9" * 20, "-" + "9" * 40, "1" + "0" * 300, "7" * 4_000])
def test_a_huge_integer_keeps_its_digits(digits: str) -> None:
    """Filters find it by every one of them."""
    assert scalar_text(fields_of(b'{"a":%s}' % digits.encode())["a"]) == digits


def test_an_integer_beyond_pythons_limit_keeps_its_digits() -> None:
    """It is a text then; nothing is refused, nothing raised."""
    digits = "8" * 10_000
    assert scalar_text(fields_of(b'{"a":%s}' % digits.encode())["a"]) == digits


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.5E+999"])
def test_a_number_out_of_range_keeps_its_spelling(number: str) -> None:
    """Infinity would be a lie, and no JSON."""
    assert fields_of(b'{"a":%s,"b":1}' % number.encode()) == {"a": number, "b": 1}


def test_a_number_too_small_is_zero() -> None:
    """As IEEE 754 has it."""
    assert fields_of(b'{"a":1e-400}') == {"a": 0.0}


@pytest.mark.parametrize("depth", [1_500, 10_000, 200_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_nesting_without_end_is_no_record(depth: int, brackets: tuple[bytes, bytes]) -> None:
    """A clear error, and no crash."""
    opened, closed = brackets
    raw = b'{"a":' + opened * depth + b"1" + closed * depth + b"}"
    with pytest.raises(NotARecordError, match=r"^nested too deeply"):
        parse_line(raw)


def test_nesting_beside_invalid_utf8_is_no_record() -> None:
    """The parser for unusual texts knows the limit too."""
    with pytest.raises(NotARecordError):
        parse_line(b'{"b":"\xff","a":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


def test_some_nesting_is_fine() -> None:
    """A hundred levels are no trouble."""
    assert fields_of(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}")["a"] != []


def test_parse_json_takes_any_json() -> None:
    """A payload may be an array."""
    assert parse_json(b'[{"a":1}]') == ([{"a": 1}], b'[{"a":1}]')


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_not_a_record(raw: bytes) -> None:
    """Whatever stands in a file, the worst is a parse error."""
    try:
        fields, text = parse_line(raw)
    except NotARecordError:
        return
    assert parse_line(text)[0] == fields


@given(st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=6))
def test_every_object_is_read_back(fields: Fields) -> None:
    """Whatever JSON a logger writes is a record, and its line valid UTF-8."""
    parsed, text = parse_line(json.dumps(fields).encode())
    assert text.decode().startswith("{")
    assert len(parsed) <= len(fields)


@given(
    st.dictionaries(
        CONVENTION_KEYS, JSON_VALUES | st.integers(-(10**30), 10**30) | st.text("0123456789-.eE")
    )
)
def test_no_record_makes_deriving_fail(fields: Fields) -> None:
    """One strange record must not stop the indexing of all others."""
    found = time_of(fields)
    assert found is None or fields[found[1]] is not None
    for derive in (level_of, message_of, event_of):
        assert isinstance(derive(fields), str)
    assert isinstance(audit_of(fields, path_is_audit=False), bool)
    assert correlation_of(fields) != ""


@given(st.integers(0, 2**64 - 1))
def test_any_bits_of_a_float_have_a_text(bits: int) -> None:
    """Subnormal ones, and the largest, too."""
    (number,) = struct.unpack("d", struct.pack("Q", bits))
    assert scalar_text(number)
