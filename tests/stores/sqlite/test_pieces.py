"""Pieces have of each record what its attributes and fields say, however they are put together."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstandard import ZstdError

from mikroscope.records.attributes import (
    CORRELATION_KEYS,
    TEMPLATE_FIELD,
    correlation_of,
    entry_template,
    event_of,
    find_time,
    level_of,
    message_of,
)
from mikroscope.records.conventions import LEVEL_KEYS, MESSAGE_KEYS
from mikroscope.records.fields import field_text, field_values, scalar_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite import columns
from mikroscope.stores.sqlite.fresh_lines import FreshLines, pack_lines, unpack_lines
from mikroscope.stores.sqlite.piece import (
    CORRELATION,
    EVENT,
    FIELD_COUNT,
    LEVEL,
    TEMPLATE,
    Piece,
    choose_entries,
    join_pieces,
)
from mikroscope.stores.sqlite.pieces import make_piece, piece_of_fresh
from mikroscope.stores.sqlite.shaping import column_name, field_of
from mikroscope.stores.sqlite.texts import MAX_DEPTH
from mikroscope.stores.sqlite.tokens import encode_token, extra_token
from mikroscope.stores.sqlite.write.reading import Read

NAMES = [
    *(name for name, _ in CORRELATION_KEYS),
    *(key.name for key in (*LEVEL_KEYS, *MESSAGE_KEYS)),
    *("level", "event", "message", "time", "timestamp", "err", "a", "a.b", "b", "a.b.c", "c"),
    *("", ".", "\x1e", "\x1el", "\x1ee", "x\x1fy", TEMPLATE_FIELD),
]
scalars = st.one_of(
    st.sampled_from(["v", "", "INFO", "error", "order 5 paid", "2026-02-18", "(missing)", "a b"]),
    st.sampled_from([None, True, False, 0, 1, 1.0, 30, 50, 10**20, -1.5]),
)
values: st.SearchStrategy[object] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=5,
)
records = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)
several = st.lists(records, min_size=1, max_size=8)


encode = msgspec.json.Encoder().encode


def read_of(records: Sequence[Fields], first: int = 0) -> Read:
    """Return records as they are read from lines; `first` is the place of the first one."""
    size = len(records)
    found = [find_time(fields) for fields in records]
    return Read(
        times=list(range(first, first + size)),
        keys=list(range(first, first + size)),
        time_names=[one.name for one in found],
        sources=[1 + (first + n) % 2 for n in range(size)],
        lines=list(range(1, size + 1)),
        audits=[False] * size,
        records=list(records),
        shapes=list(map(tuple, records)),
        raw=[b"%d" % n for n in range(first, first + size)],
    )


def piece_of(records: Sequence[Fields], first: int = 0) -> Piece:
    """Return the piece of some records."""
    piece, _ = make_piece(read_of(records, first), False)
    piece.commits = [7] * len(piece)
    return piece


def cells(piece: Piece, name: str) -> list[str | None]:
    """Return what the column of a field or an attribute has for each entry."""
    column = piece.column(name)
    if column is None:
        return [None] * len(piece)
    texts = [None, *column.values]
    return [texts[code] for code in column.codes]


def paths_in(fields: Fields, depth: int = 0) -> set[str]:
    """Return the paths of all fields that are not objects."""
    paths = set()
    for name, value in fields.items():
        if isinstance(value, dict) and depth < MAX_DEPTH:
            paths |= {f"{name}.{inner}" for inner in paths_in(value, depth + 1)}
        else:
            paths.add(name)
    return paths


def check(piece: Piece, records: Sequence[Fields]) -> None:
    """Compare the columns of a piece with what the records' own functions say."""
    assert cells(piece, LEVEL) == list(map(level_of, records))
    assert cells(piece, EVENT) == list(map(event_of, records))
    assert cells(piece, CORRELATION) == list(map(correlation_of, records))
    assert cells(piece, TEMPLATE) == list(map(entry_template, records))
    assert cells(piece, FIELD_COUNT) == [str(len(fields)) for fields in records]
    for path in set().union(*map(paths_in, records)):
        of_time = [find_time(fields).name == path for fields in records]
        expected = [field_text(fields, path) for fields in records]
        for found, text, is_time in zip(
            cells(piece, column_name(path)), expected, of_time, strict=True
        ):
            assert found == text or (is_time and path in NAMES), path


@given(several)
def test_columns_are_what_records_say(records: list[Fields]) -> None:
    """For any records the columns have each field and attribute."""
    check(piece_of(records), records)


@given(several)
def test_second_values_are_found(records: list[Fields]) -> None:
    """Further values of a path are tokens among the words."""
    piece = piece_of(records)
    for words, fields in zip(piece.words, records, strict=True):
        tokens = words.split(b" ")
        for path in paths_in(fields):
            texts = [text for text in map(scalar_text, field_values(fields, path)) if text]
            if path == find_time(fields).name:
                continue
            for text in texts[1:]:
                if text != field_text(fields, path):
                    assert encode_token(extra_token(path, text)) in tokens, path


@given(several, st.lists(several, min_size=1, max_size=3))
def test_pieces_are_joined(first: list[Fields], others: list[list[Fields]]) -> None:
    """Pieces together say the same of each record, whatever attributes were aliases."""
    pieces = [piece_of(first)]
    together = list(first)
    for other in others:
        pieces.append(piece_of(other, len(together)))
        together += other
    joined = join_pieces(pieces)
    check(joined, together)
    assert joined.raw == [b"%d" % n for n in range(len(together))]
    assert join_pieces(pieces[::-1]).keys == joined.keys
    check(join_pieces(pieces[::-1]), together)


@given(several, st.data())
def test_entries_are_chosen(records: list[Fields], data: st.DataObject) -> None:
    """A part of a piece says the same of each record."""
    chosen = sorted(data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1)))
    part = choose_entries(piece_of(records), chosen)
    check(part, [records[place] for place in chosen])
    assert part.lines == [place + 1 for place in chosen]
    assert all(column.values for column in part.columns.values())


@given(several)
def test_fresh_lines_are_packed_and_make_the_piece_again(records: list[Fields]) -> None:
    """Lines that are not sealed are there again after packing, and say the same."""
    piece = piece_of(records)
    lines = FreshLines(
        False, 7, piece.keys, piece.times, piece.sources, piece.lines, list(map(encode, records))
    )
    again = unpack_lines(pack_lines(lines, bytes))
    assert again == lines
    made = piece_of_fresh([again])
    check(made, records)
    assert made.commits == [7] * len(records)


@pytest.mark.parametrize(
    "content", [b"", b"\x90", b"\x93\x01\x02\x03", msgspec.msgpack.encode([1] * 7)]
)
def test_other_bytes_are_no_lines(content: bytes) -> None:
    """Anything else is damage."""
    with pytest.raises(ZstdError):
        unpack_lines(content)


@given(several)
def test_wide_and_sparse_columns_say_the_same(records: list[Fields]) -> None:
    """Codes of two bytes, and columns of few entries, have the same values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_NARROW", 1)
        patch.setattr(columns, "_SPARSE", 0)
        piece = piece_of(records * 2)
        check(piece, records * 2)
        check(join_pieces([piece, piece_of(records, 2 * len(records))]), records * 3)


@given(several)
def test_messages_are_among_the_words(records: list[Fields]) -> None:
    """Fields that need no token have the message as their value, where they have one."""
    piece = piece_of(records)
    for name in piece.worded:
        for fields in records:
            assert name not in fields or fields[name] == message_of(fields)


@given(st.text(max_size=5))
def test_no_field_is_an_attribute(name: str) -> None:
    """The column of a field has its name, and never that of an attribute."""
    column = column_name(name)
    assert column not in (LEVEL, EVENT, CORRELATION, TEMPLATE, FIELD_COUNT)
    assert field_of(column) == name
    assert [field_of(one) for one in (LEVEL, EVENT, CORRELATION, TEMPLATE)] == [None] * 4
