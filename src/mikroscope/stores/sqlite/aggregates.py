"""Counts by value, each in the cheapest of four ways: minutes, vocabulary, one match each, scan."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from mikroscope.query import Aggregate, Bucket, Grouping, Query
from mikroscope.records import (
    MISSING,
    TIME_FIELDS,
    Fields,
    correlation_of,
    event_of,
    field_text,
    level_of,
)
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.plans import Plan
from mikroscope.stores.sqlite.reader import Connection
from mikroscope.stores.sqlite.schema import KEY_BITS, MAX_KEY

_MINUTE = 60_000 << KEY_BITS
_FEW_ROWS = 5_000  # reading so few takes no longer than to find another way
_MAX_VALUES = 2_000  # of more values than this, the matching rows are read instead
_ROW_US, _VALUE_US = 7, 90  # what reading a row and counting a value cost, in microseconds

Counts = Iterable[tuple[str, int]]


def aggregate(connection: Connection, query: Query, grouping: Grouping) -> Aggregate:
    """The buckets with the most entries, `query.limit` of them."""
    counts = _count_all(connection, query, connection.plans(query), grouping)
    top = heapq.nsmallest(query.limit, counts, key=lambda item: (-item[1], item[0]))
    buckets = [Bucket(_whole(connection, key, grouping), count) for key, count in top]
    buckets.sort(key=lambda bucket: (-bucket.count, bucket.key))
    return Aggregate(buckets, grouping.by, grouping.field)


def _count_all(
    connection: Connection, query: Query, plans: list[Plan], grouping: Grouping
) -> Counts:
    if query.field in TIME_FIELDS:  # these plans overlap
        return _scan(connection, query, plans, grouping)
    if len(plans) == 1:
        return _count_plan(connection, query, plans[0], grouping)
    counts: Counter[str] = Counter()
    for plan in sorted(plans, key=attrgetter("check")):
        for key, entries in _count_plan(connection, query, plan, grouping):
            hashed = terms.shorten(key)  # which the index gives instead of what rows say
            counts[hashed if hashed in counts and key not in counts else key] += entries
    return counts.items()


def _count_plan(connection: Connection, query: Query, plan: Plan, grouping: Grouping) -> Counts:
    if plan.check:
        return _scan(connection, query, [plan], grouping)
    if grouping.by == "level":
        return _by_level(connection, query, plan).items()
    return _by_value(connection, query, plan, grouping)


# --- by level, and how many there are at all --------------------------------------------------


def _by_level(connection: Connection, query: Query, plan: Plan) -> Counter[str]:
    if query.field is not None or query.text is not None:
        return _count_levels(connection, query, plan)
    bounded = plan.low > 0 or plan.high < MAX_KEY
    if bounded and connection.spill_ms():  # minutes go by the time, and so no longer by the key
        return _count_levels(connection, query, plan)
    first = -(-plan.low // _MINUTE)  # the first and the last minute that lie wholly inside
    last = (plan.high + 1) // _MINUTE - 1 if plan.high < MAX_KEY else MAX_KEY
    if first > last:
        return _count_levels(connection, query, plan)
    counts = _sum_minutes(connection, query, first, last)
    for low, high in ((plan.low, first * _MINUTE - 1), ((last + 1) * _MINUTE, plan.high)):
        if low <= high:
            counts += _count_levels(connection, query, Plan(plan.match, low, high))
    return counts


def _sum_minutes(connection: Connection, query: Query, first: int, last: int) -> Counter[str]:
    rows: Any = connection.sql.execute(
        "SELECT level, sum(entries) FROM minutes WHERE minute BETWEEN ? AND ? "
        "AND level = coalesce(?, level) AND audit = coalesce(?, audit) GROUP BY level",
        (first, last, query.level, query.audit),
    )
    return Counter(dict(rows))


def _count_levels(connection: Connection, query: Query, plan: Plan) -> Counter[str]:
    levels = connection.levels() if query.level is None else [query.level]
    narrowed = {level: plan.narrowed(terms.level_tokens(level, query.audit)) for level in levels}
    return +Counter({level: _count_matches(connection, one) for level, one in narrowed.items()})


def _count(connection: Connection, query: Query, plan: Plan) -> int:
    """How many entries a plan has that needs no check."""
    if plan.match is None:
        return sum(_by_level(connection, query, plan).values())
    return _count_matches(connection, plan)


def _count_matches(connection: Connection, plan: Plan) -> int:
    select = "SELECT count(*) FROM terms WHERE terms MATCH ? AND rowid BETWEEN ? AND ?"
    found: int = connection.sql.execute(select, (plan.match, plan.low, plan.high)).get
    return found


# --- by any other value -----------------------------------------------------------------------


def _by_value(connection: Connection, query: Query, plan: Plan, grouping: Grouping) -> Counts:
    if grouping.field in TIME_FIELDS:
        return _scan(connection, query, [plan], grouping)
    total = _count(connection, query, plan)
    if total <= _FEW_ROWS:
        return _scan(connection, query, [plan], grouping)
    prefixes = _prefixes(grouping)
    if plan.is_whole and grouping.field != "level":
        return _with_missing(_vocabulary(connection, prefixes), total)
    most = min(_MAX_VALUES, total * _ROW_US // _VALUE_US)
    values = _values(connection, prefixes, most)
    if grouping.field == "level":
        values |= set(connection.levels())
    if len(values) > most:
        return _scan(connection, query, [plan], grouping)
    return _with_missing(_count_values(connection, plan, grouping, values), total)


def _prefixes(grouping: Grouping) -> list[str]:
    if grouping.by == "event":
        return terms.event_prefixes()
    if grouping.by == "correlation":
        return terms.correlation_prefixes()
    return terms.field_prefixes(grouping.field or "")


def _vocabulary(connection: Connection, prefixes: list[str]) -> Counts:
    """Every value and how many entries have it, from the whole index."""
    streams = [_terms_with(connection, terms.encode_tokens([prefix])) for prefix in prefixes]
    merged = groupby(heapq.merge(*streams), key=itemgetter(0))
    for value, same in merged:
        yield terms.decode_token(value), sum(entries for _, entries in same)


def _terms_with(connection: Connection, prefix: bytes) -> Iterator[tuple[bytes, int]]:
    """The terms that begin with a prefix, without it, in their order."""
    rows = connection.sql.execute(
        "SELECT substr(CAST(term AS BLOB), ?), doc FROM temp.vocabulary "
        "WHERE term >= CAST(? AS TEXT) AND term < CAST(? AS TEXT)",
        (len(prefix) + 1, prefix, _behind(prefix)),
    )
    yield from rows


def _values(connection: Connection, prefixes: list[str], most: int) -> set[str]:
    """Up to one more than `most` values, found by leaping from term to term."""
    values: set[str] = set()
    select = (
        "SELECT CAST(term AS BLOB) FROM temp.instances "
        "WHERE term >= CAST(? AS TEXT) AND term < CAST(? AS TEXT) LIMIT 1"
    )
    for prefix in map(terms.encode_tokens, zip(prefixes)):
        start, end = prefix, _behind(prefix)
        while len(values) <= most:
            found = connection.sql.execute(select, (start, end)).fetchone()
            if found is None:
                break
            values.add(terms.decode_token(found[0][len(prefix) :]))
            start = found[0] + b"\0"
    return values


def _count_values(
    connection: Connection, plan: Plan, grouping: Grouping, values: set[str]
) -> Counts:
    prefixes = _prefixes(grouping)
    for value in values:
        tokens = [prefix + value for prefix in prefixes]
        if grouping.field == "level":
            tokens = terms.field_tokens("level", value)
        entries = _count_matches(connection, plan.narrowed(tokens))
        if entries:
            yield value, entries


def _with_missing(counts: Counts, total: int) -> Counts:
    """The counts, and last how many of `total` entries are in none of them."""
    missing = total
    for value, entries in counts:
        missing -= entries
        if value == MISSING:  # a record that says so itself
            missing += entries
            continue
        yield value, entries
    if missing > 0:
        yield MISSING, missing


def _scan(connection: Connection, query: Query, plans: list[Plan], grouping: Grouping) -> Counts:
    """Read every row that matches."""
    value_of = _value_of(grouping)
    rows = connection.merged_rows(query, plans)
    return Counter(value_of(row.fields()) for row in rows).items()


def _value_of(grouping: Grouping) -> Callable[[Fields], str]:
    if grouping.by == "level":
        return level_of
    if grouping.by == "event":
        return event_of
    if grouping.by == "correlation":
        return lambda fields: correlation_of(fields) or MISSING
    name = grouping.field or ""
    return lambda fields: _text_or_missing(fields, name)


def _text_or_missing(fields: Fields, name: str) -> str:
    text = field_text(fields, name)
    return MISSING if text is None else text


def _whole(connection: Connection, key: str, grouping: Grouping) -> str:
    """The whole text of a value that the index has only as a hash: looked up in one entry."""
    if not terms.is_shortened(key):
        return key
    tokens = [prefix + key for prefix in _prefixes(grouping)]
    plan = Plan(None, 0, MAX_KEY).narrowed(tokens)
    row = next(connection.rows(Query(), plan, 1), None)
    return key if row is None else _value_of(grouping)(row.fields())


def _behind(prefix: bytes) -> bytes:
    """The smallest term that is greater than every one with this prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
