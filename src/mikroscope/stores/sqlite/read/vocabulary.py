"""What FTS5 tells of its terms (`fts5vocab`): which values occur, and how often."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import apsw

from mikroscope.records.attributes import MISSING
from mikroscope.stores.sqlite import terms

_MANY_VALUES = 30_000  # whose order is that of the index where they are equally frequent

# Both are tables of every connection that reads.
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
    """The most frequent values, with all that are as frequent as the last; and how many entries
    there are with any value.

    Of more than 30,000 values those that are as frequent as the last may be missing, and `entries`
    is None: `count_entries` tells.
    """

    values: list[tuple[str, int]]
    entries: int | None


def add_tables(sql: apsw.Connection) -> None:
    """Make a connection ready for what this module asks."""
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
    """How many entries of some parts have each value: the `wanted` most frequent ones.

    `prefixes` are what the tokens of the values begin with, behind the day; `given` are counts of
    further entries by the tokens of their values. With `matched` only entries in temp.matched
    count.
    """
    if not parts:
        return _most_frequent(list(given.items()), wanted)
    question, bindings, is_grouped = _question(sql, prefixes, parts, matched)
    if given:
        sql.execute("DELETE FROM temp.given")
        sql.executemany("INSERT INTO temp.given VALUES(?, ?)", given.items())
        question = f"{question} UNION ALL {_GIVEN}"
        is_grouped = False
    if not is_grouped:
        question = f"SELECT text, sum(n) AS n FROM ({question}) GROUP BY text"  # noqa: S608
    rows: Any = sql.execute(
        f"{question} ORDER BY n DESC, text LIMIT {_MANY_VALUES + 1}", bindings
    ).fetchall()
    counted = _most_frequent(rows, wanted)
    return counted if len(rows) <= _MANY_VALUES else counted._replace(entries=None)


def count_entries(
    sql: apsw.Connection, prefixes: Sequence[str], parts: Sequence[Part], matched: bool = False
) -> int:
    """How many values the entries of some parts have in all."""
    if not parts:
        return 0
    question, bindings, _ = _question(sql, prefixes, parts, matched)
    missing = terms.encode_tokens([MISSING])
    return int(
        sql.execute(
            f"SELECT total(n) FROM ({question}) WHERE text <> ?",  # noqa: S608
            (*bindings, missing),
        ).get
    )


def counts_of_day(
    sql: apsw.Connection, day: int, prefixes: Sequence[str]
) -> Iterator[tuple[bytes, int]]:
    """Every value of a day, as in its token, with its count."""
    question, bindings, is_grouped = _question(sql, prefixes, [Part(day)], matched=False)
    if not is_grouped:
        question = f"SELECT text, sum(n) FROM ({question}) GROUP BY text"  # noqa: S608
    rows: Any = sql.execute(question, bindings)
    return iter(rows)


def values_of_day(sql: apsw.Connection, day: int, prefixes: Sequence[str]) -> Iterator[str]:
    """Every value that occurs on a day, found by leaping from term to term."""
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
    """Fill temp.matched with the keys of plans: an FTS5 expression, the first and the last key."""
    sql.execute("DELETE FROM temp.matched")
    for expression, low, high in plans:
        sql.execute(
            "INSERT OR IGNORE INTO temp.matched SELECT rowid FROM terms "
            "WHERE terms MATCH ? AND rowid BETWEEN ? AND ?",
            (expression, low, high),
        )


def _question(
    sql: apsw.Connection, prefixes: Sequence[str], parts: Sequence[Part], matched: bool
) -> tuple[str, list[Any], bool]:
    """A SELECT of values and counts, and what is bound to it; whether each value comes but once."""
    selects: list[str] = []
    bindings: list[Any] = []
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
    """Those that some term of the day begins with; one at least."""
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
    """The first term with a prefix, and the first one behind all of them."""
    return prefix, prefix[:-1] + bytes([prefix[-1] + 1])
