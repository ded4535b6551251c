"""Ugly inputs, each between good neighbours: they cost nothing but themselves."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mikroscope.indexer import Indexer, Tally
from mikroscope.logfiles import LogTree
from mikroscope.query import Entry, Query
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.timestamps import parse_iso
from tests.support import SUFFIXES, all_entries, run_python

BEFORE, AFTER = b'{"timestamp":"2026-01-01T00:00:00Z","n":"before"}\n', b'{"n":"after"}\n'


class Outcome:
    """What a tree with an ugly file in it has become."""

    def __init__(self, root: Path, query: Query | None = None) -> None:
        store = SqliteStore(root.parent / "index.db")
        try:
            indexer = Indexer(store, LogTree(root, SUFFIXES))
            for _ in indexer.run():
                pass
            self.tally: Tally = indexer.tally
            self.entries: list[Entry] = all_entries(store)
            self.page = store.page(query or Query()).entries
        finally:
            store.close()

    @property
    def neighbours(self) -> int:
        """How many of the good lines around are there."""
        return sum(bytes(e.data) in (BEFORE.strip(), AFTER.strip()) for e in self.entries)

    @property
    def ugly(self) -> list[Entry]:
        """The entries that are not the neighbours."""
        good = (BEFORE.strip(), AFTER.strip())
        return sorted(
            (e for e in self.entries if bytes(e.data) not in good), key=lambda e: e.line_number
        )


Index = Callable[..., Outcome]


@pytest.fixture
def between(tmp_path: Path) -> Index:
    """Index a file with the given content between its two neighbours."""
    root = tmp_path / "logs"
    root.mkdir()

    def index(content: bytes, query: Query | None = None) -> Outcome:
        (root / "ugly.ndjson").write_bytes(BEFORE + content + AFTER)
        return Outcome(root, query)

    return index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A logs root with a good file in it."""
    root = tmp_path / "logs"
    root.mkdir()
    (root / "good.ndjson").write_bytes(BEFORE + AFTER)
    return root


@pytest.mark.parametrize(
    "line",
    [
        b'{"half": "a li\n',
        b'{"a": "\x00"}\n',
        b"\x00\x00\x00\n",
        b'{"a": NaN}\n',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"\n",
        b"42\n",
        b"[]\n",
        b"null\n",
        b'"text"\n',
        b"plain words\n",
    ],
    ids=["half", "NUL", "NULs", "NaN", "deep", "42", "array", "null", "string", "words"],
)
def test_line_that_is_no_record(between: Index, line: bytes) -> None:
    """A line that is not a JSON object counts as one parse error; its neighbours are kept."""
    outcome = between(line)
    assert (outcome.tally.parse_errors, outcome.neighbours, outcome.ugly) == (1, 2, [])


def test_parse_error_is_told_with_its_place(
    between: Index, caplog: pytest.LogCaptureFixture
) -> None:
    """A parse error is logged with file and line number."""
    between(b"\n42\n")
    assert any("ugly.ndjson:3:" in record.getMessage() for record in caplog.records)


def test_unfinished_last_line(root: Path) -> None:
    """Half a line at the end waits for its newline, and then is one entry."""
    path = root / "half.ndjson"
    path.write_bytes(BEFORE + b'{"n": "ha')
    assert Outcome(root).tally.parse_errors == 0
    with path.open("ab") as file:
        file.write(b'lf"}\n')
    assert [bytes(entry.data) for entry in Outcome(root).ugly] == [b'{"n": "half"}']


def test_crlf(between: Index) -> None:
    """Windows line ends do not belong to the record, and blank lines between are nothing."""
    outcome = between(b'{"n":1}\r\n\r\n  \r\n{"n":2}\r\n')
    assert [bytes(entry.data) for entry in outcome.ugly] == [b'{"n":1}', b'{"n":2}']
    assert [entry.line_number for entry in outcome.ugly] == [2, 5]
    assert outcome.tally.parse_errors == 0


def test_byte_order_mark(root: Path) -> None:
    """A BOM at the start of a file is not part of its first record."""
    (root / "bom.ndjson").write_bytes(b'\xef\xbb\xbf{"n":1}\n')
    assert [bytes(entry.data) for entry in Outcome(root).ugly] == [b'{"n":1}']


def test_invalid_utf8(between: Index) -> None:
    """Bytes that are no UTF-8 become U+FFFD, and the record stays."""
    outcome = between(b'{"message":"caf\xe9"}\n')
    assert [entry.message for entry in outcome.ugly] == ["caf\ufffd"]
    assert outcome.neighbours == 2


def test_very_long_line(between: Index) -> None:
    """A line of 10 MB is an entry like any other."""
    line = b'{"message":"' + b"x" * 10_000_000 + b'"}'
    outcome = between(line + b"\n")
    assert [bytes(entry.data) == line for entry in outcome.ugly] == [True]
    assert outcome.neighbours == 2


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("9" * 5000, "9" * 5000),
        ("1e400", "1e400"),
        ("-9223372036854775809", "-9223372036854775809"),
    ],
    ids=["30 digits", "5000 digits", "1e400", "below 64 bits"],
)
def test_huge_number(between: Index, number: str, text: str) -> None:
    """A number beyond what machines hold is kept and found with every digit it has."""
    outcome = between(f'{{"big":{number}}}\n'.encode(), Query(field="big", value=text))
    assert [bytes(entry.data) for entry in outcome.page] == [f'{{"big":{number}}}'.encode()]
    assert outcome.neighbours == 2


def test_duplicate_keys(between: Index) -> None:
    """Of a key that stands twice the last one counts; the line stays as it was."""
    line = b'{"level":"info","level":"error","a":1,"a":2}'
    outcome = between(line + b"\n", Query(field="a", value="2"))
    assert [(entry.level, bytes(entry.data)) for entry in outcome.page] == [("ERROR", line)]


def test_empty_file(root: Path) -> None:
    """An empty file is no trouble, and its first lines are found later."""
    path = root / "empty.ndjson"
    path.touch()
    assert Outcome(root).neighbours == 2
    path.write_bytes(b'{"n":1}\n')
    assert len(Outcome(root).ugly) == 1


def test_no_read_permission(tmp_path: Path) -> None:
    """A file that may not be read is passed over with a warning; its neighbours are kept."""
    root = tmp_path / "logs"
    root.mkdir()
    (root / "good.ndjson").write_bytes(BEFORE + AFTER)
    (root / "secret.ndjson").write_bytes(BEFORE)
    (root / "secret.ndjson").chmod(0)
    for directory in (root, *list(root.parents)[:3]):
        directory.chmod(directory.stat().st_mode | 0o777)
    program = """
import sys
from pathlib import Path
from mikroscope.indexer import Indexer
from mikroscope.logfiles import LogTree
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.timestamps import parse_iso
become_nobody()
root = Path(sys.argv[1])
store = SqliteStore(root.parent / "index.db")
indexer = Indexer(store, LogTree(root, (".ndjson",)))
for _ in indexer.run():
    pass
print(store.count())
store.close()
"""
    assert run_python(program, root) == "2"


def test_directory_named_like_a_file(root: Path) -> None:
    """A directory named x.ndjson is a directory: what is in it is read."""
    (root / "x.ndjson").mkdir()
    (root / "x.ndjson" / "inner.ndjson").write_bytes(b'{"n":1}\n')
    outcome = Outcome(root)
    assert [entry.source_file for entry in outcome.ugly] == ["x.ndjson/inner.ndjson"]
    assert outcome.neighbours == 2


def test_symlink_loop(root: Path) -> None:
    """Links in a circle, to a directory above or to themselves, are followed once at most."""
    (root / "up").symlink_to(root)
    (root / "self.ndjson").symlink_to(root / "self.ndjson")
    os.symlink("b", root / "a")
    os.symlink("a", root / "b")
    outcome = Outcome(root)
    assert (len(outcome.entries), outcome.neighbours) == (2, 2)


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_time_far_away(between: Index, year: str) -> None:
    """A time in the year 1 or 9999 is kept as it is, and found by a range around it."""
    text = f"{year}-06-01T12:00:00.000Z"
    day = Query(
        from_ms=parse_iso(f"{year}-06-01T00:00:00Z"), to_ms=parse_iso(f"{year}-06-02T00:00:00Z")
    )
    outcome = between(f'{{"timestamp":"{text}"}}\n'.encode(), day)
    assert [entry.timestamp for entry in outcome.page] == [text]
    assert outcome.neighbours == 2


def test_equal_times(between: Index) -> None:
    """Two records of the same moment are two entries, the later arrival first."""
    line = b'{"timestamp":"2026-01-02T00:00:00Z","event":"same"}\n'
    outcome = between(line * 2, Query(field="event", value="same"))
    assert [entry.line_number for entry in outcome.page] == [3, 2]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (b'{"":"empty"}', "", "empty"),
        (b'{"a.b":"dot"}', "a.b", "dot"),
        (b'{"a=b":"equals"}', "a=b", "equals"),
        (b'{"a":"b=c"}', "a", "b=c"),
        (b'{"a":{"":{"b":"inner"}}}', "a..b", "inner"),
    ],
)
def test_odd_keys(between: Index, line: bytes, field: str, value: str) -> None:
    """Empty keys and keys with dots and equals signs are fields like any other."""
    outcome = between(line + b"\n", Query(field=field, value=value))
    assert [bytes(entry.data) for entry in outcome.page] == [line]
    assert outcome.neighbours == 2


def test_keys_that_look_alike(between: Index) -> None:
    """`a=b` with value c is not `a` with value b=c."""
    outcome = between(b'{"a=b":"c"}\n{"a":"b=c"}\n', Query(field="a", value="b=c"))
    assert [entry.line_number for entry in outcome.page] == [3]
