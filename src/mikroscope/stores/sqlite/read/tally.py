"""Adds up numbers of entries by value, however many values there are."""

import heapq
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from mikroscope.errors import QueryError

MOST_VALUES = 300_000  # that are counted at once; more are put aside in packed parts
_PARTS = 64
_MOST_BYTES = 192 << 20  # of packed parts
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, int]).decode


class Tally:
    """Numbers of entries by value, and of entries without one."""

    def __init__(self) -> None:
        self.missing = 0
        self._counts: dict[str, int] = {}
        self._aside: list[list[bytes]] = []
        self._bytes = 0

    def add(self, counted: Iterable[tuple[str, int]]) -> None:
        """Add numbers of entries, one for each value. Raises QueryError for far too many values."""
        new = dict(counted)
        if self._aside:
            self._put_aside(new)
            return
        _add(self._counts, new)
        if len(self._counts) > MOST_VALUES:
            self._aside = [[] for _ in range(_PARTS)]
            counts, self._counts = self._counts, {}
            self._put_aside(counts)

    def add_tally(self, other: "Tally") -> None:
        """Add another tally."""
        self.missing += other.missing
        for counts in other._parts():
            self.add(counts.items())

    def __len__(self) -> int:
        """The number of values; 0 if some are aside."""
        return len(self._counts)

    @property
    def is_small(self) -> bool:
        """Whether nothing is aside."""
        return not self._aside

    def best(self, wanted: int, missing: str | None) -> list[tuple[str, int]]:
        """Return the most frequent values: highest count first, then by value.

        With `missing`, entries without a value count as having that one.
        """
        best: list[tuple[str, int]] = []
        for counts in self._parts():
            if missing is not None and self.missing and missing in counts:
                counts = {**counts, missing: counts[missing] + self.missing}
                missing = None
            best = _best((*best, *counts.items()), wanted)
        if missing is not None and self.missing:
            best = _best((*best, (missing, self.missing)), wanted)
        return best

    def _put_aside(self, counts: Mapping[str, int]) -> None:
        parts: list[dict[str, int]] = [{} for _ in range(_PARTS)]
        for value, count in counts.items():
            parts[hash(value) % _PARTS][value] = count
        for aside, part in zip(self._aside, parts, strict=True):
            if part:
                packed = _encode(part)
                aside.append(packed)
                self._bytes += len(packed)
        if self._bytes > _MOST_BYTES:
            raise QueryError(
                "the field has too many different values to count them all: "
                "narrow the query by time or by a filter"
            )

    def _parts(self) -> Iterator[dict[str, int]]:
        if not self._aside:
            yield self._counts
        for aside in self._aside:
            counts: dict[str, int] = {}
            for packed in aside:
                _add(counts, _decode(packed))
            yield counts


def _add(counts: dict[str, int], new: dict[str, int]) -> None:
    """Add `new`, which is changed, to `counts`; quick where most values are new."""
    for value in counts.keys() & new.keys():
        new[value] += counts[value]
    counts.update(new)


def _best(counted: Iterable[tuple[str, int]], wanted: int) -> list[tuple[str, int]]:
    return heapq.nsmallest(wanted, counted, key=lambda one: (-one[1], one[0]))
