"""Looks tokens up in the inverted index of a partition."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from mikroscope.stores.sqlite.masks import mask_at
from mikroscope.stores.sqlite.stored import SegmentInfo
from mikroscope.stores.sqlite.tokens import all_of

_FEW = 4_000  # ordinals that are read at once; more are read segment by segment


class Hits:
    """The documents that an expression finds in one partition."""

    def __init__(self, sql: apsw.Connection, part: int, expression: bytes) -> None:
        self._sql = sql
        self._expression = expression
        self._select = f"SELECT rowid FROM terms_{part} WHERE terms_{part} MATCH ?"  # noqa: S608
        ordinals = self._read(f" LIMIT {_FEW + 1}")
        self._ordinals: list[int] | None = ordinals if len(ordinals) <= _FEW else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found in the whole partition."""
        return self._ordinals is not None and not self._ordinals

    def segments(self, starts: Sequence[int]) -> set[int] | None:
        """Return the first ordinals of the segments in which something was found; None if unknown.

        `starts` are those of all segments, in rising order.
        """
        if self._ordinals is None:
            return None
        return {starts[max(0, bisect_right(starts, one) - 1)] for one in self._ordinals}

    def has_segment(self, info: SegmentInfo) -> bool:
        """Return False if the document of a segment was not found; it may be if it was not read."""
        if self._ordinals is None:
            return True
        place = bisect_left(self._ordinals, info.segment_ordinal)
        return self._ordinals[place : place + 1] == [info.segment_ordinal]

    def mask(self, info: SegmentInfo, newest: int | None = None) -> bytes:
        """Return the entries found in a segment; with `newest`, so many of the last are enough."""
        first, last = info.first_ordinal, info.segment_ordinal - 1
        if self._ordinals is not None:
            start = bisect_left(self._ordinals, first)
            ordinals = self._ordinals[start : bisect_right(self._ordinals, last)]
        else:
            limit = "" if newest is None else f" ORDER BY rowid DESC LIMIT {newest}"
            ordinals = self._read(f" AND rowid BETWEEN ? AND ?{limit}", first, last)
        return mask_at([ordinal - first for ordinal in ordinals], info.entries)

    def _read(self, rest: str, *bindings: int) -> list[int]:
        """Return ordinals; SQLite puts them into one value, since a row each takes longer."""
        found: Any = self._sql.execute(
            f"SELECT json_group_array(rowid) FROM ({self._select}{rest})",  # noqa: S608
            (self._expression, *bindings),
        ).get
        return _decode(found)


_decode = msgspec.json.Decoder(list[int]).decode


class Lookup:
    """The inverted index of one partition, for one query."""

    def __init__(self, sql: apsw.Connection, part: int) -> None:
        self._sql = sql
        self._part = part
        self._hits: dict[bytes, Hits] = {}

    def find(self, *queries: bytes) -> Hits:
        """Return what all of these queries find."""
        expression = queries[0] if len(queries) == 1 else all_of(queries)
        found = self._hits.get(expression)
        if found is None:
            found = self._hits[expression] = Hits(self._sql, self._part, expression)
        return found
