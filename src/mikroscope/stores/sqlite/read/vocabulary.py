"""Counts values by reading the terms of the inverted index through `fts5vocab`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import apsw

from mikroscope.records.attributes import MISSING
from mikroscope.stores.sqlite import terms

_MANY_VALUES = 30_000  # the most that one query reads; the ranking may be incomplete beyond

# Temporary tables of every reading connection: one row per term, and one per term and entry.
_TABLES = (("vocabulary", "row"), ("instances", "instance"))
_VALUE = "substr(CAST(term AS BLOB), ?)"
_BETWEEN = "term >= CAST(? AS TEXT) AND term < CAST(? AS TEXT)"
_OF_WHOLE_DAYS = f"""
SELECT {_VALUE} AS text, doc AS n FROM carray(?) AS days CROSS JOIN temp.vocabulary
WHERE term >= CAST(days.value || ? AS TEXT) AND term < CAST(days.value || ? AS TEXT)
"""  # noqa: S608
_OF_A_DAY = f"""
SELECT {_VALUE} AS text, 1 AS n FROM temp.instances WHERE {_BETWEEN} AND doc BETWEEN ? AND ?
"""  # noqa: S608
_MATCHED = " AND doc IN (SELECT key FROM temp.matched)"
_GIVEN = "SELECT text, n FROM temp.given"


class Part(NamedTuple):
    """Entries of one day: all of them, or those with `low` <= key <= `high`."""

    day: int
    low: int | None = None
    high: int | None = None


class Counted(NamedTuple):
    """The most frequent values, all ties with the last one included.

    `entries` is the number of entries with any value. With more than _MANY_VALUES values some ties
    may be missing and `entries` is None; `count_entries` returns that number.
    """

    values: list[tuple[str, int]]
    entries: int | None


def add_tables(sql: apsw.Connection) -> None:
    """Create the temporary tables that this module queries."""
    for name, kind in _TABLES:
        sql.execute(f"CREATE VIRTUAL TABLE temp.{name} USING fts5vocab('main', 'terms', '{kind}')")
    sql.execute("CREATE TEMP TABLE matched(key INTEGER PRIMARY KEY)")
    sql.execute("CREATE TEMP TABLE given(text BLOB, n INTEGER)")


def count_values(
    sql: apsw.Connection,
    prefixes: Sequence[str],
    parts: Sequence[Part],
    given: Mapping[bytes, int] = MappingProxyType({}),
    *,
    wanted: int,
    matched: bool = False,
) -> Counted:
    """Count the entries of some parts by value, and return the `wanted` most frequent values.

    `prefixes` are the beginnings of the values' tokens, after the day. `given` adds counts of
    further entries, by the tokens of their values. With `matched`, only entries whose keys are in
    temp.matched are counted.
    """
    if not parts:
        return _most_frequent(list(given.items()), wanted)
    select, bindings, is_grouped = _selection(sql, prefixes, parts, matched)
    if given:
        sql.execute("DELETE FROM temp.given")
        sql.executemany("INSERT INTO temp.given VALUES(?, ?)", given.items())
        select = f"{select} UNION ALL {_GIVEN}"
        is_grouped = False
    if not is_grouped:
        select = f"SELECT text, sum(n) AS n FROM ({select}) GROUP BY text"  # noqa: S608
    rows: Any = sql.execute(
        f"{select} ORDER BY n DESC, text LIMIT {_MANY_VALUES + 1}", bindings
    ).fetchall()
    counted = _most_frequent(rows, wanted)
    return counted if len(rows) <= _MANY_VALUES else counted._replace(entries=None)


def count_entries(
    sql: apsw.Connection, prefixes: Sequence[str], parts: Sequence[Part], matched: bool = False
) -> int:
    """Return the total number of values in the entries of some parts."""
    if not parts:
        return 0
    select, bindings, _ = _selection(sql, prefixes, parts, matched)
    missing = terms.encode_tokens([MISSING])
    return int(
        sql.execute(
            f"SELECT total(n) FROM ({select}) WHERE text <> ?",  # noqa: S608
            (*bindings, missing),
        ).get
    )


def counts_of_day(
    sql: apsw.Connection, day: int, prefixes: Sequence[str]
) -> Iterator[tuple[bytes, int]]:
    """Yield every value of a day, encoded as in its token, with its count."""
    select, bindings, is_grouped = _selection(sql, prefixes, [Part(day)], matched=False)
    if not is_grouped:
        select = f"SELECT text, sum(n) FROM ({select}) GROUP BY text"  # noqa: S608
    rows: Any = sql.execute(select, bindings)
    return iter(rows)


def values_of_day(sql: apsw.Connection, day: int, prefixes: Sequence[str]) -> Iterator[str]:
    """Yield every value that occurs on a day, seeking from each term to the next."""
    select = f"SELECT CAST(term AS BLOB) FROM temp.instances WHERE {_BETWEEN} LIMIT 1"  # noqa: S608
    for prefix in _encoded(prefixes):
        start, end = _range(terms.day_text(day).encode() + prefix)
        skip = len(start)
        while (found := sql.execute(select, (start, end)).fetchone()) is not None:
            yield terms.decode_token(found[0][skip:])
            start = found[0] + b"\0"


def _most_frequent(counts: Sequence[tuple[bytes, int]], wanted: int) -> Counted:
    missing = terms.encode_tokens([MISSING])
    numbers = sorted((count for text, count in counts if text != missing), reverse=True)
    least = numbers[wanted - 1] if len(numbers) >= wanted else 0
    values = [
        (terms.decode_token(text), count)
        for text, count in counts
        if count >= least and text != missing
    ]
    return Counted(values, sum(numbers))


def match(sql: apsw.Connection, plans: Iterable[tuple[bytes | None, int, int]]) -> None:
    """Fill temp.matched with the keys that any plan matches.

    A plan is an FTS5 expression, the first key and the last key.
    """
    sql.execute("DELETE FROM temp.matched")
    for expression, low, high in plans:
        sql.execute(
            "INSERT OR IGNORE INTO temp.matched SELECT rowid FROM terms "
            "WHERE terms MATCH ? AND rowid BETWEEN ? AND ?",
            (expression, low, high),
        )


def _selection(
    sql: apsw.Connection, prefixes: Sequence[str], parts: Sequence[Part], matched: bool
) -> tuple[str, list[Any], bool]:
    """Return a SELECT of values and counts, its bindings, and whether no value occurs twice."""
    selects: list[str] = []
    bindings: list[Any] = []
    # A whole day is counted by its terms, a part of a day by its entries.
    whole = tuple(terms.day_text(part.day) for part in parts if part.low is None)
    day_width = len(terms.day_text(0))
    occurring = _occurring(sql, whole[0], prefixes) if len(parts) == len(whole) == 1 else prefixes
    for prefix in _encoded(occurring):
        skip = day_width + len(prefix) + 1
        if whole:
            selects.append(_OF_WHOLE_DAYS)
            bindings += [skip, apsw.carray(whole), *_range(prefix)]
        for part in parts:
            if part.low is not None:
                selects.append(_OF_A_DAY + (_MATCHED if matched else ""))
                of_day = _range(terms.day_text(part.day).encode() + prefix)
                bindings += [skip, *of_day, part.low, part.high]
    is_grouped = len(parts) == len(whole) == len(occurring) == 1
    return " UNION ALL ".join(selects), bindings, is_grouped


def _occurring(sql: apsw.Connection, day: str, prefixes: Sequence[str]) -> Sequence[str]:
    """Return the prefixes of the day's terms; the first one if none occurs."""
    select = f"SELECT 1 FROM temp.vocabulary WHERE {_BETWEEN} LIMIT 1"  # noqa: S608
    ranges = zip(prefixes, _encoded(prefixes), strict=True)
    return [
        prefix
        for prefix, encoded in ranges
        if sql.execute(select, _range(day.encode() + encoded)).get
    ] or prefixes[:1]


def _encoded(prefixes: Sequence[str]) -> list[bytes]:
    return [terms.encode_tokens([prefix]) for prefix in prefixes]


def _range(prefix: bytes) -> tuple[bytes, bytes]:
    """Return the first possible term with a prefix, and the first one after all of these."""
    return prefix, prefix[:-1] + bytes([prefix[-1] + 1])
