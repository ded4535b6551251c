"""Tokens of the inverted index are exact and distinct, and words of texts are found."""

import string
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite import schema, tokens
from mikroscope.stores.sqlite.pieces import make_piece
from mikroscope.stores.sqlite.segment import find_words
from mikroscope.stores.sqlite.texts import MAX_SEARCHED, encode_all_words, encode_words, words_of
from mikroscope.stores.sqlite.tokens import (
    decode_token,
    encode_documents,
    encode_token,
    field_prefix,
    field_token,
)
from mikroscope.stores.sqlite.write.reading import Read

# JSON has no lone surrogates; those that a parser lets through become "?" before they come here.
texts = st.text(st.characters(exclude_categories=["Cs"]))
awkward = st.text(st.sampled_from("aA=. \x00\x1c\x1d\x1e\x1fecms\x7fé\uf71f😀"), max_size=6)
short_texts = st.one_of(awkward, texts).filter(lambda text: tokens.shorten(text) == text)
names = st.one_of(awkward, texts)
pairs = st.tuples(names, short_texts)


def document(several: list[str]) -> bytes:
    """Return a document of tokens."""
    return encode_documents([several])[0]


def token_of(name: str, value: str) -> bytes:
    """Return the token of a field's value."""
    return encode_token(field_token(name, value))


# --- encoding -----------------------------------------------------------------------------------


@given(texts)
def test_round_trip(text: str) -> None:
    """Any text that is encoded decodes to the same text."""
    assert decode_token(encode_token(text)) == text


@given(st.lists(texts, min_size=1, max_size=5))
def test_several_tokens(several: list[str]) -> None:
    """The tokens of a document are separated by spaces and contain none."""
    assert [decode_token(token) for token in document(several).split(b" ")] == several


@given(st.lists(texts, min_size=2, max_size=5))
def test_tokens_do_not_depend_on_each_other(several: list[str]) -> None:
    """A token is the same in every document."""
    assert document(several).split(b" ") == [encode_token(token) for token in several]


@given(texts, texts)
def test_prefixes(text: str, more: str) -> None:
    """The token of a text begins with the token of each of the text's prefixes."""
    assert encode_token(text + more).startswith(encode_token(text))


@given(names, short_texts, texts)
def test_prefixes_of_values(name: str, value: str, more: str) -> None:
    """The token of a field's value begins with the token of each of the value's prefixes."""
    assume(tokens.shorten(value + more) == value + more)
    assert token_of(name, value + more).startswith(token_of(name, value))


@given(names, short_texts)
def test_values_decode(name: str, value: str) -> None:
    """A token has the field's value after the field's prefix."""
    prefix = encode_token(field_prefix(name))
    token = token_of(name, value)
    assert token.startswith(prefix)
    assert decode_token(token[len(prefix) :]) == value


@given(pairs, pairs)
def test_no_two_pairs_share_a_token(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Different fields and values have different tokens."""
    assert (token_of(*one) == token_of(*other)) == (one == other)


@given(st.lists(texts, min_size=2, max_size=2, unique=True))
def test_hashes_differ(values: list[str]) -> None:
    """Values that are too long to be kept also have different tokens."""
    long = ["a long text " * 3 + value for value in values]
    assert token_of("f", long[0]) != token_of("f", long[1])


@given(pairs)
def test_no_field_looks_like_what_is_derived(pair: tuple[str, str]) -> None:
    """No field name gives a token that begins with the mark of derived values."""
    assume(len(pair[0]) <= tokens.MAX_VALUE)
    assert not token_of(*pair).startswith(encode_token(tokens.MARK))


@given(texts)
def test_no_word_is_a_token_of_a_field(text: str) -> None:
    """A word of a text never looks like a field's value or a derived value."""
    for word in words_of(text):
        encoded = word.encode()
        assert b"=" not in encoded
        assert not encoded.startswith(encode_token(tokens.MARK))


@given(texts)
def test_words_are_folded(text: str) -> None:
    """A word is found in any mix of capital and small letters."""
    words = set(words_of(text))
    assert set(words_of(text.casefold())) == words


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("x" * tokens.MAX_VALUE, True),
        ("x" * (tokens.MAX_VALUE + 1), False),
        ("x y" + "z" * (tokens.MAX_TEXT_VALUE - 3), True),
        ("x y" + "z" * (tokens.MAX_TEXT_VALUE - 2), False),
        ("é" * tokens.MAX_VALUE, True),
        ("", True),
    ],
)
def test_long_values(value: str, kept: bool) -> None:
    """Long ids are kept unchanged; longer ones and texts are stored as distinct hashes."""
    short = tokens.shorten(value)
    assert (short == value, tokens.is_long(value)) == (kept, not kept)


# --- in FTS5 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index() -> Iterator[apsw.Connection]:
    """An inverted index like that of an index file."""
    with closing(apsw.Connection(":memory:")) as connection:
        schema.create_terms(connection, 1)
        connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(terms_1, row)")
        yield connection


@given(st.lists(texts.filter(bool), min_size=1, max_size=5, unique=True))
def test_fts5_keeps_tokens(index: apsw.Connection, several: list[str]) -> None:
    """FTS5's tokenizer neither splits nor folds a token, and finds it again."""
    encoded = document(several)
    insert = "INSERT INTO terms_1(rowid, document) VALUES(1, ?)"
    delete = "INSERT INTO terms_1(terms_1, rowid, document) VALUES('delete', 1, ?)"
    index.execute(insert, (encoded,))
    try:
        rows: Any = index.execute("SELECT CAST(term AS BLOB) FROM vocabulary").fetchall()
        match = tokens.all_of(tokens.any_of([token]) for token in encoded.split(b" "))
        found = index.execute(
            "SELECT rowid FROM terms_1 WHERE terms_1 MATCH ?", (match,)
        ).fetchall()
    finally:
        index.execute(delete, (encoded,))
    assert {decode_token(term) for (term,) in rows} == set(several)
    assert found == [(1,)]


# --- words --------------------------------------------------------------------------------------


def words_in(fields: Fields) -> set[str]:
    """Return the words of a record that can be searched."""
    read = Read([0], [0], [""], [1], [1], [False], [fields], [tuple(fields)], [b""])
    piece, _ = make_piece(read, False)
    return {word.decode() for word in piece.words[0].split() if b"=" not in word}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"message": "Payment declined: card_no 4711!"},
            {"payment", "declined", "card_no", "4711"},
        ),
        ({"message": "GRÖSSE Überschritten"}, {"grösse", "überschritten"}),
        ({"message": "Straße"}, {"strasse"}),
        ({"msg": "said", "message": "meant"}, {"said", "meant"}),
        (
            {"err": {"message": "disk full", "stack": "at a.b (c.js:1)"}},
            {"at", "a", "b", "c", "js", "1", "disk", "full"},
        ),
        ({"error": "no way", "other": "not searched"}, {"no", "way"}),
        ({"message": ""}, set()),
        ({"message": 5}, {"5"}),
        ({"a": {"b": {"stack_trace": "deep down"}}}, {"deep", "down"}),
    ],
)
def test_words(record: Fields, words: set[str]) -> None:
    """Words of messages and errors are tokens, with case folded beyond ASCII."""
    assert words_in(record) == words


def test_endless_texts() -> None:
    """Only the beginning of a very long text is searched."""
    words = words_in({"message": "first " + "x" * MAX_SEARCHED + " last"})
    assert ("first" in words, "last" in words) == (True, False)


@given(st.text(string.printable))
def test_ascii_and_other_texts_have_the_same_words(text: str) -> None:
    """ASCII texts and all others are split into the same words."""
    assert words_of(text) == words_of(text + " é")[:-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"err": {"aggregateErrors": [{"message": "zorg"}]}},
        {"exception": {"values": [{"stacktrace": {"frames": [{"function": "zorg"}]}}]}},
        {"error": {"wrap": [{"message": "zorg"}]}},
        {"errors": [{"message": "zorg"}]},
        {"error": "x", "stack": [{"source": "zorg.go"}]},
    ],
)
def test_words_of_errors_that_hold_several(fields: dict[str, Any]) -> None:
    """Those of pino, Sentry, eris and JavaScript, and the files of zerolog's frames."""
    assert words_in(fields) & {"zorg"}


@given(st.lists(st.one_of(texts, st.text(string.printable)), max_size=80))
def test_words_of_many_texts(several: list[str]) -> None:
    """Texts that are encoded together have the same words as each by itself."""
    for found, text in zip(encode_all_words(several), several, strict=True):
        assert found.split() == encode_words(text).lower().split()
        assert not found or found.startswith(b" ")


@given(texts, st.sampled_from(["alpha", "be ta", "größe"]))
def test_words_are_found(text: str, more: str) -> None:
    """Each word of a search is among those of a text that has it."""
    assert set(words_of(more)) <= set(words_of(f"{text} {more}"))


@given(st.lists(st.lists(st.sampled_from(["a", "b", "ab", "größe"]), max_size=3), min_size=1))
def test_words_are_found_in_their_entries(several: list[list[str]]) -> None:
    """A word is found in exactly the entries that have it as a whole word."""
    joined = b"\n".join(encode_words(" ".join(words)) + b" " for words in several)
    for word in ("a", "b", "ab", "größe", "gr"):
        [wanted] = words_of(word)
        expected = bytes(word in words for words in several)
        assert find_words(joined, wanted.encode(), len(several)) == expected
