"""Code columns: one field of all entries of a segment, as codes and the values they stand for.

Code 0 means that an entry does not have the field; code 1 is the first value. A column of up to 255
values has one byte for each entry, another one two. In a file the two bytes are apart (all low
bytes, then all high ones), which packs better and is searched as fast. A packed column is two zstd
frames, each with a checksum: the counts of the values with the values themselves, then the codes.
"""

import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress, count
from typing import Any

import zstandard

from mikroscope.stores.sqlite.frames import header_bytes, pack, pack_header, unpack, unpack_header
from mikroscope.stores.sqlite.masks import any_of, both

_NARROW = 255  # values that fit into one byte
_HEADER = struct.Struct("<BII")  # bytes of a code, number of values, length of the first frame
_IDENTITY = bytes(256)


class Column:
    """A column in memory: `values` in the order of their codes, and one code for each entry.

    Where few of `size` entries have the field, there are only codes for the `places` of those.
    """

    __slots__ = ("_codes", "_codes_of", "_planes", "places", "size", "values")

    def __init__(
        self,
        values: Sequence[str],
        codes: "bytes | array[int]",
        places: Sequence[int] | None = None,
        size: int = 0,
    ) -> None:
        self.values = values
        self.places = places
        self.size = len(codes) if places is None else size
        self._codes = codes
        self._codes_of: dict[str, int] | None = None
        self._planes: tuple[bytes, bytes] | None = None

    @property
    def codes(self) -> "bytes | array[int]":
        """One code for each entry."""
        if self.places is not None:
            self._codes = _spread(self._codes, self.places, self.size)
            self.places = None
        return self._codes

    @property
    def present(self) -> int:
        """The number of entries that have the field."""
        if self.places is not None:
            return len(self.places)
        absent: int = self._codes.count(0)
        return self.size - absent

    def stored(self) -> "tuple[bytes | array[int], Sequence[int] | None]":
        """Return the codes as they are kept, and the places that they are of (None: all)."""
        return self._codes, self.places

    def items(self) -> "tuple[Sequence[int], Iterable[int]]":
        """Return the places of the entries that have the field, in rising order, and their codes.

        The second one can be read once.
        """
        if self.places is not None:
            return self.places, iter(self._codes)
        places = list(compress(range(self.size), self._codes))
        return places, filter(None, self._codes)

    def code_of(self, value: str) -> int:
        """Return the code of a value; 0 if no entry has it."""
        if self._codes_of is None:
            self._codes_of = dict(zip(self.values, count(1), strict=False))
        return self._codes_of.get(value, 0)

    def mask(self, codes: Collection[int]) -> bytes:
        """Return a mask of the entries that have one of these codes."""
        own = self.codes
        if isinstance(own, bytes):
            return _mask_narrow(own, codes)
        if self._planes is None:
            content = own.tobytes()
            self._planes = content[::2], content[1::2]
        return _mask_wide(*self._planes, codes)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield each value with the number of its entries."""
        return zip(self.values, _counts(self._codes, len(self.values)), strict=True)

    def count_in(self, mask: bytes | None) -> "Counter[int]":
        """Count the entries of a mask (None: all) by code; some counts may be 0."""
        return count_codes(self.codes, mask, len(self.values))


class PackedColumn:
    """A column as a file has it; each part is unpacked when it is first needed."""

    __slots__ = ("_codes", "_content", "_planes", "_rest", "_split", "_values", "entries", "number")

    def __init__(self, content: bytes, entries: int) -> None:
        self.entries = entries
        width, self.number, self._split = unpack_header(_HEADER, content)
        self._content = content
        self._rest: bytes | None = None
        self._values: list[str] | None = None
        self._planes: tuple[bytes, ...] | None = None
        self._codes: bytes | array[int] | None = None
        if width not in (1, 2):
            raise zstandard.ZstdError(f"a column has codes of {width} bytes")

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes, unpacked."""
        return len(self._content) + 6 * self.entries + 60 * int(self.number)

    @property
    def values(self) -> list[str]:
        """The values in the order of their codes."""
        if self._values is None:
            try:
                text = self._unpacked_values()[4 * self.number :].decode()
            except UnicodeDecodeError as error:
                raise zstandard.ZstdError(f"the values of a column: {error}") from error
            values = text[1:-1].split("\n") if self.number else []
            if len(values) != self.number:
                raise zstandard.ZstdError("a column has another number of values")
            if "\\" in text:
                values = list(map(_unescape, values))
            self._values = values
        return self._values

    @property
    def codes(self) -> "bytes | array[int]":
        """One code for each entry."""
        if self._codes is None:
            planes = self._unpacked_planes()
            if len(planes) == 1:
                self._codes = planes[0]
            else:
                content = bytearray(2 * self.entries)
                content[::2], content[1::2] = planes
                self._codes = array("H", bytes(content))
        return self._codes

    def code_of(self, value: str) -> int:
        """Return the code of a value, without decoding the others; 0 if no entry has it."""
        if not self.number:
            return 0
        content, start = self._unpacked_values(), 4 * self.number
        wanted = b"\n%b\n" % _escape(value).encode("utf-8", "replace")
        place: int = content.find(wanted, start)
        return 0 if place < 0 else content.count(b"\n", start, place + 1)

    def mask(self, codes: Collection[int]) -> bytes:
        """Return a mask of the entries that have one of these codes."""
        planes = self._unpacked_planes()
        if len(planes) == 1:
            return _mask_narrow(planes[0], codes)
        return _mask_wide(planes[0], planes[1], codes)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield each value with the number of its entries."""
        numbers = array("I", self._unpacked_values()[: 4 * self.number])
        return zip(self.values, numbers, strict=True)

    def count_in(self, mask: bytes | None) -> "Counter[int]":
        """Count the entries of a mask (None: all) by code; some counts may be 0."""
        if mask is None:
            numbers = array("I", self._unpacked_values()[: 4 * self.number])
            counted = Counter(dict(zip(count(1), numbers)))
            counted[0] = self.entries - sum(numbers)
            return counted
        return count_codes(self.codes, mask, self.number)

    def check(self) -> None:
        """Unpack everything. Raises ZstdError where the column is damaged."""
        if len(self.values) != self.number or max(self.codes, default=0) > self.number:
            raise zstandard.ZstdError("a column has codes without values")
        if sum(number for _, number in self.counts()) != sum(map(bool, self.codes)):
            raise zstandard.ZstdError("a column counts other entries than it has")

    def _unpacked_values(self) -> bytes:
        if self._rest is None:
            start = header_bytes(_HEADER)
            self._rest = unpack(self._content[start : start + self._split])
        return self._rest

    def _unpacked_planes(self) -> tuple[bytes, ...]:
        if self._planes is None:
            content = unpack(self._content[header_bytes(_HEADER) + self._split :])
            if len(content) not in (self.entries, 2 * self.entries):
                raise zstandard.ZstdError("a column has another number of entries")
            low, high = content[: self.entries], content[self.entries :]
            self._planes = (low, high) if high else (low,)
        return self._planes


AnyColumn = Column | PackedColumn


def make_column(
    size: int, texts: Sequence[Any], places: Sequence[int] | None, codes_of: Mapping[Any, int]
) -> Column:
    """Make a column for `size` entries out of the texts at some places (None: at all).

    `codes_of` has the code of each text, in rising order from 1 on. The places rise.
    """
    found = map(codes_of.__getitem__, texts)
    codes = bytes(found) if len(codes_of) <= _NARROW else array("H", found)
    column = Column(list(codes_of), codes, places, size)
    if places is not None and len(places) * _SPARSE > size:
        _ = column.codes  # makes it dense
    return column


def numbers_column(numbers: Sequence[int]) -> Column:
    """Return a column of integers as texts."""
    codes_of = dict(zip(dict.fromkeys(numbers), count(1), strict=False))
    if len(codes_of) == 1:
        return Column([str(numbers[0])], b"\1" * len(numbers))
    column = make_column(len(numbers), numbers, None, codes_of)
    return Column(list(map(str, codes_of)), column.codes)


_SPARSE = 8  # a column is dense if more than one entry in so many has the field


def _spread(codes: "bytes | array[int]", places: Sequence[int], size: int) -> "bytes | array[int]":
    dense: bytearray | array[int]
    dense = bytearray(size) if isinstance(codes, bytes) else array("H", bytes(2 * size))
    for place, code in zip(places, codes, strict=True):
        dense[place] = code
    return bytes(dense) if isinstance(dense, bytearray) else dense


def pack_column(column: Column) -> bytes:
    """Return a column as a file has it."""
    codes, values = column.codes, column.values
    numbers = array("I", _counts(codes, len(values)))
    text = "\n".join(values)
    if "\\" in text or text.count("\n") >= max(1, len(values)):
        text = "\n".join(map(_escape, values))
    first = pack(numbers.tobytes() + b"\n%b\n" % text.encode("utf-8", "replace"))
    if isinstance(codes, bytes):
        width, content = 1, codes
    else:
        width, content = 2, codes.tobytes()
        content = content[::2] + content[1::2]
    return pack_header(_HEADER, width, len(values), len(first)) + first + pack(content)


def join_columns(parts: Sequence[tuple[Column | None, int]]) -> Column:
    """Put columns one behind the other; each comes with its number of entries."""
    codes_of: dict[str, int] = {}
    moved: list[list[int]] = []
    for column, _ in parts:
        values = column.values if column else ()
        moved.append([0, *(codes_of.setdefault(value, len(codes_of) + 1) for value in values)])
    is_narrow = len(codes_of) <= _NARROW
    if all(column is None or column.places is not None for column, _ in parts):
        return _join_sparse(parts, list(codes_of), moved, is_narrow)
    if not is_narrow:
        return Column(list(codes_of), _join_wide(parts, moved))
    joined = bytearray()
    for (column, size), codes in zip(parts, moved, strict=True):
        if column is None:
            joined += bytes(size)
        elif isinstance(column.codes, bytes):
            joined += column.codes.translate(bytes(codes) + _IDENTITY[len(codes) :])
        else:
            joined += bytes(map(codes.__getitem__, column.codes))
    return Column(list(codes_of), bytes(joined))


def _join_wide(
    parts: Sequence[tuple[Column | None, int]], moved: Sequence[Sequence[int]]
) -> "array[int]":
    joined = array("H")
    for (column, size), codes in zip(parts, moved, strict=True):
        if column is None:
            joined.frombytes(bytes(2 * size))
        else:
            joined.extend(map(codes.__getitem__, column.codes))
    return joined


def _join_sparse(
    parts: Sequence[tuple[Column | None, int]],
    values: list[str],
    moved: Sequence[Sequence[int]],
    is_narrow: bool,
) -> Column:
    places: list[int] = []
    codes: list[int] = []
    start = 0
    for (column, size), new in zip(parts, moved, strict=True):
        if column is not None:
            own, found = column.items()
            places += [start + place for place in own]
            codes += map(new.__getitem__, found)
        start += size
    return Column(values, bytes(codes) if is_narrow else array("H", codes), places, start)


def choose(column: Column, places: Sequence[int], new_places: Sequence[int]) -> Column | None:
    """Return the column of some entries, in the order given; None if none has the field.

    `new_places` is the other way round: the new place of each entry, or -1.
    """
    chosen: list[int]
    of: list[int] | None = None
    codes, own = column.stored()
    if own is None:
        chosen = list(map(codes.__getitem__, places))
    else:
        moved_places = [(new_places[place], code) for place, code in zip(own, codes, strict=True)]
        kept = sorted(one for one in moved_places if one[0] >= 0)
        of, chosen = [place for place, _ in kept], [code for _, code in kept]
    found = dict.fromkeys(chosen)
    found.pop(0, None)
    if not found:
        return None
    moved = [0] * (len(column.values) + 1)
    for code, old in enumerate(found, 1):
        moved[old] = code
    values = [column.values[old - 1] for old in found]
    new = map(moved.__getitem__, chosen)
    packed = bytes(new) if len(values) <= _NARROW else array("H", new)
    return Column(values, packed, of, len(places))


def count_codes(codes: "bytes | array[int]", mask: bytes | None, number: int) -> "Counter[int]":
    """Count codes from 0 to `number`, only those of a mask if there is one."""
    if isinstance(codes, bytes):
        chosen = codes if mask is None else bytes(compress(codes, mask))
        if number < _FEW:
            return Counter({code: chosen.count(code) for code in range(number + 1)})
        return Counter(chosen)
    return Counter(codes if mask is None else compress(codes, mask))


_FEW = 40  # values that are counted one by one


def _counts(codes: "bytes | array[int]", number: int) -> Iterable[int]:
    counted = count_codes(codes, None, number)
    return (counted[code] for code in range(1, number + 1))


def _mask_narrow(plane: bytes, codes: Collection[int]) -> bytes:
    table = bytearray(256)
    for code in codes:
        if code < 256:
            table[code] = 1
    return plane.translate(table)


def _mask_wide(low: bytes, high: bytes, codes: Collection[int]) -> bytes:
    by_high: dict[int, list[int]] = {}
    for code in codes:
        by_high.setdefault(code >> 8, []).append(code & 0xFF)
    masks = (
        both(_mask_narrow(high, (upper,)), _mask_narrow(low, lowers))
        for upper, lowers in by_high.items()
    )
    return any_of(masks, len(low))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))
