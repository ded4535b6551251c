"""Packs the integers of a segment's entries: their times, places, lines and sources.

What is stored is the difference of each number to the one before it, in as few bytes as the largest
takes, all first bytes before all second ones: neighbours differ little, so that zstd finds almost
nothing. Differences below zero make all of them relative to the smallest.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import sub

import zstandard

from mikroscope.stores.sqlite.frames import header_bytes, pack, pack_header, unpack, unpack_header

_HEADER = struct.Struct("<BIqq")  # bytes of a difference, number of integers, first one, smallest
_WIDTHS = (1, 2, 4, 8)
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def pack_integers(numbers: Sequence[int]) -> bytes:
    """Return integers from -2**62 to 2**62 as a file has them."""
    if not numbers:
        return pack_header(_HEADER, 1, 0, 0, 0)
    differences: Iterable[int] = map(sub, numbers[1:], numbers)
    steps = list(differences)
    least = min(steps, default=0)
    if least:
        steps = [step - least for step in steps]
    size = (max(steps, default=0).bit_length() + 7) // 8 or 1
    width = next(one for one in _WIDTHS if one >= size)
    content = array(_CODES[width], steps).tobytes()
    if width > 1:
        content = b"".join(content[place::width] for place in range(width))
    return pack_header(_HEADER, width, len(numbers), numbers[0], least) + pack(content)


def unpack_integers(content: bytes) -> "array[int]":
    """Undo `pack_integers`. Raises ZstdError where the content is damaged."""
    width, length, first, least = unpack_header(_HEADER, content)
    if not length:
        return array("q")
    planes = unpack(content[header_bytes(_HEADER) :])
    if width not in _CODES or len(planes) != width * (length - 1):
        raise zstandard.ZstdError("the integers of a segment do not have the expected number")
    if width == 1:
        steps: Sequence[int] = planes
    else:
        joined = bytearray(len(planes))
        for place in range(width):
            joined[place::width] = planes[place * (length - 1) : (place + 1) * (length - 1)]
        steps = array(_CODES[width], bytes(joined))
    if least:
        steps = [step + least for step in steps]
    return array("q", accumulate(steps, initial=first))
