"""Counts by value in the cheapest of several ways: minutes, vocabulary, a match per value, rows.

Whole days are counted from the inverted index, so that the cost depends on their number of values;
only partial days at the ends of a range are counted entry by entry.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import inf

from mikroscope.query.model import Aggregate, Bucket, Grouping, Query
from mikroscope.records.attributes import MISSING
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.stores.base import Facet
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.read.connections import Connection
from mikroscope.stores.sqlite.read.counting import (
    count_levels,
    count_matching,
    count_plan,
    outside,
    plans_of,
    sum_minutes,
    whole_units,
)
from mikroscope.stores.sqlite.read.day_cache import DayState
from mikroscope.stores.sqlite.read.extraction import reader_of
from mikroscope.stores.sqlite.read.planner import Plan, Plans, day_windows, overlapping_days
from mikroscope.stores.sqlite.read.vocabulary import (
    Counted,
    Part,
    count_entries,
    count_values,
    counts_of_day,
    match,
    values_of_day,
)
from mikroscope.stores.sqlite.rows import DAY_MINUTES
from mikroscope.stores.sqlite.schema import DAY_MS, MAX_KEY, MAX_MS, clamp
from mikroscope.stores.sqlite.terms import AnyOf

_FEW_ROWS = 5_000  # are read at once: choosing another way would take as long


_MAX_VALUES = 2_000  # more are not counted one by one


# Costs in microseconds: reading a row; finding and counting a value of a day; passing an entry's
# value in the vocabulary, and looking its key up; passing an entry of a value in a match, and
# looking one up among the entries of another token.
_ROW_US, _VALUE_US, _INSTANCE_US, _MATCH_US = 4.5, 30, 0.12, 0.3


_PASSED_US, _LOOKED_UP_US = 0.04, 0.9


Counts = Iterable[tuple[str, int]]


def aggregate(connection: Connection, query: Query, grouping: Grouping, limit: int) -> Aggregate:
    """Count the matching entries by value; the `limit` most frequent values are returned."""
    counts = _count_all(connection, query, grouping, limit + 1)
    buckets = _top_buckets(connection, counts, grouping, limit + 1)
    return Aggregate(buckets[:limit], grouping.by, grouping.field, len(buckets) > limit)


def facet(connection: Connection, query: Query, field: str, limit: int) -> Facet:
    """Count the matching entries by value of a field, and those without the field."""
    grouping = Grouping("field", field)
    counts = dict(_count_all(connection, query, grouping, limit))
    missing = counts.pop(MISSING, 0)
    return Facet(field, _top_buckets(connection, counts.items(), grouping, limit), missing)


def _top_buckets(
    connection: Connection, counts: Counts, grouping: Grouping, limit: int
) -> list[Bucket]:
    """Return the most frequent values, ties by value."""
    top = heapq.nsmallest(limit, counts, key=lambda item: (-item[1], item[0]))
    buckets = [Bucket(_whole(connection, key, grouping), count) for key, count in top]
    return sorted(buckets, key=lambda bucket: (-bucket.count, bucket.key))


def _count_all(connection: Connection, query: Query, grouping: Grouping, limit: int) -> Counts:
    if query.field in TIME_FIELDS or grouping.field in TIME_FIELDS:  # which have no tokens
        return _scan(connection, query, plans_of(connection, query), grouping)
    if grouping.by == "level":
        return count_levels(connection, query).items()
    total = count_matching(connection, query)
    if grouping.field != "level" and _is_unfiltered(query):
        return _by_days(connection, query, grouping, total, limit)
    if total <= _FEW_ROWS:
        return _scan(connection, query, plans_of(connection, query), grouping)
    return _by_value(connection, query, grouping, total, limit)


def _is_unfiltered(query: Query) -> bool:
    return all(one is None for one in (query.level, query.audit, query.field, query.text))


def _by_days(
    connection: Connection, query: Query, grouping: Grouping, total: int, limit: int
) -> Counts:
    """Count whole days from the vocabulary, and the rest of a range in cheaper ways."""
    first, end = whole_units(query, DAY_MS)
    prefixes = _prefixes(grouping)
    given: Counter[bytes] = Counter()
    parts = []
    uncounted = []
    for state in connection.day_states(range(first, end)):
        known = connection.day_counts.get(
            state, tuple(prefixes), partial(counts_of_day, connection.sql, state.day, prefixes)
        )
        if known is None:
            parts.append(Part(state.day))
            uncounted.append(state)
        else:
            given.update(known)
    rests = list(outside(query, first * DAY_MS, end * DAY_MS)) if first < end else [query]
    for rest in rests:
        for plan in plans_of(connection, rest).parts:
            more = _count_part(connection, rest, plan, grouping)
            if more is None:
                parts += [Part(day, plan.low, plan.high) for day in _days_of(connection, plan)]
            else:
                given.update({terms.encode_tokens([text]): n for text, n in more.items()})
    counted = count_values(connection.sql, prefixes, parts, given, wanted=limit)
    if counted.entries is None:
        entries = sum(_entries_of_day(connection, state, prefixes) for state in uncounted)
        rest_parts = [part for part in parts if part.low is not None]
        entries += count_entries(connection.sql, prefixes, rest_parts)
        del given[terms.encode_tokens([MISSING])]
        counted = counted._replace(entries=entries + given.total())
    return _with_missing(counted, total)


def _entries_of_day(connection: Connection, state: DayState, prefixes: Sequence[str]) -> int:
    """Count the entries of a day that have any value; cached, if there are too many values."""
    what = "entries", *prefixes

    def count() -> Iterable[tuple[str, int]]:
        return [("all", count_entries(connection.sql, prefixes, [Part(state.day)]))]

    known = connection.day_counts.get(state, what, count)
    return dict(count() if known is None else known)["all"]


def _count_part(
    connection: Connection, query: Query, plan: Plan, grouping: Grouping
) -> Counter[str] | None:
    """Count part of a day or two; None if passing all values of these days is cheapest.

    Texts are in the index's form, long ones hashed.
    """
    if plan.check:
        return Counter(map(terms.shorten, _read_values(connection, query, plan, grouping)))
    days = _days_of(connection, plan)
    passing_us = _INSTANCE_US * sum(
        sum_minutes(connection, Query(), day * DAY_MINUTES, (day + 1) * DAY_MINUTES - 1).total()
        for day in days
    )
    if count_plan(connection, plan) * _ROW_US < passing_us:
        return Counter(map(terms.shorten, _read_values(connection, query, plan, grouping)))
    values = _few_values(connection, grouping, days, int(passing_us / _VALUE_US))
    return None if values is None else _match_plan(connection, plan, grouping, values)


def _days_of(connection: Connection, plan: Plan) -> list[int]:
    return overlapping_days(connection.days(), plan.low, plan.high, connection.spill_ms())


def _with_missing(counted: Counted, total: int) -> Counts:
    """Add the number of those of `total` entries that have no value."""
    missing = total - (counted.entries or 0)
    return [*counted.values, *([(MISSING, missing)] if missing > 0 else [])]


def _by_value(
    connection: Connection, query: Query, grouping: Grouping, total: int, limit: int
) -> Counts:
    """Match each value if they are few; else pass all entries, or read rows."""
    plans = plans_of(connection, query)
    days = _days_between(connection, query)
    entries = count_matching(connection, Query(from_ms=query.from_ms, to_ms=query.to_ms))
    reading_us = total * _ROW_US
    passing_us = entries * _INSTANCE_US * 2 + total * _MATCH_US
    # Not only tokens with a field's prefix say what `level` is.
    if grouping.field == "level" or any(plan.check or not plan.match for plan in plans.parts):
        passing_us = inf
    cheapest_us = min(reading_us, passing_us)
    values = _few_values(connection, grouping, days, int(cheapest_us / _VALUE_US))
    if values is not None:
        # FTS5 finds what a value and the filter have in common by passing the entries of both, or
        # by looking each entry of one up among those of the other.
        passed_us = (entries + total * len(values)) * _PASSED_US
        if min(passed_us, entries * _LOOKED_UP_US) < cheapest_us:
            return _match_values(connection, query, grouping, values, total)
    if reading_us < passing_us:
        return _scan(connection, query, plans, grouping)
    match(connection.sql, ((plan.match, plan.low, plan.high) for plan in plans.parts))
    parts = [Part(day, 0, MAX_KEY) for day in days]
    prefixes = _prefixes(grouping)
    counted = count_values(connection.sql, prefixes, parts, wanted=limit, matched=True)
    if counted.entries is None:
        entries = count_entries(connection.sql, prefixes, parts, matched=True)
        counted = counted._replace(entries=entries)
    return _with_missing(counted, total)


def _days_between(connection: Connection, query: Query) -> list[int]:
    """Return the days that have entries in a query's range."""
    first = 0 if query.from_ms is None else clamp(query.from_ms) // DAY_MS
    last = clamp(MAX_MS if query.to_ms is None else query.to_ms) // DAY_MS
    return [day for day in connection.days() if first <= day <= last]


def _few_values(
    connection: Connection, grouping: Grouping, days: Sequence[int], most: int
) -> set[str] | None:
    """Return every value that occurs on some days; None if counting them costs too much.

    `most` is the highest number of values, those of each day counted separately.
    """
    values: set[str] = set()
    found = 0
    for done, day in enumerate(reversed(days)):
        for value in values_of_day(connection.sql, day, _prefixes(grouping)):
            values.add(value)
            found += 1
            if found + (len(days) - done - 1) * len(values) > most or len(values) > _MAX_VALUES:
                return None
    if grouping.field == "level":
        values |= set(connection.levels())
    return values


def _match_values(
    connection: Connection, query: Query, grouping: Grouping, values: set[str], total: int
) -> Counts:
    counts: Counter[str] = Counter()
    for plan in plans_of(connection, query).parts:
        if plan.check:
            counts.update(map(terms.shorten, _read_values(connection, query, plan, grouping)))
        else:
            counts.update(_match_plan(connection, plan, grouping, values))
    del counts[MISSING]
    return _with_missing(Counted(list((+counts).items()), counts.total()), total)


def _match_plan(
    connection: Connection, plan: Plan, grouping: Grouping, values: set[str]
) -> Counter[str]:
    days, spill_ms = connection.days_and_spill()
    return Counter(
        {
            value: sum(
                count_plan(connection, part)
                for part in day_windows(plan, [_tokens(grouping, value)], days, spill_ms)
            )
            for value in values
        }
    )


def _tokens(grouping: Grouping, value: str) -> AnyOf:
    """Return the tokens of entries that have this value."""
    if grouping.field == "level":
        return terms.field_tokens("level", value)
    return AnyOf([], [prefix + value for prefix in _prefixes(grouping)])


def _prefixes(grouping: Grouping) -> list[str]:
    if grouping.by == "event":
        return terms.event_prefixes()
    if grouping.by == "correlation":
        return terms.correlation_prefixes()
    return terms.field_prefixes(grouping.field or "")


def _scan(connection: Connection, query: Query, plans: Plans, grouping: Grouping) -> Counts:
    """Count by reading every matching row."""
    return Counter(map(reader_of(grouping), connection.lines(query, plans))).items()


def _read_values(
    connection: Connection, query: Query, plan: Plan, grouping: Grouping
) -> Iterator[str]:
    return map(reader_of(grouping), connection.lines(query, Plans([plan], [])))


def _whole(connection: Connection, key: str, grouping: Grouping) -> str:
    """Return the text of a value; a text that the index keeps as a hash is read from an entry."""
    if not terms.is_shortened(key):
        return key
    plan = Plan(None, 0, MAX_KEY)
    for part in day_windows(plan, [_tokens(grouping, key)], *connection.days_and_spill()):
        for row in connection.rows(Query(), part, 1):
            return reader_of(grouping)(row.raw)
    return key
