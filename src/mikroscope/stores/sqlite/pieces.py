"""Makes pieces: what the index keeps of records that were read."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from mikroscope.records.attributes import TEMPLATE_FIELD, find_time
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.parsing import Fields, parse_line
from mikroscope.records.templates import templates_of
from mikroscope.records.timestamps import canonical_ms
from mikroscope.stores.sqlite.columns import Column, make_column, numbers_column
from mikroscope.stores.sqlite.compression import restore_time
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.piece import (
    CORRELATION,
    EVENT,
    FIELD_COUNT,
    LEVEL,
    TEMPLATE,
    Piece,
    pick,
)
from mikroscope.stores.sqlite.shapes import Places, Shaped
from mikroscope.stores.sqlite.shaping import by_code, shape_records
from mikroscope.stores.sqlite.texts import encode_all_words, encode_words
from mikroscope.stores.sqlite.tokens import encode_token, extra_token, second_token

FIRST_TIME_FIELD = TIME_FIELDS[0]
Item = TypeVar("Item")


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
    messages = _Messages(shaped)
    columns[TEMPLATE] = _templates(shaped, messages)
    piece = Piece(
        is_audit,
        keys=list(read.keys),
        times=list(read.times),
        commits=[],
        sources=list(read.sources),
        lines=list(read.lines),
        raw=list(read.raw),
        words=_words(shaped, messages),
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
    columns[FIELD_COUNT] = numbers_column(shaped.field_counts)
    return columns


class _Messages:
    """The distinct messages of a piece, and for each entry which one it has."""

    def __init__(self, shaped: Shaped) -> None:
        self._all = shaped.messages
        self.distinct = list(dict.fromkeys(self._all))

    def spread(self, found: Sequence[Item]) -> list[Item]:
        """Return for each entry what was found for its message."""
        if len(self.distinct) == len(self._all):
            return list(found)
        item_of = dict(zip(self.distinct, found, strict=True))
        return list(map(item_of.__getitem__, self._all))


def _templates(shaped: Shaped, messages: _Messages) -> Column:
    """Return the column of the messages' templates; an entry without a message has its event's.

    An entry with a field of its own of that name has the value of this one.
    """
    masked = messages.spread(templates_of(messages.distinct))
    if "" in messages.distinct:
        events = list(dict.fromkeys(shaped.events))
        of_event = dict(zip(events, templates_of(events), strict=True))
        texts = zip(shaped.messages, masked, shaped.events, strict=True)
        masked = [mask if text else of_event[event] for text, mask, event in texts]
    own = shaped.fields.get(TEMPLATE_FIELD)
    if own is not None:
        for place, text in zip(own.places or range(shaped.size), own.texts, strict=True):
            masked[place] = text
    return _column(shaped.size, None, masked)


def _words(shaped: Shaped, messages: _Messages) -> list[bytes]:
    """Return what can be searched of each record, each word and token with a space before it."""
    words = messages.spread(encode_all_words(messages.distinct))
    for place, texts in shaped.searched.items():
        words[place] += b"".join(map(encode_words, texts)).lower()
    for place, extra in shaped.extra.items():
        tokens = [token for one in extra for token in (extra_token(*one), second_token(one[1]))]
        words[place] += b"".join(b" " + encode_token(token) for token in tokens)
    return words


class _Lines(NamedTuple):
    """Lines that were read again, as `Records`."""

    times: list[int]
    keys: list[int]
    time_names: list[str]
    sources: list[int]
    lines: list[int]
    records: list[Fields]
    shapes: list[tuple[str, ...]]
    raw: list[bytes]


def piece_of_lines(
    is_audit: bool,
    keys: Sequence[int],
    times: Sequence[int],
    commits: Sequence[int],
    sources: Sequence[int],
    lines: Sequence[int],
    raw: Sequence[bytes],
) -> Piece:
    """Return the piece of entries that are in the index already, in the order of their keys."""
    records = [parse_line(line)[0] for line in map(restore_time, raw, times)]
    read = _Lines(
        times=list(times),
        keys=list(keys),
        time_names=list(map(_time_name, records, times)),
        sources=list(sources),
        lines=list(lines),
        records=records,
        shapes=list(map(tuple, records)),
        raw=list(raw),
    )
    piece, _ = make_piece(read, is_audit)
    piece.commits = list(commits)
    return piece


def _time_name(fields: Fields, time_ms: int) -> str:
    """Return the field that a record's time comes from; empty if it is none."""
    text = fields.get(FIRST_TIME_FIELD)
    if type(text) is str and time_ms > 0 and canonical_ms(text) == time_ms:
        return FIRST_TIME_FIELD
    return find_time(fields).name


def piece_of_fresh(parts: Sequence[FreshLines]) -> Piece:
    """Return the piece of lines of one kind that are not sealed yet."""
    columns: list[list[Any]] = [
        [key for part in parts for key in part.keys],
        [time for part in parts for time in part.times],
        [part.commit for part in parts for _ in part.keys],
        [source for part in parts for source in part.sources],
        [line for part in parts for line in part.lines],
        [line for part in parts for line in part.raw],
    ]
    keys = columns[0]
    if not all(map(int.__lt__, keys, keys[1:])):
        order = sorted(range(len(keys)), key=keys.__getitem__)
        columns = [pick(column, order) for column in columns]
    return piece_of_lines(parts[0].is_audit, *columns)
