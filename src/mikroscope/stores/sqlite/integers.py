"""Packs the integers of a segment's entries: their times, places, lines and commits.

What is stored is the difference of each number to the one before it, in as few bytes as the largest
takes, all first bytes before all second ones: neighbours differ little, so that zstd finds almost
nothing. Differences below zero make all of them relative to the smallest. Every _STRIDE numbers one
is stored as it is, so that any number is found without adding up all before it.
"""

import struct
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from operator import sub
from typing import overload

import zstandard

from mikroscope.stores.sqlite.frames import header_bytes, pack, pack_header, unpack, unpack_header

_HEADER = struct.Struct("<BIqq")  # bytes of a difference, number of integers, first one, smallest
_WIDTHS = (1, 2, 4, 8)
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_STRIDE = 256
_MANY = 8  # numbers near each other that are not added up one by one


def pack_integers(numbers: Sequence[int]) -> bytes:
    """Return integers from -2**62 to 2**62 as a file has them."""
    if not numbers:
        return pack_header(_HEADER, 1, 0, 0, 0)
    steps = list(map(sub, numbers[1:], numbers))
    least = min(steps, default=0)
    if least:
        steps = [step - least for step in steps]
    size = (max(steps, default=0).bit_length() + 7) // 8 or 1
    width = next(one for one in _WIDTHS if one >= size)
    content = array(_CODES[width], steps).tobytes()
    if width > 1:
        content = b"".join(content[place::width] for place in range(width))
    marks = array("q", numbers[::_STRIDE]).tobytes()
    header = pack_header(_HEADER, width, len(numbers), numbers[0], least)
    return header + pack(content + marks)


class Integers(Sequence[int]):
    """Packed integers; single ones are found without unpacking the others.

    Raises ZstdError where the content is damaged.
    """

    def __init__(self, content: bytes) -> None:
        header: tuple[int, int, int, int] = unpack_header(_HEADER, content)
        self._width, self._length, _, self._least = header
        self._planes, self._marks = b"", array("q")
        if not self._length:
            return
        found, size = unpack(content[header_bytes(_HEADER) :]), self._length - 1
        end = self._width * size
        marks = -(-self._length // _STRIDE)
        if self._width not in _CODES or len(found) != end + 8 * marks:
            raise zstandard.ZstdError("the integers of a segment do not have the expected number")
        self._planes, self._marks = found[:end], array("q", found[end:])

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        return self.all[place] if isinstance(place, slice) else self._at(place)

    def _at(self, place: int) -> int:
        if place < 0:
            place += self._length
        if not 0 <= place < self._length:
            raise IndexError(place)
        mark = place // _STRIDE
        start = mark * _STRIDE
        found = self._marks[mark] + self._least * (place - start)
        for plane in range(self._width):
            offset = plane * (self._length - 1)
            found += sum(self._planes[offset + start : offset + place]) << 8 * plane
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self.all)

    def at(self, places: Sequence[int]) -> list[int]:
        """Return the numbers at some places."""
        marks = Counter(place // _STRIDE for place in places)
        near = {
            mark: list(accumulate(self._steps(mark * _STRIDE), initial=self._marks[mark]))
            for mark, number in marks.items()
            if number >= _MANY
        }
        if not near:
            return list(map(self._at, places))
        least = self._least
        return [
            near[place // _STRIDE][place % _STRIDE] + least * (place % _STRIDE)
            if place // _STRIDE in near
            else self._at(place)
            for place in places
        ]

    def bisect_left(self, wanted: int) -> int:
        """Return the first place with `wanted` or more; only if the numbers rise."""
        mark = max(0, bisect_left(self._marks, wanted) - 1)
        start = mark * _STRIDE
        return start + bisect_left(self._from(start), wanted)

    def _from(self, start: int) -> "array[int]":
        """Return the numbers from a stored one to before the next one."""
        if not self._length:
            return array("q")
        steps: Iterable[int] = self._steps(start)
        if self._least:
            steps = [step + self._least for step in steps]
        return array("q", accumulate(steps, initial=self._marks[start // _STRIDE]))

    def _steps(self, start: int) -> Sequence[int]:
        """Return the differences behind a stored number, relative to the smallest."""
        end = min(start + _STRIDE, self._length) - 1
        size = self._length - 1
        planes = [
            self._planes[plane * size + start : plane * size + end] for plane in range(self._width)
        ]
        if len(planes) == 1:
            return planes[0]
        joined = bytearray(len(planes) * (end - start))
        for plane, content in enumerate(planes):
            joined[plane :: len(planes)] = content
        return array(_CODES[self._width], bytes(joined))

    @cached_property
    def all(self) -> "array[int]":
        """All of them."""
        if not self._length:
            return array("q")
        width, size = self._width, self._length - 1
        steps: Sequence[int] = self._planes
        if width > 1:
            joined = bytearray(len(self._planes))
            for plane in range(width):
                joined[plane::width] = self._planes[plane * size : (plane + 1) * size]
            steps = array(_CODES[width], bytes(joined))
        if self._least:
            least = self._least
            steps = [step + least for step in steps]
        return array("q", accumulate(steps, initial=self._marks[0]))

    @property
    def is_zero(self) -> bool:
        """Whether all of them are 0."""
        return not self._least and not any(self._planes) and not any(self._marks)


def numbers_at(numbers: Sequence[int], places: Sequence[int]) -> list[int]:
    """Return the numbers at some places."""
    if isinstance(numbers, Integers):
        return numbers.at(places)
    return [numbers[place] for place in places]


def first_place(numbers: Sequence[int], wanted: int) -> int:
    """Return the first place with `wanted` or more among rising numbers."""
    if isinstance(numbers, Integers):
        return numbers.bisect_left(wanted)
    return bisect_left(numbers, wanted)
