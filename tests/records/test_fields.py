"""Every scalar has one text, and a dotted name finds its values."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.fields import field_text, field_values, scalar_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Text = as it is ", "Text = as it is "),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (12345678901234567890123, "12345678901234567890123"),
        (-7, "-7"),
        # Results of `String(x)` in Node 24.
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
    """Numbers have the text that ECMAScript prints, and integers keep every digit."""
    assert scalar_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_reads_back_as_the_same_number(number: float) -> None:
    """The text of a float reads back as the same number."""
    text = scalar_text(number)
    assert text is not None
    assert float(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_is_the_shortest(number: float) -> None:
    """The text of a float has the digits of Python's shortest form, and zeros as needed."""
    text = (scalar_text(number) or "").partition("e")[0]
    shortest = repr(number).partition("e")[0]
    assert text.replace(".", "").strip("-0") == shortest.replace(".", "").strip("-0")


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}])
def test_arrays_and_objects_have_no_text(value: object) -> None:
    """Arrays and objects have no text, since field filters compare scalars."""
    assert scalar_text(value) is None


def test_a_dotted_name_reaches_into_objects() -> None:
    """`a.b.c` is the field c of the field b of the field a."""
    assert field_text({"a": {"b": {"c": 3}}}, "a.b.c") == "3"


def test_a_key_with_dots_comes_before_the_path() -> None:
    """A key with dots comes before the path with the same name; both are found."""
    assert list(field_values({"a.b": 1, "a": {"b": 2}}, "a.b")) == [1, 2]


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "missing", "a.b.c.d"])
def test_a_name_that_leads_nowhere_gives_nothing(name: str) -> None:
    """A name without a value gives an empty result, not an error."""
    assert field_text({"a": {"b": 1}, "c": [1]}, name) is None


def test_an_empty_key_is_a_name() -> None:
    """An empty key is a valid field name."""
    assert field_text({"": "x"}, "") == "x"


@given(st.integers(0, 2**64 - 1))
def test_any_bits_of_a_float_have_a_text(bits: int) -> None:
    """Every float has a text, subnormal ones and the largest included."""
    (number,) = struct.unpack("d", struct.pack("Q", bits))
    assert scalar_text(number)
