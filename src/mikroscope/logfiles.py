"""The tree of log files: find them, tell one from another, read whole lines, append whole lines."""

import contextlib
import errno
import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

from mikroscope.errors import StorageFullError, StoreError
from mikroscope.records import NotARecordError, parse_line

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 32 << 20  # a longer line is passed over and counted as a parse error
FINGERPRINT_BYTES = 1024
_BOM = b"\xef\xbb\xbf"
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_UNREADABLE = (OSError, EOFError, zlib.error)


class FileStat(NamedTuple):
    """What one look at the file system tells about a file; equal looks mean nothing to read."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Listing(NamedTuple):
    """One walk of the tree; every path is relative to its root, with `/`."""

    files: dict[str, FileStat]
    """The files that are read, in order of their paths; of two names of one file the first."""
    others: dict[str, int]
    """Every other file, with its inode: a rotated file may bear any name."""


class Chunk(NamedTuple):
    """Whole lines of one file, in order, without their line ends."""

    lines: list[bytes]
    offset: int
    """Where the next chunk starts."""
    line: int
    """The number of the last line so far; a file's first line has number 1."""
    tail: bytes
    """The last bytes before `offset`: FINGERPRINT_BYTES, or all of them."""
    too_long: int
    """How many lines were passed over because they are longer than MAX_LINE_BYTES."""


class LogTree:
    """The files below one root whose names end in one of the suffixes."""

    def __init__(self, root: Path, suffixes: tuple[str, ...]) -> None:
        self.root = root
        self._suffixes = suffixes
        self._not_json: dict[str, tuple[int, int]] = {}

    def walk(self) -> Listing:
        """Look at every file. What cannot be read is left out; links in a circle end."""
        files: dict[str, FileStat] = {}
        others: dict[str, int] = {}
        seen: set[tuple[int, int]] = set()
        for entry, path in sorted(_walk(self.root, "", set()), key=_real_files_first):
            if not path.endswith(self._suffixes):
                others[path] = entry.inode()
                continue
            stat = _stat_entry(entry)
            if stat is None or (stat.device, stat.inode) in seen:
                continue
            if path.endswith(".log") and not self._holds_json(path, stat):
                others[path] = stat.inode
                continue
            seen.add((stat.device, stat.inode))
            files[path] = stat
        return Listing(files, others)

    def stat(self, path: str) -> FileStat | None:
        """One file's look, or None if there is no such file."""
        try:
            return _file_stat(os.stat(self.root / path))
        except OSError:
            return None

    def concerns(self, path: str) -> bool:
        """Whether a change of this path may matter: a file that is read, a directory, or gone."""
        return path.endswith(self._suffixes) or not os.path.isfile(self.root / path)

    def relative(self, absolute: str) -> str | None:
        """A path below the root as the tree names it; None for one that is not below it."""
        root = f"{self.root}{os.sep}"
        return absolute[len(root) :].replace(os.sep, "/") if absolute.startswith(root) else None

    def open(self, path: str, offset: int = 0, line: int = 0) -> "LineReader":
        """Read on behind `offset` bytes and `line` lines. Raises OSError."""
        return LineReader(self.root / path, offset, line)

    def head(self, path: str) -> bytes:
        """The first FINGERPRINT_BYTES of a file's content; empty if it cannot be read."""
        try:
            with _open(self.root / path) as file:
                return file.read(FINGERPRINT_BYTES)
        except _UNREADABLE:
            return b""

    def _holds_json(self, path: str, stat: FileStat) -> bool:
        """Whether the first line of a `.log` file is a JSON object; asked anew when it grew."""
        look = (stat.inode, min(stat.size, FINGERPRINT_BYTES))
        if self._not_json.get(path) == look:
            return False
        try:
            with self.open(path) as reader:
                first = next((line for line in reader.read(1).lines if line.strip()), b"")
            parse_line(first)
        except (NotARecordError, *_UNREADABLE):
            self._not_json[path] = look
            return False
        return True


class LineReader:
    """One open file, read in chunks of whole lines; `.gz` is unpacked on the way.

    Offsets count bytes of the content, so for `.gz` of what is packed in it.
    """

    def __init__(self, path: Path, offset: int, line: int) -> None:
        self._file = _open(path)
        self._offset = offset
        self._line = line
        self._before = b""
        self._rest = b""
        try:
            self.stat = _file_stat(os.fstat(self._file.fileno()))
            self._seek(offset)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def tail(self) -> bytes:
        """The content's last bytes before where reading stands: what a checkpoint remembers."""
        return self._before

    def head(self, size: int) -> bytes:
        """The first `size` bytes of the content; to be asked before anything is read."""
        self._file.seek(0)
        content = self._file.read(size)
        self._file.seek(self._offset)
        return content

    def read(self, limit: int, final: bool = False) -> Chunk:
        """The next whole lines, of about `limit` bytes; none at the end of what is complete.

        With `final` a last line without its line end is taken too, if it is a record.
        """
        content, too_long = self._read_lines(limit, final)
        lines = content.replace(b"\r\n", b"\n").split(b"\n")
        if not lines[-1]:
            lines.pop()
        if self._before and not self._before.endswith(b"\n") and lines:
            # The line end (and whatever else) behind a line that was taken or skipped before.
            lines[0] = b""
            self._line -= 1
        elif self._offset == 0 and lines:
            lines[0] = lines[0].removeprefix(_BOM)
        self._advance(content, len(lines))
        return Chunk(lines, self._offset, self._line, self._before, too_long)

    def _read_lines(self, limit: int, final: bool) -> tuple[bytes, int]:
        """Content up to a line end, and how many lines in front of it were too long."""
        too_long = 0
        content = self._rest + self._file_read(limit)
        end = content.rfind(b"\n") + 1
        while not end:
            more = self._file_read(max(limit, len(content)))
            if not more:
                break
            content += more
            end = content.rfind(b"\n") + 1
            if not end and len(content) > MAX_LINE_BYTES:
                content, too_long = self._skip_line(content), too_long + 1
                end = content.rfind(b"\n") + 1
        if final and end == 0 and self._is_record(content):
            end = len(content)
        self._rest = content[end:]
        return content[:end], too_long

    def _skip_line(self, content: bytes) -> bytes:
        """Pass over a line that is too long; returns what was read behind its line end."""
        self._line += 1
        while content and b"\n" not in content:
            self._advance(content, 0)
            content = self._file_read(1 << 20)
        end = content.find(b"\n") + 1
        self._advance(content[:end], 0)
        return content[end:]

    def _advance(self, content: bytes, lines: int) -> None:
        if len(self.first_bytes) < FINGERPRINT_BYTES:
            self.first_bytes += content[: FINGERPRINT_BYTES - len(self.first_bytes)]
        self._before = (self._before + content[-FINGERPRINT_BYTES:])[-FINGERPRINT_BYTES:]
        self._offset += len(content)
        self._line += lines

    def _is_record(self, content: bytes) -> bool:
        line = content if self._offset else content.removeprefix(_BOM)
        try:
            parse_line(line)
        except NotARecordError:
            return False
        return True

    def _seek(self, offset: int) -> None:
        self._file.seek(max(0, offset - FINGERPRINT_BYTES))
        self._before = self._file.read(min(offset, FINGERPRINT_BYTES))
        # Of what was read up to now, if that is not more than a fingerprint takes.
        self.first_bytes = self._before if offset <= FINGERPRINT_BYTES else b""

    def _file_read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (EOFError, zlib.error):  # a .gz that is still being written
            return b""


class LogWriter:
    """Appends whole lines to the files below one root; one thread uses it.

    A write that does not fit is taken back, so that no half line is left in the file.
    """

    _MAX_OPEN = 64

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, int] = {}

    def append(self, path: str, lines: bytes) -> int:
        """Append complete lines; returns the file's size before.

        Raises StorageFullError or StoreError, with nothing written.
        """
        try:
            descriptor = self._descriptor(path)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line: it keeps a line of its own
            self._write(descriptor, lines, size)
        except OSError as error:
            kind = StorageFullError if error.errno in _NO_ROOM else StoreError
            raise kind(f"{path} cannot be written: {error.strerror}") from error
        return size

    def take_back(self, path: str, size: int) -> None:
        """Cut a file back to the size it had before an `append`."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor(path), size)

    def close(self) -> None:
        """Close every file."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    @staticmethod
    def _write(descriptor: int, content: bytes, size_before: int) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size_before)
            raise

    def _descriptor(self, path: str) -> int:
        """An open file that still bears this name: logrotate may have moved it away."""
        known = self._open.get(path)
        if known is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(known), os.stat(self._root / path)):
                    return known
            os.close(self._open.pop(path))
        if len(self._open) >= self._MAX_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._open[path] = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        return self._open[path]


def fingerprint(content: bytes) -> bytes:
    """A short hash by which content is recognised (BLAKE2b, 16 bytes)."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path))
    return cast(IO[bytes], path.open("rb", buffering=0))


def _walk(
    directory: Path, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Every file below a directory with its relative path; links are followed, once each."""
    try:
        here = os.stat(directory)
        if (here.st_dev, here.st_ino) in seen:
            return
        seen.add((here.st_dev, here.st_ino))
        entries = list(os.scandir(directory))
    except OSError as error:
        logger.warning("cannot list %s: %s", directory, error.strerror)
        return
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if _is_directory(entry):
            yield from _walk(directory / entry.name, f"{path}/", seen)
        else:
            yield entry, path


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _real_files_first(item: tuple["os.DirEntry[str]", str]) -> tuple[bool, str]:
    return item[0].is_symlink(), item[1]


def _stat_entry(entry: "os.DirEntry[str]") -> FileStat | None:
    try:
        stat = entry.stat()
    except OSError:
        return None
    return _file_stat(stat) if entry.is_file() else None


def _file_stat(stat: os.stat_result) -> FileStat:
    return FileStat(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
