"""The contract of every store for lines that hold several records, or a record inside of a text."""

import json
from typing import Any

from mikroscope.query.model import Grouping, Query
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    START_MS,
    Contract,
    add,
    buckets_of,
    collect_all,
    count,
    discard,
    entries_of,
    found,
    numbers_of,
    prepare,
    put,
    record_of,
)


def otlp(*numbers: int, **fields: object) -> bytes:
    """Return a line of OTLP with a log record for each number."""
    records = [
        {
            "timeUnixNano": str((START_MS + n) * 1_000_000),
            "severityNumber": 17,
            "body": {"stringValue": f"number {n}"},
            "attributes": [{"key": "n", "value": {"intValue": str(n)}}],
            **fields,
        }
        for n in numbers
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    logs = [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]
    return json.dumps({"resourceLogs": logs}).encode()


def docker(**record: object) -> bytes:
    """Return a line of Docker with a record inside."""
    line = {"log": json.dumps(record) + "\n", "stream": "stdout", "time": "2026-02-02T02:40:00Z"}
    return json.dumps(line).encode()


class PartContract(Contract):
    """Records inside of lines."""

    def test_each_record_of_a_line_is_an_entry(self, store: Store) -> None:
        """The entries share the number of the line, and each has its own record as data."""
        put(store, [otlp(0, 1, 2), b'{"n":9}', otlp(3)])
        entries = entries_of(store, Query(field="service.name", value="shop"))
        assert [(record_of(one)["n"], one.line_number) for one in entries] == [
            (3, 3),
            (2, 1),
            (1, 1),
            (0, 1),
        ]
        assert {one.level for one in entries} == {"ERROR"}
        assert [one.message for one in entries] == [f"number {n}" for n in (3, 2, 1, 0)]
        assert len({one.id for one in entries}) == 4
        assert [store.get(one.id) for one in entries] == entries
        assert buckets_of(store, Grouping("level")) == [("ERROR", 4), ("INFO", 1)]

    def test_the_record_inside_of_a_text_is_the_entry(self, store: Store) -> None:
        """Level, message, time and fields are those of the record inside."""
        inner: dict[str, Any] = {"level": 50, "time": START_MS, "msg": "declined", "n": 1}
        put(store, [docker(**inner)])
        (entry,) = entries_of(store)
        assert (entry.level, entry.message, record_of(entry)) == ("ERROR", "declined", inner)
        assert found(store, text="declined", level="ERROR", field="n", value="1") == {1}

    def test_counts_of_a_batch(self, store: Store) -> None:
        """Lines are lines, records are entries; a line without any holds none."""
        batch = store.begin()
        source = batch.open_source("app.ndjson")
        add(batch, source, [otlp(0, 1, 2), otlp(), b"broken", b'{"n":1}'])
        result = prepare(batch)
        assert (result.lines, result.records, len(result.problems)) == (4, 4, 1)

    def test_lines_added_again(self, store: Store) -> None:
        """A line that is there with all of its records is not added again."""
        lines = [otlp(0, 1), docker(n=2), otlp(3, 4)]
        source = put(store, lines)
        batch = store.begin()
        add(batch, source, [*lines, otlp(5, 6)], source.checkpoint)
        store.commit(batch)
        assert sorted(numbers_of(store)) == list(range(7))

    def test_they_leave_with_their_source(self, store: Store) -> None:
        """All records of a line are collected, and no word or value of theirs stays."""
        source = put(store, [otlp(0, 1), docker(n=2, level="error")])
        put(store, [otlp(7)], "other.ndjson")
        discard(store, source)
        assert collect_all(store).entries == 3
        assert (count(store), numbers_of(store)) == (1, [7])
        assert found(store, text="number") == {7}
        assert buckets_of(store, Grouping("field", "n")) == [("7", 1)]

    def test_a_rebuild_keeps_when_they_were_indexed(self, store: Store) -> None:
        """Records without a time keep the moment of their first indexing, each its own."""
        lines = [otlp(0, 1, timeUnixNano="0")]
        source = put(store, lines)
        before = [(record_of(one)["n"], one.timestamp) for one in entries_of(store)]
        rebuild = store.rebuild()
        try:
            (same,) = rebuild.store.sources()
            batch = rebuild.store.begin()
            add(batch, same, lines, source.checkpoint)
            rebuild.store.commit(batch)
            rebuild.swap(lambda: None)
        finally:
            rebuild.close()
        store.refresh()
        assert [(record_of(one)["n"], one.timestamp) for one in entries_of(store)] == before
