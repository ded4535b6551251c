"""Twenty ugly inputs, each between good records, which are kept, and the result of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from mikroscope.indexing.stats import IndexStats
from mikroscope.query.model import Entry, Query
from mikroscope.records.parsing import MAX_NESTING
from mikroscope.records.timestamps import parse_iso
from tests.helpers.stores import Place, lines, place_in, run_python

BEFORE, AFTER = lines(1001), lines(1002)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Logs with an index next to them."""
    yield from place_in(tmp_path)


class Outcome(NamedTuple):
    """The result of a run on a file, without the entries of the good neighbours."""

    entries: list[Entry]
    stats: IndexStats


def index_between_good_records(place: Place, ugly: bytes) -> Outcome:
    """Index ugly lines between two good records, which must be there afterwards."""
    place.write("a.ndjson", BEFORE + ugly + AFTER)
    place.write("b.ndjson", lines(1003))
    stats = place.index()
    entries = place.entries()
    good = [one for one in entries if b'"n":100' in bytes(one.data)]
    ends = [("a.ndjson", 1), ("a.ndjson", (BEFORE + ugly + AFTER).count(b"\n")), ("b.ndjson", 1)]
    assert sorted((one.source_file, one.line_number) for one in good) == ends
    return Outcome([one for one in entries if one not in good], stats)


def found(place: Place, field: str, value: str) -> int:
    """Return how many entries have this value in this field."""
    return len(place.store.search(Query(field=field, value=value)).entries)


# --- bytes --------------------------------------------------------------------------------


def test_half_a_line_waits(place: Place) -> None:
    """An unfinished line is neither an entry nor an error until its end is written."""
    place.write("a.ndjson", BEFORE + b'{"n":7,"text":"hal')
    assert place.index().parse_errors == 0
    assert place.numbers() == [1001]
    place.append("a.ndjson", b'f"}\n' + AFTER)
    assert place.index().parse_errors == 0
    assert place.numbers() == [7, 1001, 1002]


def test_half_a_line_with_another_behind_it_is_one_parse_error(place: Place) -> None:
    """An unfinished line that a crash left is one parse error; the next record is kept."""
    outcome = index_between_good_records(place, b'{"n":7,"text":"hal\n')
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 1)


def test_crlf_ends_a_line(place: Place) -> None:
    """CRLF ends a line and is not part of the record."""
    outcome = index_between_good_records(place, b'{"ugly":1}\r\n\r\n{"ugly":2}\r\n')
    assert sorted(bytes(one.data) for one in outcome.entries) == [b'{"ugly":1}', b'{"ugly":2}']
    assert outcome.stats.parse_errors == 0


def test_a_byte_order_mark_is_passed_over(place: Place) -> None:
    """A byte order mark at the start of a file is not part of the first record."""
    place.write("a.ndjson", b"\xef\xbb\xbf" + BEFORE + AFTER)
    assert place.index().parse_errors == 0
    assert place.numbers() == [1001, 1002]


def test_bytes_that_are_no_utf8_are_replaced(place: Place) -> None:
    """A record with invalid UTF-8 is kept and found, as valid UTF-8."""
    outcome = index_between_good_records(place, b'{"message":"caf\xe9 \xf0\x9f","k\xff":"v"}\n')
    (entry,) = outcome.entries
    assert entry.message == "caf\ufffd \ufffd"
    assert bytes(entry.data).decode() == '{"message":"caf\ufffd \ufffd","k\ufffd":"v"}'
    assert found(place, "k\ufffd", "v") == 1


def test_nul_bytes_are_ignored(place: Place) -> None:
    """NUL bytes, as a power failure leaves them, are a blank line, however many."""
    outcome = index_between_good_records(place, b"\0" * 10_000 + b"\n")
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 0)


def test_an_escaped_nul_is_a_character(place: Place) -> None:
    """A record with an escaped NUL is kept, and its fields are found."""
    outcome = index_between_good_records(place, b'{"message":"a\\u0000b","k":"x\\u0000y"}\n')
    assert [one.message for one in outcome.entries] == ["a\0b"]
    assert found(place, "k", "x\0y") == 1


def test_a_line_of_10_mb_is_a_record(place: Place) -> None:
    """A line of 10 MB is kept with every byte."""
    text = "x" * 10_000_000
    outcome = index_between_good_records(place, b'{"message":"%s"}\n' % text.encode())
    (entry,) = outcome.entries
    assert entry.message == text
    assert outcome.stats.parse_errors == 0


# --- JSON ---------------------------------------------------------------------------------


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_10000_levels_of_nesting_are_a_parse_error(
    place: Place, brackets: tuple[bytes, bytes]
) -> None:
    """Nesting of 10,000 levels is a parse error, and the program continues."""
    opened, closed = brackets
    nested = opened * 10_000 + b"1" + closed * 10_000
    outcome = index_between_good_records(place, b'{"message":%s}\n' % nested)
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 1)


@pytest.mark.parametrize("field", ["message", "event", "level", "k", "timestamp", "audit"])
def test_nesting_up_to_the_limit_stops_nothing(place: Place, field: str) -> None:
    """Up to 500 levels of nesting are an entry in any field; more are a parse error."""
    depths = range(MAX_NESTING - 10, MAX_NESTING + 10)
    deep = [b'{"%s":%s}\n' % (field.encode(), b"[" * n + b"]" * n) for n in depths]
    outcome = index_between_good_records(place, b"".join(deep))
    assert (len(outcome.entries), outcome.stats.parse_errors) == (10, 10)


def test_a_huge_integer_keeps_every_digit(place: Place) -> None:
    """A huge integer keeps every digit and is found by them."""
    digits = "9" * 400
    outcome = index_between_good_records(
        place, b'{"k":%s,"message":%s}\n' % ((digits.encode(),) * 2)
    )
    (entry,) = outcome.entries
    assert entry.message == digits
    assert bytes(entry.data).count(digits.encode()) == 2
    assert found(place, "k", digits) == 1


def test_an_integer_of_10000_digits_stops_nothing(place: Place) -> None:
    """An integer of 10,000 digits in any derived field stops nothing."""
    digits = b"7" * 10_000
    names = ("k", "time", "level", "severity", "PRIORITY", "message", "event", "requestId", "audit")
    ugly = [b'{"%s":%s}\n' % (name.encode(), digits) for name in names]
    ugly += [b'{"%s":"%s"}\n' % (name.encode(), digits) for name in names]
    outcome = index_between_good_records(place, b"".join(ugly))
    assert (len(outcome.entries), outcome.stats.parse_errors) == (len(ugly), 0)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_nan_is_a_parse_error(place: Place, word: bytes) -> None:
    """NaN is not JSON, so it is a parse error."""
    outcome = index_between_good_records(place, b'{"k":%s}\n' % word)
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 1)


def test_of_duplicate_keys_the_last_one_counts(place: Place) -> None:
    """The last of two equal keys counts; the record is kept as it was."""
    outcome = index_between_good_records(place, b'{"k":"one","k":"two"}\n')
    assert [bytes(one.data) for one in outcome.entries] == [b'{"k":"one","k":"two"}']
    assert [found(place, "k", value) for value in ("one", "two")] == [0, 1]


@pytest.mark.parametrize("line", [b"42", b"[]", b"null", b'"text"', b"true", b"plain text"])
def test_what_is_no_object_is_a_parse_error(place: Place, line: bytes) -> None:
    """JSON that is not an object is a parse error."""
    outcome = index_between_good_records(place, line + b"\n")
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 1)


def test_an_empty_object_is_a_record(place: Place) -> None:
    """An empty object is an entry with the default of each attribute."""
    (entry,) = index_between_good_records(place, b"{}\n").entries
    assert (entry.level, entry.event, entry.message) == ("INFO", "log.event", "")


def test_an_empty_key_is_a_name(place: Place) -> None:
    """The value of an empty key is kept and found."""
    ugly = b'{"":"nothing","a":{"":"deeper"},"b":{"":{"c":"between"}}}\n'
    assert len(index_between_good_records(place, ugly).entries) == 1
    for name, value in (("", "nothing"), ("a.", "deeper"), ("b..c", "between")):
        assert found(place, name, value) == 1


@pytest.mark.parametrize("key", ["a.b", "a=b", "=", ".", "a b", "A", "ä\u2028", "k" * 5_000, '"'])
def test_any_key_is_a_name(place: Place, key: str) -> None:
    """A key with dots and equals signs does not match the values of other fields."""
    ugly = msgspec.json.encode({key: "here"}) + b"\n" + b'{"other":"here"}\n'
    assert len(index_between_good_records(place, ugly).entries) == 2
    assert found(place, key, "here") == 1
    assert found(place, "other", "here") == 1


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [({"a=b": "c"}, "a", "b=c"), ({"a": "b=c"}, "a=b", "c"), ({"a.b": "c"}, "a", "c")],
)
def test_a_key_and_its_value_are_two_things(
    place: Place, record: dict[str, str], field: str, value: str
) -> None:
    """Signs inside a key or a value do not move the border between the two."""
    index_between_good_records(place, msgspec.json.encode(record) + b"\n")
    assert found(place, field, value) == 0


# --- times --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time", ["0002-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "0002-01-02T00:00:00+23:59"]
)
def test_a_time_at_the_end_of_the_calendar_is_kept(place: Place, time: str) -> None:
    """The entry shows a time at the end of the calendar, and sorts there."""
    ugly = b'{"timestamp":"%s"}\n{"timestamp":"2026-01-01T00:00:00Z"}\n' % time.encode()
    entries = index_between_good_records(place, ugly).entries
    first, last = ("2026-01-01T00:00:00Z", time)
    assert [one.timestamp for one in entries] == sorted([first, last], reverse=True)


@pytest.mark.parametrize("year", ["0002", "9999"])
def test_a_time_far_away_is_found_by_a_range(place: Place, year: str) -> None:
    """A range finds a time that no key of the index can hold."""
    day = Query(from_ms=parse_iso(f"{year}-06-01"), to_ms=parse_iso(f"{year}-06-02"))
    times = [f"{year}-05-31T12:00:00Z", f"{year}-06-01T12:00:00Z", f"{year}-06-02T12:00:00Z"]
    index_between_good_records(place, b"".join(b'{"time":"%s"}\n' % t.encode() for t in times))
    assert [one.timestamp for one in place.store.search(day).entries] == [times[1]]


@pytest.mark.parametrize("time", [-62_135_596_800, 253_402_300_799, -1, 1e18, -1e18, 1e300])
def test_a_number_of_any_size_may_stand_for_a_time(place: Place, time: float) -> None:
    """A record with a time outside the calendar is kept, without that time."""
    outcome = index_between_good_records(place, b'{"time":%s}\n' % msgspec.json.encode(time))
    (entry,) = outcome.entries
    assert msgspec.json.decode(entry.data) == {"time": time}


def test_of_two_records_with_equal_times_the_later_one_comes_first(place: Place) -> None:
    """Of two entries with equal times the later arrival comes first; both are kept."""
    ugly = b'{"time":1,"ugly":1}\n{"time":1,"ugly":2}\n{"time":1,"ugly":1}\n'
    entries = index_between_good_records(place, ugly).entries
    assert [msgspec.json.decode(one.data)["ugly"] for one in entries] == [1, 2, 1]
    assert [one.line_number for one in entries] == [4, 3, 2]


# --- files --------------------------------------------------------------------------------


def test_an_empty_file_holds_nothing(place: Place) -> None:
    """An empty file has no entries and is not an error."""
    place.write("empty.ndjson", b"")
    assert index_between_good_records(place, b"").stats.parse_errors == 0


def test_a_file_of_blank_lines_holds_nothing(place: Place) -> None:
    """A file of blank lines has neither entries nor parse errors."""
    outcome = index_between_good_records(place, b"\n\r\n \n\t\n")
    assert (outcome.entries, outcome.stats.parse_errors) == ([], 0)


def test_a_file_without_read_permission_costs_itself_only() -> None:
    """An unreadable file is reported now and then; its neighbours are indexed."""
    program = """
import logging, tempfile
from pathlib import Path
from tests.helpers.stores import Place, lines
import mikroscope.stores.sqlite.read.groups
become_nobody()
told = []
handler = logging.Handler(); handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(handler)
with tempfile.TemporaryDirectory() as directory, Place(Path(directory)) as place:
    place.write("shut.ndjson", lines(1)).chmod(0)
    place.write("open.ndjson", lines(2))
    for _ in range(30):
        place.index()
    print(place.numbers(), told[0], len(told) < 15, sep=", ")
"""
    assert run_python(program) == "[2], shut.ndjson: cannot be read: Permission denied, True"


def test_a_directory_named_like_a_file_is_a_directory(place: Place) -> None:
    """Files in a directory whose name looks like a log file are indexed."""
    place.write("x.ndjson/y.ndjson", lines(7))
    index_between_good_records(place, b"")
    assert place.numbers("x.ndjson/y.ndjson") == [7]


def test_links_in_a_circle_end(place: Place) -> None:
    """With links in a circle each file is indexed once."""
    place.write("d/e/y.ndjson", lines(7))
    (place.logs / "d/e/up").symlink_to(place.logs, target_is_directory=True)
    (place.logs / "self.ndjson").symlink_to("self.ndjson")
    index_between_good_records(place, b"")
    assert place.by_path()["d/e/y.ndjson"] == [7]
    assert place.store.count(Query()) == 4


def test_a_file_whose_name_is_no_utf8_costs_itself_only(place: Place) -> None:
    """A file whose name is not UTF-8 is left out and reported; its neighbours are indexed."""
    (place.logs / "\udcff.ndjson").write_bytes(lines(7))
    index_between_good_records(place, b"")
    assert place.store.count(Query()) == 3


def test_a_name_of_odd_characters_is_a_name(place: Place) -> None:
    """A file keeps a name of odd characters as the file system has it."""
    path = "a b/\n\t'\"%;{}[]*?ä\U0001f600.ndjson"
    place.write(path, lines(7))
    place.index()
    place.append(path, lines(8))
    place.index()
    assert place.by_path() == {path: [7, 8]}
