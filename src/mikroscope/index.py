"""The index for other programs: open it read-only and ask it, without a server."""

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Self, TypedDict, Unpack, cast

from mikroscope.errors import QueryError
from mikroscope.query.model import DEFAULT_LIMIT, GROUPINGS, Bucket, Entry, GroupBy, Grouping, Query
from mikroscope.records.levels import level_named
from mikroscope.records.timestamps import EPOCH, MILLISECOND, parse_time
from mikroscope.stores import open_store
from mikroscope.stores.base import FACET_LIMIT, Facet, HistogramBucket

Moment = datetime | str
"""A datetime (without a zone it is UTC), an ISO 8601 text, or a time before now such as "-2h"."""

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")


class Filters(TypedDict, total=False):
    """Conditions on entries; each one that is given must hold. They mean what they mean over HTTP.

    `since` and `until` are inclusive. `field` needs `value`; a dotted field reaches into objects.
    """

    since: Moment
    until: Moment
    level: str
    audit: bool
    field: str
    value: str
    text: str


class Index:
    """An index opened for reading; close it, or use it in a `with` statement.

    Any thread may call its methods, also while a server writes to the index. They raise QueryError
    for a condition that cannot be understood, QueryTimeoutError and StoreError.
    """

    def __init__(self, address: str | Path, *, query_timeout_s: float | None = None) -> None:
        self._store = open_store(address, "read", query_timeout_s=query_timeout_s)

    def search(
        self,
        query: Query | None = None,
        *,
        limit: int | None = DEFAULT_LIMIT,
        **filters: Unpack[Filters],
    ) -> Iterator[Entry]:
        """Yield the matching entries, newest first; with `limit` None all of them.

        Conditions come as a Query, as keywords, or both: then a keyword replaces that of the query.
        """
        return islice(self._store.scan(_query(query, filters)), limit)

    def get(self, entry_id: int) -> Entry | None:
        """Return one entry by its id, or None."""
        return self._store.get(entry_id)

    def count(self, query: Query | None = None, **filters: Unpack[Filters]) -> int:
        """Count the matching entries."""
        return self._store.count(_query(query, filters))

    def aggregate(
        self,
        by: str,
        query: Query | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        **filters: Unpack[Filters],
    ) -> list[Bucket]:
        """Count the matching entries by value, the most frequent value first.

        `by` is "level", "event" or "correlation", or else the name of a field.
        """
        return self._store.aggregate(_query(query, filters), _grouping(by), limit).buckets

    def histogram(
        self,
        query: Query | None = None,
        *,
        interval: str,
        by: str | None = None,
        **filters: Unpack[Filters],
    ) -> list[HistogramBucket]:
        """Count the matching entries by time, in buckets without gaps.

        `interval` is a number with a unit (ms, s, m, h, d), such as "15m"; `by` as in `aggregate`.
        """
        split = None if by is None else _grouping(by)
        return self._store.histogram(_query(query, filters), _duration_ms(interval), split)

    def facets(
        self,
        fields: Sequence[str],
        query: Query | None = None,
        *,
        limit: int = FACET_LIMIT,
        **filters: Unpack[Filters],
    ) -> list[Facet]:
        """Count the matching entries by value of each of these fields."""
        return self._store.facets(_query(query, filters), fields, limit)

    def fields(self) -> list[str]:
        """Return the names of all fields, sorted."""
        return self._store.fields()

    def close(self) -> None:
        """End running questions and close the index."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_index(address: str | Path, *, query_timeout_s: float | None = None) -> Index:
    """Open an index for reading; `address` is the path of its file, as for `--db`.

    A question that takes longer than `query_timeout_s` seconds raises QueryTimeoutError.
    """
    return Index(address, query_timeout_s=query_timeout_s)


def _query(query: Query | None, filters: Filters) -> Query:
    given = query or Query()
    level = filters.get("level")
    field, value = filters.get("field", given.field), filters.get("value", given.value)
    if (field is None) != (value is None):
        raise QueryError("'field' and 'value' are expected together")
    return Query(
        from_ms=_moment_ms("since", filters["since"]) if "since" in filters else given.from_ms,
        to_ms=_moment_ms("until", filters["until"]) if "until" in filters else given.to_ms,
        level=given.level if level is None else level_named(level) or level.upper(),
        audit=filters.get("audit", given.audit),
        field=field,
        value=value,
        text=filters.get("text", given.text),
    )


def _grouping(by: str) -> Grouping:
    if by != "field" and by in GROUPINGS:
        return Grouping(cast(GroupBy, by))
    return Grouping("field", by)


def _moment_ms(name: str, moment: Moment) -> int:
    if isinstance(moment, datetime):
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - EPOCH) // MILLISECOND
    ago = _DURATION.fullmatch(moment.removeprefix("-")) if moment.startswith("-") else None
    if ago is not None:
        return time.time_ns() // 1_000_000 - int(ago[1]) * _UNITS_MS[ago[2]]
    found = parse_time(moment)
    if found is None:
        raise QueryError(
            f"{name!r} is {moment!r}, expected a datetime, an ISO 8601 time such as "
            "2026-02-18T10:20:00Z, or a time before now such as -2h"
        )
    return found


def _duration_ms(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise QueryError(f"'interval' is {text!r}, expected a number with ms, s, m, h or d")
    return int(found[1]) * _UNITS_MS[found[2]]
