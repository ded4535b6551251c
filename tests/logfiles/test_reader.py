"""Lines are read whole, from any offset, of plain and of packed files."""

import gzip
import itertools
import os
import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mikroscope.logfiles import reader
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, Chunk, LineReader
from mikroscope.logfiles.tree import LogTree
from tests.helpers.stores import run_python

BOM = b"\xef\xbb\xbf"
one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_all(reader: LineReader, limit: int = 1 << 20, final: bool = False) -> list[Chunk]:
    """Return every chunk up to the end."""
    chunks = []
    while not (chunk := reader.read(limit, final)).is_end:
        chunks.append(chunk)
    return chunks


def numbered(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    """Return each line with its number."""
    return [
        (number, line)
        for chunk in chunks
        for number, line in enumerate(chunk.lines, chunk.line - len(chunk.lines) + 1)
    ]


def read_lines(
    file: Path, offset: int = 0, line: int = 0, final: bool = False
) -> list[tuple[int, bytes]]:
    """Return the lines of a file after a checkpoint, with their numbers."""
    with LineReader(file, offset, line) as reader:
        return numbered(read_all(reader, final=final))


def test_whole_lines_come_with_their_numbers(tmp_path: Path) -> None:
    """A chunk has whole lines only; an unfinished last line waits for its end."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\n\nfour\nhal")
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b""), (4, b"four")]


def test_a_chunk_says_where_the_next_one_starts(tmp_path: Path) -> None:
    """A chunk has the offset, the line number and the last bytes before the next one."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\nhal")
    with LineReader(file, 0, 0) as reader:
        assert reader.read(1 << 20) == Chunk(b"one\ntwo", 2, 8, 2, b"one\ntwo\n", False)


def test_at_the_end_a_chunk_is_empty(tmp_path: Path) -> None:
    """At the end of a file every further chunk is empty."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\nhal")
    with LineReader(file, 0, 0) as reader:
        reader.read(100)
        assert reader.read(100) == reader.read(100) == Chunk(b"", 0, 4, 1, b"one\n", True)


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    """An empty file has no lines, and reading it is not an error."""
    (tmp_path / "a.ndjson").touch()
    assert read_lines(tmp_path / "a.ndjson") == []


def test_reading_goes_on_behind_a_checkpoint(tmp_path: Path) -> None:
    """Reading continues after a checkpoint, with the line numbers that follow."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\nthree\n")
    assert read_lines(file, offset=4, line=1) == [(2, b"two"), (3, b"three")]


def test_a_line_is_completed_later(tmp_path: Path) -> None:
    """Both the same reader and a new one return a line once its end has been written."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntw")
    with LineReader(file, 0, 0) as reader, file.open("ab", buffering=0) as more:
        assert numbered(read_all(reader)) == [(1, b"one")]
        more.write(b"o\n")
        assert numbered(read_all(reader)) == [(2, b"two")]
    assert read_lines(file, offset=4, line=1) == [(2, b"two")]


def test_crlf_ends_a_line(tmp_path: Path) -> None:
    """CRLF ends a line like LF, and offsets count both of its bytes."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\r\ntwo\n\r\nfo\rur\r\n")
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b""), (4, b"fo\rur")]
    assert read_lines(file, offset=5, line=1)[0] == (2, b"two")


def test_a_byte_order_mark_is_dropped_at_the_start_only(tmp_path: Path) -> None:
    """A byte order mark is dropped at the start of a file and kept elsewhere."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(BOM + b"one\n" + BOM + b"two\n")
    assert read_lines(file) == [(1, b"one"), (2, BOM + b"two")]


@pytest.mark.parametrize("start", [b"", BOM])
def test_final_takes_a_record_without_line_end(tmp_path: Path, start: bytes) -> None:
    """The final read takes a last record that has no line end."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(start + b'{"a":1}')
    assert read_lines(file, final=True) == [(1, b'{"a":1}')]


@pytest.mark.parametrize("half", [b'{"a":', b"text", b"42", b" ", b'{"a":1}x'])
def test_final_leaves_what_is_no_record(tmp_path: Path, half: bytes) -> None:
    """The final read leaves a last line that is not a record: it may be unfinished."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"{}\n" + half)
    assert read_lines(file, final=True) == [(1, b"{}")]


def test_the_last_bytes_are_what_a_checkpoint_remembers(tmp_path: Path) -> None:
    """The tail is FINGERPRINT_BYTES long, in however many chunks they were read."""
    content = b"".join(b"%06d\n" % number for number in range(2_000))
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with LineReader(file, 0, 0) as reader:
        for chunk in read_all(reader, limit=300):
            assert chunk.tail == content[: chunk.offset][-FINGERPRINT_BYTES:]
    with LineReader(file, 7_000, 1_000) as reader:
        assert reader.tail == content[7_000 - FINGERPRINT_BYTES : 7_000]
        assert reader.first_bytes == content[:1024]
        assert reader.read(400).lines[:2] == [b"001000", b"001001"]


def test_a_checkpoint_behind_the_end_finds_nothing(tmp_path: Path) -> None:
    """After a file was cut, reading from the checkpoint finds no lines and another tail."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\n")
    with LineReader(file, 2_000, 10) as reader:
        assert reader.tail == b""
        assert reader.read(100).lines == []


CONTENTS = st.lists(
    st.sampled_from(
        [b"\n", b"\r\n", b"x", b"y" * 9, b"z" * 30, b'{"a":1}', b"\r", BOM, b" ", b"\xff"]
    ),
    max_size=60,
).map(b"".join)


def outcome(chunks: list[Chunk]) -> tuple[list[tuple[int, bytes]], tuple[int, int, bytes]]:
    """Return the lines that are not blank, and the position after them."""
    last = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", True)
    found = [(number, line) for number, line in numbered(chunks) if line.strip()]
    return found, (last.offset, last.line, last.tail)


@one_directory
@given(content=CONTENTS, limit=st.integers(1, 80), final=st.booleans())
def test_chunks_of_any_size_give_the_same(
    tmp_path: Path, content: bytes, limit: int, final: bool
) -> None:
    """Lines, numbers and offsets depend on the content alone, not on the chunk size."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with LineReader(file, 0, 0) as reader:
        want = outcome(read_all(reader, final=final))
    with LineReader(file, 0, 0) as reader:
        assert outcome(read_all(reader, limit, final)) == want


@one_directory
@given(content=CONTENTS, limit=st.integers(1, 80))
def test_reopening_after_every_chunk_gives_the_same(
    tmp_path: Path, content: bytes, limit: int
) -> None:
    """A reader needs only offset and line number to continue."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with LineReader(file, 0, 0) as reader:
        want = outcome(read_all(reader))
    chunks: list[Chunk] = []
    while True:
        before = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", True)
        with LineReader(file, before.offset, before.line) as reader:
            chunk = reader.read(limit)
        if chunk.is_end:
            break
        chunks.append(chunk)
    assert outcome(chunks) == want


@one_directory
@given(content=CONTENTS, limit=st.integers(1, 80), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_file_that_grows_in_pieces_gives_the_same(
    tmp_path: Path, content: bytes, limit: int, cuts: list[int]
) -> None:
    """A file gives the same lines wherever each write to it ends."""
    whole, growing = tmp_path / "whole.ndjson", tmp_path / "growing.ndjson"
    whole.write_bytes(content)
    growing.write_bytes(b"")
    chunks: list[Chunk] = []
    with LineReader(growing, 0, 0) as reader:
        for cut in [*sorted(cuts), len(content)]:
            growing.write_bytes(content[:cut])
            chunks += read_all(reader, limit)
    with LineReader(whole, 0, 0) as reader:
        assert outcome(chunks) == outcome(read_all(reader))


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that tests can pass."""
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 20)
    return 20


def too_long(chunks: list[Chunk]) -> int:
    """Return the number of skipped lines."""
    return sum(len(chunk.refused) for chunk in chunks)


@pytest.mark.parametrize("limit", [1, 7, 20, 21, 50, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_that_is_too_long_is_passed_over_and_counted(
    tmp_path: Path, short_limit: int, limit: int, end: bytes
) -> None:
    """A line over the limit is skipped and counted; its neighbours keep their numbers."""
    file = tmp_path / "a.ndjson"
    lines = [b"one", b"x" * 20, b"y" * 21, b"four", b"z" * 500, b"six"]
    file.write_bytes(end.join([*lines, b""]))
    with LineReader(file, 0, 0) as reader:
        chunks = read_all(reader, limit)
    assert [(n, line) for n, line in numbered(chunks) if line] == [
        (1, b"one"),
        (2, b"x" * 20),
        (4, b"four"),
        (6, b"six"),
    ]
    assert too_long(chunks) == 2


@pytest.mark.parametrize("limit", [5, 1_000])
def test_a_line_that_is_too_long_is_counted_once_however_slowly_it_grows(
    tmp_path: Path, short_limit: int, limit: int
) -> None:
    """A line over the limit is counted once, however slowly it grows."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\n")
    chunks: list[Chunk] = []
    for piece in (b"x" * 60, b"y" * 90, b"z" * 10, b"w" * 70 + b"\nthree\n"):
        with file.open("ab") as more:
            more.write(piece)
        last = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", True)
        with LineReader(file, last.offset, last.line) as reader:
            chunks += read_all(reader, limit)
    assert [(n, line) for n, line in numbered(chunks) if line] == [(1, b"one"), (3, b"three")]
    assert too_long(chunks) == 1


def test_very_short_lines_come_in_more_chunks(tmp_path: Path) -> None:
    """A chunk has no more lines than `limit` allows for, however short they are."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"{}\n" * 10_000)
    with LineReader(file, 0, 0) as reader:
        chunks = read_all(reader, limit=100_000)
    assert [chunk.length for chunk in chunks] == [500] * 20
    assert (chunks[-1].offset, chunks[-1].line) == (30_000, 10_000)


def test_a_line_without_an_end_is_skipped_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call reads about `limit` bytes of a line that is too long, not all of it."""
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 100_000)
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\n" + b"x" * 1_000_000 + b"\nthree\n")
    with LineReader(file, 0, 0) as opened:
        chunks = read_all(opened, limit=20_000)
    steps = [after.offset - before.offset for before, after in itertools.pairwise(chunks)]
    assert max(steps) < 200_000 + 40_000
    assert [(n, line) for n, line in numbered(chunks) if line] == [(1, b"one"), (3, b"three")]
    assert too_long(chunks) == 1


def test_memory_holds_a_long_line_only_in_pieces(tmp_path: Path, short_limit: int) -> None:
    """A line over the limit is skipped without being held in memory as a whole."""
    file = tmp_path / "a.ndjson"
    with file.open("wb") as long:
        for _ in range(220):
            long.write(b"x" * (1 << 20))
    program = """
import resource, sys
from pathlib import Path
from mikroscope.logfiles import reader as logfiles
logfiles.MAX_LINE_BYTES = 1 << 20
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
with logfiles.LineReader(Path(sys.argv[1]), 0, 0) as reader:
    print(len(reader.read(8 << 20).refused))
    while not reader.read(8 << 20).is_end:
        pass
"""
    assert run_python(program, file) == "1"


def test_packed_lines_are_read(tmp_path: Path) -> None:
    """Offsets of a packed file count bytes of its content."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b"one\r\ntwo\nthree\n"))
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert read_lines(file, offset=5, line=1) == [(2, b"two"), (3, b"three")]


def test_packed_members_follow_each_other(tmp_path: Path) -> None:
    """A line may span two gzip members."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"") + gzip.compress(b"o\nthree\n"))
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b"three")]


def packed(size: int) -> tuple[bytes, bytes]:
    """Lines that pack badly, and the same packed."""
    chance = random.Random(1)
    content = b"".join(b"%032x\n" % chance.getrandbits(128) for _ in range(size // 33))
    return content, gzip.compress(content)


@pytest.mark.parametrize("limit", [2_000, 100_000, 1 << 20])
@pytest.mark.parametrize("broken", ["cut", "junk", "checksum"])
def test_a_packed_file_gives_what_can_be_unpacked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int, broken: str
) -> None:
    """A cut-off or damaged packed file gives its whole lines; only damage is reported."""
    content, whole = packed(200_000)
    wrong = {
        "cut": whole[: len(whole) // 2],
        "junk": whole + b"what gzip never writes",
        "checksum": whole[:-8] + b"\0" * 8,
    }[broken]
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(wrong)
    with LineReader(file, 0, 0) as reader:
        found = [line for _, line in numbered(read_all(reader, limit))]
    lines = content.split(b"\n")[:-1]
    assert len(found) > len(lines) * 2 // 5
    assert found == lines[: len(found)]
    assert len(caplog.records) == (broken != "cut")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f",
        b"\x1f\x8b\x08",
        b"no gzip at all\n",
        packed(90_000)[1][:40_000],
        b"\x1f\x8b\x01",
    ],
)
def test_a_packed_file_that_ends_before_its_checkpoint_has_another_tail(
    tmp_path: Path, content: bytes
) -> None:
    """A packed file that ends before its checkpoint has another tail, like a plain file."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(content)
    with LineReader(file, 80_000, 10) as reader:
        assert reader.tail == b""
        assert len(reader.first_bytes) in (0, 1024)
        assert reader.read(100).lines == []


def packed_file(file: Path, content: bytes) -> Path:
    """Write a gzip file with this content."""
    file.write_bytes(gzip.compress(content, 1))
    return file


def test_a_packed_file_is_approached_in_parts(tmp_path: Path) -> None:
    """Reading goes on at an offset of a packed file, however small the parts until there."""
    content = b"".join(b'{"n":%d}\n' % n for n in range(20_000))
    offset = content.index(b'{"n":15000}')
    tree = LogTree(tmp_path, (".gz",))
    packed_file(tmp_path / "a.gz", content)
    calls = 0
    is_there = False
    while not is_there:
        with tree.resume("a.gz", offset, 15_000) as reader:
            is_there = reader.approach(10_000)
            calls += 1
    assert calls > offset // 10_000 - 1
    with tree.resume("a.gz", offset, 15_000) as again:
        assert again is reader
        assert again.tail == content[offset - 1024 : offset]
        assert again.read(30).lines[0] == b'{"n":15000}'
    tree.release()


def test_a_packed_file_that_is_shorter_than_the_offset(tmp_path: Path) -> None:
    """The way to an offset behind the end, or behind damage, ends."""
    content = packed_file(tmp_path / "a.gz", os.urandom(100_000)).read_bytes()
    for kept in (content, content[:50_000], content[:50_000] + b"?" * 1000 + content[51_000:]):
        (tmp_path / "a.gz").write_bytes(kept)
        with closing(LineReader(tmp_path / "a.gz", 10_000_000, 7)) as reader:
            assert sum(not reader.approach(10_000) for _ in range(20)) <= 11
            assert reader.tail == b""


def test_a_packed_file_that_changes_is_opened_again(tmp_path: Path) -> None:
    """What stays open between parts is given up when the file, or the place in it, is another."""
    tree = LogTree(tmp_path, (".gz",))
    packed_file(tmp_path / "a.gz", b"x\n" * 5_000)
    with tree.resume("a.gz", 4_000, 2_000) as first:
        pass
    with tree.resume("a.gz", 2_000, 1_000) as second:
        pass
    packed_file(tmp_path / "a.gz", b"y\n" * 5_000)
    with tree.resume("a.gz", 2_000, 1_000) as third:
        third.approach()
        assert third.read(10).lines[0] == b"y"
    assert len({id(first), id(second), id(third)}) == 3
    tree.release()
