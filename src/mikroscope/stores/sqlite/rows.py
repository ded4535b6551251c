"""The rows of `entries` and their documents as text that SQLite reads in bulk."""

from typing import NamedTuple

from mikroscope.records.attributes import level_of, time_of
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite.schema import DAY_MS, KEY_BITS, clamp
from mikroscope.stores.sqlite.terms import TermEncoder

MINUTE_MS = 60_000
DAY_MINUTES = DAY_MS // MINUTE_MS
AUDIT, FULL_FRAME = 1, 2  # flags of an entry

# A row is one text, so that SQLite reads thousands of them in one statement (write/writer.py): key,
# line, and what most rows of a batch share (source, dictionary and flags), in decimal digits of a
# fixed width; then the compressed line. A document is a text with its key in front.
ROW = b"%016d%019d%b%b"
COMMON = b"%010d%06d%d"
DOCUMENT = b"%016d%b"
KEY_WIDTH = 16
_LINE, _SOURCE = slice(16, 35), slice(35, 45)
_DICTIONARY, _FLAGS = slice(45, 51), slice(51, 52)
_DATA = slice(52, None)

Minute = tuple[int, str, bool]
"""A minute since 1970, a level, and audit: entries are counted by it."""


def encode_again(
    terms: TermEncoder, fields: Fields, key: int, is_audit: bool
) -> tuple[Minute, bytes]:
    """Return the minute that counts an entry of the index, and the entry's document.

    Changes `fields`.
    """
    time_ms, time_field = time_of(fields) or (key >> KEY_BITS, None)
    time_ms, level = clamp(time_ms), level_of(fields)
    document = terms.encode(fields, level, is_audit, time_ms, time_field)
    return (time_ms // MINUTE_MS, level, is_audit), document


def with_key(row_or_document: bytes, key: int) -> bytes:
    """Return the row or document with another key."""
    return b"%016d%b" % (key, row_or_document[KEY_WIDTH:])


class ParsedRow(NamedTuple):
    """The columns of a row."""

    key: int
    line: int
    source: int
    dictionary: int
    flags: int
    data: bytes


def parse_row(row: bytes) -> ParsedRow:
    """Return the columns of a row."""
    return ParsedRow(
        key=int(row[:KEY_WIDTH]),
        line=int(row[_LINE]),
        source=int(row[_SOURCE]),
        dictionary=int(row[_DICTIONARY]),
        flags=int(row[_FLAGS]),
        data=row[_DATA],
    )


def make_row(row: ParsedRow) -> bytes:
    """Return the row of these columns."""
    common = COMMON % (row.source, row.dictionary, row.flags)
    return ROW % (row.key, row.line, common, row.data)
