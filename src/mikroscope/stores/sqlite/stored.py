"""Reads the segments of a file, each part when it is first needed."""

import struct
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import cached_property
from itertools import accumulate, repeat
from operator import add, lshift
from typing import Any, NamedTuple, TypeVar, overload

import apsw
import msgspec
from zstandard import ZstdError

from mikroscope.stores.sqlite.cache import PartCache
from mikroscope.stores.sqlite.columns import AnyColumn, PackedColumn
from mikroscope.stores.sqlite.compression import Dictionary, restore_time
from mikroscope.stores.sqlite.frames import unpack
from mikroscope.stores.sqlite.integers import Integers, numbers_at
from mikroscope.stores.sqlite.masks import others
from mikroscope.stores.sqlite.schema import KEY_BITS, first_row
from mikroscope.stores.sqlite.sealing import (
    COMMITS,
    FIRST_FIELD,
    KEYS,
    LINES,
    SOURCES,
    TIMES,
    WORDS,
    Head,
    Posted,
)
from mikroscope.stores.sqlite.segment import find_words

_decode_head = msgspec.msgpack.Decoder(Head).decode
Items = TypeVar("Items", bound=Sized)
INFO_COLUMNS = (
    "id, part, first_ordinal, entries, deleted, is_audit, is_posted, is_exact, first_key, "
    "last_key, first_ms, last_ms, last_commit, head"
)


class SegmentInfo(NamedTuple):
    """The row of a segment."""

    id: int
    part: int
    first_ordinal: int
    entries: int
    deleted: int
    is_audit: int
    is_posted: int
    is_exact: int
    first_key: int
    last_key: int
    first_ms: int
    last_ms: int
    last_commit: int
    head: bytes

    @property
    def segment_ordinal(self) -> int:
        """The ordinal of the segment's own document, behind those of its entries."""
        return self.first_ordinal + self.entries


class SegmentFile:
    """Gives access to the segments of a file, for one thread at a time."""

    def __init__(self, sql: apsw.Connection, identity: object, cache: PartCache) -> None:
        self.sql = sql
        self._identity = identity
        self._cache = cache
        self._dictionaries: dict[int, Dictionary] = {0: Dictionary(0, b"")}

    def dictionary(self, number: int) -> Dictionary:
        """Return a dictionary, also one that another process has trained."""
        known = self._dictionaries.get(number)
        if known is None:
            select = "SELECT dictionary FROM dictionaries WHERE id = ?"
            content: Any = self.sql.execute(select, (number,)).get
            if content is None:
                raise ZstdError(f"dictionary {number} is missing")
            known = self._dictionaries[number] = Dictionary(number, content)
        return known

    def part_of(self, segment: int, place: int, make: Callable[[bytes], tuple[Any, int]]) -> Any:
        """Return something made of a stored column, from the cache if it is there."""

        def load() -> tuple[Any, int]:
            content = self.stored(segment, place)
            try:
                return make(content)
            except (struct.error, ValueError) as error:
                raise ZstdError(f"column {place} of segment {segment}: {error}") from error

        return self._cache.get((self._identity, segment, place), load)

    def cached(self, key: tuple[Hashable, ...], make: Callable[[], tuple[Any, int]]) -> Any:
        """Return something made of this file, from the cache if it is there."""
        return self._cache.get((self._identity, *key), make)

    def stored(self, segment: int, place: int) -> bytes:
        """Return a column as it is stored. Raises ZstdError if it is missing."""
        select = "SELECT data FROM columns WHERE id = ?"
        content: Any = self.sql.execute(select, (first_row(segment) + place,)).get
        if content is None:
            raise ZstdError(f"column {place} of segment {segment} is missing")
        return bytes(content)

    def block(self, segment: int, number: int, dictionary: int) -> bytes:
        """Return the lines of a block. Raises ZstdError if it is damaged."""
        select = "SELECT data FROM blocks WHERE id = ?"
        content: Any = self.sql.execute(select, (first_row(segment) + number,)).get
        if content is None:
            raise ZstdError(f"block {number} of segment {segment} is missing")
        return self.dictionary(dictionary).unpack(content)


class Keys(Sequence[int]):
    """Keys that are made of times, and of places among the entries of a millisecond."""

    def __init__(self, times: Sequence[int], places: Integers) -> None:
        self._times = times
        self._places = places
        self._has_places = not places.is_zero

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        if isinstance(place, slice):
            return list(self)[place]
        key = self._times[place] << KEY_BITS
        return key + self._places[place] if self._has_places else key

    def at(self, places: Sequence[int]) -> list[int]:
        """Return the keys at some places."""
        keys = [time << KEY_BITS for time in numbers_at(self._times, places)]
        return list(map(add, keys, self._places.at(places))) if self._has_places else keys

    def __iter__(self) -> Iterator[int]:
        keys = map(lshift, self._times, repeat(KEY_BITS))
        return map(add, keys, self._places) if self._has_places else keys


class StoredSegment:
    """A segment of a file, within one snapshot."""

    def __init__(self, info: SegmentInfo, file: SegmentFile) -> None:
        self.info = info
        self._file = file
        self.entries = info.entries
        self.is_audit = bool(info.is_audit)
        self.is_posted = bool(info.is_posted)
        self.is_exact = bool(info.is_exact)
        self.first_key, self.last_key = info.first_key, info.last_key
        self.first_ms, self.last_ms = info.first_ms, info.last_ms

    @cached_property
    def head(self) -> Head:
        """What must be known before anything is read."""

        def make() -> tuple[Head, int]:
            try:
                head = _decode_head(unpack(self.info.head))
            except msgspec.DecodeError as error:
                raise ZstdError(f"the head of segment {self.info.id}: {error}") from error
            return head, 40 * len(head.blocks) + 100 * len(head.columns) + 200

        head: Head = self._file.cached((self.info.id, -1), make)
        return head

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.head.columns, FIRST_FIELD)}

    def keys_at(self, places: Sequence[int]) -> list[int]:
        """Return the keys of the entries at some places."""
        keys = self.keys
        return keys.at(places) if isinstance(keys, Keys) else numbers_at(keys, places)

    @cached_property
    def keys(self) -> Sequence[int]:
        """The keys, in rising order."""
        stored = self._integers(KEYS)
        return Keys(self.times, stored) if self.is_exact else stored

    @property
    def times(self) -> Sequence[int]:
        """The times in epoch milliseconds."""
        return self._integers(TIMES)

    @property
    def commits(self) -> Sequence[int]:
        """The numbers of the commits that the entries came with."""
        return self._integers(COMMITS)

    @cached_property
    def alive(self) -> bytes | None:
        """A mask of the entries that were not deleted; None if none was."""
        if not self.info.deleted:
            return None
        select = "SELECT data FROM masks WHERE segment = ?"
        content: Any = self._file.sql.execute(select, (self.info.id,)).get
        if content is None:
            raise ZstdError(f"the mask of segment {self.info.id} is missing")
        return others(self._of_all(unpack(content)))

    @property
    def names(self) -> Iterable[str]:
        """The names of all columns."""
        return self.head.columns

    @property
    def aliases(self) -> Mapping[str, str]:
        """Attributes that are the value of a field, and that field."""
        return self.head.aliases

    @property
    def posted(self) -> Mapping[str, Posted] | None:
        """The fields and attributes without column; None if they are not known."""
        return self.head.posted

    @property
    def worded(self) -> Iterable[str]:
        """Fields without column whose long values only their words find."""
        return self.head.worded

    def column(self, name: str) -> AnyColumn | None:
        """Return the column of a field or an attribute."""
        place = self._places.get(self.aliases.get(name, name))
        return None if place is None else self._column(place)

    def word_mask(self, token: bytes) -> bytes:
        """Return the entries that have a word or a token; only if the segment is not posted."""

        def make(content: bytes) -> tuple[Any, int]:
            words = unpack(content)
            return words, len(words)

        return find_words(self._file.part_of(self.info.id, WORDS, make), token, self.entries)

    def lines(self, places: Sequence[int]) -> list[bytes]:
        """Return the lines of the entries at some places, in their order."""
        head, times = self.head, numbers_at(self.times, places)
        starts = self._starts
        blocks: dict[int, list[bytes]] = {}
        found = []
        for place, time in zip(places, times, strict=True):
            number = bisect_right(starts, place) - 1
            if number not in blocks:
                content = self._file.block(self.info.id, number, head.dictionary)
                blocks[number] = content.split(b"\n")
                if len(blocks[number]) != head.blocks[number]:
                    raise ZstdError(f"block {number} of segment {self.info.id} has other lines")
            found.append(restore_time(blocks[number][place - starts[number]], time))
        return found

    def stripped_lines(self) -> list[bytes]:
        """Return all lines as they are stored, without the text of their times."""
        lines: list[bytes] = []
        for number in range(len(self.head.blocks)):
            block = self._file.block(self.info.id, number, self.head.dictionary)
            lines += block.split(b"\n")
        self._of_all(lines)
        return lines

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate(self.head.blocks[:-1], initial=0))

    def sources_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers of the sources of the entries at some places."""
        column = self._column(SOURCES)
        codes, numbers = column.codes, [0, *map(int, column.values)]
        return [numbers[codes[place]] for place in places]

    @property
    def sources(self) -> list[int]:
        """The numbers of the entries' sources."""
        column = self._column(SOURCES)
        numbers = [0, *map(int, column.values)]
        return list(map(numbers.__getitem__, column.codes))

    def source_mask(self, source: int) -> bytes:
        """Return the entries of a source."""
        column = self._column(SOURCES)
        return column.mask((column.code_of(str(source)),))

    def line_numbers_at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers and the parts of the lines of the entries at some places."""
        return self._integers(LINES).at(places)

    @property
    def line_numbers(self) -> Sequence[int]:
        """The numbers and the parts of the entries' lines."""
        return self._integers(LINES)

    def _column(self, place: int) -> PackedColumn:
        def make(content: bytes) -> tuple[Any, int]:
            column = PackedColumn(content, self.entries)
            return column, column.size

        column: PackedColumn = self._file.part_of(self.info.id, place, make)
        return column

    def _integers(self, place: int) -> Integers:
        def make(content: bytes) -> tuple[Any, int]:
            numbers = Integers(content)
            return numbers, 12 * len(numbers)

        numbers: Integers = self._file.part_of(self.info.id, place, make)
        return self._of_all(numbers)

    def _of_all(self, items: Items) -> Items:
        if len(items) != self.entries:
            raise ZstdError(f"a column of segment {self.info.id} has another number of entries")
        return items
