"""The tree of files is found as it is, lines are read whole, and appended whole."""

import gzip
import logging
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mikroscope.errors import StorageFullError, StoreError
from mikroscope.logfiles import reader
from mikroscope.logfiles import tree as logfiles
from mikroscope.logfiles.appender import LogAppender
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, Chunk, LineReader
from mikroscope.logfiles.tree import LogTree
from tests.helpers.stores import SUFFIXES, CountingTree, run_python

BOM = b"\xef\xbb\xbf"
one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tree(tmp_path: Path) -> CountingTree:
    """An empty tree."""
    return CountingTree(tmp_path)


def write(tree: LogTree, path: str, content: bytes = b"{}\n") -> Path:
    """Make a file with its directories."""
    file = tree.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# --- walk ---------------------------------------------------------------------------------


def test_files_are_known_by_their_suffix(tree: CountingTree) -> None:
    """What ends otherwise is listed among the others, with its inode."""
    for name in ("a.ndjson", "b.jsonl", "d/e/c.ndjson"):
        write(tree, name)
    write(tree, "d.ndjson.gz", gzip.compress(b"{}\n"))
    other = write(tree, "a.ndjson.old")
    listing = tree.walk()
    assert list(listing.files) == ["a.ndjson", "b.jsonl", "d.ndjson.gz", "d/e/c.ndjson"]
    assert listing.others == {"a.ndjson.old": other.stat().st_ino}


@pytest.mark.parametrize(
    "name",
    [
        *("a.ndjson.1", "a.jsonl.20", "a.log.3", "a.ndjson-20260218", "a.ndjson.2026-02-18"),
        *("a.ndjson.2026-02-18_10-20-00", "a.ndjson-2026021810"),
    ],
)
def test_rotated_files_are_read(tree: CountingTree, name: str) -> None:
    """A number or a date behind a suffix is what rotation adds."""
    write(tree, name)
    assert list(tree.walk().files) == [name]


def test_rotated_and_packed_files_are_read(tree: CountingTree) -> None:
    """As logrotate names them when it compresses."""
    write(tree, "a.ndjson.2.gz", gzip.compress(b"{}\n"))
    assert list(tree.walk().files) == ["a.ndjson.2.gz"]


def test_a_listed_file_comes_with_its_look(tree: CountingTree) -> None:
    """Device, inode, size and modification time: what a checkpoint is compared with."""
    stat = write(tree, "a.ndjson", b"{}\n{}\n").stat()
    assert tree.walk().files["a.ndjson"] == (stat.st_dev, stat.st_ino, 6, stat.st_mtime_ns)
    assert tree.stat("a.ndjson") == tree.walk().files["a.ndjson"]


def test_a_file_that_is_not_there_has_no_look(tree: CountingTree) -> None:
    """It is no error to ask."""
    assert tree.stat("missing.ndjson") is None


def test_a_walk_opens_nothing(tree: CountingTree) -> None:
    """Names and looks are enough."""
    for number in range(20):
        write(tree, f"{number}.ndjson")
    tree.walk()
    assert tree.opened == []


@pytest.mark.parametrize(
    "content", [b'{"a":1}\n', BOM + b'{"a":1}\r\n', b'\n\n  {"a":1}\nplain text\n']
)
def test_a_log_file_with_json_in_its_first_line_is_read(tree: CountingTree, content: bytes) -> None:
    """Blank lines before it do not count."""
    write(tree, "a.log", content)
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b'{"a":1}', b"plain text\n", b"[1]\n", b'plain\n{"a":1}\n', b"{broken\n", b"\0\0"],
)
def test_any_other_log_file_is_not(tree: CountingTree, content: bytes) -> None:
    """It is one of the others."""
    write(tree, "a.log", content)
    assert list(tree.walk().others) == ["a.log"]


@pytest.mark.parametrize("size", [0, 2_000])
def test_a_log_file_is_asked_again_when_it_has_grown(tree: CountingTree, size: int) -> None:
    """Its first line, however long, may have been half written before."""
    file = write(tree, "a.log", b'{"a":"' + b"x" * size)
    assert list(tree.walk().files) == []
    with file.open("ab") as more:
        more.write(b'"}\n')
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize("content", [b'{"a":1}\n', b"plain text\n"])
def test_a_log_file_that_does_not_change_is_asked_once(tree: CountingTree, content: bytes) -> None:
    """Thousands of idle files are not opened at every look."""
    write(tree, "a.log", content)
    first = tree.walk()
    tree.opened.clear()
    assert tree.walk() == first
    assert tree.opened == []


def test_a_large_log_file_without_line_ends_is_not_read_through(
    tree: CountingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes tell that it is no JSON."""
    write(tree, "core.log", b"\x7fELF" + bytes(5_000))
    monkeypatch.setattr(logfiles, "LineReader", None)  # nothing is read line by line
    assert list(tree.walk().others) == ["core.log"]


def test_a_directory_named_like_a_file_is_a_directory(tree: CountingTree) -> None:
    """What is in it is found."""
    write(tree, "x.ndjson/a.ndjson")
    assert list(tree.walk().files) == ["x.ndjson/a.ndjson"]


def test_a_link_to_a_file_outside_is_read(tree: CountingTree, tmp_path: Path) -> None:
    """Under its name in the tree."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside.ndjson"
    outside.write_bytes(b"{}\n")
    (tree.root / "link.ndjson").symlink_to(outside)
    assert list(tree.walk().files) == ["link.ndjson"]


def test_a_link_to_a_directory_outside_is_followed(tree: CountingTree, tmp_path: Path) -> None:
    """Containers mount their logs so."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "a.ndjson").write_bytes(b"{}\n")
    (tree.root / "pods").symlink_to(outside)
    assert list(tree.walk().files) == ["pods/a.ndjson"]


@pytest.mark.parametrize("link", ["a.ndjson", "z.ndjson"])
def test_of_a_file_and_a_link_to_it_the_file_is_read(tree: CountingTree, link: str) -> None:
    """Whatever their names, its lines come once."""
    write(tree, "m.ndjson")
    (tree.root / link).symlink_to("m.ndjson")
    assert list(tree.walk().files) == ["m.ndjson"]


def test_of_two_names_of_one_file_the_first_is_read(tree: CountingTree) -> None:
    """Its lines come once."""
    file = write(tree, "b.ndjson")
    (tree.root / "a.ndjson").hardlink_to(file)
    assert list(tree.walk().files) == ["a.ndjson"]


@pytest.mark.parametrize("link", ["a", "z", "m/a/down"])
def test_of_a_directory_and_a_link_to_it_the_directory_is_read(
    tree: CountingTree, link: str
) -> None:
    """So a file's path does not depend on the order in which the system lists a directory."""
    write(tree, "m/a/x.ndjson")
    write(tree, "n/y.ndjson")
    (tree.root / link).symlink_to(tree.root / "n", target_is_directory=True)
    assert list(tree.walk().files) == ["m/a/x.ndjson", "n/y.ndjson"]


def test_links_in_a_circle_end(tree: CountingTree) -> None:
    """A link to a directory above, and one to itself."""
    write(tree, "d/a.ndjson")
    (tree.root / "d" / "up").symlink_to("..", target_is_directory=True)
    (tree.root / "self.ndjson").symlink_to("self.ndjson")
    (tree.root / "self").symlink_to("self")
    assert list(tree.walk().files) == ["d/a.ndjson"]


def test_a_dangling_link_is_left_out(tree: CountingTree) -> None:
    """There is nothing to read."""
    (tree.root / "a.ndjson").symlink_to("missing.ndjson")
    assert list(tree.walk().files) == []


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.1", "a.log", "a"])
def test_a_pipe_is_neither_read_nor_listed(tree: CountingTree, name: str) -> None:
    """To open it would wait for a writer forever."""
    os.mkfifo(tree.root / name)
    assert tree.walk() == ({}, {})


def test_a_device_is_not_read(tree: CountingTree) -> None:
    """/dev/zero has no end."""
    (tree.root / "zero.ndjson").symlink_to("/dev/zero")
    assert tree.walk() == ({}, {})


def test_very_deep_directories_are_walked(tree: CountingTree) -> None:
    """Deeper than Python's stack."""
    path = "d/" * 1_200
    try:
        subprocess.run(["mkdir", "-p", path], cwd=tree.root, check=True)
        write(tree, f"{path}a.ndjson")
        assert list(tree.walk().files) == [f"{path}a.ndjson"]
    finally:  # Python's own way to clean up is not up to that
        subprocess.run(["rm", "-rf", "d"], cwd=tree.root, check=True)


def test_a_name_that_is_no_utf8_is_left_out_with_one_warning(
    tree: CountingTree, caplog: pytest.LogCaptureFixture
) -> None:
    """No index and no JSON can hold it; its neighbours are read."""
    write(tree, "a.ndjson")
    for name in (b"/\xff.ndjson", b"/\xff.ndjson.1"):
        Path(os.fsdecode(os.fsencode(tree.root) + name)).write_bytes(b"{}\n")
    Path(os.fsdecode(os.fsencode(tree.root) + b"/\xfe")).mkdir()
    write(tree, os.fsdecode(b"\xfe/b.ndjson"))
    for _ in range(3):
        assert list(tree.walk().files) == ["a.ndjson"]
    told = [record.message for record in caplog.records]
    assert len(told) == len(set(told)) == 3
    assert all("UTF-8" in text for text in told)


def test_an_unreadable_directory_costs_its_files_only() -> None:
    """Its neighbours are found, and there is one warning, however often one looks."""
    program = """
import logging, tempfile
from pathlib import Path
from mikroscope.logfiles.tree import LogTree
become_nobody()
told = []
handler = logging.Handler(); handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(handler)
with tempfile.TemporaryDirectory() as root:
    tree = LogTree(Path(root), (".ndjson",))
    for name in ("open", "shut"):
        (tree.root / name).mkdir()
        (tree.root / name / "a.ndjson").touch()
    (tree.root / "shut").chmod(0)
    print([list(tree.walk().files) for _ in range(3)], len(told), "shut" in told[0])
    (tree.root / "shut").chmod(0o700)
"""
    assert run_python(program) == "[['open/a.ndjson'], ['open/a.ndjson'], ['open/a.ndjson']] 1 True"


def test_a_root_that_is_missing_is_empty(tmp_path: Path) -> None:
    """It may be mounted later."""
    assert LogTree(tmp_path / "missing", SUFFIXES).walk() == ({}, {})


# --- what changes concern -----------------------------------------------------------------


def test_an_absolute_path_is_named_as_the_tree_names_it(tree: CountingTree) -> None:
    """And one beside the root is none of it."""
    assert tree.relative(f"{tree.root}/d/a.ndjson") == "d/a.ndjson"
    assert tree.relative(f"{tree.root}-other/a.ndjson") is None


def test_files_that_are_read_directories_and_what_is_gone_concern_the_index(
    tree: CountingTree,
) -> None:
    """Other files do not."""
    write(tree, "a.ndjson")
    write(tree, "d/b.txt")
    names = ("a.ndjson", "d", "gone", "d/b.txt")
    assert [tree.concerns(name) for name in names] == [True, True, True, False]


def test_a_log_file_of_plain_text_does_not_concern_the_index(tree: CountingTree) -> None:
    """It may change all the time; whether it holds JSON now is seen at the next look."""
    write(tree, "plain.log", b"plain text\n")
    write(tree, "json.log", b"{}\n")
    tree.walk()
    assert [tree.concerns(name) for name in ("plain.log", "json.log", "new.log")] == [
        False,
        True,
        True,
    ]


# --- read ---------------------------------------------------------------------------------


def read_all(reader: LineReader, limit: int = 1 << 20, final: bool = False) -> list[Chunk]:
    """Every chunk up to the end."""
    chunks = []
    while (chunk := reader.read(limit, final)).lines or chunk.too_long:
        chunks.append(chunk)
    return chunks


def numbered(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    """Each line with its number."""
    return [
        (number, line)
        for chunk in chunks
        for number, line in enumerate(chunk.lines, chunk.line - len(chunk.lines) + 1)
    ]


def read_lines(
    file: Path, offset: int = 0, line: int = 0, final: bool = False
) -> list[tuple[int, bytes]]:
    """The lines of a file behind a checkpoint, with their numbers."""
    with LineReader(file, offset, line) as reader:
        return numbered(read_all(reader, final=final))


def test_whole_lines_come_with_their_numbers(tmp_path: Path) -> None:
    """Without their ends; the last one waits for its own."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\n\nfour\nhal")
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b""), (4, b"four")]


def test_a_chunk_says_where_the_next_one_starts(tmp_path: Path) -> None:
    """Offset, line number, and the last bytes before."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\nhal")
    with LineReader(file, 0, 0) as reader:
        assert reader.read(1 << 20) == (b"one\ntwo", 2, 8, 2, b"one\ntwo\n", 0)


def test_at_the_end_a_chunk_is_empty(tmp_path: Path) -> None:
    """As often as one asks."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\nhal")
    with LineReader(file, 0, 0) as reader:
        reader.read(100)
        assert reader.read(100) == reader.read(100) == (b"", 0, 4, 1, b"one\n", 0)


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    """And is no error."""
    (tmp_path / "a.ndjson").touch()
    assert read_lines(tmp_path / "a.ndjson") == []


def test_reading_goes_on_behind_a_checkpoint(tmp_path: Path) -> None:
    """With the line numbers that follow."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntwo\nthree\n")
    assert read_lines(file, offset=4, line=1) == [(2, b"two"), (3, b"three")]


def test_a_line_is_completed_later(tmp_path: Path) -> None:
    """The same reader, and a new one, find it when its end has come."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\ntw")
    with LineReader(file, 0, 0) as reader, file.open("ab", buffering=0) as more:
        assert numbered(read_all(reader)) == [(1, b"one")]
        more.write(b"o\n")
        assert numbered(read_all(reader)) == [(2, b"two")]
    assert read_lines(file, offset=4, line=1) == [(2, b"two")]


def test_crlf_ends_a_line(tmp_path: Path) -> None:
    """Mixed with LF, too; offsets count its bytes."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\r\ntwo\n\r\nfo\rur\r\n")
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b""), (4, b"fo\rur")]
    assert read_lines(file, offset=5, line=1)[0] == (2, b"two")


def test_a_byte_order_mark_is_dropped_at_the_start_only(tmp_path: Path) -> None:
    """Elsewhere it is the line's own."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(BOM + b"one\n" + BOM + b"two\n")
    assert read_lines(file) == [(1, b"one"), (2, BOM + b"two")]


@pytest.mark.parametrize("start", [b"", BOM])
def test_final_takes_a_record_without_line_end(tmp_path: Path, start: bytes) -> None:
    """Also behind a byte order mark."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(start + b'{"a":1}')
    assert read_lines(file, final=True) == [(1, b'{"a":1}')]


@pytest.mark.parametrize("half", [b'{"a":', b"text", b"42", b" ", b'{"a":1}x'])
def test_final_leaves_what_is_no_record(tmp_path: Path, half: bytes) -> None:
    """It may be half a line, and waits."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"{}\n" + half)
    assert read_lines(file, final=True) == [(1, b"{}")]


@pytest.mark.parametrize("rest", [b"\n", b"\r\n", b"  \n"])
def test_the_end_of_a_line_that_final_took_is_no_line(tmp_path: Path, rest: bytes) -> None:
    """What follows has the number it has in the file."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"a":1}\n{"a":2}')
    with LineReader(file, 0, 0) as reader:
        taken = read_all(reader, final=True)[-1]
    with file.open("ab") as more:
        more.write(rest + b'{"a":3}\n{"a":4}\n')
    found = read_lines(file, taken.offset, taken.line)
    assert [(n, line) for n, line in found if line] == [(3, b'{"a":3}'), (4, b'{"a":4}')]


def test_what_was_glued_to_a_line_that_final_took_is_passed_over(tmp_path: Path) -> None:
    """Only up to the line's end, and it is not taken for a record of its own."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"a":1}{"b":2}\n{"c":3}\n')
    assert read_lines(file, offset=7, line=1) == [(1, b""), (2, b'{"c":3}')]
    file.write_bytes(b'{"a":1}{"b":2}')
    found = read_lines(file, offset=7, line=1, final=True)
    assert [line for _, line in found if line] == []


def test_the_last_bytes_are_what_a_checkpoint_remembers(tmp_path: Path) -> None:
    """FINGERPRINT_BYTES before the offset, whichever chunks they came in."""
    content = b"".join(b"%06d\n" % number for number in range(2_000))
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with LineReader(file, 0, 0) as reader:
        for chunk in read_all(reader, limit=300):
            assert chunk.tail == content[: chunk.offset][-FINGERPRINT_BYTES:]
    with LineReader(file, 7_000, 1_000) as reader:
        assert reader.tail == content[7_000 - FINGERPRINT_BYTES : 7_000]
        assert reader.head(500) == content[:500]
        assert reader.read(20).lines == [b"001000", b"001001"]


def test_a_checkpoint_behind_the_end_finds_nothing(tmp_path: Path) -> None:
    """The file was cut; the caller sees it by the tail."""
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
    """The lines that hold something, and where reading stands."""
    last = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", 0)
    found = [(number, line) for number, line in numbered(chunks) if line.strip()]
    return found, (last.offset, last.line, last.tail)


@one_directory
@given(content=CONTENTS, limit=st.integers(1, 80), final=st.booleans())
def test_chunks_of_any_size_give_the_same(
    tmp_path: Path, content: bytes, limit: int, final: bool
) -> None:
    """Lines, numbers and offsets depend on the content alone."""
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
    """Offset and line number are all a reader needs."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(content)
    with LineReader(file, 0, 0) as reader:
        want = outcome(read_all(reader))
    chunks: list[Chunk] = []
    while True:
        before = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", 0)
        with LineReader(file, before.offset, before.line) as reader:
            chunk = reader.read(limit)
        if not chunk.lines:
            break
        chunks.append(chunk)
    assert outcome(chunks) == want


@one_directory
@given(content=CONTENTS, limit=st.integers(1, 80), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_file_that_grows_in_pieces_gives_the_same(
    tmp_path: Path, content: bytes, limit: int, cuts: list[int]
) -> None:
    """Wherever a write ends."""
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


# --- lines that are too long ----------------------------------------------------------------


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that tests can pass."""
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 20)
    return 20


def too_long(chunks: list[Chunk]) -> int:
    """How many lines were passed over."""
    return sum(chunk.too_long for chunk in chunks)


@pytest.mark.parametrize("limit", [1, 7, 20, 21, 50, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_that_is_too_long_is_passed_over_and_counted(
    tmp_path: Path, short_limit: int, limit: int, end: bytes
) -> None:
    """Its neighbours keep their numbers; a line of just the limit is kept."""
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
    """And what follows has the number it has in the file."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\n")
    chunks: list[Chunk] = []
    for piece in (b"x" * 60, b"y" * 90, b"z" * 10, b"w" * 70 + b"\nthree\n"):
        with file.open("ab") as more:
            more.write(piece)
        last = chunks[-1] if chunks else Chunk(b"", 0, 0, 0, b"", 0)
        with LineReader(file, last.offset, last.line) as reader:
            chunks += read_all(reader, limit)
    assert [(n, line) for n, line in numbered(chunks) if line] == [(1, b"one"), (3, b"three")]
    assert too_long(chunks) == 1


def test_memory_holds_a_long_line_only_in_pieces(tmp_path: Path, short_limit: int) -> None:
    """It is skipped without being read as a whole."""
    file = tmp_path / "a.ndjson"
    with file.open("wb") as sparse:
        sparse.truncate(300 << 20)
    program = """
import resource, sys
from pathlib import Path
from mikroscope.logfiles import reader as logfiles
logfiles.MAX_LINE_BYTES = 1 << 20
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
with logfiles.LineReader(Path(sys.argv[1]), 0, 0) as reader:
    print(reader.read(8 << 20).too_long)
"""
    assert run_python(program, file) == "1"


# --- .gz ------------------------------------------------------------------------------------


def test_packed_lines_are_read(tmp_path: Path) -> None:
    """Offsets count bytes of the content."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b"one\r\ntwo\nthree\n"))
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert read_lines(file, offset=5, line=1) == [(2, b"two"), (3, b"three")]


def test_packed_members_follow_each_other(tmp_path: Path) -> None:
    """A line may go across them."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"") + gzip.compress(b"o\nthree\n"))
    assert read_lines(file) == [(1, b"one"), (2, b"two"), (3, b"three")]


def packed(size: int) -> tuple[bytes, bytes]:
    """Lines that pack badly, and the same packed."""
    chance = random.Random(1)
    content = b"".join(b"%032x\n" % chance.getrandbits(128) for _ in range(size // 33))
    return content, gzip.compress(content)


@pytest.mark.parametrize("limit", [100, 5_000, 1 << 20])
@pytest.mark.parametrize("broken", ["cut", "junk", "checksum"])
def test_a_packed_file_gives_what_can_be_unpacked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int, broken: str
) -> None:
    """Whole lines up to where it is cut off (still being written) or damaged (which is told)."""
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
    """As a plain one; by that the caller sees it."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(content)
    with LineReader(file, 80_000, 10) as reader:
        assert reader.tail == b""
        assert len(reader.head(100)) in (0, 100)
        assert reader.read(100).lines == []


def test_the_head_of_what_cannot_be_read_is_empty(tree: CountingTree) -> None:
    """Missing, a directory, or no gzip."""
    write(tree, "no.ndjson.gz", b"plain")
    (tree.root / "d").mkdir()
    assert [tree.head(path) for path in ("missing", "d", "no.ndjson.gz")] == [b"", b"", b""]


def test_the_head_of_a_packed_file_is_that_of_its_content(tree: CountingTree) -> None:
    """By it a packed file is known again."""
    content, whole = packed(5_000)
    write(tree, "a.ndjson.gz", whole)
    assert tree.head("a.ndjson.gz") == content[:FINGERPRINT_BYTES]


# --- append ---------------------------------------------------------------------------------


@pytest.fixture
def writer(tmp_path: Path) -> LogAppender:
    """A writer below an empty root."""
    return LogAppender(tmp_path)


def test_lines_are_appended(tmp_path: Path, writer: LogAppender) -> None:
    """Directories are made; how the file looked before and after is returned, and its end."""
    done = [writer.append("d/e/a.ndjson", line) for line in (b"one\n", b"two\nthree\n")]
    writer.close()
    assert (tmp_path / "d/e/a.ndjson").read_bytes() == b"one\ntwo\nthree\n"
    assert [(one.before.size, one.after.size, one.tail) for one in done] == [
        (0, 4, b"one\n"),
        (4, 14, b"one\ntwo\nthree\n"),
    ]


def test_what_is_appended_can_be_read_at_once(tmp_path: Path, writer: LogAppender) -> None:
    """Nothing waits in a buffer."""
    writer.append("a.ndjson", b"one\n")
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\n"
    writer.close()


def test_half_a_line_keeps_a_line_of_its_own(tmp_path: Path, writer: LogAppender) -> None:
    """A crash left it; the next record is not glued to it."""
    (tmp_path / "a.ndjson").write_bytes(b'{"a":1}\n{"hal')
    writer.append("a.ndjson", b'{"b":2}\n')
    writer.append("a.ndjson", b'{"c":3}\n')
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b'{"a":1}\n{"hal\n{"b":2}\n{"c":3}\n'


def test_a_file_that_was_renamed_is_not_written_any_more(
    tmp_path: Path, writer: LogAppender
) -> None:
    """A new one is made under the old name."""
    writer.append("a.ndjson", b"one\n")
    (tmp_path / "a.ndjson").rename(tmp_path / "a.ndjson.1")
    assert writer.append("a.ndjson", b"two\n").before.size == 0
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"two\n"
    assert (tmp_path / "a.ndjson.1").read_bytes() == b"one\n"


def test_a_file_that_was_deleted_is_made_anew(tmp_path: Path, writer: LogAppender) -> None:
    """With its directory."""
    writer.append("d/a.ndjson", b"one\n")
    (tmp_path / "d/a.ndjson").unlink()
    (tmp_path / "d").rmdir()
    writer.append("d/a.ndjson", b"two\n")
    writer.close()
    assert (tmp_path / "d/a.ndjson").read_bytes() == b"two\n"


def test_a_file_that_was_cut_is_written_at_its_end(tmp_path: Path, writer: LogAppender) -> None:
    """No hole is left where its content was."""
    writer.append("a.ndjson", b"one\n")
    os.truncate(tmp_path / "a.ndjson", 0)
    assert writer.append("a.ndjson", b"two\n").before.size == 0
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"two\n"


def test_many_files_do_not_use_up_the_descriptors(tmp_path: Path, writer: LogAppender) -> None:
    """Only some are kept open; every one gets its lines."""
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(2):
        for number in range(200):
            writer.append(f"{number}.ndjson", b"%d\n" % turn)
    assert len(os.listdir("/proc/self/fd")) <= before + 64
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert {file.read_bytes() for file in tmp_path.glob("*.ndjson")} == {b"0\n1\n"}


def make_directory(file: Path) -> None:
    """A directory stands in the way."""
    file.mkdir()


def make_parent_a_file(file: Path) -> None:
    """So does a file."""
    file.parent.rmdir()
    file.parent.write_bytes(b"")


@pytest.mark.parametrize("block", [make_directory, make_parent_a_file])
def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, writer: LogAppender, block: Callable[[Path], None]
) -> None:
    """With the system's reason."""
    (tmp_path / "d").mkdir()
    block(tmp_path / "d/a.ndjson")
    with pytest.raises(StoreError, match=r"^d/a\.ndjson cannot be written: .+"):
        writer.append("d/a.ndjson", b"one\n")


def test_lines_can_be_taken_back(tmp_path: Path, writer: LogAppender) -> None:
    """The file is as before, and can be written again."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    writer.truncate("a.ndjson", size)
    writer.append("a.ndjson", b"three\n")
    writer.close()
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\nthree\n"


def test_lines_are_taken_back_from_the_file_they_went_to(
    tmp_path: Path, writer: LogAppender
) -> None:
    """Also when it was renamed meanwhile; nothing else is made or touched."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    (tmp_path / "a.ndjson").rename(tmp_path / "b.ndjson")
    writer.truncate("a.ndjson", size)
    writer.close()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"b.ndjson": b"one\n"}


def test_lines_are_taken_back_from_a_file_that_is_not_open_any_more(
    tmp_path: Path, writer: LogAppender
) -> None:
    """Only some files are kept open."""
    writer.append("a.ndjson", b"one\n")
    size = writer.append("a.ndjson", b"two\n").before.size
    writer.close()
    writer.truncate("a.ndjson", size)
    assert (tmp_path / "a.ndjson").read_bytes() == b"one\n"


def test_taking_back_makes_no_file_and_no_file_longer(tmp_path: Path, writer: LogAppender) -> None:
    """Whatever has happened to it meanwhile."""
    (tmp_path / "a.ndjson").write_bytes(b"one\n")
    for name in ("a.ndjson", "b.ndjson"):
        writer.truncate(name, 100)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.ndjson": b"one\n"}


FULL_DISK = """
import sys
from pathlib import Path
from mikroscope.errors import StorageFullError
from mikroscope.logfiles.appender import LogAppender
writer = LogAppender(Path(sys.argv[1]))
line = b'{"pad":"' + b"x" * 990 + b'"}\\n'
written = 0
try:
    while written < 10_000_000:
        writer.append("a.ndjson", line * 3)
        written += 3
except StorageFullError as error:
    print(written, "|", error)
content = Path(sys.argv[1], "a.ndjson").read_bytes()
assert content == line * written, (len(content), len(line) * written)
"""


def test_a_file_at_its_size_limit_is_left_whole(tmp_path: Path) -> None:
    """What does not fit is taken back; the error says why."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    written, _, error = run_python(limit + FULL_DISK, tmp_path).partition(" | ")
    assert written == "99"
    assert error == "a.ndjson cannot be written: File too large"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """What does not fit is taken back; the error says why."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        written, _, error = run_python(FULL_DISK, tmp_path).partition(" | ")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert 100 < int(written) < 205
    assert error == "a.ndjson cannot be written: No space left on device"


def test_a_full_disk_is_an_error_of_its_own(tmp_path: Path, writer: LogAppender) -> None:
    """So that a client can be told to try again."""
    (tmp_path / "a.ndjson").symlink_to("/dev/full")
    with pytest.raises(StorageFullError, match="No space left on device"):
        writer.append("a.ndjson", b"one\n")
    writer.close()


def test_nothing_is_logged_about_an_ordinary_tree(
    tree: CountingTree, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are for what somebody should look at."""
    write(tree, "a.ndjson")
    (tree.root / "empty").mkdir()
    with caplog.at_level(logging.DEBUG):
        tree.walk()
    assert caplog.records == []
