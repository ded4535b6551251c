"""The contract of every store for a single entry."""

import time

import msgspec
import pytest

from mikroscope.query.model import Entry, Query
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.base import Store
from tests.stores.contract.base import Contract, Record, at, entries_of, put


class EntryContract(Contract):
    """The attributes and data that an entry has from its record."""

    def only(self, store: Store, record: Record | bytes) -> Entry:
        """Store one record; return its entry."""
        put(store, [record], "dir/app.ndjson")
        (entry,) = store.search(Query()).entries
        return entry

    def test_attributes(self, store: Store) -> None:
        """An entry has time, level, event, message, source and line of its record."""
        record = {
            "timestamp": "2026-02-18T10:20:00Z",
            "level": "warn",
            "event": "e",
            "message": "m",
        }
        entry = self.only(store, record)
        assert msgspec.structs.asdict(entry) | {"id": 0, "data": b""} == {
            "id": 0,
            "timestamp": "2026-02-18T10:20:00Z",
            "level": "WARN",
            "event": "e",
            "message": "m",
            "data": b"",
            "source_file": "dir/app.ndjson",
            "line_number": 1,
        }

    def test_defaults(self, store: Store) -> None:
        """A record without attributes is INFO and `log.event`, and has no message."""
        entry = self.only(store, {})
        assert (entry.level, entry.event, entry.message) == ("INFO", "log.event", "")

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("2026-02-18T10:20:00+02:00", "2026-02-18T10:20:00+02:00"),
            ("2026-02-18 10:20:00,123456789+01:00", "2026-02-18 10:20:00,123456789+01:00"),
            ("2026-02-18 10:20:00,123456789", "2026-02-18T10:20:00.123Z"),
            ("18/Feb/2026:10:20:00 +0100", "2026-02-18T09:20:00.000Z"),
            ("2026-02-18 10:20:00 -03", "2026-02-18T13:20:00.000Z"),
            ("9999-12-31T23:59:59.999-12:00", "9999-12-31T23:59:59.999-12:00"),
            ("0002-01-01T00:00:00Z", "0002-01-01T00:00:00Z"),
            (1770000000, "2026-02-02T02:40:00.000Z"),
            ("1770000000123", "2026-02-02T02:40:00.123Z"),
            ("1712010112345", "2024-04-01T22:21:52.345Z"),
            ({"seconds": 1, "nanos": 5_000_000}, "1970-01-01T00:00:01.005Z"),
            (-62_000_000_000, "0005-04-19T09:46:40.000Z"),
            ({"seconds": "253402300799"}, "9999-12-31T23:59:59.000Z"),
        ],
    )
    def test_timestamp(self, store: Store, value: object, shown: str) -> None:
        """A time is shown as it was written if that is ISO 8601 with a zone, otherwise in UTC."""
        assert self.only(store, {"timestamp": value}).timestamp == shown

    @pytest.mark.parametrize("value", ["0001-01-01T00:00:00.000Z", 0, "0", "", None, "yesterday"])
    def test_a_time_that_is_unknown_gives_way(self, store: Store, value: object) -> None:
        """A zero, or what cannot be a time, is skipped where another field has a time."""
        entry = self.only(store, {"timestamp": value, "time": "2026-02-18T10:20:00Z"})
        assert entry.timestamp == "2026-02-18T10:20:00Z"

    def test_a_record_without_time_has_that_of_its_indexing(self, store: Store) -> None:
        """A record without a time gets the time at which it was indexed."""
        before = time.time_ns() // 1_000_000
        entry = self.only(store, {"timestamp": "yesterday"})
        shown = parse_time(entry.timestamp)
        assert shown is not None
        assert before <= shown <= time.time_ns() // 1_000_000
        assert entries_of(store, Query(from_ms=shown, to_ms=shown)) == [entry]

    @pytest.mark.parametrize(
        "raw",
        [
            b"{}",
            b'{ "b" : 1 ,\t"a":2, "b" :3 }',
            b'{"a":1.0,"b":1e2,"c":-0.0,"d":12345678901234567890123,"e":1.10}',
            b'{"a":"\\u0041\\/\\n\\ud83d\\ude00","\\u0062":"\\u0000"}',
            '{"ключ":"значение 😀","a":"\u2028\x7f"}'.encode(),
            b'{"timestamp":"2026-02-18T10:20:00.000Z","a":"2026-02-18T10:20:00.000Z"}',
            b'{"a":"2026-02-18T10:20:00.000Z","time":"2026-02-18T10:20:00.000Z"}',
            b'{"2026-02-18T10:20:00.000Z":1,"time":"2026-02-18T10:20:00.000Z"}',
            b'{"time":"2026-02-18T10:20:00.000Z","timestamp":"2026-02-18T10:20:00.000z"}',
            b'{"time":"2026-02-18T10:20:00\\u002e000Z","a":"2026-02-18T10:20:00.000Z"}',
            b'{"time":"2026-02-18T10:20:00.000+00:00"}',
            b'{"time":"9999-12-31T23:59:59.999Z"}',
            b'{"time":"1969-12-31T23:59:59.999Z"}',
            b'{"time":"2016-12-31T23:59:60.000Z"}',
            b'{"a":{"b":[1,{"c":null},[]]}}',
        ],
    )
    def test_data(self, store: Store, raw: bytes) -> None:
        """A record is returned byte for byte."""
        assert bytes(self.only(store, raw).data) == raw

    def test_large_records(self, store: Store) -> None:
        """A record of a megabyte is returned unchanged."""
        raw = msgspec.json.encode(at(0, blob="0123456789abcdef" * 65_536))
        assert bytes(self.only(store, raw).data) == raw

    def test_ids(self, store: Store) -> None:
        """Ids are unique integers that JavaScript can represent."""
        put(store, [at(n // 10) for n in range(100)], "a")
        put(store, [at(n // 10) for n in range(100)], "b")
        ids = [entry.id for entry in entries_of(store)]
        assert len(set(ids)) == 200
        assert all(0 <= one < 2**53 for one in ids)

    def test_lines_that_repeat(self, store: Store) -> None:
        """Equal records are separate entries."""
        put(store, [at(0, n=1)] * 3)
        assert [entry.line_number for entry in entries_of(store)] == [3, 2, 1]

    def test_a_time_inside_of_an_object(self, store: Store) -> None:
        """The time may be in an object, also of the first lines, which a store may learn from."""
        record = {"record": {"time": {"timestamp": 1_771_410_000.5}, "level": {"name": "ERROR"}}}
        put(store, [record] * 1_500)
        entries = store.search(Query(from_ms=1_771_410_000_500, to_ms=1_771_410_000_500)).entries
        assert {one.timestamp for one in entries} == {"2026-02-18T10:20:00.500Z"}
        assert {one.level for one in entries} == {"ERROR"}
        assert store.count(Query(field="record.time.timestamp", value="1771410000.5")) == 1_500
