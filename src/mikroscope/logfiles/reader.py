"""Reads whole lines of one file, plain or packed, from an offset on."""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self

from mikroscope.logfiles.nuls import RUN, drop_nuls, end_of_hole, is_record, shorten_runs
from mikroscope.logfiles.packed import is_packed, open_content

MAX_LINE_BYTES = 32 << 20  # a longer line is skipped and counted as a parse error
FINGERPRINT_BYTES = RUN
MIN_LINE_COST = 200  # bytes; shorter lines cost as much, so that a chunk has a bounded number
PART_BYTES = 16 << 20  # of a packed file, or of NUL bytes, by one step that finds no line yet
BOM = b"\xef\xbb\xbf"
_MOST_HELD_BYTES = 128 << 20  # of an unfinished line with its NUL bytes
_SKIPPED_BYTES = 1 << 20  # of a line that is too long, held at a time


class FileStat(NamedTuple):
    """A file's identity, size and time; an equal value later means that it has not changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Chunk(NamedTuple):
    """Whole lines of one file, in order."""

    content: bytes
    """The lines, separated by line feeds, without a trailing one and without NUL bytes."""
    length: int
    """The number of lines."""
    offset: int
    """The byte offset at which the next chunk starts."""
    line: int
    """The number of the last line read so far; a file's first line has number 1."""
    tail: bytes
    """The last FINGERPRINT_BYTES before `offset`, or all of them if there are fewer."""
    is_end: bool
    """Whether no more lines are complete yet."""
    refused: tuple[tuple[int, str], ...] = ()
    """Number and reason of each line that is left out, as a whole or in part."""
    open_bytes: int = 0
    """How many bytes before `offset` are a last line that was read although it has no line end."""
    replaces: bool = False
    """Whether the first line is what became of a last line that was read without its end."""
    is_unfinished: bool = False
    """Whether what is left may be a record without a line end; only `final` reads that."""

    @property
    def lines(self) -> list[bytes]:
        """The lines as a list."""
        return self.content.split(b"\n") if self.length else []


class _Found(Enum):
    LINES = "lines"
    TOO_LONG = "a line that is too long"
    NULS = "many NUL bytes, and no line yet"
    END = "the end of the file"


class LineReader:
    """One open file, read in chunks of whole lines; packed files are unpacked on the fly.

    Offsets count bytes of the content: for packed files, of the unpacked content. The last
    `open_bytes` before the offset are a line that was read without its line end: it is read again
    when it has changed. A `with` statement goes to the offset at once, `approach` part by part;
    then lines can be read.
    """

    def __init__(self, path: Path, offset: int = 0, line: int = 0, open_bytes: int = 0) -> None:
        self._file = open_content(path)
        self.is_packed = is_packed(path.name)
        self._offset, self._line, self._open_bytes = offset, line, open_bytes
        # What follows is about the line that is to be read next, or again.
        self._start, self._number = offset - open_bytes, line - (open_bytes > 0)
        self._before = b""  # the last bytes before it
        self._rest = b""  # what was read from there on, with long runs of NUL bytes shortened
        self._elided = 0  # NUL bytes that are missing in `_rest`
        self._elided_at_end = 0  # likewise, if it ends in them
        self._nuls_read = 0
        self._is_in_nuls = False
        self._is_there = False
        self.tail = b""
        """The last FINGERPRINT_BYTES before the offset, which a checkpoint records."""
        try:
            self.stat = file_stat(os.fstat(self._file.fileno()))
            self.first_bytes = self._file.read(min(offset, FINGERPRINT_BYTES))
            """The first FINGERPRINT_BYTES, or those before the offset if these are fewer."""
        except BaseException:
            self._file.close()
            raise
        self._first = self.first_bytes[: self._start]

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

        In a packed file all content before it must be unpacked: at most `limit` bytes by one call.
        At the end of a file that is shorter the offset counts as reached.
        """
        if self._is_there:
            return True
        begin = max(0, self._start - FINGERPRINT_BYTES)
        if limit is not None and self.is_packed:
            part = self._file.tell() + limit
            if part < begin and self._file.seek(part) == part:
                return False
        self._before = self.tail = self._bytes_before(self._start)
        if self._open_bytes:
            self.tail = self._bytes_before(self._offset)
            self._file.seek(self._start)
        self._is_there = True
        return True

    @property
    def must_stay_open(self) -> bool:
        """Whether a reader that begins at the same offset would have to do much work again."""
        return self.is_packed or self._is_in_nuls

    def is_at(self, offset: int, line: int) -> bool:
        """Return whether the next line read is the one after so many bytes and lines."""
        return (self._offset, self._line) == (offset, line)

    def read(self, limit: int, final: bool = False) -> Chunk:
        """Return the next whole lines, about `limit` bytes; none if no complete line is left.

        Of very short lines there are fewer, `limit / MIN_LINE_COST`. A line that is too long, and a
        long run of NUL bytes, is skipped in several calls, which return no lines. With `final`, a
        last line without a line end is included if it is a record.
        """
        if self._is_inside_line():
            return self._chunk(is_end=not self._skip(limit))
        found = self._fill(limit)
        if found is _Found.TOO_LONG:
            return self._refuse(limit)
        if found is _Found.NULS:
            return self._chunk()
        if found is _Found.END:
            return self._read_unfinished(final)
        most = max(1, limit // MIN_LINE_COST)
        return self._take_lines(_end_of_lines(self._rest, self._rest.rfind(b"\n") + 1, most))

    def lines(self, limit: int, final: bool = False) -> Iterator[bytes]:
        """Yield all lines up to the end, read in chunks of about `limit` bytes."""
        while not (chunk := self.read(limit, final)).is_end:
            yield from chunk.lines

    # --- lines --------------------------------------------------------------------------------

    def _is_inside_line(self) -> bool:
        """Whether the next bytes are the rest of a line that is too long."""
        return bool(self._before) and not self._before.endswith(b"\n")

    def _take_lines(self, end: int) -> Chunk:
        """Return the lines in `_rest[:end]`."""
        content, number = self._rest[:end], self._number + 1
        # Searching for one byte is several times faster than for two.
        lines = content.replace(b"\r\n", b"\n") if b"\r" in content else content
        length = lines.count(b"\n")
        lines, refused = _clean(lines.removesuffix(b"\n"), number, is_start=self._start == 0)
        if len(content) > MAX_LINE_BYTES:
            lines, too_long = _blank_long_lines(lines, number)
            refused += too_long
        replaces = self._open_bytes > 0
        if replaces and self._has_same_line(content[: content.index(b"\n")]):
            replaces, lines = False, lines[lines.index(b"\n") :] if length > 1 else b""
            refused = [one for one in refused if one[0] != number]
        self._consume(end, length)
        return self._chunk(lines, length, refused, replaces=replaces)

    def _read_unfinished(self, final: bool) -> Chunk:
        """Return the last line if it is a record without a line end, and is to be read."""
        body = self._rest.rstrip(b"\0")
        size = len(body) + self._elided
        if not body.rstrip().endswith(b"}") or self._has_same_line(body):
            return self._chunk(is_end=True)
        if not final:
            return self._chunk(is_end=True, is_unfinished=True)
        text, refused = _clean(body, self._number + 1, is_start=self._start == 0)
        if not is_record(text):
            return self._chunk(is_end=True)
        replaces = self._open_bytes > 0
        self._offset, self._line = self._start + size, self._number + 1
        self._open_bytes = size
        self.tail = (self._before + body)[-FINGERPRINT_BYTES:]
        self.first_bytes = (self._first + body)[:FINGERPRINT_BYTES]
        return self._chunk(text, 1, refused, replaces=replaces)

    def _has_same_line(self, line: bytes) -> bool:
        """Return whether only blanks were added to a line that was read without its end.

        Where runs of NUL bytes in it were shortened, False may be wrong.
        """
        added = len(line) + self._elided - self._open_bytes
        is_same = self._open_bytes > 0 and added >= 0
        return is_same and not line[max(0, len(line) - added) :].strip(b"\0 \t\r")

    def _refuse(self, limit: int) -> Chunk:
        """Skip the beginning of a line that is too long."""
        replaces = self._open_bytes > 0
        self._number += 1
        self._skip(limit)
        return self._chunk(refused=[(self._number, _too_long())], replaces=replaces)

    def _skip(self, limit: int) -> bool:
        """Skip the rest of a line, but no more than about `limit` bytes; return whether any."""
        skipped = 0
        is_end = False
        while skipped < limit and not is_end:
            if not self._rest and not self._read_block(min(limit, _SKIPPED_BYTES)):
                break
            end = self._rest.find(b"\n") + 1
            is_end = end > 0
            end = end or len(self._rest)
            self._elided, self._elided_at_end = self._elided + self._elided_at_end, 0
            self._consume(end, 0)
            skipped += end
        return skipped > 0

    def _chunk(
        self,
        content: bytes = b"",
        length: int = 0,
        refused: Sequence[tuple[int, str]] = (),
        *,
        replaces: bool = False,
        is_end: bool = False,
        is_unfinished: bool = False,
    ) -> Chunk:
        return Chunk(
            content,
            length,
            self._offset,
            self._line,
            self.tail,
            is_end,
            tuple(refused),
            self._open_bytes,
            replaces,
            is_unfinished,
        )

    # --- bytes --------------------------------------------------------------------------------

    def _bytes_before(self, offset: int) -> bytes:
        self._file.seek(max(0, offset - FINGERPRINT_BYTES))
        return self._file.read(min(offset, FINGERPRINT_BYTES))

    def _fill(self, limit: int) -> _Found:
        """Read until there is a line end, or a reason why there is none yet."""
        nuls_read = self._nuls_read
        while b"\n" not in self._rest:
            if self._is_too_long():
                return _Found.TOO_LONG
            if self._nuls_read - nuls_read > PART_BYTES:
                self._is_in_nuls = True
                return _Found.NULS
            if not self._read_block(max(limit, len(self._rest))):
                return _Found.END
        return _Found.LINES

    def _is_too_long(self) -> bool:
        most = MAX_LINE_BYTES + len(BOM + b"\r")
        held = len(self._rest)
        return held > most and (held - self._rest.count(b"\0") > most or held > _MOST_HELD_BYTES)

    def _read_block(self, size: int) -> bool:
        """Read on; return False at the end, also if nothing but a hole is left before it."""
        block = self._file.read(size)
        if not block:
            return False
        hole: int | None = 0
        if block.strip(b"\0"):
            self._elided, self._elided_at_end = self._elided + self._elided_at_end, 0
        else:
            self._nuls_read += len(block)
            hole = 0 if self.is_packed else end_of_hole(self._file.fileno())
        kept = min(hole or 0, RUN)
        self._rest += block + bytes(kept)
        if b"\0" in block and b"\n" not in block:
            self._rest, elided, elided_at_end = shorten_runs(self._rest)
            self._elided += elided
            self._elided_at_end += elided_at_end
        self._elided_at_end += (hole or 0) - kept
        return hole is not None

    def _consume(self, end: int, lines: int) -> None:
        """Go on behind `_rest[:end]`, which holds so many lines."""
        content, self._rest = self._rest[:end], self._rest[end:]
        if len(self._first) < FINGERPRINT_BYTES:
            self._first += content[: FINGERPRINT_BYTES - len(self._first)]
        self._before = (self._before + content[-FINGERPRINT_BYTES:])[-FINGERPRINT_BYTES:]
        self._start += len(content) + self._elided
        self._number += lines
        self._elided, self._is_in_nuls = 0, False
        self._offset, self._line, self._open_bytes = self._start, self._number, 0
        self.tail, self.first_bytes = self._before, self._first


def fingerprint(content: bytes) -> bytes:
    """Return a short hash that identifies content (BLAKE2b, 16 bytes)."""
    return hashlib.blake2b(content, digest_size=16).digest()


def file_stat(stat: os.stat_result) -> FileStat:
    """Return the part of `os.stat` that shows whether a file has changed."""
    return FileStat(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _clean(lines: bytes, first: int, *, is_start: bool) -> tuple[bytes, list[tuple[int, str]]]:
    """Return lines without NUL bytes and, at the start of a file, its byte order mark."""
    refused = list[tuple[int, str]]()
    if is_start:
        lines = lines.removeprefix(BOM)
    if b"\0" in lines:
        lines, refused = drop_nuls(lines, first)
        if is_start:
            lines = lines.removeprefix(BOM)
    return lines, refused


def _end_of_lines(content: bytes, end: int, most: int) -> int:
    """Return the end of the first `most` lines in `content[:end]`, whole lines; or `end`."""
    if end // 2 <= most or content.count(b"\n", 0, end) <= most:
        return end
    ends = itertools.accumulate(range(most), lambda at, _: content.index(b"\n", at) + 1, initial=0)
    return deque(ends, maxlen=1)[0]


def _blank_long_lines(content: bytes, first: int) -> tuple[bytes, list[tuple[int, str]]]:
    """Replace lines that are too long by empty ones; return the content and why they are."""
    lines, refused = content.split(b"\n"), list[tuple[int, str]]()
    for place, line in enumerate(lines):
        if len(line) > MAX_LINE_BYTES:
            lines[place] = b""
            refused.append((first + place, _too_long()))
    return b"\n".join(lines), refused


def _too_long() -> str:
    return f"the line is longer than {MAX_LINE_BYTES} bytes"
