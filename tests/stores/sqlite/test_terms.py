"""Every pair of field and value has its own token, and FTS5 keeps the token unchanged."""

import string
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mikroscope.records.attributes import level_of, time_of
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite import schema, terms
from mikroscope.stores.sqlite.schema import DAY_MS, MAX_MS
from mikroscope.stores.sqlite.terms import TermEncoder, decode_token, encode_tokens
from mikroscope.stores.sqlite.texts import MAX_DEPTH, MAX_SEARCHED, words_of

# JSON has no lone surrogates; those that a parser lets through become "?" before they come here.
texts = st.text(st.characters(exclude_categories=["Cs"]))
awkward = st.text(st.sampled_from("aA=. \x00\x1c\x1d\x1e\x1fecms\x7fé\uf71f😀"), max_size=6)
short_texts = st.one_of(awkward, texts).filter(lambda text: terms.shorten(text) == text)
names = st.one_of(awkward, texts)
pairs = st.tuples(names, short_texts)


def tokens_of(
    record: Fields, audit: bool = False, documents: TermEncoder | None = None
) -> set[str]:
    """Return the decoded field tokens of a record's document, without words."""
    return {token for token in all_of(record, audit, documents) if "=" in token or "\x1e" in token}


DAY = 20_000
DAY_TEXT = terms.day_text(DAY)


def all_of(record: Fields, audit: bool = False, documents: TermEncoder | None = None) -> set[str]:
    """Return every decoded token of a record's document, without the day."""
    found = time_of(record)
    make = (documents or TermEncoder()).encode
    time_field = found[1] if found else None
    document = make(dict(record), level_of(record), audit, DAY * DAY_MS + 1, time_field)
    return {_without_day(decode_token(token)) for token in document.split()}


def _without_day(token: str) -> str:
    """Remove the day from a token with a value; return other tokens unchanged."""
    if "=" not in token or token.startswith(f"{terms.MARK}l"):
        return token
    assert token.startswith(DAY_TEXT), token
    return token.removeprefix(DAY_TEXT)


def words_in(record: Fields) -> set[str]:
    """Return the words of a record's document, as FTS5 folds them."""
    return {token.lower() for token in all_of(record) - tokens_of(record)}


def field_token(name: str, value: str) -> bytes:
    """Return the token of a field's value."""
    return encode_tokens([terms.field_prefix(name) + terms.shorten(value)])


# --- encoding -----------------------------------------------------------------------------------


@given(texts)
def test_round_trip(text: str) -> None:
    """Any text that is encoded decodes to the same text."""
    assert decode_token(encode_tokens([text])) == text


@given(st.lists(texts, min_size=1, max_size=5))
def test_several_tokens(tokens: list[str]) -> None:
    """The tokens of a document are separated by spaces and contain none."""
    assert [decode_token(token) for token in encode_tokens(tokens).split(b" ")] == tokens


@given(st.lists(texts, min_size=2, max_size=5))
def test_tokens_do_not_depend_on_each_other(tokens: list[str]) -> None:
    """A token is the same in every document."""
    assert encode_tokens(tokens).split(b" ") == [encode_tokens([token]) for token in tokens]


@given(texts, texts)
def test_prefixes(text: str, more: str) -> None:
    """The token of a text begins with the token of each of the text's prefixes."""
    assert encode_tokens([text + more]).startswith(encode_tokens([text]))


@given(names, short_texts, texts)
def test_prefixes_of_values(name: str, value: str, more: str) -> None:
    """The token of a field's value begins with the token of each of the value's prefixes."""
    assume(terms.shorten(value + more) == value + more)
    assert field_token(name, value + more).startswith(field_token(name, value))


@given(names, short_texts)
def test_values_decode(name: str, value: str) -> None:
    """A token has the field's value after the field's prefix."""
    prefix = encode_tokens([terms.field_prefix(name)])
    token = field_token(name, value)
    assert token.startswith(prefix)
    assert decode_token(token[len(prefix) :]) == value


@given(pairs, pairs)
def test_no_two_pairs_share_a_token(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Different fields and values have different tokens."""
    assert (field_token(*one) == field_token(*other)) == (one == other)


@given(st.lists(texts, min_size=2, max_size=2, unique=True))
def test_hashes_differ(values: list[str]) -> None:
    """Values that are too long to be kept also have different tokens."""
    long = ["a long text " * 3 + value for value in values]
    assert field_token("f", long[0]) != field_token("f", long[1])


@given(pairs)
def test_no_field_looks_like_what_is_derived(pair: tuple[str, str]) -> None:
    """No field name gives a token that begins with the mark of derived values."""
    assume(len(pair[0]) <= terms.MAX_VALUE)
    assert not field_token(*pair).startswith(encode_tokens([terms.MARK]))


@given(texts)
def test_no_word_is_a_token_of_a_field(text: str) -> None:
    """A word of a text never looks like a field's value or a derived value."""
    for word in words_of(text):
        encoded = word.encode()
        assert b"=" not in encoded
        assert not encoded.startswith(encode_tokens([terms.MARK]))


@given(texts)
def test_words_are_folded(text: str) -> None:
    """A word is found in any mix of capital and small letters."""
    words = set(words_of(text))
    assert set(words_of(text.casefold())) == words


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("x" * terms.MAX_VALUE, True),
        ("x" * (terms.MAX_VALUE + 1), False),
        ("x y" + "z" * (terms.MAX_TEXT_VALUE - 3), True),
        ("x y" + "z" * (terms.MAX_TEXT_VALUE - 2), False),
        ("é" * terms.MAX_VALUE, True),
        ("", True),
    ],
)
def test_long_values(value: str, kept: bool) -> None:
    """Long ids are kept unchanged; longer ones and texts are stored as distinct hashes."""
    short = terms.shorten(value)
    assert (short == value, terms.is_shortened(short)) == (kept, not kept)


# --- in FTS5 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index() -> Iterator[apsw.Connection]:
    """An inverted index like that of an index file."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(schema._SCHEMA)
        connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(terms, row)")
        yield connection


@given(st.lists(texts.filter(bool), min_size=1, max_size=5, unique=True))
def test_fts5_keeps_tokens(index: apsw.Connection, tokens: list[str]) -> None:
    """FTS5's tokenizer neither splits nor folds a token, and finds it again."""
    encoded = encode_tokens(tokens)
    insert = "INSERT INTO terms(rowid, document) VALUES(1, ?)"
    delete = "INSERT INTO terms(terms, rowid, document) VALUES('delete', 1, ?)"
    index.execute(insert, (encoded,))
    try:
        rows: Any = index.execute("SELECT CAST(term AS BLOB) FROM vocabulary").fetchall()
        match = terms.expression([[token] for token in encoded.split(b" ")])
        found = index.execute("SELECT rowid FROM terms WHERE terms MATCH ?", (match,)).fetchall()
    finally:
        index.execute(delete, (encoded,))
    assert {decode_token(term) for (term,) in rows} == set(tokens)
    assert found == [(1,)]


# --- documents ----------------------------------------------------------------------------------

OWN = terms.level_token("INFO", False, True)
DERIVED = terms.level_token("INFO", False, False)
NO_EVENT = "\x1ee=log.event"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, {DERIVED, NO_EVENT}),
        (
            {"a": "v", "b": 1, "c": 1.0, "d": True, "e": None},
            {"a=v", "b=1", "c=1", "d=true", "e=null"},
        ),
        ({"a": [1, {"b": 2}]}, {DERIVED, NO_EVENT}),
        ({"level": "INFO"}, {OWN, NO_EVENT}),
        ({"level": "info"}, {DERIVED, "level=info"}),
        ({"level": 30}, {DERIVED, "level=30"}),
        ({"level": ""}, {DERIVED, "level="}),
        ({"level": None}, {DERIVED, "level=null"}),
        ({"event": "e"}, {DERIVED, "event=e"}),
        ({"event": ""}, {NO_EVENT, "\x1exevent="}),
        ({"event": 5}, {NO_EVENT, "\x1exevent=5"}),
        ({"event": 5, "message": "m"}, {"\x1ee=m", "\x1exevent=5", "message=m"}),
        ({"event": ["e"]}, {DERIVED, NO_EVENT}),
        ({"event": {"a": "v"}}, {NO_EVENT, "event.a=v"}),
        ({"msg": "m"}, {"\x1ee=m", "msg=m"}),
        ({"correlationId": "c", "requestId": "r"}, {"correlationId=c", "requestId=r"}),
        ({"correlationId": 5}, {"correlationId=5"}),
        ({"requestId": "r"}, {"\x1ec=r", "requestId=r"}),
        (
            {"correlationId": None, "requestId": 5},
            {"\x1ec=5", "\x1excorrelationId=null", "requestId=5"},
        ),
        ({"correlationId": ""}, {"\x1excorrelationId="}),
        ({"correlationId": True}, {"\x1excorrelationId=true"}),
        ({"timestamp": "2026-02-18"}, {DERIVED, NO_EVENT}),
        ({"timestamp": "never", "time": 1}, {DERIVED, NO_EVENT, "timestamp=never"}),
        ({"timestamp": {"seconds": 1}}, {"timestamp.seconds=1"}),
        ({"a": {"b": {"c": "v", "d": []}}}, {"a.b.c=v"}),
        ({"a.b": "1", "a": {"b": "2"}}, {"a.b=1", "\x1exa.b=2"}),
        ({"a": {"b": {"c": 1}, "b.c": 2}}, {"a.b.c=2", "\x1exa.b.c=1"}),
        ({"a.b": {"c": 1}, "a": {"b": {"c": 2}}}, {"a.b.c=2", "\x1exa.b.c=1"}),
        ({"a": {"b.c": {"d": 1}, "b": {"c": {"d": 2}}}}, {"a.b.c.d=2", "\x1exa.b.c.d=1"}),
        ({"a=b": "c=d"}, {"a\x1ceb=c=d"}),
        ({"": ""}, {"="}),
        ({"a": "x\x1fy", "b": "\x1f"}, {"a=x\x1fy", "b=\x1f"}),
        ({"a": 10**30}, {f"a={10**30}"}),
    ],
)
def test_documents(record: Fields, expected: set[str]) -> None:
    """A record's document has a token for each value and each derived value."""
    tokens = tokens_of(record)
    implied = {token for token in (OWN, DERIVED, NO_EVENT) if token in tokens}
    assert tokens - implied == expected - implied
    assert expected <= tokens


@pytest.mark.parametrize("audit", [True, False])
def test_level_and_audit(audit: bool) -> None:
    """One token encodes level, audit, and whether the record itself has a level."""
    assert terms.level_token("ERROR", audit, True) in tokens_of({"level": "ERROR"}, audit)
    assert terms.level_token("ERROR", audit, False) in tokens_of({"level": "error"}, audit)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["level", "event", "requestId"]), names), short_texts
    ),
    st.sampled_from([None, 1, "2026-02-18"]),
)
def test_every_field_is_found(record: Fields, time: object) -> None:
    """A document has one of the tokens that each filter on its fields searches for."""
    record = record if time is None else {**record, "time": time}
    found = time_of(record)
    tokens = {encode_tokens([token]) for token in tokens_of(record)}
    for name, value in record.items():
        if found is None or name != found[1]:
            alternatives = terms.field_tokens(name, str(value))
            asked = set(alternatives.encoded([""]))
            assert asked & tokens, name


def test_more_names_than_are_remembered() -> None:
    """Records with endless new keys use limited memory and are still found."""
    documents = TermEncoder()
    for start in range(0, 3 * terms.MAX_KNOWN_NAMES, 5000):
        record = {f"k{start + n}": n for n in range(5000)}
        tokens = tokens_of(record, documents=documents)
        assert {f"k{start + n}={n}" for n in range(5000)} <= tokens
    assert len(documents._days[DAY]) <= terms.MAX_KNOWN_NAMES


def test_new_names_are_told_once() -> None:
    """The encoder returns each new field, by its path, once."""
    documents = TermEncoder()
    tokens_of({"a": 1, "b": {"c": 2}, "level": "INFO"}, documents=documents)
    first = documents.drain_new_fields()
    tokens_of({"a": 3, "d": 4}, documents=documents)
    assert (first, documents.drain_new_fields()) == ({"a", "b.c"}, {"d"})


def test_deep_objects() -> None:
    """Objects have tokens down to a fixed depth, and deeper ones cause no recursion."""
    record: Fields = {"k": "v"}
    for _ in range(400):
        record = {"k": "v", "o": record}
    paths = {token for token in tokens_of(record) if token.endswith("k=v")}
    assert len(paths) == MAX_DEPTH + 1


def test_days_as_texts() -> None:
    """A day's text has three characters that FTS5 leaves unchanged, and texts sort like days."""
    texts = [terms.day_text(day) for day in range(MAX_MS // DAY_MS + 1)]
    assert texts == sorted(set(texts))
    assert {len(text) for text in texts} == {3}
    assert all(encode_tokens([text]) == text.encode() for text in texts[::100])


# --- words --------------------------------------------------------------------------------------


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
    document = TermEncoder().encode(fields, "ERROR", False, 0, None)
    assert b"zorg" in document.split(b" ")
