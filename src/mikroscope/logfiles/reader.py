"""Reads whole lines of one file, plain or gzip, from an offset on."""

import contextlib
import gzip
import hashlib
import itertools
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterator
from operator import ne
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from mikroscope.records.parsing import NotARecordError, parse_line

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 32 << 20  # a longer line is skipped and counted as a parse error
FINGERPRINT_BYTES = 1024
MIN_LINE_COST = 200  # bytes; shorter lines cost as much, so that a chunk has a bounded number
PART_BYTES = 16 << 20  # of a packed file by one step, on the way to where reading goes on
_BOM = b"\xef\xbb\xbf"


class FileStat(NamedTuple):
    """A file's identity, size and time; an equal value later means that it has not changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Chunk(NamedTuple):
    """Whole lines of one file, in order."""

    content: bytes
    """The lines, separated by line feeds, without a trailing one."""
    length: int
    """The number of lines."""
    offset: int
    """The byte offset at which the next chunk starts."""
    line: int
    """The number of the last line read so far; a file's first line has number 1."""
    tail: bytes
    """The last FINGERPRINT_BYTES before `offset`, or all of them if there are fewer."""
    too_long: int
    """The number of lines that were skipped because they are longer than MAX_LINE_BYTES."""
    is_end: bool
    """Whether no more lines are complete yet."""

    @property
    def lines(self) -> list[bytes]:
        """The lines as a list."""
        return self.content.split(b"\n") if self.length else []


class LineReader:
    """One open file, read in chunks of whole lines; `.gz` files are decompressed on the fly.

    Offsets count bytes of the content: for `.gz` files, of the decompressed content. A
    `with` statement goes to the offset at once, `approach` part by part; then lines can be read.
    """

    def __init__(self, path: Path, offset: int, line: int) -> None:
        self._file = _open(path)
        self.is_packed = path.name.endswith(".gz")
        self._offset = offset
        self._line = line
        self._rest = b""
        try:
            self.stat = file_stat(os.fstat(self._file.fileno()))
            self.first_bytes = self._file.read(min(offset, FINGERPRINT_BYTES))
        except BaseException:
            self._file.close()
            raise
        self._before = b""
        self._is_there = False

    def __enter__(self) -> Self:
        self.approach()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def approach(self, limit: int | None = None) -> bool:
        """Go on towards the offset; return whether it is reached.

        In a `.gz` file all content before it must be decompressed: at most `limit` bytes by one
        call. At the end of a file that is shorter the offset counts as reached.
        """
        if self._is_there:
            return True
        begin = max(0, self._offset - FINGERPRINT_BYTES)
        if limit is not None and self.is_packed:
            part = self._file.tell() + limit
            if part < begin and self._file.seek(part) == part == self._file.tell():
                return False
        self._file.seek(begin)
        self._before = self._file.read(min(self._offset, FINGERPRINT_BYTES))
        self._is_there = True
        return True

    def is_at(self, offset: int, line: int) -> bool:
        """Return whether the next line read is the one after so many bytes and lines."""
        return (self._offset, self._line) == (offset, line)

    @property
    def tail(self) -> bytes:
        """The last FINGERPRINT_BYTES before the current offset, which a checkpoint records."""
        return self._before

    def read(self, limit: int, final: bool = False) -> Chunk:
        """Return the next whole lines, about `limit` bytes; none if no complete line is left.

        Of very short lines there are fewer, `limit / MIN_LINE_COST`. A line that is too long is
        skipped in several calls, which return no lines. With `final`, a last line without a line
        end is included if it is a record.
        """
        content, too_long, skipped = self._read_lines(limit, final)
        # Searching for one byte is several times faster than for two.
        lines = content.replace(b"\r\n", b"\n") if b"\r" in content else content
        length = lines.count(b"\n") + (not lines.endswith(b"\n")) if lines else 0
        lines = lines.removesuffix(b"\n")
        if length and not self._is_at_line_start():
            # This is the rest of a line that was already read with `final`, or skipped.
            lines = lines[lines.index(b"\n") :] if b"\n" in lines else b""
            self._line -= 1
        elif self._offset == 0:
            lines = lines.removeprefix(_BOM)
        if len(content) > MAX_LINE_BYTES:
            lines, found = _blank_long_lines(lines)
            too_long += found
        self._advance(content, length)
        is_end = not (length or too_long or skipped)
        return Chunk(lines, length, self._offset, self._line, self._before, too_long, is_end)

    def lines(self, limit: int, final: bool = False) -> Iterator[bytes]:
        """Yield all lines up to the end, read in chunks of about `limit` bytes."""
        while not (chunk := self.read(limit, final)).is_end:
            yield from chunk.lines

    def _is_at_line_start(self) -> bool:
        return not self._before or self._before.endswith(b"\n")

    def _read_lines(self, limit: int, final: bool) -> tuple[bytes, int, bool]:
        """Return content up to a line end, the number of too long lines before it, and whether
        anything was skipped.
        """
        content = self._rest + self._file.read(limit)
        while (end := content.rfind(b"\n") + 1) == 0:
            if len(content) > MAX_LINE_BYTES + len(_BOM + b"\r"):
                begins = self._is_at_line_start()
                self._line += begins
                self._skip(content, limit)
                return b"", int(begins), True
            more = self._file.read(max(limit, len(content)))
            if not more:
                break
            content += more
        line = content if self._offset else content.removeprefix(_BOM)
        if final and end == 0 and _is_record(line):
            end = len(content)
        end = _end_of_lines(content, end, max(1, limit // MIN_LINE_COST))
        self._rest = content[end:]
        return content[:end], 0, False

    def _skip(self, content: bytes, limit: int) -> None:
        """Skip the rest of a line that is too long, but no more than about `limit` bytes of it."""
        skipped = 0
        while content and b"\n" not in content and skipped < limit:
            skipped += len(content)
            self._advance(content, 0)
            content = self._file.read(1 << 20)
        end = content.find(b"\n") + 1
        self._advance(content[:end], 0)
        self._rest = content[end:]

    def _advance(self, content: bytes, lines: int) -> None:
        if len(self.first_bytes) < FINGERPRINT_BYTES:
            self.first_bytes += content[: FINGERPRINT_BYTES - len(self.first_bytes)]
        self._before = (self._before + content[-FINGERPRINT_BYTES:])[-FINGERPRINT_BYTES:]
        self._offset += len(content)
        self._line += lines


class _PackedFile(gzip.GzipFile):
    """A gzip file that ends where it cannot be decompressed any further, instead of raising."""

    _ended = False

    def read(self, size: int | None = -1) -> bytes:
        left, parts = size or 0, []
        try:
            while left > 0 and not self._ended and (part := self.read1(left)):
                parts.append(part)
                left -= len(part)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self._ended = True
            if not isinstance(error, EOFError):  # a truncated file may still be growing
                logger.warning("%s is damaged, only its beginning is indexed: %s", self.name, error)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._ended = False
        try:
            return super().seek(offset, whence)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self._ended = True
            return offset


def fingerprint(content: bytes) -> bytes:
    """Return a short hash that identifies content (BLAKE2b, 16 bytes)."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _open(path: Path) -> IO[bytes]:
    is_packed = path.name.endswith(".gz")
    return cast(IO[bytes], _PackedFile(path) if is_packed else path.open("rb", buffering=0))


def _end_of_lines(content: bytes, end: int, most: int) -> int:
    """Return the end of the first `most` lines in `content[:end]`, whole lines; or `end`."""
    if end // 2 <= most or content.count(b"\n", 0, end) <= most:
        return end
    ends = itertools.accumulate(range(most), lambda at, _: content.index(b"\n", at) + 1, initial=0)
    return deque(ends, maxlen=1)[0]


def _blank_long_lines(content: bytes) -> tuple[bytes, int]:
    """Replace lines that are too long by empty ones; return the content and their number."""
    lines = content.split(b"\n")
    kept = [line if len(line) <= MAX_LINE_BYTES else b"" for line in lines]
    return b"\n".join(kept), sum(map(ne, kept, lines))


def _is_record(line: bytes) -> bool:
    with contextlib.suppress(NotARecordError):
        return bool(parse_line(line))
    return False


def file_stat(stat: os.stat_result) -> FileStat:
    """Return the part of `os.stat` that shows whether a file has changed."""
    return FileStat(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
