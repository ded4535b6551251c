"""Text from logs cannot act on a terminal."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.records.printable import printable, printable_json, printable_lines

HARMLESS = 'plain, größe, 日本, 😀, a\ttab, "quoted", back\\slash'
ACTING = [
    *("\x1b[31m", "\x07", "\x7f", "\x9b2J", "\x85", "\r"),
    *("\u202e", "\u2066", "\u200f", "\u2028"),
]


@pytest.mark.parametrize("text", ACTING)
def test_controls_are_escaped(text: str) -> None:
    """Controls of every kind become visible escapes."""
    for made in (printable(f"a{text}b"), printable_lines(f"a{text}b")):
        assert made.isprintable()
        assert made.startswith("a\\")


def test_other_text_stays() -> None:
    """Letters, tabs, quotes and backslashes stay as they are; a line feed only where it may."""
    assert printable(HARMLESS) == printable_lines(HARMLESS) == HARMLESS
    assert (printable("a\nb"), printable_lines("a\nb")) == ("a\\nb", "a\nb")
    assert printable("a\ud800") == "a\\ud800"


@given(st.text())
def test_json_keeps_its_values(text: str) -> None:
    """JSON means the same afterwards, and no character of it acts on a terminal."""
    made = printable_json(msgspec.json.encode({text: [text]})).decode()
    assert json.loads(made) == {text: [text]}
    assert not any(one in made for one in ACTING)
