"""Packed files are read as far as they can be unpacked, whichever way they are packed."""

import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mikroscope.logfiles.packed import DAMAGE, PackedFile, unpack_all
from mikroscope.logfiles.reader import LineReader

Pack = Callable[[bytes], bytes]
BLOCKS = zstandard.ZstdCompressor(write_checksum=True)
WAYS: list[tuple[str, Pack]] = [
    (".gz", gzip.compress),
    (".zst", zstandard.compress),
    (".zst", BLOCKS.compress),
    (".zst", lambda content: streamed(content)),
]
SKIPPABLE = b"\x50\x2a\x4d\x18\x05\0\0\0hello"


def streamed(content: bytes) -> bytes:
    """Pack as a stream, without the size of the content at its beginning."""
    target = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as writer:
        for start in range(0, len(content), 10_000):
            writer.write(content[start : start + 10_000])
            writer.flush()
    return target.getvalue()


def lines(size: int = 1_000_000) -> bytes:
    """Return lines that pack badly."""
    chance = random.Random(1)
    return b"".join(b"%032x\n" % chance.getrandbits(128) for _ in range(size // 33))


def read(file: Path, limit: int = 1 << 20) -> list[bytes]:
    """Return the lines of a file."""
    with LineReader(file) as reader:
        return list(reader.lines(limit))


@pytest.mark.parametrize(("ending", "pack"), WAYS)
def test_parts_follow_each_other(tmp_path: Path, ending: str, pack: Pack) -> None:
    """A line may span members or frames, some of which may be empty."""
    file = tmp_path / f"a.ndjson{ending}"
    file.write_bytes(pack(b"one\ntw") + pack(b"") + pack(b"o\nthree\n"))
    assert read(file) == [b"one", b"two", b"three"]
    unpack_all(file)


def test_frames_that_hold_nothing(tmp_path: Path) -> None:
    """Frames for other programs are skipped, wherever they are."""
    file = tmp_path / "a.ndjson.zst"
    packed = zstandard.compress(b"one\n")
    file.write_bytes(SKIPPABLE + packed + SKIPPABLE + packed + SKIPPABLE)
    assert read(file) == [b"one", b"one"]
    unpack_all(file)


@pytest.mark.parametrize("limit", [2_000, 1 << 20])
@pytest.mark.parametrize("broken", ["cut", "junk", "changed"])
@pytest.mark.parametrize(("ending", "pack"), [WAYS[0], *WAYS[2:]])
def test_a_broken_file_gives_what_can_be_unpacked(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ending: str,
    pack: Pack,
    broken: str,
    limit: int,
) -> None:
    """Whole lines before the damage are read; a file that is only cut off may still grow."""
    content = lines()
    whole = pack(content)
    half = len(whole) // 2
    wrong = {
        "cut": whole[:half],
        "junk": whole + b"what no packer writes",
        "changed": whole[:half] + b"\xff" * 30_000 + whole[half + 30_000 :],
    }[broken]
    file = tmp_path / f"a.ndjson{ending}"
    file.write_bytes(wrong)
    found = read(file, limit)
    want = content.split(b"\n")[:-1]
    same = [one == other for one, other in zip(found, want, strict=False)]
    assert all(same) or broken == "changed"
    assert sum(same) >= len(want) * (99 if broken == "junk" else 35) // 100
    assert len(caplog.records) <= (broken != "cut")
    with pytest.raises(DAMAGE):
        unpack_all(file)


@pytest.mark.parametrize(("ending", "pack"), WAYS)
def test_every_place_to_cut(tmp_path: Path, ending: str, pack: Pack) -> None:
    """Wherever a file is cut off, it is found to be so, and nothing is read that was not there."""
    whole = pack(b"one\n" * 50) + pack(b"two\n" * 50)
    first = len(pack(b"one\n" * 50))
    file = tmp_path / f"a.ndjson{ending}"
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        found = read(file)
        assert found == ([b"one"] * 50 + [b"two"] * 50)[: len(found)]
        if size in (0, first):
            unpack_all(file)
            continue
        with pytest.raises(DAMAGE):
            unpack_all(file)
    file.write_bytes(whole)
    unpack_all(file)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".ZST"])
@pytest.mark.parametrize("content", [b"no packed file at all\n", b"{}\n" * 100])
def test_a_plain_file_with_such_a_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, content: bytes
) -> None:
    """A file whose name lies holds nothing, and the log says so."""
    (tmp_path / f"a.ndjson{ending}").write_bytes(content)
    assert read(tmp_path / f"a.ndjson{ending}") == []
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(("ending", "pack"), WAYS)
def test_positions_count_unpacked_bytes(tmp_path: Path, ending: str, pack: Pack) -> None:
    """Going forward and back gives the content from there on."""
    content = lines(50_000)
    file = tmp_path / f"a{ending}"
    file.write_bytes(pack(content))
    packed = PackedFile(file)
    for offset in (0, 40_000, 100, 100, 40_001, 0):
        assert packed.seek(offset) == offset
        assert packed.read(500) == content[offset : offset + 500]
    assert packed.seek(1 << 40) == packed.tell() == len(content)
    assert packed.read(10) == b""
    packed.close()
