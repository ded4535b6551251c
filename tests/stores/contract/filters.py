"""The contract of every store for filters."""

import itertools

import msgspec
import pytest

from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.records.fields import scalar_text
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    NAMES,
    START_MS,
    VALUES,
    Contract,
    Record,
    at,
    buckets_of,
    found,
    numbers_of,
    put,
)


class FilterContract(Contract):
    """Every filter, alone and with others."""

    def test_values(self, store: Store) -> None:
        """A field filter finds exactly the records whose value has that text."""
        put(store, [at(n, n=n, f=value) for n, value in enumerate(VALUES)])
        texts = [scalar_text(value) for value in VALUES]
        answers = {text: found(store, field="f", value=text) for text in texts}
        assert answers == {
            text: {n for n, other in enumerate(texts) if other == text} for text in texts
        }

    def test_nested_values(self, store: Store) -> None:
        """A field filter also finds values inside objects."""
        put(store, [at(n, n=n, f={"g": value}) for n, value in enumerate(VALUES)])
        texts = [scalar_text(value) for value in VALUES]
        answers = {text: found(store, field="f.g", value=text) for text in texts}
        assert answers == {
            text: {n for n, other in enumerate(texts) if other == text} for text in texts
        }

    def test_names(self, store: Store) -> None:
        """A field filter finds exactly the records with that field, whatever its name."""
        put(store, [at(n, n=n) | {name: "v"} for n, name in enumerate(NAMES)])
        answers = {name: found(store, field=name, value="v") for name in NAMES}
        assert answers == {name: {n} for n, name in enumerate(NAMES)}

    def test_name_and_value_are_two(self, store: Store) -> None:
        """A filter distinguishes pairs that differ in where the name ends and the value begins."""
        pairs = [
            ("a", "b=c"),
            ("a=b", "c"),
            ("a=", "=c"),
            ("a", "==c"),
            ("", "a=b=c"),
            ("a==", "c"),
        ]
        put(store, [at(n, n=n) | {name: value} for n, (name, value) in enumerate(pairs)])
        answers = [found(store, field=name, value=value) for name, value in pairs]
        assert answers == [{n} for n in range(len(pairs))]

    @pytest.mark.parametrize("value", [{"a": 1}, [1], [], {}, ["v"]])
    def test_arrays_and_objects_have_no_text(self, store: Store, value: object) -> None:
        """An array or object is found neither by its JSON text nor by its content."""
        put(store, [at(0, n=0, f=value)])
        texts = [msgspec.json.encode(value).decode(), "1", "v", "", "null"]
        assert [found(store, field="f", value=text) for text in texts] == [set()] * 5

    @pytest.mark.parametrize(
        ("record", "path"),
        [
            ({"a": {"b": "v"}}, "a.b"),
            ({"a": {"b": {"c": {"d": "v"}}}}, "a.b.c.d"),
            ({"a.b": "v"}, "a.b"),
            ({"a.b": {"c": "v"}}, "a.b.c"),
            ({"a": {"b.c": "v"}}, "a.b.c"),
            ({"a": {"": "v"}}, "a."),
            ({"": {"a": "v"}}, ".a"),
            ({"a": {"b=c": "v"}}, "a.b=c"),
            ({"a": {".": "v"}}, "a.."),
            ({"event": {"kind": "v"}}, "event.kind"),
            ({"correlationId": {"id": "v"}}, "correlationId.id"),
            ({"level": {"name": "v"}}, "level.name"),
            ({"timestamp": {"seconds": 1, "zone": "v"}}, "timestamp.zone"),
        ],
    )
    def test_paths(self, store: Store, record: Record, path: str) -> None:
        """A dotted path reaches into objects, and also matches a key with dots."""
        put(store, [{"n": 1, **record}])
        assert found(store, field=path, value="v") == {1}

    @pytest.mark.parametrize(
        "record",
        [
            {"a.b": "1", "a": {"b": "2"}},
            {"a": {"b": "2"}, "a.b": "1"},
        ],
    )
    def test_a_path_that_means_two_values(self, store: Store, record: Record) -> None:
        """If a key with dots and a nested key have the same path, a filter finds both."""
        put(store, [at(0, n=1, **record)])
        assert [found(store, field="a.b", value=value) for value in "123"] == [{1}, {1}, set()]

    @pytest.mark.parametrize(
        ("record", "field", "value"),
        [
            ({"level": "ERROR"}, "level", "ERROR"),
            ({"level": "error"}, "level", "error"),
            ({"level": "Custom Level"}, "level", "Custom Level"),
            ({"level": ""}, "level", ""),
            ({"level": 30}, "level", "30"),
            ({"level": 30.5}, "level", "30.5"),
            ({"level": None}, "level", "null"),
            ({"level": False}, "level", "false"),
            ({"event": "e"}, "event", "e"),
            ({"event": "E e"}, "event", "E e"),
            ({"event": ""}, "event", ""),
            ({"event": 5}, "event", "5"),
            ({"event": None}, "event", "null"),
            ({"event": True}, "event", "true"),
            ({"correlationId": "c"}, "correlationId", "c"),
            ({"correlationId": ""}, "correlationId", ""),
            ({"correlationId": 7}, "correlationId", "7"),
            ({"correlationId": 7.0}, "correlationId", "7"),
            ({"correlationId": None, "requestId": "r"}, "correlationId", "null"),
            ({"correlationId": True}, "correlationId", "true"),
            ({"correlationId": None, "requestId": "r"}, "requestId", "r"),
            ({"correlationId": "c", "requestId": "r"}, "requestId", "r"),
            ({"requestId": 7}, "requestId", "7"),
            ({"requestId": None}, "requestId", "null"),
            ({"audit": True}, "audit", "true"),
            ({"audit": "no"}, "audit", "no"),
            ({"message": "m"}, "message", "m"),
            ({"message": "many words that make up a longer message"}, "message", None),
            ({"message": 5}, "message", "5"),
            ({"timestamp": "2026-02-18T10:20:00.000Z"}, "timestamp", "2026-02-18T10:20:00.000Z"),
            ({"timestamp": "2026-02-18T10:20:00+02:00"}, "timestamp", "2026-02-18T10:20:00+02:00"),
            ({"timestamp": 1770000000}, "timestamp", "1770000000"),
            ({"timestamp": 1712010112345}, "timestamp", "1712010112345"),
            ({"timestamp": "1712010112345"}, "timestamp", "1712010112345"),
            ({"timestamp": 1770000000.5}, "timestamp", "1770000000.5"),
            ({"timestamp": 1.77e9}, "timestamp", "1770000000"),
            ({"timestamp": 20260218}, "timestamp", "20260218"),
            ({"timestamp": "20260218"}, "timestamp", "20260218"),
            ({"timestamp": -1}, "timestamp", "-1"),
            ({"timestamp": "0001-01-01T00:00:00Z"}, "timestamp", "0001-01-01T00:00:00Z"),
            ({"timestamp": "9999-12-31T23:59:59Z"}, "timestamp", "9999-12-31T23:59:59Z"),
            ({"timestamp": "yesterday"}, "timestamp", "yesterday"),
            ({"timestamp": ""}, "timestamp", ""),
            ({"timestamp": None}, "timestamp", "null"),
            ({"timestamp": True}, "timestamp", "true"),
            ({"timestamp": "yesterday", "time": "2026-02-18"}, "timestamp", "yesterday"),
            ({"timestamp": 1, "time": "2026-02-18"}, "time", "2026-02-18"),
            ({"timestamp": 1, "time": "2026-02-18"}, "timestamp", "1"),
            ({"timestamp": 1, "time": 1}, "time", "1"),
            ({"ts": 1770000000.123}, "ts", "1770000000.123"),
            ({"@timestamp": "2026-02-18"}, "@timestamp", "2026-02-18"),
        ],
    )
    def test_attribute_fields(
        self, store: Store, record: Record, field: str, value: str | None
    ) -> None:
        """A field that an attribute is derived from is found by its own text like any other."""
        put(store, [{"n": 1, **record}, {"n": 2}])
        value = value if value is not None else str(record[field])
        assert found(store, field=field, value=value) == {1}

    @pytest.mark.parametrize(
        ("record", "field", "value"),
        [
            ({}, "level", "INFO"),
            ({"level": "error"}, "level", "ERROR"),
            ({"level": 30}, "level", "INFO"),
            ({"message": "m"}, "event", "m"),
            ({}, "event", "log.event"),
            ({"requestId": "r"}, "correlationId", "r"),
            ({}, "correlationId", "(missing)"),
            ({"msg": "m"}, "message", "m"),
            ({"timestamp": 1770000000}, "timestamp", "2026-02-02T02:40:00.000Z"),
            ({"timestamp": "2026-02-02T02:40:00Z"}, "timestamp", "2026-02-02T02:40:00.000Z"),
            ({"time": "2026-02-02"}, "timestamp", "2026-02-02"),
        ],
    )
    def test_derived_attributes_are_no_fields(
        self, store: Store, record: Record, field: str, value: str
    ) -> None:
        """A field filter does not find attributes that were derived from a record."""
        put(store, [{"n": 1, **record}])
        assert found(store, field=field, value=value) == set()

    def test_levels(self, store: Store) -> None:
        """The level filter compares severities, whatever the level was derived from."""
        levels: list[Record] = [
            *({"level": "error"}, {"level": "ERROR"}, {"level": 50}, {"levelname": "ERROR"}),
            *({"level": "WARN"}, {"level": "Custom Level"}, {}, {"level": "X" * 300}),
            *({"level": "err"}, {"level": "\x1b[31mSevere\x1b[0m "}, {"level": "Warning"}),
            *({"level": "CRIT"}, {"level": "INFO+2"}),
        ]
        put(store, [at(n, n=n, **record) for n, record in enumerate(levels)])
        asked = ("ERROR", "WARN", "INFO", "CUSTOM LEVEL", "X" * 300, "ERR", "X" * 299, "FATAL")
        expected = [{0, 1, 2, 3, 8, 9}, {4, 10}, {6, 12}, {5}, {7}, {0, 1, 2, 3, 8, 9}, set(), {11}]
        assert [found(store, level=level) for level in asked] == expected
        assert [store.count(Query(level=level)) for level in asked] == list(map(len, expected))
        both = [found(store, level=level, audit=False) for level in asked]
        assert both == expected

    def test_several_levels(self, store: Store) -> None:
        """Levels with commas between them match all their severities; a comma may be a level's."""
        levels = ("error", "Err", "warn", "info", "fatal", "a,b", "a", "Alert", "b,")
        put(store, [at(n, n=n, level=level) for n, level in enumerate(levels)])
        expected = {
            "ERROR,FATAL": {0, 1, 4, 7},
            "WARNING, CRIT ,": {2, 4, 7},
            "A,B": {5, 6},
            "ERROR,ERROR": {0, 1},
            "NONE,WARN": {2},
            "B,": {8},
            ",": set(),
        }
        assert {level: found(store, level=level) for level in expected} == expected
        counts = {level: store.count(Query(level=level)) for level in expected}
        assert counts == {level: len(found) for level, found in expected.items()}
        grouped = store.aggregate(Query(level="INFO,WARN"), Grouping("level")).buckets
        assert {bucket.key for bucket in grouped} == {"INFO", "WARN"}
        histogram = store.histogram(Query(level="INFO,A"), 86_400_000)
        assert sum(bucket.count for bucket in histogram) == 2

    def test_audit(self, store: Store) -> None:
        """The audit filter uses the record's own mark, otherwise the path."""
        says: list[Record] = [{}, {"audit": True}, {"audit": False}, {"audit": "yes"}, {"audit": 0}]
        put(store, [at(n, n=n, **record) for n, record in enumerate(says)], "a/app.ndjson")
        put(store, [at(n, n=n + 10, **record) for n, record in enumerate(says)], "Audit/app.ndjson")
        assert found(store, audit=True) == {1, 3, 10, 11, 13}
        assert found(store, audit=False) == {0, 2, 4, 12, 14}

    def test_audit_with_many_levels(self, store: Store) -> None:
        """The audit filter works with as many levels as entries."""
        put(store, [at(n, n=n, level=f"L{n}", audit=n % 2 == 0) for n in range(900)])
        assert found(store, audit=True) == set(range(0, 900, 2))

    def test_a_rare_word_among_frequent_ones(self, store: Store) -> None:
        """A rare word is found in a text, as a value and in an object, on every page."""
        records = [at(n, n=n, message="Paid by card", level="INFO") for n in range(1_200)]
        records[100]["message"] = "Paid by VISA card"
        records[300]["kind"] = "VISA"
        records[500]["card"] = {"kind": "VISA"}
        records[700] |= {"message": "VISA refused", "level": "ERROR"}
        records[900] |= {"kind": "visa", "level": "ERROR"}
        put(store, records)
        assert found(store, text="card VISA") == {100, 300, 500}
        assert found(store, text="by VISA Paid", level="INFO") == {100, 300, 500}
        assert found(store, text="VISA", level="ERROR") == {700}
        assert found(store, text="paid", field="kind", value="VISA") == {300}
        assert numbers_of(store, Query(text="card VISA"), PageRequest(limit=2)) == [500, 300, 100]
        by_level = buckets_of(store, Grouping("level"), text="VISA card")
        assert by_level == [("INFO", 3)]

    def test_words(self, store: Store) -> None:
        """The text filter finds all its words in the message, in any case and order."""
        messages = ["Payment declined", "payment accepted", "Größe 5 überschritten", ""]
        put(store, [at(n, n=n, message=message) for n, message in enumerate(messages)])
        asked = ("payment", "DECLINED payment", "GRÖSSE", "pay", "payment überschritten", "--- ,")
        assert [found(store, text=text) for text in asked] == [
            {0, 1},
            {0},
            {2},
            set(),
            set(),
            set(),
        ]

    def test_words_of_errors(self, store: Store) -> None:
        """The text filter finds the words of an error's text and stack."""
        put(store, [at(1, n=1, err={"message": "disk full", "stack": "at Writer.flush"})])
        assert [found(store, text=text) for text in ("disk", "flush", "err")] == [{1}, {1}, set()]

    def test_text_in_an_empty_store(self, store: Store) -> None:
        """A text without a word finds nothing in an empty store."""
        assert found(store, text="---") == set()

    def test_filters_combine(self, store: Store) -> None:
        """An entry matches only if all given filters match."""
        records = [
            at(n, n=n, level=level, audit=audit, tenant=tenant, message=f"{word} news")
            for n, (level, audit, tenant, word) in enumerate(
                itertools.product(("INFO", "ERROR"), (True, False), ("a", "b"), ("good", "bad"))
            )
        ]
        put(store, records)
        choices = itertools.product(
            (None, "INFO", "ERROR"), (None, True, False), (None, "a", "b"), (None, "good"), (0, 5)
        )
        for level, audit, tenant, word, first in choices:
            query = Query(
                level=level,
                audit=audit,
                field=tenant and "tenant",
                value=tenant,
                text=word,
                from_ms=START_MS + first,
                to_ms=START_MS + 12,
            )
            expected = [
                record["n"]
                for record in records
                if first <= record["n"] <= 12
                and level in (None, record["level"])
                and audit in (None, record["audit"])
                and tenant in (None, record["tenant"])
                and (word is None or record["message"].startswith(word))
            ]
            assert numbers_of(store, query) == expected[::-1], query

    @pytest.mark.parametrize(
        "record",
        [
            {"error.stack_trace": "Zorg", "error.type": "x"},
            {"error.type": "Zorg"},
            {"error": {"stack_trace": "Zorg"}},
            {"exception.stacktrace": "Zorg"},
            {"attributes": {"exception.message": "Zorg"}},
            {"stacktrace": "Zorg"},
            {"errorVerbose": "Zorg"},
            {"errorCauses": [{"error": "Zorg"}]},
            {"exception": [{"exc_type": "Zorg", "exc_value": "y", "frames": []}]},
            {"exception": [{"frames": [{"filename": "Zorg.py", "lineno": 3, "name": "f"}]}]},
            {"exception": {"frames": [{"method": "Zorg"}]}},
            {"exception": {"class": "A", "trace": ["Zorg.php:3", "B.php:4"]}},
            {"context": {"exception": {"trace": ["Zorg.php:3"]}}},
            {"stackTrace": ["Error: x", " at Zorg"], "errorType": "E"},
            {"throwable": {"className": "Zorg", "stepArray": [{"methodName": "m"}]}},
            {"thrown": {"cause": {"message": "Zorg"}}},
            {"throwable": ["x", " Zorg"]},
            {"err": {"type": "Zorg", "stack": "s"}},
            {"@x": "Zorg"},
            {"Exception": "Zorg"},
            {"full_message": "Zorg"},
            {"record": {"exception": {"type": "Zorg", "value": "v"}}, "text": "t"},
            {"exc_text": "Zorg"},
            {"fields": {"error": "Zorg"}},
        ],
    )
    def test_words_of_a_stack_trace(self, store: Store, record: Record) -> None:
        """The words of errors are found, in texts, lists, objects and the frames of a stack."""
        put(store, [at(0, n=0, message="Zorgs"), at(1, n=1, **record), at(2, n=2)])
        assert found(store, text="zorg") == {1}

    @pytest.mark.parametrize(
        "record",
        [
            {"items": ["the Zorg one"]},
            {"list": [{"title": "a Zorg"}]},
            {"cart": {"name": "a Zorg"}},
            {"exception": [{"locals": "a Zorg", "lineno": 3}]},
            {"type": "a Zorg"},
        ],
    )
    def test_words_of_other_texts_are_not_searched(self, store: Store, record: Record) -> None:
        """Names decide which texts are searched by word, not every text of a record is."""
        put(store, [at(1, n=1, **record)])
        assert found(store, text="zorg") == set()
