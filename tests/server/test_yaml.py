"""YAML that we write is read back by PyYAML as the same value."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mikroscope.server.yaml import to_yaml

TEXTS = st.text() | st.from_regex(r"[a-z0-9 :#,{}\[\]'\"\\\n|>&*!%@`?~.+-]{0,12}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(TEXTS)
@example("no")
@example("1.5")
@example("2026-02-18")
@example("a: b")
@example("a #b")
@example("- a")
@example("a ")
@example("line\nline\n\nline")
@example("line \nline")
@example("line\n  line\n")
@example("\x85\u2028\ufeff😀")
@example("/")
def test_texts_are_read_back(text: str) -> None:
    """Any text comes back as it was, as a value, an item and a key."""
    value = {"a": text, "b": [text], text: text}
    assert yaml.safe_load(to_yaml(value)) == value


@given(VALUES)
def test_values_are_read_back(value: object) -> None:
    """Whatever JSON can hold, but for fractions, comes back as it was."""
    assert yaml.safe_load(to_yaml(value)) == value


def test_block_style() -> None:
    """Objects and arrays stand in block style, texts without quotes where that is safe."""
    value = {"a": [{"b": "some text", "c": None}, []], "d": {}, "e": "x: y", "f": "one\ntwo"}
    assert to_yaml(value) == (
        'a:\n  - b: some text\n    c: null\n  - []\nd: {}\ne: "x: y"\nf: |-\n  one\n  two\n'
    )


def test_what_json_cannot_hold() -> None:
    """A value without a form here is refused, not written wrong."""
    with pytest.raises(TypeError, match="set"):
        to_yaml({"a": {1}})
