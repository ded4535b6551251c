"""Makes pieces: what the index keeps of records that were read."""

from collections.abc import Sequence
from typing import Any, Protocol

from mikroscope.records.attributes import TEMPLATE_FIELD
from mikroscope.records.parsing import Fields
from mikroscope.records.templates import templates_of
from mikroscope.stores.sqlite.columns import Column, make_column
from mikroscope.stores.sqlite.piece import (
    CORRELATION,
    EVENT,
    FIELD_COUNT,
    LEVEL,
    TEMPLATE,
    Piece,
)
from mikroscope.stores.sqlite.texts import encode_all_words, encode_words
from mikroscope.stores.sqlite.tokens import encode_token, extra_token, second_token
from mikroscope.stores.sqlite.write.shaping import Places, Shaped, by_code, shape_records


class Records(Protocol):
    """Records of one kind in the order of their times, all lists with one item for each."""

    @property
    def times(self) -> list[int]:
        """Epoch milliseconds."""

    @property
    def keys(self) -> list[int]:
        """The keys of the entries; there may be none yet."""

    @property
    def time_names(self) -> list[str]:
        """The fields that the times come from."""

    @property
    def sources(self) -> list[int]:
        """The numbers of the sources."""

    @property
    def lines(self) -> list[int]:
        """The numbers and parts of the lines."""

    @property
    def records(self) -> list[Fields]:
        """The fields, which are only read."""

    @property
    def shapes(self) -> list[tuple[str, ...]]:
        """The names of the fields."""

    @property
    def raw(self) -> list[bytes]:
        """The lines as they are kept."""


def make_piece(read: Records, is_audit: bool) -> tuple[Piece, set[str]]:
    """Return a piece of these records, without commits, and the names of its fields."""
    shaped = shape_records(read.records, read.shapes, read.time_names)
    size = shaped.size
    columns = {
        name: _column(size, values.places, values.texts) for name, values in shaped.fields.items()
    }
    columns |= _attribute_columns(shaped)
    piece = Piece(
        is_audit,
        keys=list(read.keys),
        times=list(read.times),
        commits=[],
        sources=list(read.sources),
        lines=list(read.lines),
        raw=list(read.raw),
        words=_words(shaped),
        columns=columns,
        aliases=dict(shaped.aliases),
        worded=shaped.worded,
    )
    return piece, shaped.names


def _column(size: int, places: Places, texts: Sequence[str]) -> Column:
    return make_column(size, texts, places, by_code(texts))


def _attribute_columns(shaped: Shaped) -> dict[str, Column]:
    """Return the columns of those attributes that are not the values of one field."""
    size, columns = shaped.size, {}
    found: list[tuple[str, Sequence[Any]]] = [
        (LEVEL, shaped.levels),
        (EVENT, shaped.events),
        (CORRELATION, shaped.correlations),
    ]
    for name, values in found:
        if name in shaped.aliases:
            continue
        places = None
        if None in values:
            places = [place for place, value in enumerate(values) if value is not None]
            values = [values[place] for place in places]
        if values:
            columns[name] = _column(size, places, values)
    columns[FIELD_COUNT] = _column(size, None, list(map(str, shaped.field_counts)))
    columns[TEMPLATE] = _templates(shaped)
    return columns


def _templates(shaped: Shaped) -> Column:
    """Return the column of the messages' templates; an entry without a message has its event's.

    An entry with a field of its own of that name has the value of this one.
    """
    texts: Sequence[str] = shaped.messages
    if "" in texts:
        texts = [text or event for text, event in zip(texts, shaped.events, strict=True)]
    distinct = list(dict.fromkeys(texts))
    templates = templates_of(distinct)
    if len(distinct) < len(texts):
        template_of = dict(zip(distinct, templates, strict=True))
        templates = list(map(template_of.__getitem__, texts))
    own = shaped.fields.get(TEMPLATE_FIELD)
    if own is not None:
        places = range(shaped.size) if own.places is None else own.places
        for place, text in zip(places, own.texts, strict=True):
            templates[place] = text
    return _column(shaped.size, None, templates)


def _words(shaped: Shaped) -> list[bytes]:
    """Return what can be searched of each record, each word and token with a space before it."""
    messages = shaped.messages
    distinct = list(dict.fromkeys(messages))
    encoded = encode_all_words(distinct)
    words = encoded
    if len(distinct) < len(messages):
        words_of = dict(zip(distinct, encoded, strict=True))
        words = list(map(words_of.__getitem__, messages))
    for place, texts in shaped.searched.items():
        words[place] += b"".join(map(encode_words, texts)).lower()
    for place, extra in shaped.extra.items():
        tokens = [token for one in extra for token in (extra_token(*one), second_token(one[1]))]
        words[place] += b"".join(b" " + encode_token(token) for token in tokens)
    return words
