"""A piece: some entries with all that the index keeps of them, in memory, in the order of keys.

A segment is made of a piece, and what is not sealed yet is searched as one. In a piece every field
is a column, whatever its values.
"""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from mikroscope.stores.sqlite.columns import Column, choose, join_columns

MARK = "\x1e"
LEVEL, EVENT, CORRELATION = f"{MARK}l", f"{MARK}e", f"{MARK}c"
"""Columns of what an entry's fields say: no field's column has such a name."""
TEMPLATE, FIELD_COUNT = f"{MARK}t", f"{MARK}n"
ATTRIBUTES = (LEVEL, EVENT, CORRELATION)
MAX_PIECE = 50_000
"""Entries of one piece: a column has at most 65,535 values."""

Item = TypeVar("Item")


class Piece(msgspec.Struct):
    """Entries in the order of their keys; every sequence has one item for each entry."""

    is_audit: bool
    keys: list[int]
    times: list[int]
    """Epoch milliseconds, of which a key is usually made."""
    commits: list[int]
    sources: list[int]
    lines: list[int]
    """The number of the line and, above its bits, the part (`schema.PART_SHIFT`)."""
    raw: list[bytes]
    """The lines, without the text of the time where `compression.restore_time` gives it back."""
    words: list[bytes]
    """What can be searched besides values: words and rare tokens, each with a space before it."""
    columns: dict[str, Column]
    aliases: dict[str, str]
    """Attributes that are the value of a field: the field by the attribute, which has no column."""
    worded: frozenset[str] = frozenset()
    """Fields whose values are all among the words, so that long ones need no token."""

    def __len__(self) -> int:
        return len(self.times)

    def column(self, attribute: str) -> Column | None:
        """Return the column of a field or an attribute."""
        return self.columns.get(self.aliases.get(attribute, attribute))

    def has_inexact_keys(self, key_bits: int) -> bool:
        """Return whether the key of some entry does not give its time."""
        return any(key >> key_bits != time for key, time in zip(self.keys, self.times, strict=True))


def pick(items: Sequence[Item], places: Sequence[int]) -> list[Item]:
    """Return the items at some places."""
    if len(places) < 2:
        return [items[place] for place in places]
    return list(itemgetter(*places)(items))


def choose_entries(piece: Piece, places: Sequence[int]) -> Piece:
    """Return a piece of some entries, in the order given."""
    new_places = [-1] * len(piece)
    for new, old in enumerate(places):
        new_places[old] = new
    columns = {name: choose(column, places, new_places) for name, column in piece.columns.items()}
    return Piece(
        piece.is_audit,
        keys=pick(piece.keys, places),
        times=pick(piece.times, places),
        commits=pick(piece.commits, places),
        sources=pick(piece.sources, places),
        lines=pick(piece.lines, places),
        raw=pick(piece.raw, places),
        words=pick(piece.words, places),
        columns={name: column for name, column in columns.items() if column is not None},
        aliases=dict(piece.aliases),
        worded=piece.worded,
    )


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Put pieces of one kind together, in the order of their keys."""
    if len(pieces) == 1:
        return pieces[0]
    aliases = _common_aliases(pieces)
    names = dict.fromkeys(chain.from_iterable(piece.columns for piece in pieces))
    names |= dict.fromkeys(one for one in ATTRIBUTES if one not in aliases)

    def columns_of(name: str) -> list[tuple[Column | None, int]]:
        return [(piece.column(name), len(piece)) for piece in pieces]

    def all_of(get: str) -> list[Any]:
        return list(chain.from_iterable(getattr(one, get) for one in pieces))

    joined = Piece(
        pieces[0].is_audit,
        keys=all_of("keys"),
        times=all_of("times"),
        commits=all_of("commits"),
        sources=all_of("sources"),
        lines=all_of("lines"),
        raw=all_of("raw"),
        words=all_of("words"),
        columns={name: join_columns(columns_of(name)) for name in names if name not in aliases},
        aliases=aliases,
        worded=frozenset.intersection(*(_worded(one, pieces) for one in pieces)),
    )
    keys = joined.keys
    if all(map(int.__lt__, keys, keys[1:])):
        return joined
    return choose_entries(joined, sorted(range(len(keys)), key=keys.__getitem__))


def _worded(piece: Piece, pieces: Sequence[Piece]) -> frozenset[str]:
    """Return the fields that are worded in a piece, or do not occur there but in another one."""
    elsewhere = frozenset(chain.from_iterable(one.worded for one in pieces))
    return piece.worded | frozenset(one for one in elsewhere if one not in piece.columns)


def _common_aliases(pieces: Sequence[Piece]) -> dict[str, str]:
    """Return the aliases that hold for all pieces; where a piece has neither, any alias holds."""
    common = {}
    for attribute in ATTRIBUTES:
        fields = {piece.aliases.get(attribute) for piece in pieces if _has(piece, attribute)}
        fields = fields or {piece.aliases.get(attribute) for piece in pieces}
        field = fields.pop() if len(fields) == 1 else None
        if field is not None and all(_agrees(piece, attribute, field) for piece in pieces):
            common[attribute] = field
    return common


def _has(piece: Piece, attribute: str) -> bool:
    return attribute in piece.columns or attribute in piece.aliases


def _agrees(piece: Piece, attribute: str, field: str) -> bool:
    return piece.aliases.get(attribute) == field or field not in piece.columns
