"""What is asked of a segment, and the same of a piece in memory."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from mikroscope.stores.sqlite.columns import AnyColumn
from mikroscope.stores.sqlite.compression import restore_time
from mikroscope.stores.sqlite.integers import first_place
from mikroscope.stores.sqlite.masks import mask_between
from mikroscope.stores.sqlite.piece import Piece, pick
from mikroscope.stores.sqlite.schema import KEY_BITS
from mikroscope.stores.sqlite.sealing import Posted


class Segment(Protocol):
    """Some entries in the order of their keys; a place counts them from 0 on.

    Masks and columns have one item for each entry.
    """

    @property
    def entries(self) -> int:
        """The number of entries, deleted ones included."""

    @property
    def is_audit(self) -> bool:
        """Whether all entries are audit entries; otherwise none is."""

    @property
    def is_posted(self) -> bool:
        """Whether words, and fields without column, are in the inverted index."""

    @property
    def is_exact(self) -> bool:
        """Whether the keys give the times, so that these rise too."""

    @property
    def first_key(self) -> int:
        """The key of the first entry."""

    @property
    def last_key(self) -> int:
        """The key of the last entry."""

    @property
    def first_ms(self) -> int:
        """The earliest time."""

    @property
    def last_ms(self) -> int:
        """The latest time."""

    @property
    def keys(self) -> Sequence[int]:
        """The keys, in rising order."""

    def keys_at(self, places: Sequence[int]) -> list[int]:
        """Return the keys of the entries at some places."""

    @property
    def times(self) -> Sequence[int]:
        """The times in epoch milliseconds."""

    @property
    def alive(self) -> bytes | None:
        """A mask of the entries that were not deleted; None if none was."""

    @property
    def names(self) -> Iterable[str]:
        """The names of all columns."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Attributes that are the value of a field, and that field."""

    @property
    def posted(self) -> Mapping[str, Posted] | None:
        """The fields and attributes without column; None if they are not known."""

    @property
    def worded(self) -> Iterable[str]:
        """Fields without column whose long values only their words find."""

    def column(self, name: str) -> AnyColumn | None:
        """Return the column of a field or an attribute."""

    def word_mask(self, token: bytes) -> bytes:
        """Return the entries that have a word or a token; only if the segment is not posted."""

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """Return the lines of the entries at some places, in their order."""

    def sources_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers of the sources of the entries at some places."""

    def line_numbers_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers and the parts of the lines of the entries at some places."""


def between(segment: Segment, from_ms: int | None, to_ms: int | None) -> bytes | None:
    """Return a mask of the entries of a time range, bounds included; None for all entries."""
    low = from_ms is not None and segment.first_ms < from_ms
    high = to_ms is not None and segment.last_ms > to_ms
    if not low and not high:
        return None
    times, size = segment.times, segment.entries
    if segment.is_exact:
        start = first_place(times, from_ms) if low and from_ms is not None else 0
        end = first_place(times, to_ms + 1) if high and to_ms is not None else size
        return mask_between(start, max(start, end), size)
    first = segment.first_ms if from_ms is None else from_ms
    last = segment.last_ms if to_ms is None else to_ms
    return bytes(first <= time <= last for time in times)


class MemorySegment:
    """A piece as a segment."""

    is_posted = False
    alive: bytes | None = None
    posted: Mapping[str, Posted] | None = {}
    worded: Iterable[str] = ()

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.entries = len(piece)
        self.is_audit = piece.is_audit
        self.is_exact = not piece.has_inexact_keys(KEY_BITS)
        self.first_key, self.last_key = piece.keys[0], piece.keys[-1]
        self.first_ms, self.last_ms = min(piece.times), max(piece.times)

    @property
    def keys(self) -> Sequence[int]:
        """The keys, in rising order."""
        return self.piece.keys

    def keys_at(self, places: Sequence[int]) -> list[int]:
        """Return the keys of the entries at some places."""
        return pick(self.piece.keys, places)

    @property
    def times(self) -> Sequence[int]:
        """The times in epoch milliseconds."""
        return self.piece.times

    @property
    def names(self) -> Iterable[str]:
        """The names of all columns."""
        return self.piece.columns

    @property
    def aliases(self) -> Mapping[str, str]:
        """Attributes that are the value of a field, and that field."""
        return self.piece.aliases

    def column(self, name: str) -> AnyColumn | None:
        """Return the column of a field or an attribute."""
        return self.piece.column(name)

    def word_mask(self, token: bytes) -> bytes:
        """Return the entries that have a word or a token."""
        return find_words(self._words, token, self.entries)

    @cached_property
    def _words(self) -> bytes:
        return b"\n".join(words + b" " for words in self.piece.words)

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """Return the lines of the entries at some places."""
        raw, times = self.piece.raw, self.piece.times
        return [restore_time(raw[place], times[place]) for place in places]

    def sources_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers of the sources of the entries at some places."""
        return pick(self.piece.sources, places)

    def line_numbers_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers and the parts of the lines of the entries at some places."""
        return pick(self.piece.lines, places)


def find_words(words: bytes, token: bytes, entries: int) -> bytes:
    """Return the entries with a word or token, in texts with a line feed between each two."""
    mask = bytearray(entries)
    wanted = b" %b " % token
    position, place = words.find(wanted), 0
    counted = 0
    while position >= 0:
        place += words.count(b"\n", counted, position)
        mask[place] = 1
        counted = position
        position = words.find(wanted, words.find(b"\n", position) + 1 or len(words))
    return bytes(mask)
