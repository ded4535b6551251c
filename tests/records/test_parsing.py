"""A raw line becomes a record's fields, or an error if it is not a record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.fields import scalar_text
from mikroscope.records.parsing import Fields, NotARecordError, parse_json, parse_line
from tests.helpers.json_values import JSON_VALUES


def fields_of(raw: bytes) -> Fields:
    """Return the fields of one line."""
    return parse_line(raw)[0]


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
    """The error names the kind of JSON that was given instead of an object."""
    with pytest.raises(NotARecordError, match=f"^a JSON {kind}, expected an object$"):
        parse_line(raw)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_for_numbers_are_no_json(word: str) -> None:
    """NaN and the infinities are refused, because RFC 8259 does not allow them."""
    with pytest.raises(NotARecordError, match=f"^not JSON: {word} is not a JSON value$"):
        parse_line(b'{"a": %s}' % word.encode())


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":1', b"{'a':1}", b'{"a":01}', b'{"a":1}{}'])
def test_broken_json_is_no_record(raw: bytes) -> None:
    """The error of a broken line says that it is not JSON."""
    with pytest.raises(NotARecordError, match=r"^not JSON: "):
        parse_line(raw)


@pytest.mark.parametrize("raw", [b'\x00{"a":1}', b'{"a":"\x00"}', b'{"a":1}\x00', b'{"a\x01":1}'])
def test_control_characters_are_no_json(raw: bytes) -> None:
    """RFC 8259 requires control characters in strings to be escaped."""
    with pytest.raises(NotARecordError):
        parse_line(raw)


def test_an_escaped_nul_is_a_character() -> None:
    """An escaped NUL is read like any other character."""
    assert fields_of(rb'{"a":"x\u0000y"}') == {"a": "x\0y"}


def test_of_a_key_that_stands_twice_the_last_one_counts() -> None:
    """The last value of a repeated key counts, as in other JSON parsers."""
    assert fields_of(b'{"a":1,"b":2,"a":3}') == {"a": 3, "b": 2}


def test_the_line_is_kept_as_it_is() -> None:
    """The line keeps spaces, repeated keys and the spelling of numbers."""
    raw = b'{ "a" : 1.0e0 , "a":2,"b":"\\u00e9" }'
    assert parse_line(raw)[1] == raw


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    """A line with invalid UTF-8 is kept as valid UTF-8, with replacement characters."""
    fields, text = parse_line(b'{"a":"caf\xe9","\xff":"\xed\xa0\x80"}')
    assert fields == {"a": "caf\ufffd", "\ufffd": "\ufffd\ufffd\ufffd"}
    assert text.decode() == '{"a":"caf\ufffd","\ufffd":"\ufffd\ufffd\ufffd"}'


@pytest.mark.parametrize("key", ["a", "\\udc00"])
def test_a_lone_surrogate_costs_one_character(key: str) -> None:
    """A lone surrogate is U+FFFD in the fields and in the line, which strict parsers can read."""
    raw = f'{{"{key}":"x\\ud800y"}}'.encode()
    fields, text = parse_line(raw)
    assert list(fields.values()) == ["x\ufffdy"]
    assert json.loads(text) == fields


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\udc00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (r"\uD83D\n\uDE00", "\ufffd\n\ufffd"),
    ],
)
def test_only_surrogates_that_are_alone_are_replaced(written: str, read: str) -> None:
    """Pairs, other escapes and an escaped backslash before a `u` stay as they are."""
    fields, text = parse_line(b'{"a":"%s"}' % written.encode())
    assert fields == {"a": read}
    assert json.loads(text) == fields


@pytest.mark.parametrize("depth", [98, 99, 100, 150, 300])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
def test_what_lies_deep_is_a_string_of_json(depth: int, brackets: tuple[str, str]) -> None:
    """The line has a hundred levels at most; the string has what the log file had there."""
    opened, closed = brackets
    inner = opened * depth + r'"}]\"{"' + closed * depth
    fields, text = parse_line(f'{{"x":[1.50],"v":{inner},"w":"{{"}}'.encode())
    value, shown = fields["v"], 0
    while isinstance(value, list | dict):
        value, shown = next(iter(value.values() if isinstance(value, dict) else value)), shown + 1
    assert shown == min(depth, 99)
    if depth > 99:
        assert value == opened * (depth - 99) + r'"}]\"{"' + closed * (depth - 99)
    assert text.startswith(b'{"x":[1.50],"v":')
    assert text.endswith(b',"w":"{"}')
    assert json.loads(text) == fields


def test_a_pair_of_surrogates_is_one_character() -> None:
    """The escapes of a UTF-16 surrogate pair are read as one character."""
    assert fields_of(rb'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("digits", ["9" * 20, "-" + "9" * 40, "1" + "0" * 300, "7" * 4_000])
def test_a_huge_integer_keeps_its_digits(digits: str) -> None:
    """A huge integer keeps every digit, so that filters find it."""
    assert scalar_text(fields_of(b'{"a":%s}' % digits.encode())["a"]) == digits


def test_an_integer_beyond_pythons_limit_keeps_its_digits() -> None:
    """An integer beyond Python's limit of digits becomes a text, without an error."""
    digits = "8" * 10_000
    assert scalar_text(fields_of(b'{"a":%s}' % digits.encode())["a"]) == digits


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.5E+999"])
def test_a_number_out_of_range_keeps_its_spelling(number: str) -> None:
    """A number beyond the range of a float becomes a text, not infinity."""
    assert fields_of(b'{"a":%s,"b":1}' % number.encode()) == {"a": number, "b": 1}


@pytest.mark.parametrize("number", ["7" * 5_000, "-" + "7" * 5_000, "1e400", "-1.5E+999"])
def test_a_number_out_of_range_is_quoted_in_the_line(number: str) -> None:
    """Other programs' parsers can read the line; numbers within strings and others stay."""
    rest = b'"b\\"9":"1e999 \\" 1e999","c":[1.0e0,-12,%s],"d":1e-400' % (b"1" * 300)
    _, text = parse_line(b'{"a":%s,%s}' % (number.encode(), rest))
    assert text == b'{"a":"%s",%s}' % (number.encode(), rest)
    assert json.loads(text)["a"] == number


def test_a_number_of_five_million_digits() -> None:
    """Such a number costs one parse of the line, not the page."""
    digits = b"9" * 5_000_000
    assert parse_line(b'{"a":%s}' % digits)[1] == b'{"a":"%s"}' % digits


def test_a_number_too_small_is_zero() -> None:
    """A number below the range of a float is zero, as IEEE 754 says."""
    assert fields_of(b'{"a":1e-400}') == {"a": 0.0}


@pytest.mark.parametrize("depth", [1_500, 10_000, 200_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_nesting_without_end_is_no_record(depth: int, brackets: tuple[bytes, bytes]) -> None:
    """Nesting without end is a clear error, not a crash."""
    opened, closed = brackets
    raw = b'{"a":' + opened * depth + b"1" + closed * depth + b"}"
    with pytest.raises(NotARecordError, match=r"^nested too deeply"):
        parse_line(raw)


def test_nesting_beside_invalid_utf8_is_no_record() -> None:
    """The parser for unusual lines has the same nesting limit."""
    with pytest.raises(NotARecordError):
        parse_line(b'{"b":"\xff","a":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


def test_some_nesting_is_fine() -> None:
    """A hundred levels of nesting are parsed."""
    assert fields_of(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}")["a"] != []


def test_parse_json_takes_any_json() -> None:
    """`parse_json` also takes an array, as payloads may be one."""
    assert parse_json(b'[{"a":1}]') == ([{"a": 1}], b'[{"a":1}]')


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_not_a_record(raw: bytes) -> None:
    """Any bytes are either a record or raise NotARecordError."""
    try:
        fields, text = parse_line(raw)
    except NotARecordError:
        return
    assert parse_line(text)[0] == fields


@given(st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=6))
def test_every_object_is_read_back(fields: Fields) -> None:
    """Every JSON object is a record, and its line is valid UTF-8."""
    parsed, text = parse_line(json.dumps(fields).encode())
    assert text.decode().startswith("{")
    assert len(parsed) <= len(fields)
