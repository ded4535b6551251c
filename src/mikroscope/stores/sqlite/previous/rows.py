"""Reads the entries of an index of format 5, which versions before this one wrote."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import zstandard
from zstandard import ZstdError

from mikroscope.records.parsing import NotARecordError
from mikroscope.stores.sqlite.compression import restore_time
from mikroscope.stores.sqlite.schema import KEY_BITS
from mikroscope.stores.sqlite.stored import SegmentFile

OLD_KEY_BITS = 6  # below the milliseconds of a key
OLD_PLACES = (1 << OLD_KEY_BITS) - 1
_AUDIT, _FULL_FRAME = 1, 2  # flags of an entry

# Nearly every line is a zstd frame of a single compressed block with a content size of two bytes.
# Of its headers (RFC 8878, 3.1.1) only that size is stored; with _FULL_FRAME all but the magic.
_USUAL_START = zstandard.FRAME_HEADER + b"\x60"
_LAST_COMPRESSED = 0b101

_COLUMNS = "key, source, line, flags, dictionary, data"
_BETWEEN = f"SELECT {_COLUMNS} FROM entries WHERE key BETWEEN ? AND ? ORDER BY key"  # noqa: S608
_TIMES_OF_SOURCE = """
SELECT line, key FROM sources s JOIN entries e
    ON e.key BETWEEN s.first_key AND s.last_key AND e.source = s.id WHERE s.id = ?
"""


class Row(NamedTuple):
    """An entry; `key` is that of its format, `line` has the part too, `data` is packed."""

    key: int
    source: int
    line: int
    flags: int
    dictionary: int
    data: bytes

    @property
    def time_ms(self) -> int:
        """The time in epoch milliseconds, for a record without one of its own."""
        return self.key >> OLD_KEY_BITS

    @property
    def is_audit(self) -> bool:
        """Whether it is an audit entry."""
        return bool(self.flags & _AUDIT)

    def raw(self, file: SegmentFile) -> bytes:
        """Return the record's text. Raises ZstdError for damage."""
        line = file.dictionary(self.dictionary).unpack(self._frame())
        return restore_time(line, self.time_ms)

    def _frame(self) -> bytes:
        if self.flags & _FULL_FRAME:
            return zstandard.FRAME_HEADER + self.data
        size = len(self.data) - 2
        if size < 0:
            raise ZstdError(f"the entry {self.key} is too short")
        header = (size << 3 | _LAST_COMPRESSED).to_bytes(3, "little")
        return _USUAL_START + self.data[:2] + header + self.data[2:]


def rows_between(file: SegmentFile, first: int, last: int) -> Iterator[Row]:
    """Yield the entries from one key to another, both of format 5, in rising order."""
    found: Any = file.sql.execute(_BETWEEN, (first, last))
    return (Row(*row) for row in found)


def times_of_source(file: SegmentFile, source: int) -> dict[int, int]:
    """Return the times of a source's entries in epoch milliseconds, by number and part of line."""
    found: Any = file.sql.execute(_TIMES_OF_SOURCE, (source,))
    return {line: key >> OLD_KEY_BITS for line, key in found}


def new_key(key: int) -> int:
    """Return the key of this format for one of format 5; their order is the same."""
    return key >> OLD_KEY_BITS << KEY_BITS | key & OLD_PLACES


UNREADABLE = (ZstdError, NotARecordError)
"""What one damaged entry raises."""
