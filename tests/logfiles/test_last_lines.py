"""A last line without a line end is read when it is to be, and again when it goes on."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mikroscope.logfiles import reader as reader_module
from mikroscope.logfiles.reader import Chunk, LineReader

FIRST = b'{"a":1}\n'
OPEN = b'{"a":2}'


def read(file: Path, before: Chunk | None = None, final: bool = True) -> list[Chunk]:
    """Return every chunk after another one, and the one at the end."""
    place = (before.offset, before.line, before.open_bytes) if before else (0, 0, 0)
    with LineReader(file, *place) as opened:
        chunks = [opened.read(1 << 20, final)]
        while not chunks[-1].is_end:
            chunks.append(opened.read(1 << 20, final))
    return chunks


def told(chunks: list[Chunk]) -> list[tuple[int, bytes, bool]]:
    """Return number and text of each line that is not blank, and whether it replaces another."""
    return [
        (number, line, chunk.replaces and number == chunk.line - chunk.length + 1)
        for chunk in chunks
        for number, line in enumerate(chunk.lines, chunk.line - chunk.length + 1)
        if line.strip()
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that ends in a record without its line end."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(FIRST + OPEN)
    return file


def add(file: Path, content: bytes) -> None:
    """Append to a file."""
    with file.open("ab") as opened:
        opened.write(content)


def test_a_chunk_says_how_long_the_line_without_an_end_is(file: Path) -> None:
    """The offset is behind the line, whose bytes are counted apart."""
    chunks = read(file)
    assert told(chunks) == [(1, b'{"a":1}', False), (2, OPEN, False)]
    assert chunks[-1] == Chunk(b"", 0, 15, 2, FIRST + OPEN, True, open_bytes=7)


def test_without_final_it_waits(file: Path) -> None:
    """A read that is not final says that there may be such a line, and leaves it."""
    chunks = read(file, final=False)
    assert told(chunks) == [(1, b'{"a":1}', False)]
    assert (chunks[-1].offset, chunks[-1].is_unfinished) == (8, True)


@pytest.mark.parametrize("half", [b"", b'{"a":', b"text", b" ", b"\0\0", b"[1]"])
def test_what_cannot_be_a_record_does_not_wait(tmp_path: Path, half: bytes) -> None:
    """Only what ends like an object is worth another look."""
    (tmp_path / "a.ndjson").write_bytes(FIRST + half)
    assert not read(tmp_path / "a.ndjson", final=False)[-1].is_unfinished


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"  \n", b"\0\0\n", b"\t\r\n"])
def test_its_end_changes_nothing(file: Path, end: bytes, final: bool) -> None:
    """A line that only gets its end is not returned again; the next lines have their numbers."""
    before = read(file)[-1]
    add(file, end + b'{"a":3}\n')
    assert told(read(file, before, final)) == [(3, b'{"a":3}', False)]


@pytest.mark.parametrize("more", [b"", b" ", b"\r", b"\0" * 5000])
def test_blanks_after_it_change_nothing(file: Path, more: bytes) -> None:
    """As long as the line has no end, blanks and NUL bytes after it are nothing new."""
    before = read(file)[-1]
    add(file, more)
    (chunk,) = read(file, before)
    assert chunk == before
    add(file, b"\n" + FIRST)
    assert told(read(file, chunk)) == [(3, b'{"a":1}', False)]


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("rest", [b"x", b'{"b":1}', b',"b":1}', b" 5"])
def test_a_line_that_goes_on_replaces_it(file: Path, rest: bytes, final: bool) -> None:
    """What the line became is returned under the same number, as a replacement."""
    before = read(file)[-1]
    add(file, rest + b'\n{"a":3}\n')
    chunks = read(file, before, final)
    (number, line, replaces), after = told(chunks)
    assert (number, replaces, after) == (2, True, (3, b'{"a":3}', False))
    assert line == OPEN + rest


def test_what_goes_on_and_is_no_record_waits(file: Path) -> None:
    """Until its end, or until it is a record again, the old line stays as it was read."""
    before = read(file)[-1]
    add(file, b',"b":')
    (chunk,) = read(file, before)
    assert chunk == before
    add(file, b'"}')
    assert told(read(file, chunk)) == []


def test_a_record_that_became_a_longer_record(tmp_path: Path) -> None:
    """A final read replaces a record by a longer one, again and again."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'{"a":"}')
    assert told(read(file)) == []
    before = None
    text = b""
    for piece in (b'{"a":1}', b"\0\0", b"  "):
        text += piece
        file.write_bytes(text)
        before = read(file, before)[-1]
        assert (before.offset, before.line) == (7, 1)


def test_a_line_that_becomes_too_long(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that goes on beyond the limit is refused, and replaces what was read of it."""
    monkeypatch.setattr(reader_module, "MAX_LINE_BYTES", 40)
    before = read(file)[-1]
    for piece in (b"x" * 100, b"y" * 100, b"z\n" + FIRST):
        add(file, piece)
        chunks = read(file, before)
        if piece.startswith(b"x"):
            assert [(chunk.refused[0][0], chunk.replaces) for chunk in chunks[:1]] == [(2, True)]
        before = chunks[-1]
    assert told(chunks) == [(3, b'{"a":1}', False)]


def test_with_a_byte_order_mark(tmp_path: Path) -> None:
    """The mark at the start belongs to the bytes of the line, not to its text."""
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"\xef\xbb\xbf" + OPEN)
    chunks = read(file)
    assert (told(chunks), chunks[-1].open_bytes) == ([(1, OPEN, False)], 10)
    add(file, b"\n")
    assert told(read(file, chunks[-1])) == []


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_in_a_packed_file(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """A packed file is read like a plain one, also when it was written again with more."""
    file = tmp_path / f"a.ndjson{suffix}"
    long = b"".join(b'{"n":%d}\n' % n for n in range(1_000))
    file.write_bytes(pack(long + OPEN))
    before = read(file)[-1]
    assert (before.offset, before.open_bytes, before.line) == (len(long) + 7, 7, 1_001)
    file.write_bytes(pack(long + OPEN + b"\n" + FIRST))
    assert told(read(file, before)) == [(1_002, b'{"a":1}', False)]
    file.write_bytes(pack(long + OPEN + b"x\n" + FIRST))
    assert told(read(file, before))[0] == (1_001, OPEN + b"x", True)
