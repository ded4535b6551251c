"""For any records and query, SQLite gives the same answer as a plain scan of every record."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.records.attributes import audit_of, is_audit_path, level_of, message_of, time_of
from mikroscope.records.fields import field_values, scalar_text
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.timestamps import is_unset
from mikroscope.stores.sqlite import SqliteStore, terms
from mikroscope.stores.sqlite.read import aggregates, planner
from mikroscope.stores.sqlite.schema import clamp
from tests.helpers.forms import examples
from tests.stores.contract.base import (
    START_MS,
    Record,
    buckets_of,
    collect_all,
    discard,
    in_order,
    key_of,
    numbers_of,
    put,
)

# --- records and questions: few values, so that they meet ---------------------------------------

WORDS = ["alpha", "Beta", "gamma-ray", "größe"]
MESSAGES = [
    *WORDS,
    "alpha beta",
    "Beta, alpha and gamma",
    "a message of many words " * 2,
    "",
    5,
    None,
]
SCALARS = [
    *(
        "v",
        "V",
        "v w",
        "",
        "alpha",
        "(missing)",
        "null",
        "1",
        "a=b",
        "v\x1fw",
        "x" * 129,
        "many words " * 3,
    ),
    *(1, 1.0, 1.5, -1, 10**25, True, False, None),
]
TIMES: list[object] = [
    *(START_MS + shift for shift in (0, 1, 59_999, 60_000, 60_001, 3_600_000)),
    *("2026-02-02T02:40:00.000Z", "2026-02-02T02:40:00Z", "2026-02-02T04:40:00.001+02:00"),
    *("0001-01-01", "1969-12-31T23:59:59.999Z", 0, 1, "2110-01-01", "9999-12-31"),
]
BOUNDS = sorted(
    {
        ms + shift
        for ms, _ in filter(None, (time_of({"time": text}) for text in TIMES))
        for shift in (-1, 0, 1)
    }
)
LEVELS = ["INFO", "info ", "ERROR", "err", "Notice", "Custom one", 30, 50, None, "", True]
IDS = ["c", "C d", "", "(missing)", 7, 7.0, None, True, [], {"v": 1}, "long id of words " * 2]
PATHS = ["app.ndjson", "audit/app.ndjson", "b/app.ndjson"]
FIELDS = ["f", "g", "f.g", "f.g.h", "level", "event", "correlationId", "requestId", "audit"]
TIME_NAMES = ["timestamp", "time"]

scalars = st.sampled_from(SCALARS)
values: st.SearchStrategy[object] = st.one_of(
    scalars, scalars.map(lambda value: {"h": value}), st.just([]), st.just({})
)
objects = st.fixed_dictionaries({}, optional={"g": values, "g.h": scalars, "h": scalars})
records = st.fixed_dictionaries(
    {"ingestedAt": st.sampled_from([time for time in TIMES if not is_unset(time)])},
    optional={
        "timestamp": st.sampled_from([*TIMES, "never", None]),
        "time": st.sampled_from(TIMES),
        "level": st.sampled_from(LEVELS),
        "event": st.sampled_from([*IDS, "alpha"]),
        "message": st.sampled_from(MESSAGES),
        "msg": st.sampled_from(MESSAGES),
        "err": st.sampled_from([{"stack": "delta epsilon"}, "zeta", {"message": "Beta"}]),
        "correlationId": st.sampled_from(IDS),
        "requestId": st.sampled_from(IDS),
        "audit": st.sampled_from([True, False, "yes", 0, "maybe", None]),
        "f": st.one_of(values, objects),
        "g": values,
        "f.g": values,
        "f.g.h": scalars,
        "severity": st.sampled_from(["warning", 500]),
    },
)
fields = st.one_of(
    st.tuples(st.sampled_from(FIELDS), st.sampled_from([*SCALARS, *LEVELS, *IDS, *MESSAGES])),
    st.tuples(st.sampled_from(TIME_NAMES), st.sampled_from([*TIMES, "never"])),
).map(lambda pair: {"field": pair[0], "value": scalar_text(pair[1])})
texts = st.lists(st.sampled_from([*WORDS, "beta", "ray", "delta", "zeta", "V", "---"]), max_size=2)
queries = st.builds(
    lambda field, text, **query: Query(**query, **field, text=" ".join(text) or None),
    field=st.one_of(st.just({}), fields.filter(lambda field: field["value"] is not None)),
    text=st.one_of(st.just([]), texts),
    from_ms=st.one_of(st.none(), st.sampled_from(BOUNDS)),
    to_ms=st.one_of(st.none(), st.sampled_from(BOUNDS)),
    level=st.sampled_from([None, None, "INFO", "ERROR", "ERR", "CUSTOM ONE", "TRUE", "INFO,ERR"]),
    audit=st.sampled_from([None, None, True, False]),
)
GROUPINGS = [
    *(Grouping("level"), Grouping("event"), Grouping("correlation")),
    *(Grouping("field", name) for name in [*FIELDS, *TIME_NAMES]),
]


class Written(NamedTuple):
    """A record that was added to the store; `n` counts arrivals."""

    n: int
    path: str
    record: Record


class Case(NamedTuple):
    """Batches of records, each with its own source, and the sources that are discarded."""

    batches: list[tuple[str, list[Record]]]
    discarded: set[int]

    def left(self) -> list[Written]:
        """Return the records that are left after the sources were discarded."""
        arrived = [
            (number, Written(record["n"], path, record))
            for number, (path, batch) in enumerate(self.batches)
            for record in batch
        ]
        return [written for number, written in arrived if number not in self.discarded]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Generate some batches, one of which may be discarded."""
    batches = draw(
        st.lists(
            st.tuples(st.sampled_from(PATHS), st.lists(records, min_size=1, max_size=12)),
            min_size=1,
            max_size=4,
        )
    )
    n = 0
    for _, batch in batches:
        for record in batch:
            record["n"] = n = n + 1
    return Case(batches, draw(st.sets(st.integers(0, 3), max_size=1)))


@contextmanager
def filled(case: Case) -> Iterator[SqliteStore]:
    """Open a new store that holds everything of a case."""
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "index.db")
        try:
            sources = [put(store, batch, path) for path, batch in case.batches]
            for number in case.discarded & set(range(len(sources))):
                discard(store, sources[number])
            collect_all(store)
            yield store
        finally:
            store.close()


# --- the plain scan of every record -------------------------------------------------------------


def time_ms(record: Record) -> int:
    """Return the time of a record."""
    found = time_of(record)
    assert found is not None
    return found[0]


def leaves(value: object) -> Iterator[object]:
    """Yield every value in a record that is not an object."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    else:
        yield value


def words_in(value: object) -> set[str]:
    """Return the words of a text."""
    return set(re.findall(r"\w+", value.casefold())) if isinstance(value, str) else set()


def has_word(record: Record, word: str) -> bool:
    """Return whether the message or an error contains a word, or a field has it as its value."""
    error = record.get("err")
    said = words_in(message_of(record)) | set().union(*(map(words_in, leaves(error))))
    said |= words_in(record.get("msg"))
    wanted = words_in(word)
    is_value = any(scalar_text(value) == word for value in leaves(record))
    return is_value or (bool(wanted) and wanted <= said)


def keeps(query: Query, written: Written) -> bool:
    """Return whether a record matches a query."""
    record, ms = written.record, time_ms(written.record)
    audit = audit_of(record, is_audit_path(written.path))
    return (
        (query.from_ms is None or query.from_ms <= ms)
        and (query.to_ms is None or ms <= query.to_ms)
        and (query.level is None or severity_of(level_of(record)) in severities_in(query.level))
        and query.audit in (None, audit)
        and (
            query.field is None
            or any(scalar_text(one) == query.value for one in field_values(record, query.field))
        )
        and all(has_word(record, word) for word in (query.text or "").split())
    )


def matching(case: Case, query: Query) -> list[Record]:
    """Return the matching records, newest first.

    SQLite's keys range from 1970 to 2109; records outside are at the ends, by arrival.
    """
    kept = [written for written in case.left() if keeps(query, written)]
    kept.sort(key=lambda one: (clamp(time_ms(one.record)), one.n), reverse=True)
    return [one.record for one in kept]


# --- the comparison -----------------------------------------------------------------------------


@contextmanager
def at_once(rows: int) -> Iterator[None]:
    """Let the store check entries one by one if fewer of them match a condition."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "FEW_ROWS", rows)
        yield


@pytest.mark.parametrize("few", [0, 3, 1000])
@settings(max_examples=examples(40), deadline=None)
@given(case=cases(), asked=st.lists(queries, min_size=1, max_size=6), limit=st.integers(1, 8))
def test_pages(few: int, case: Case, asked: list[Query], limit: int) -> None:
    """The pages of any query have each matching record once, newest first."""
    with filled(case) as store, at_once(few):
        for query in asked:
            expected = [record["n"] for record in matching(case, query)]
            assert numbers_of(store, query, PageRequest(limit)) == expected, query


# Only one way of counting would be used for so few records. The limits on rows and on estimated
# time, on which the choice depends, therefore enforce each way in turn.
WAYS: dict[str, dict[str, int]] = {
    "by reading the rows": {},
    "by vocabulary or by reading": {"_FEW_ROWS": 0, "_ROW_US": 0},
    "by one match for each value": {
        "_FEW_ROWS": 0,
        "_ROW_US": 10**6,
        "_INSTANCE_US": 10**6,
        "_PASSED_US": 0,
    },
    "by passing all values": {"_FEW_ROWS": 0, "_ROW_US": 10**6, "_VALUE_US": 10**12},
}


@contextmanager
def counting(way: str) -> Iterator[None]:
    """Make aggregates use one way of counting."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in WAYS[way].items():
            patch.setattr(aggregates, name, number)
        yield


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=examples(25), deadline=None)
@given(
    case=cases(),
    asked=st.lists(queries, min_size=1, max_size=3),
    few=st.sampled_from([0, 5]),
    limit=st.integers(1, 9),
)
def test_aggregates(way: str, case: Case, asked: list[Query], few: int, limit: int) -> None:
    """Every way of counting gives the same aggregates."""
    with filled(case) as store, counting(way), at_once(few):
        for query in (Query(), *asked):
            filters = msgspec.structs.asdict(query)
            kept = matching(case, query)
            for grouping in GROUPINGS:
                expected = in_order(Counter(key_of(record, grouping) for record in kept))
                assert buckets_of(store, grouping, **filters) == expected, (query, grouping)
                first = buckets_of(store, grouping, **filters, limit=limit)
                check_first(first, expected, limit)


def check_first(first: list[tuple[str, int]], expected: list[tuple[str, int]], limit: int) -> None:
    """Compare buckets that were cut off at a limit.

    Among hashed values with the same count, any may come before the cut.
    """
    if any(terms.is_shortened(terms.shorten(key)) for key, _ in expected):
        assert [count for _, count in first] == [count for _, count in expected[:limit]]
        assert set(first) <= set(expected)
        assert first == in_order(Counter(dict(first)))
    else:
        assert first == expected[:limit]


@settings(max_examples=examples(25), deadline=None)
@given(case=cases())
def test_data(case: Case) -> None:
    """Every record is returned unchanged, with its attributes."""
    with filled(case) as store:
        entries = {
            msgspec.json.decode(entry.data)["n"]: entry
            for entry in store.search(Query(), PageRequest(limit=1000)).entries
        }
        assert sorted(entries) == sorted(written.n for written in case.left())
        for written in case.left():
            entry = entries[written.n]
            assert bytes(entry.data) == msgspec.json.encode(written.record)
            assert (entry.level, entry.message, entry.source_file) == (
                level_of(written.record),
                message_of(written.record),
                written.path,
            )


@settings(max_examples=examples(25), deadline=None)
@given(case=cases())
def test_nothing_is_left_behind(case: Case) -> None:
    """When every source was discarded, the store has no token and no count left."""
    with filled(case) as store:
        for source in store.sources():
            discard(store, source)
        collect_all(store)
        assert store.count(Query()) == 0
        assert [buckets_of(store, Grouping("field", name)) for name in FIELDS] == [[]] * len(FIELDS)
        assert left_in_index(store) == []


def left_in_index(store: SqliteStore) -> list[Any]:
    """Return the vocabulary of the inverted index."""
    select = "SELECT term FROM temp.vocabulary"
    return store._readers.ask(lambda connection: list(connection.sql.execute(select)))
