"""Turns a piece into a segment: packed columns, blocks of lines, documents of the inverted index.

A field is a column where it has few values, else its values are tokens of the documents. This is
most of the work of a bulk load, and runs in any process.
"""

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat

import msgspec

from mikroscope.stores.sqlite.columns import Column, numbers_column, pack_column
from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.frames import pack
from mikroscope.stores.sqlite.integers import pack_integers
from mikroscope.stores.sqlite.piece import (
    CORRELATION,
    EVENT,
    FIELD_COUNT,
    LEVEL,
    MARK,
    TEMPLATE,
    Piece,
)
from mikroscope.stores.sqlite.schema import LINE_MASK, MINUTE_MS
from mikroscope.stores.sqlite.shaping import field_of
from mikroscope.stores.sqlite.texts import MAX_SEARCHED
from mikroscope.stores.sqlite.tokens import (
    CORRELATION_PREFIX,
    LEVEL_PREFIX,
    encode_documents,
    field_prefix,
    is_long,
    prefixed,
    segment_tokens,
    shorten,
)

MAX_ENTRIES = 16_384
"""Entries of one segment."""
MAX_COLUMN_VALUES = 4_000
_FEW_VALUES = 32  # a column with so few values is made however few entries have the field
_LEAST_SHARE = 100  # one entry in so many has the field; otherwise its values are tokens
_VALUES_PER_ENTRY = 0.4  # with more distinct values the field is looked up, not counted
_MAX_COLUMNS = 200
_MAX_NAMED = 500  # fields without column, by name
_BYTES_PER_ENTRY = 12  # that the values of one column may take
BLOCK_BYTES = 12_288  # of lines that are packed together
BLOCK_LINES = 64

# Places of what a segment has, in the table `columns`.
TIMES, KEYS, SOURCES, LINES, COMMITS, WORDS = range(6)
FIRST_FIELD = 16


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """A field without column: entries that have it, and whether all values are their tokens."""

    entries: int
    is_readable: bool


class Head(msgspec.Struct, array_like=True):
    """What must be known of a segment before anything of it is read."""

    columns: list[str]
    """The names of the columns, in the order of their places from FIRST_FIELD on."""
    aliases: dict[str, str]
    posted: dict[str, Posted] | None
    """The fields that have no column; None if they are too many to be listed."""
    worded: list[str]
    """Fields whose long values have no token: their words do."""
    blocks: list[int]
    """The number of entries in each block."""
    dictionary: int
    """The number of the dictionary that the blocks are packed with."""
    unknown: list[str] = []
    """Attributes that only the lines give."""


class Sealed(msgspec.Struct):
    """A segment that is not in a file yet."""

    is_audit: bool
    entries: int
    times: "array[int]"
    keys: "array[int]"
    head: Head
    columns: dict[int, bytes]
    """By place."""
    blocks: list[bytes]
    documents: list[bytes]
    """Of each entry, and at last of the segment; none if the words are a column."""
    posted_names: list[str]
    minutes: dict[tuple[int, str], int]
    templates: list[str]
    lines: dict[int, tuple[int, int]]
    """The first and the last line of each source."""
    raw_bytes: int = 0


def seal(piece: Piece, dictionary: Dictionary, post: bool) -> Sealed:
    """Make a segment of a piece; with `post` it gets documents, else all fields are columns."""
    size = len(piece)
    chosen, rest = _divide(piece, post)
    names = list(chosen)
    blocks, counts = pack_lines(piece.raw, dictionary)
    columns = {
        TIMES: pack_integers(piece.times),
        SOURCES: pack_column(numbers_column(piece.sources)),
        LINES: pack_integers(piece.lines),
        **{place: pack_column(chosen[name]) for place, name in enumerate(names, FIRST_FIELD)},
    }
    documents: list[bytes] = []
    if post:
        documents = _documents(piece, rest)
        documents.append(_segment_document(chosen))
    else:
        columns[WORDS] = pack(b"\n".join(word + b" " for word in piece.words))
    posted = {name: _posted(name, column, piece) for name, column in rest.items()}
    head = Head(
        names,
        dict(piece.aliases),
        posted if len(posted) <= _MAX_NAMED else None,
        sorted(piece.worded.intersection(rest)),
        counts,
        dictionary.number,
        [name for name in (EVENT, TEMPLATE) if name in rest],
    )
    template = chosen.get(TEMPLATE)
    return Sealed(
        *(piece.is_audit, size, array("q", piece.times), array("q", piece.keys)),
        *(head, columns, blocks, documents),
        posted_names=[name for name in map(field_of, posted) if name is not None],
        minutes=count_minutes(piece),
        templates=list(template.values) if template else [],
        lines=lines_by_source(piece.sources, piece.lines),
        raw_bytes=sum(map(len, piece.raw)),
    )


_NOT_POSTED = frozenset((EVENT, TEMPLATE))


def count_minutes(piece: Piece) -> dict[tuple[int, str], int]:
    """Count the entries of a piece by minute and level."""
    levels = piece.column(LEVEL)
    minutes = map(int.__floordiv__, piece.times, repeat(MINUTE_MS))
    if levels is None:
        return {}
    counted = Counter(zip(minutes, levels.codes, strict=True))
    names = ["", *levels.values]
    return {(minute, names[code]): entries for (minute, code), entries in counted.items()}


def lines_by_source(sources: Sequence[int], lines: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return the numbers of the first and the last line of each source."""
    found: dict[int, tuple[int, int]] = {}
    if len(set(sources)) == 1:
        numbers = [line & LINE_MASK for line in lines]
        return {sources[0]: (min(numbers), max(numbers))}
    for source, line in zip(sources, lines, strict=True):
        number = line & LINE_MASK
        first, last = found.get(source, (number, number))
        found[source] = min(first, number), max(last, number)
    return found


def pack_lines(lines: Sequence[bytes], dictionary: Dictionary) -> tuple[list[bytes], list[int]]:
    """Pack lines in blocks; also return the number of lines in each."""
    bodies: list[bytes] = []
    counts: list[int] = []
    start = size = 0
    for place, line in enumerate(lines):
        size += len(line)
        if size >= BLOCK_BYTES or place - start + 1 >= BLOCK_LINES:
            bodies.append(b"\n".join(lines[start : place + 1]))
            counts.append(place + 1 - start)
            start, size = place + 1, 0
    if start < len(lines):
        bodies.append(b"\n".join(lines[start:]))
        counts.append(len(lines) - start)
    return dictionary.pack_all(bodies), counts


def _divide(piece: Piece, post: bool) -> tuple[dict[str, Column], dict[str, Column]]:
    """Return the columns that are kept as such, and those whose values become tokens."""
    if not post:
        return piece.columns, {}
    chosen: dict[str, Column] = {}
    rest: dict[str, Column] = {}
    size = len(piece)
    for name, column in piece.columns.items():
        (chosen if _is_column(name, column, size) else rest)[name] = column
    if len(chosen) > _MAX_COLUMNS:
        present = {name: column.present for name, column in chosen.items()}
        for name in sorted(chosen, key=present.__getitem__)[: len(chosen) - _MAX_COLUMNS]:
            if not name.startswith(MARK) or name.startswith(MARK * 2):
                rest[name] = chosen.pop(name)
    return chosen, rest


def _is_column(name: str, column: Column, size: int) -> bool:
    number = len(column.values)
    if name == FIELD_COUNT:
        return True
    if number > MAX_COLUMN_VALUES or number > max(_FEW_VALUES, _VALUES_PER_ENTRY * size):
        return False
    present = column.present
    if name not in _ATTRIBUTES:
        if present * _LEAST_SHARE < size:
            return False
        if number > max(_FEW_VALUES, present * _VALUES_PER_ENTRY):
            return False
    return number <= _FEW_VALUES or sum(map(len, column.values)) <= _BYTES_PER_ENTRY * size


_ATTRIBUTES = frozenset((LEVEL, EVENT, TEMPLATE))


def _documents(piece: Piece, rest: Mapping[str, Column]) -> list[bytes]:
    """Return the tokens and words of each entry."""
    size = len(piece)
    full: list[list[str]] = []
    sparse: dict[int, list[str]] = {}
    for name, column in rest.items():
        if name in _NOT_POSTED:
            continue
        tokens = _tokens(name, column, name in piece.worded)
        if column.present == size and all(tokens):
            full.append(list(map(["", *tokens].__getitem__, column.codes)))
            continue
        places, codes = column.items()
        for place, code in zip(places, codes, strict=True):
            if tokens[code - 1]:
                found = sparse.get(place)
                if found is None:
                    sparse[place] = [tokens[code - 1]]
                else:
                    found.append(tokens[code - 1])
    if not full and not sparse:
        return list(piece.words)
    if sparse:
        rows = zip(*full, strict=True) if full else repeat((), size)
        lists: list[Sequence[str]] = [
            [*row, *sparse.get(place, ())] for place, row in enumerate(rows)
        ]
    else:
        lists = list(zip(*full, strict=True))
    return list(map(bytes.__add__, encode_documents(lists), piece.words))


def _tokens(name: str, column: Column, is_worded: bool) -> list[str]:
    """Return the token of each value of a column; empty where the words of the value do."""
    prefix = {LEVEL: LEVEL_PREFIX, CORRELATION: CORRELATION_PREFIX}.get(name)
    if prefix is None:
        prefix = field_prefix(field_of(name) or "")
    if not is_worded:
        return prefixed(prefix, column.values)
    return ["" if is_found_by_words(value) else prefix + shorten(value) for value in column.values]


def is_found_by_words(value: str) -> bool:
    """Return whether a value of a worded field has no token."""
    return is_long(value) and _LETTER.search(value, 0, MAX_SEARCHED) is not None


_LETTER = re.compile(r"[^\W_]")  # every word has one, or an underscore


def _posted(name: str, column: Column, piece: Piece) -> Posted:
    is_worded = name in piece.worded
    readable = not is_worded and not any(map(is_long, column.values))
    return Posted(column.present, readable)


def _segment_document(chosen: Mapping[str, Column]) -> bytes:
    """Return a token for each value of all columns."""
    values: dict[str, None] = {}
    for name, column in chosen.items():
        if name not in (FIELD_COUNT, EVENT):
            values |= dict.fromkeys(column.values)
    return encode_documents([segment_tokens(list(values))])[0] if values else b""
