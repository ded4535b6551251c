"""Runs of NUL bytes, as truncation and power loss leave them, cost neither lines nor time."""

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mikroscope.logfiles import reader as reader_module
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, Chunk, LineReader
from mikroscope.logfiles.tree import LogTree
from tests.helpers.stores import run_python

A, B = b'{"a":1}', b'{"b":2}'
SIZES = [1, 2, 1023, 1024, 1025, 70_000]
GIB = 1 << 30


def read(file: Path, limit: int = 1 << 20, final: bool = False) -> list[Chunk]:
    """Return every chunk, and the one at the end."""
    with LineReader(file) as opened:
        chunks = [opened.read(limit, final)]
        while not chunks[-1].is_end:
            chunks.append(opened.read(limit, final))
    return chunks


def numbered(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank, with their numbers."""
    return [
        (number, line)
        for chunk in chunks
        for number, line in enumerate(chunk.lines, chunk.line - chunk.length + 1)
        if line.strip()
    ]


def refused(chunks: list[Chunk]) -> list[int]:
    """Return the numbers of the lines that were refused by the reader."""
    return [number for chunk in chunks for number, _ in chunk.refused]


@pytest.mark.parametrize("limit", [1, 100, 1 << 20])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("parts", "want"),
    [
        ((b"", A + b"\n" + B + b"\n"), [(1, A), (2, B)]),
        ((A + b"\n", B + b"\n"), [(1, A), (2, B)]),
        ((A + b"\r\n", b"\r\n" + B + b"\n"), [(1, A), (3, B)]),
        ((A, b"\n" + B + b"\n"), [(1, A), (2, B)]),
        ((A + b"\n", b"\n", B + b"\n"), [(1, A), (3, B)]),
        ((b"\xef\xbb\xbf", A + b"\n"), [(1, A)]),
        ((b"", b"\xef\xbb\xbf" + A + b"\n"), [(1, A)]),
        ((A + b"\n", b""), [(1, A)]),
        ((A + b"\n", B[:4]), [(1, A)]),
        ((b"", b""), []),
    ],
)
def test_they_are_ignored_around_lines(
    tmp_path: Path, size: int, limit: int, parts: tuple[bytes, ...], want: list[tuple[int, bytes]]
) -> None:
    """Before a line, after it, alone on one and at the end; line numbers are those of the file."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(bytes(size).join(parts))
    if size > 2_000 and limit == 1:
        limit = 50
    chunks = read(file, limit)
    assert (numbered(chunks), refused(chunks)) == (want, [])


@pytest.mark.parametrize("size", SIZES[1:])
def test_they_are_ignored_within_a_line(tmp_path: Path, size: int) -> None:
    """A run within a record leaves the record as it was."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"a":' + bytes(size) + b"1}\n" + B + b"\n")
    assert numbered(read(file)) == [(1, A), (2, B)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("half", [b'{"c":', b"text ", b"3}"])
def test_a_record_beside_half_a_line(tmp_path: Path, size: int, half: bytes) -> None:
    """A record that NUL bytes divide from half a line is read; the half is refused by number."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(A + b"\n" + half + bytes(size) + B + b"\n" + B + bytes(size) + half + b"\n")
    chunks = read(file)
    assert (numbered(chunks), refused(chunks)) == ([(1, A), (2, B), (3, B)], [2, 3])


@pytest.mark.parametrize("size", SIZES)
def test_records_of_one_line(tmp_path: Path, size: int) -> None:
    """Several records that NUL bytes divide come as one line, with one NUL byte between two."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(A + bytes(size) + B + bytes(size) + A + b"\n" + B + b"\n")
    chunks = read(file)
    assert numbered(chunks) == [(1, b"\0".join([A, B, A])), (2, B)]
    assert refused(chunks) == []


def test_utf_16_is_no_run_of_nul_bytes(tmp_path: Path) -> None:
    """Single NUL bytes between characters stay: such a line is an error, not garbled text."""
    file = tmp_path / "a.ndjson"
    file.write_text('{"a":"é"}\n{"b":2}\n', encoding="utf-16")
    assert all(line.count(b"\0") > 5 for _, line in numbered(read(file)))


def test_a_last_line_before_them(tmp_path: Path) -> None:
    """What a power loss leaves: the last record without its end, and NUL bytes."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(A + b"\n" + B + bytes(5_000))
    chunks = read(file, final=True)
    assert (numbered(chunks), chunks[-1].offset) == ([(1, A), (2, B)], 15)


def test_offset_and_tail_are_those_of_the_file(tmp_path: Path) -> None:
    """A checkpoint counts NUL bytes, and its fingerprints cover them."""
    file = tmp_path / "a.ndjson"
    for size in (10, 500, 1023, 1024, 5_000):
        content = bytes(size) + A + b"\n" + bytes(size) + B + b"\n"
        file.write_bytes(content + b"half")
        for limit in (7, 900, 1 << 20):
            with LineReader(file) as opened:
                while not (chunk := opened.read(limit)).is_end:
                    pass
                assert chunk.offset == len(content)
                assert chunk.tail == content[-FINGERPRINT_BYTES:]
                assert opened.first_bytes == content[:FINGERPRINT_BYTES]


PIECES = st.lists(
    st.sampled_from([b"\n", b"\r\n", A, b"x", bytes(3), bytes(1024), bytes(3000), b" ", b"y" * 50]),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=PIECES, limit=st.integers(1, 3_000), final=st.booleans(), cut=st.integers(0, 5_000))
def test_chunks_of_any_size_give_the_same(
    tmp_path: Path, pieces: list[bytes], limit: int, final: bool, cut: int
) -> None:
    """Lines, numbers, offsets and tails depend on the content alone; so does reading on."""
    file = tmp_path / "a.ndjson"
    content = b"".join(pieces)
    file.write_bytes(content)
    whole, parts = read(file, final=final), read(file, limit, final)
    last = whole[-1]
    assert (numbered(parts), parts[-1]) == (numbered(whole), last)
    assert last.tail == content[: last.offset][-FINGERPRINT_BYTES:]
    file.write_bytes(content[:cut])
    before = read(file, limit, final)
    place = before[-1].offset, before[-1].line, before[-1].open_bytes
    file.write_bytes(content)
    with LineReader(file, *place) as opened:
        assert opened.tail == content[: place[0]][-FINGERPRINT_BYTES:]
        after = [opened.read(limit, final)]
        while not after[-1].is_end:
            after.append(opened.read(limit, final))
    found = dict(numbered(before)) | dict(numbered(after))
    assert (found, after[-1]) == (dict(numbered(whole)), last)


# --- large holes --------------------------------------------------------------------------


def with_hole(file: Path, size: int = 20 * GIB) -> Path:
    """Write a file with a hole before its lines, one within them and one at its end."""
    with file.open("wb") as opened:
        opened.truncate(size)
        opened.seek(size)
        opened.write(A + b"\n")
        opened.truncate(2 * size)
        opened.seek(2 * size)
        opened.write(B + b"\n" + A)
        opened.truncate(3 * size)
    return file


def test_a_large_hole_costs_no_time(tmp_path: Path) -> None:
    """Sixty gigabytes of hole take less than a second."""
    file = with_hole(tmp_path / "a.ndjson")
    began = time.process_time()
    chunks = read(file, 4 << 20, final=True)
    assert numbered(chunks) == [(1, A), (2, B), (3, A)]
    assert time.process_time() - began < 1
    assert chunks[-1].offset == 40 * GIB + len(B) + 1 + len(A)


def test_a_large_hole_costs_no_time_on_the_way_to_an_offset(tmp_path: Path) -> None:
    """Reading goes on behind a hole without reading it."""
    file = with_hole(tmp_path / "a.ndjson")
    with LineReader(file, 20 * GIB + 8, 1) as opened:
        assert opened.tail == (bytes(FINGERPRINT_BYTES) + A + b"\n")[-FINGERPRINT_BYTES:]
        assert opened.read(100).lines == [B]


def test_the_first_line_of_a_log_file_may_follow_a_hole(tmp_path: Path) -> None:
    """A `.log` file is JSON or not by what follows the NUL bytes."""
    with_hole(tmp_path / "json.log")
    with (tmp_path / "text.log").open("wb") as opened:
        opened.seek(GIB)
        opened.write(b"plain text\n")
    (tmp_path / "none.log").write_bytes(bytes(5_000))
    listing = LogTree(tmp_path, (".log",)).walk()
    assert (list(listing.files), sorted(listing.others)) == (["json.log"], ["none.log", "text.log"])


def test_a_large_hole_costs_no_memory(tmp_path: Path) -> None:
    """A hole within a line is not held, nor are NUL bytes that the file system does store."""
    with (tmp_path / "a.ndjson").open("wb") as file:
        file.write(b'{"a":')
        file.seek(5 * GIB)
        file.write(b"1}\n")
        for _ in range(200):
            file.write(bytes(1 << 20))
        file.write(B + b"\n")
    program = """
import resource, sys
from pathlib import Path
from mikroscope.logfiles.reader import LineReader
resource.setrlimit(resource.RLIMIT_AS, (170 << 20, 170 << 20))
with LineReader(Path(sys.argv[1])) as reader:
    print(*reader.lines(4 << 20))
"""
    assert run_python(program, tmp_path / "a.ndjson") == f"{A!r} {B!r}"


def test_the_limit_of_a_line_does_not_count_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line is too long by its text, not by the NUL bytes around or within it."""
    monkeypatch.setattr(reader_module, "MAX_LINE_BYTES", 20)
    file = tmp_path / "a.ndjson"
    short, long = b'{"a":"%s"}' % (b"x" * 10), b'{"a":"%s"}' % (b"x" * 15)
    for run in (bytes(50), bytes(5_000)):
        lines = [run + short + run, long + run, short[:9] + run + short[9:]]
        file.write_bytes(b"\n".join([*lines, b""]))
        for limit in (30, 1 << 20):
            chunks = read(file, limit)
            assert (numbered(chunks), refused(chunks)) == ([(1, short), (3, short)], [2])


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress)]
)
def test_many_stored_nul_bytes_are_read_in_parts(
    tmp_path: Path,
    suffix: str,
    pack: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One call reads a bounded number of them; the offset waits for the line after them."""
    monkeypatch.setattr(reader_module, "PART_BYTES", 100_000)
    content = A + b"\n" + bytes(1_000_000) + B + b"\n"
    (tmp_path / f"a.ndjson{suffix}").write_bytes(pack(content))
    tree = LogTree(tmp_path, (".ndjson",))
    offset, line, calls = 0, 0, 0
    lines = list[bytes]()
    while True:
        with tree.resume(f"a.ndjson{suffix}", offset, line) as opened:
            opened.approach()
            chunk = opened.read(30_000)
        calls += 1
        lines += chunk.lines
        offset, line = chunk.offset, chunk.line
        if chunk.is_end:
            break
    tree.release()
    assert (lines, offset) == ([A, B], len(content))
    assert 9 < calls < 20


def test_a_preallocated_file_is_read_as_it_fills(tmp_path: Path) -> None:
    """NUL bytes at the end stay unread, since a program may write its lines over them."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(bytes(100_000))
    before = read(file)[-1]
    assert before.offset == 0
    descriptor = os.open(file, os.O_WRONLY)
    written = b""
    for n in range(50):
        line = b'{"n":%d}\n' % n
        os.pwrite(descriptor, line, len(written))
        written += line
        with LineReader(file, before.offset, before.line) as opened:
            assert opened.read(1 << 20).lines == [line[:-1]]
            before = opened.read(1 << 20)
    os.close(descriptor)
    assert before.offset == len(written)
