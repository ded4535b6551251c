"""Counts of entries: from the minutes by level, or one match of the inverted index."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from mikroscope.query.model import Query
from mikroscope.records.attributes import level_of
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.read.connections import Connection
from mikroscope.stores.sqlite.read.planner import Plan, Plans, restrict
from mikroscope.stores.sqlite.rows import DAY_MINUTES, MINUTE_MS
from mikroscope.stores.sqlite.schema import MAX_MS
from mikroscope.stores.sqlite.terms import AnyOf

_MANY_DAYS = 64  # counted by one expression


def count(connection: Connection, query: Query) -> int:
    """Count the matching entries."""
    if query.field in TIME_FIELDS:  # which have no tokens
        return sum(1 for _ in connection.merged_rows(query, plans_of(connection, query)))
    return count_matching(connection, query)


def plans_of(connection: Connection, query: Query) -> Plans:
    """Plan a query whose entries are counted, so that order and the first page do not matter."""
    return connection.plans(query, _MANY_DAYS)


def count_levels(connection: Connection, query: Query) -> Counter[str]:
    """Count the matching entries by level."""
    if query.field is not None or query.text is not None:
        return _match_levels(connection, query)
    first, end = whole_units(query, MINUTE_MS)
    if first >= end:
        return _match_levels(connection, query)
    # Minutes count entries by their own time, so they are exact whatever the keys are.
    counts = sum_minutes(connection, query, first, end - 1)
    for rest in outside(query, first * MINUTE_MS, end * MINUTE_MS):
        counts += _match_levels(connection, rest)
    return counts


def whole_units(query: Query, unit_ms: int) -> tuple[int, int]:
    """Return the first unit of time wholly between `from` and `to`, and the first one after.

    The very first and the very last unit also hold times that a key cannot represent.
    """
    first, end = 0, MAX_MS // unit_ms + 1
    if query.from_ms is not None:
        first = -(-max(query.from_ms, 1) // unit_ms)
    if query.to_ms is not None:
        end = (min(query.to_ms, MAX_MS - 1) + 1) // unit_ms
    return first, end


def outside(query: Query, first_ms: int, end_ms: int) -> Iterator[Query]:
    """Yield the parts of a query before and after a range of times within it."""
    if query.from_ms is not None and query.from_ms < first_ms:
        yield msgspec.structs.replace(query, to_ms=first_ms - 1)
    if query.to_ms is not None and query.to_ms >= end_ms:
        yield msgspec.structs.replace(query, from_ms=end_ms)


def sum_minutes(connection: Connection, query: Query, first: int, last: int) -> Counter[str]:
    """Return the counts of minutes by level; those of whole days are cached."""
    first_day, end_day = -(-first // DAY_MINUTES), (last + 1) // DAY_MINUTES
    if first_day >= end_day:
        return _add_minutes(connection, query, first, last)
    counts = _add_minutes(connection, query, first, first_day * DAY_MINUTES - 1)
    counts += _add_minutes(connection, query, end_day * DAY_MINUTES, last)
    what = "minutes", f"{query.level}", f"{query.audit}"
    for state in connection.day_states(range(first_day, end_day)):
        count = partial(_minutes_of_day, connection, query, state.day)
        known = connection.day_counts.get(state, what, count)
        counts.update(dict(count() if known is None else known))
    return counts


def _minutes_of_day(connection: Connection, query: Query, day: int) -> Iterable[tuple[str, int]]:
    start = day * DAY_MINUTES
    return _add_minutes(connection, query, start, start + DAY_MINUTES - 1).items()


def _add_minutes(connection: Connection, query: Query, first: int, last: int) -> Counter[str]:
    rows: Any = connection.sql.execute(
        "SELECT level, sum(entries) FROM minutes WHERE minute BETWEEN ? AND ? "
        "AND audit = coalesce(?, audit) GROUP BY level",
        (first, last, query.audit),
    )
    return Counter({level: entries for level, entries in rows if has_level(query, level)})


def has_level(query: Query, level: str) -> bool:
    """Return whether a level is what a query wants: its severity is one of those named."""
    return query.level is None or severity_of(level) in severities_in(query.level)


def _match_levels(connection: Connection, query: Query) -> Counter[str]:
    levels = connection.levels(query.level)
    counts: Counter[str] = Counter()
    for plan in plans_of(connection, query).parts:
        if plan.check:
            counts.update(level_of(row.fields()) for row in connection.rows(query, plan))
            continue
        for level in levels:
            wanted = AnyOf(terms.level_tokens(level, query.audit), [])
            counts[level] += count_plan(connection, restrict(plan, [wanted], []))
    return +counts


def count_matching(connection: Connection, query: Query) -> int:
    """Count the matching entries; the query's field must have tokens."""
    if query.field is None and query.text is None:
        return sum(count_levels(connection, query).values())
    return sum(
        sum(1 for _ in connection.rows(query, plan)) if plan.check else count_plan(connection, plan)
        for plan in plans_of(connection, query).parts
    )


def count_plan(connection: Connection, plan: Plan) -> int:
    """Count the entries of a plan that needs no recheck."""
    if plan.match is None:
        select = "SELECT count(*) FROM entries WHERE key BETWEEN ? AND ?"
        return int(connection.sql.execute(select, (plan.low, plan.high)).get)
    select = "SELECT count(*) FROM terms WHERE terms MATCH ? AND rowid BETWEEN ? AND ?"
    return int(connection.sql.execute(select, (plan.match, plan.low, plan.high)).get)
