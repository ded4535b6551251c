"""Assigns keys: in order of time, and within a millisecond in order of arrival."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import lshift, lt
from typing import Any, Protocol

from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK, MAX_MS, clamp


class Taken(Protocol):
    """Entries that have their keys."""

    @property
    def first_key(self) -> int:
        """The least key."""

    @property
    def last_key(self) -> int:
        """The greatest key."""

    @property
    def keys(self) -> Sequence[int]:
        """All keys, in rising order."""


def keys_alone(times: Sequence[int]) -> list[int]:
    """Return ascending keys for ascending times, where no other entry has one of these times.

    If a millisecond is full, its further keys spill into later ones.
    """
    if min(times) < 0 or max(times) > MAX_MS:
        times = list(map(clamp, times))
    keys = list(map(lshift, times, repeat(KEY_BITS)))
    if all(map(lt, keys, keys[1:])):
        return keys
    previous = -1
    for place, key in enumerate(keys):
        if key <= previous:
            keys[place] = key = previous + 1
        previous = key
    return keys


class Part(Protocol):
    """Some entries of a batch in the order of their keys."""

    times: Any
    keys: Any


def give_keys(parts: Sequence[Part], others: Iterable[Taken]) -> None:
    """Give the entries of a batch keys that none of the others has, in the same order."""
    entries = [
        (key, number, place)
        for number, part in enumerate(parts)
        for place, key in enumerate(part.keys)
    ]
    entries.sort()
    times = [parts[number].times[place] for _, number, place in entries]
    for key, (_, number, place) in zip(keys_beside(times, others), entries, strict=True):
        parts[number].keys[place] = key


def keys_beside(times: Sequence[int], others: Iterable[Taken]) -> list[int]:
    """Return free keys, ascending, each after all keys that its millisecond has in others."""
    last_keys = _last_keys({clamp(time) for time in times}, others)
    keys: list[int] = []
    previous = -1
    for time in times:
        key = _behind(last_keys, max(clamp(time) << KEY_BITS, previous + 1))
        keys.append(key)
        previous = key
    return keys


def _last_keys(moments: set[int], others: Iterable[Taken]) -> dict[int, int]:
    """Return the last key of each millisecond that has one, near some of them."""
    found: dict[int, int] = {}
    first, last = min(moments) << KEY_BITS, max(moments) << KEY_BITS | KEY_MASK
    for segment in others:
        if segment.last_key < first:
            continue
        if segment.first_key > last and not _is_crowded(segment, last):
            continue
        for key in segment.keys:
            moment = key >> KEY_BITS
            if key > found.get(moment, -1):
                found[moment] = key
    return found


def _is_crowded(segment: Taken, last: int) -> bool:
    """Return whether keys that spill may reach a segment."""
    return segment.first_key - last < 1 << (KEY_BITS + 16)


def _behind(last_keys: dict[int, int], key: int) -> int:
    """Return the first key from `key` on that is after all existing ones of its millisecond."""
    while True:
        last = last_keys.get(key >> KEY_BITS, -1)
        if key > last:
            return key
        key = last + 1
        if key & KEY_MASK:  # otherwise the millisecond is full, and this is the next one's first
            return key
