"""Finds the log files below a root directory and opens them."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mikroscope.logfiles.names import has_suffix
from mikroscope.logfiles.nuls import end_of_hole, is_record
from mikroscope.logfiles.packed import is_packed, open_content
from mikroscope.logfiles.reader import BOM, FINGERPRINT_BYTES, FileStat, LineReader, file_stat

logger = logging.getLogger(__name__)
_MIXED = (".log",)  # files that are read only if they begin with a record
_MANY_BYTES = 1 << 20
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # Python's surrogate escapes in file names


class Listing(NamedTuple):
    """The result of one walk of the tree; paths are relative to its root and use `/`."""

    files: dict[str, FileStat]
    """The files to index, sorted by path; a file with several names appears once."""
    others: dict[str, int]
    """All other files with their inodes; a rotated file may have any name."""


class LogTree:
    """The files below one root whose names end in one of the suffixes. Not thread-safe."""

    def __init__(self, root: Path, suffixes: tuple[str, ...]) -> None:
        self.root = root
        self._suffixes = tuple(suffix.lower() for suffix in suffixes)
        self._logs: dict[str, tuple[FileStat, bool]] = {}
        self._warned: set[str] = set()
        self._kept: tuple[str, LineReader] | None = None

    def walk(self) -> Listing:
        """List every file. Unreadable ones are left out; circular links are not followed."""
        files: dict[str, FileStat] = {}
        others: dict[str, int] = {}
        seen: set[tuple[int, int]] = set()
        known_logs, self._logs = self._logs, {}
        # Symbolic links last, so that a file is known by its real path.
        for entry, path in sorted(self._walk(), key=lambda item: (item[0].is_symlink(), item[1])):
            if not self._is_read(path):
                others[path] = entry.inode()
                continue
            stat = _stat(entry.stat)
            if stat is None or (stat.device, stat.inode) in seen:
                continue
            if has_suffix(path, _MIXED) and not self._holds_json(path, stat, known_logs.get(path)):
                others[path] = stat.inode
                continue
            seen.add((stat.device, stat.inode))
            files[path] = stat
        return Listing(files, others)

    def stat(self, path: str) -> FileStat | None:
        """Return the FileStat of one file; None if there is no such file."""
        return _stat(lambda: os.stat(self.root / path))

    def data_after(self, path: str, offset: int, size: int) -> int:
        """Return how many bytes of a file follow an offset; of many, without a hole right there."""
        if size - offset > _MANY_BYTES and not is_packed(path):
            with contextlib.suppress(OSError), (self.root / path).open("rb", buffering=0) as file:
                file.seek(offset)
                skipped = end_of_hole(file.fileno())
                return 0 if skipped is None else max(0, size - offset - skipped)
        return size - offset

    def concerns(self, path: str) -> bool:
        """Return True if a change of this path may matter to the index.

        That is a file to index, a directory, or a path that does not exist any more.
        """
        is_read = self._is_read(path) and self._logs.get(path, (None, True))[1]
        return is_read or not os.path.isfile(self.root / path)

    def relative(self, absolute: str) -> str | None:
        """Return an absolute path relative to the root, with `/`; None if it is not below it."""
        root = f"{self.root}{os.sep}"
        return absolute[len(root) :].replace(os.sep, "/") if absolute.startswith(root) else None

    def open(self, path: str, offset: int = 0, line: int = 0, open_bytes: int = 0) -> "LineReader":
        """Open a file to read on after `offset` bytes and `line` lines. Raises OSError.

        The last `open_bytes` of them are a line that was read without its line end.
        """
        return LineReader(self.root / path, offset, line, open_bytes)

    @contextlib.contextmanager
    def resume(
        self, path: str, offset: int, line: int, open_bytes: int = 0
    ) -> Iterator[LineReader]:
        """Like `open`, for one part of a file after the other; `approach` is left to the caller.

        A packed file stays open in between: each part would be unpacked from the beginning. So does
        a file in a long run of NUL bytes.
        """
        reader = self._take_kept(path, offset, line)
        reader = reader or self.open(path, offset, line, open_bytes)
        must_close = True
        try:
            yield reader
            must_close = not reader.must_stay_open
        finally:
            if must_close:
                reader.close()
            else:
                self._keep(path, reader)

    def release(self) -> None:
        """Close the file that `resume` keeps open."""
        if self._kept is not None:
            self._kept[1].close()
        self._kept = None

    def head(self, path: str) -> bytes:
        """Return the first FINGERPRINT_BYTES of a file's content; empty if it is unreadable."""
        try:
            with contextlib.closing(open_content(self.root / path)) as file:
                return file.read(FINGERPRINT_BYTES)
        except OSError:
            return b""

    def _take_kept(self, path: str, offset: int, line: int) -> LineReader | None:
        if self._kept is None or self._kept[0] != path:
            return None
        _, reader = self._kept
        if reader.is_at(offset, line) and _is_as_opened(reader, self.stat(path)):
            self._kept = None
            return reader
        self.release()
        return None

    def _keep(self, path: str, reader: LineReader) -> None:
        self.release()
        self._kept = path, reader

    def _walk(self) -> Iterator[tuple["os.DirEntry[str]", str]]:
        """Yield every file with its path.

        Each directory is listed once, by its own path rather than by that of a link to it: links
        are followed only when no directory is left.
        """
        seen: set[tuple[int, int]] = set()
        directories, links = [""], list[str]()
        while directories or links:
            links.sort(reverse=True)
            prefix = directories.pop() if directories else links.pop()
            for entry in self._list(prefix, seen):
                path = f"{prefix}{entry.name}"
                if _NOT_UTF8.search(path):
                    self._warn_once(f"{path!a} is not indexed: its name is not UTF-8")
                elif _safely(entry.is_file):
                    yield entry, path
                elif _safely(entry.is_dir):
                    (links if entry.is_symlink() else directories).append(f"{path}/")

    def _list(self, prefix: str, seen: set[tuple[int, int]]) -> list["os.DirEntry[str]"]:
        """Return a directory's entries; none if it was listed before or cannot be read."""
        directory = self.root / prefix
        try:
            here = os.stat(directory)
            if (here.st_dev, here.st_ino) in seen:
                return []
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(directory) as entries:
                return list(entries)
        except OSError as error:
            self._warn_once(f"{directory} cannot be listed: {error.strerror}")
            return []

    def _warn_once(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            logger.warning("%s", problem)

    def _is_read(self, path: str) -> bool:
        return has_suffix(path, self._suffixes)

    def _holds_json(self, path: str, stat: FileStat, known: tuple[FileStat, bool] | None) -> bool:
        """Return True if the first line of a `.log` file is a JSON object.

        `known` is the answer for an earlier FileStat; it is reused if the file has not changed.
        """
        if known is None or known[0] != stat:
            known = stat, self._starts_with_json(path)
        self._logs[path] = known
        return known[1]

    def _starts_with_json(self, path: str) -> bool:
        # The cheap check first: most plain-text logs do not begin with a brace.
        start = self.head(path).removeprefix(BOM).lstrip(b"\0 \t\r\n")
        if start and not start.startswith(b"{"):
            return False
        try:
            with self.open(path) as reader:
                while not (chunk := reader.read(FINGERPRINT_BYTES, final=True)).is_end:
                    if first := next(filter(bytes.strip, chunk.lines), b""):
                        return is_record(first)
                    if chunk.refused:
                        break
        except OSError:
            pass
        return False


def _is_as_opened(reader: LineReader, stat: FileStat | None) -> bool:
    """Return whether a file that was kept open is still the one at its path; it may have grown."""
    if reader.is_packed or stat is None:
        return reader.stat == stat
    return reader.stat[:2] == stat[:2] and reader.stat.size <= stat.size


def _safely(call: Callable[[], bool]) -> bool:
    try:
        return call()
    except OSError:  # such as a link to itself
        return False


def _stat(call: Callable[[], os.stat_result]) -> FileStat | None:
    try:
        return file_stat(call())
    except OSError:
        return None
