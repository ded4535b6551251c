"""For any records and query, SQLite gives the same answer as a plain scan of every record."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mikroscope.logfiles.sources import Source
from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.records.attributes import (
    TEMPLATE_FIELD,
    audit_of,
    entry_template,
    is_audit_path,
    level_of,
    message_of,
    time_of,
)
from mikroscope.records.fields import field_text, field_values, scalar_text
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.timestamps import is_unset
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.schema import clamp
from tests.helpers.forms import examples
from tests.helpers.stores import writer_of
from tests.stores.contract.base import (
    START_MS,
    Record,
    buckets_of,
    collect_all,
    commit,
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
    "order 4711 paid",
    "order 42 paid",
    "order <*> paid",
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
    *(START_MS + shift * 86_400_000 for shift in (1, 2, 40, 400)),
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
FIELDS = [
    "f",
    "g",
    "f.g",
    "f.g.h",
    "level",
    "event",
    "correlationId",
    "requestId",
    "audit",
    "@template",
]
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
        "@template": st.sampled_from(["v", "order <*> paid", 5, None, {"h": "v"}, []]),
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
    line: int
    record: Record


class Added(NamedTuple):
    """Records that are added together, and the lines of them that are removed later."""

    path: str
    records: list[Record]
    removed: set[int]


class Case(NamedTuple):
    """Batches of records, each with its own source, and what is deleted of them."""

    batches: list[Added]
    discarded: set[int]
    cutoffs: Cutoffs

    def left(self) -> list[Written]:
        """Return the records that are left."""
        arrived = [
            Written(record["n"], batch.path, line, record)
            for number, batch in enumerate(self.batches)
            for line, record in enumerate(batch.records, 1)
            if number not in self.discarded and line not in batch.removed
        ]
        return [written for written in arrived if not self._is_expired(written)]

    def _is_expired(self, written: Written) -> bool:
        is_audit = audit_of(written.record, is_audit_path(written.path))
        cutoff = self.cutoffs.audit_ms if is_audit else self.cutoffs.normal_ms
        return cutoff is not None and time_ms(written.record) < cutoff


cutoffs = st.one_of(st.none(), st.none(), st.sampled_from(BOUNDS))
batches = st.builds(
    Added,
    st.sampled_from(PATHS),
    st.lists(records, min_size=1, max_size=12),
    st.sets(st.integers(1, 12), max_size=2),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Generate some batches, one of which may be discarded."""
    added = draw(st.lists(batches, min_size=1, max_size=4))
    n = 0
    for batch in added:
        for record in batch.records:
            record["n"] = n = n + 1
    discarded = draw(st.sets(st.integers(0, 3), max_size=1))
    return Case(added, discarded, Cutoffs(draw(cutoffs), draw(cutoffs)))


@contextmanager
def filled(case: Case, form: str) -> Iterator[SqliteStore]:
    """Open a new store that holds everything of a case, kept in one of FORMS."""
    compacts = form in COMPACTED
    with TemporaryDirectory() as directory, limits(form):
        store = SqliteStore(Path(directory) / "index.db")
        try:
            sources = []
            for batch in case.batches:
                sources.append(put(store, batch.records, batch.path))
                if compacts:
                    compact(store)
            delete(store, case, sources)
            if compacts:
                compact(store)
            yield store
        finally:
            store.close()


def compact(store: SqliteStore) -> None:
    """Do all that is left to do; the number of steps is bounded."""
    for number, _ in enumerate(store.compact()):
        assert number < 500, "compacting does not come to an end"


def delete(store: SqliteStore, case: Case, sources: list[Source]) -> None:
    """Remove lines, discard sources and expire entries."""
    batch = store.begin()
    for one, source in zip(case.batches, sources, strict=True):
        for line in one.removed:
            batch.remove_line(source, line)
    commit(store, batch)
    for number in case.discarded & set(range(len(sources))):
        discard(store, sources[number])
    collect_all(store)
    for _ in store.expire(case.cutoffs):
        pass


# Limits that make of few records several segments, blocks, partitions and kinds of fields.
SMALL: dict[str, object] = {
    "stores.sqlite.write.encoding.LEAST_ENTRIES": 1,
    "stores.sqlite.write.encoding.MAX_ENTRIES": 5,
    "stores.sqlite.write.merging.LEAST_ENTRIES": 1,
    "stores.sqlite.write.resealing.LEAST_ENTRIES": 1,
    "stores.sqlite.sealing.BLOCK_LINES": 2,
}
REWRITING: dict[str, object] = {
    "stores.sqlite.write.merging._REWRITE_SHARE": 0.0,
    "stores.sqlite.write.merging._WASTED_SHARE": 0.0,
    "stores.sqlite.write.merging._WASTED_ORDINALS": 0,
}
TIGHT: dict[str, object] = {
    **SMALL,
    "stores.sqlite.write.encoding.LEAST_ENTRIES": 3,
    "stores.sqlite.write.merging.LEAST_ENTRIES": 3,
    "stores.sqlite.write.resealing.LEAST_ENTRIES": 3,
    "stores.sqlite.sealing.MAX_COLUMN_VALUES": 3,
    "stores.sqlite.sealing._FEW_VALUES": 1,
    "stores.sqlite.sealing._LEAST_SHARE": 2,
    "stores.sqlite.sealing._MAX_COLUMNS": 8,
    "stores.sqlite.columns._NARROW": 2,
    "stores.sqlite.columns._SPARSE": 1,
    "stores.sqlite.columns._FEW": 2,
    "stores.sqlite.write.storing.FEW_ENTRIES": 6,
    "stores.sqlite.write.storing._MANY_ENTRIES": 12,
    "stores.sqlite.read.lookup._FEW": 1,
    "stores.sqlite.read.groups._FEW_LINES": 0,
    "stores.sqlite.read.tally.MOST_VALUES": 3,
    "stores.sqlite.write.merging._MANY_LOOSE": 2,
}
FORMS: dict[str, dict[str, object]] = {
    "fresh": {},
    "columns": SMALL,
    "posted": {
        **SMALL,
        "stores.sqlite.sealing.MAX_COLUMN_VALUES": 0,
        "stores.sqlite.read.groups._FEW_LINES": 0,
    },
    "unlisted": {
        **SMALL,
        "stores.sqlite.sealing.MAX_COLUMN_VALUES": 0,
        "stores.sqlite.sealing._MAX_NAMED": 0,
    },
    "loose": {"stores.sqlite.write.sealer.SEAL_ENTRIES": 1},
    "merged": {
        "stores.sqlite.write.sealer.SEAL_ENTRIES": 1,
        "stores.sqlite.write.merging._MANY_LOOSE": 2,
        "stores.sqlite.write.merging.LEAST_ENTRIES": 6,
        "stores.sqlite.write.resealing.LEAST_ENTRIES": 6,
    },
    "rewritten": {**SMALL, **REWRITING},
    "tight": TIGHT,
    "tight and rewritten": {
        **TIGHT,
        **REWRITING,
        "stores.sqlite.write.sealer.SEAL_ENTRIES": 1,
    },
}
"""How the entries of a store are kept, each with the limits that make it so."""
COMPACTED = {"loose", "merged", "rewritten", "tight and rewritten"}


@contextmanager
def limits(form: str) -> Iterator[None]:
    """Set the limits of a form."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in FORMS[form].items():
            patch.setattr(f"mikroscope.{name}", number)
        yield


every_form = pytest.mark.parametrize("form", FORMS)


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


def texts_of(record: Record, field: str) -> list[str | None]:
    """Return the texts of a field."""
    if field == TEMPLATE_FIELD:
        return [entry_template(record)]
    return [scalar_text(one) for one in field_values(record, field)]


def keeps(query: Query, written: Written) -> bool:
    """Return whether a record matches a query."""
    record, ms = written.record, time_ms(written.record)
    audit = audit_of(record, is_audit_path(written.path))
    return (
        (query.from_ms is None or query.from_ms <= ms)
        and (query.to_ms is None or ms <= query.to_ms)
        and (query.level is None or severity_of(level_of(record)) in severities_in(query.level))
        and query.audit in (None, audit)
        and (query.field is None or query.value in texts_of(record, query.field))
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


@every_form
@settings(max_examples=examples(20), deadline=None)
@given(case=cases(), asked=st.lists(queries, min_size=1, max_size=6), limit=st.integers(1, 8))
def test_pages(form: str, case: Case, asked: list[Query], limit: int) -> None:
    """The pages of any query have each matching record once, newest first."""
    with filled(case, form) as store:
        for query in asked:
            expected = [record["n"] for record in matching(case, query)]
            assert numbers_of(store, query, PageRequest(limit)) == expected, query
            assert store.count(query) == len(expected), query


@every_form
@settings(max_examples=examples(12), deadline=None)
@given(case=cases(), asked=st.lists(queries, min_size=1, max_size=3), limit=st.integers(1, 9))
def test_aggregates(form: str, case: Case, asked: list[Query], limit: int) -> None:
    """Every grouping of any query has the counts of the matching records."""
    with filled(case, form) as store:
        for query in (Query(), *asked):
            filters = msgspec.structs.asdict(query)
            kept = matching(case, query)
            for grouping in GROUPINGS:
                expected = in_order(Counter(group_of(record, grouping) for record in kept))
                assert buckets_of(store, grouping, **filters) == expected, (query, grouping)
                first = buckets_of(store, grouping, **filters, limit=limit)
                assert first == expected[:limit], (query, grouping)


@every_form
@settings(max_examples=examples(12), deadline=None)
@given(
    case=cases(),
    asked=st.lists(queries, min_size=1, max_size=3),
    interval_ms=st.sampled_from([7_000, 60_000, 86_400_000]),
    split=st.sampled_from([None, Grouping("level"), *GROUPINGS]),
)
def test_histograms(
    form: str, case: Case, asked: list[Query], interval_ms: int, split: Grouping | None
) -> None:
    """The buckets of a histogram have the counts of the matching records."""
    with filled(case, form) as store:
        for query in asked:
            query = within(query, 500 * interval_ms)
            kept = matching(case, query)
            answer = store.histogram(query, interval_ms, split)
            counts = Counter(time_ms(record) // interval_ms * interval_ms for record in kept)
            assert {one.start_ms: one.count for one in answer if one.count} == counts, query
            if split is None:
                continue
            groups = Counter(
                (time_ms(record) // interval_ms * interval_ms, group_of(record, split))
                for record in kept
            )
            found = {
                (one.start_ms, text): number
                for one in answer
                for text, number in one.groups.items()
            }
            assert found == groups, (query, split)


def within(query: Query, span_ms: int) -> Query:
    """Return a query of a limited time, which has not too many buckets."""
    low, high = START_MS - 60_000, START_MS - 60_000 + span_ms
    from_ms = low if query.from_ms is None else min(max(query.from_ms, low), high)
    to_ms = high if query.to_ms is None else min(max(query.to_ms, low), high)
    return msgspec.structs.replace(query, from_ms=from_ms, to_ms=to_ms)


def group_of(record: Record, grouping: Grouping) -> str:
    """Return the group of a record."""
    if grouping.field == TEMPLATE_FIELD:
        return entry_template(record)
    return key_of(record, grouping)


@every_form
@settings(max_examples=examples(10), deadline=None)
@given(case=cases(), query=queries)
def test_facets(form: str, case: Case, query: Query) -> None:
    """A facet has the counts of each value, and the records without one."""
    with filled(case, form) as store:
        kept = matching(case, query)
        names = [*FIELDS, *TIME_NAMES]
        for name, facet in zip(names, store.facets(query, names, 1000), strict=True):
            texts = [
                entry_template(one) if name == TEMPLATE_FIELD else field_text(one, name)
                for one in kept
            ]
            expected = in_order(Counter(text for text in texts if text is not None))
            assert [(one.key, one.count) for one in facet.values] == expected, (query, name)
            assert facet.missing == texts.count(None), (query, name)


@every_form
@settings(max_examples=examples(12), deadline=None)
@given(case=cases())
def test_data(form: str, case: Case) -> None:
    """Every record is returned unchanged, with its attributes, also by its number."""
    with filled(case, form) as store:
        entries = {
            msgspec.json.decode(entry.data)["n"]: entry
            for entry in store.search(Query(), PageRequest(limit=1000)).entries
        }
        assert sorted(entries) == sorted(written.n for written in case.left())
        for written in case.left():
            entry = entries[written.n]
            assert bytes(entry.data) == msgspec.json.encode(written.record)
            assert (entry.level, entry.message, entry.source_file, entry.line_number) == (
                level_of(written.record),
                message_of(written.record),
                written.path,
                written.line,
            )
            assert store.get(entry.id) == entry


@every_form
@settings(max_examples=examples(12), deadline=None)
@given(case=cases())
def test_nothing_is_left_behind(form: str, case: Case) -> None:
    """When every source was discarded, no table has anything of an entry left."""
    with filled(case, form) as store:
        for source in store.sources():
            discard(store, source)
        collect_all(store)
        assert store.count(Query()) == 0
        assert [buckets_of(store, Grouping("field", name)) for name in FIELDS] == [[]] * len(FIELDS)
        assert left_in_index(store) == {}


EMPTY = ("fresh", "partitions", "segments", "columns", "blocks", "masks", "segment_sources")


def left_in_index(store: SqliteStore) -> dict[str, int]:
    """Return the number of rows of each table that should be empty and is not."""
    sql = writer_of(store)._connection
    terms = sql.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'terms_*'").fetchall()
    names = [*EMPTY, "minutes", "sources", *(str(name) for (name,) in terms)]
    select = "SELECT count(*) FROM "
    counts = {name: int(sql.execute(select + name).get) for name in names}
    counts["field values"] = int(
        sql.execute("SELECT value FROM meta WHERE name = 'field_values'").get
    )
    return {name: number for name, number in counts.items() if number}
