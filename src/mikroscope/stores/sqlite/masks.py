"""Masks: one byte for each entry of a segment, 1 if the entry is chosen, else 0."""

from collections.abc import Iterable, Iterator


def both(one: bytes, other: bytes) -> bytes:
    """Return the entries that are in both masks."""
    joint = int.from_bytes(one, "little") & int.from_bytes(other, "little")
    return joint.to_bytes(len(one), "little")


def any_of(masks: Iterable[bytes], size: int) -> bytes:
    """Return the entries that are in any of the masks, of a segment with `size` entries."""
    joint = 0
    for mask in masks:
        joint |= int.from_bytes(mask, "little")
    return joint.to_bytes(size, "little")


_NOT = bytes([1]) + bytes(255)


def others(mask: bytes) -> bytes:
    """Return the entries that are not in a mask."""
    return mask.translate(_NOT)


def mask_at(places: Iterable[int], size: int) -> bytes:
    """Return a mask of the entries at these places."""
    mask = bytearray(size)
    for place in places:
        mask[place] = 1
    return bytes(mask)


def mask_between(start: int, end: int, size: int) -> bytes:
    """Return a mask of the entries from place `start` to before `end`."""
    return bytes(start) + b"\1" * (end - start) + bytes(size - end)


def places_in(mask: bytes) -> Iterator[int]:
    """Yield the places of the entries in a mask, the last one first."""
    place = mask.rfind(1)
    while place >= 0:
        yield place
        place = mask.rfind(1, 0, place)
