"""The tree of log files: find them, tell one from another, read whole lines."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mikroscope.logfiles.reader import (
    _BOM,
    FINGERPRINT_BYTES,
    FileStat,
    LineReader,
    _is_record,
    _open,
    file_stat,
)

logger = logging.getLogger(__name__)
# What rotation adds to a name, by number or by date.
_ROTATED = re.compile(r"(?:\.\d{1,3}|[.-]\d{4}-?\d\d-?\d\d(?:[-_T]?\d\d(?:[-:_]?\d\d){0,2})?)$")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # how Python writes what is no UTF-8 in a file's name


class Listing(NamedTuple):
    """One walk of the tree; every path is relative to its root, with `/`."""

    files: dict[str, FileStat]
    """The files that are read, in order of their paths; of two names of one file the first."""
    others: dict[str, int]
    """Every other file, with its inode: a rotated file may bear any name."""


class LogTree:
    """The files below one root whose names end in one of the suffixes."""

    def __init__(self, root: Path, suffixes: tuple[str, ...]) -> None:
        self.root = root
        self._suffixes = suffixes
        self._logs: dict[str, tuple[FileStat, bool]] = {}
        self._told: set[str] = set()

    def walk(self) -> Listing:
        """Look at every file. What cannot be read is left out; links in a circle end."""
        files: dict[str, FileStat] = {}
        others: dict[str, int] = {}
        seen: set[tuple[int, int]] = set()
        known_logs, self._logs = self._logs, {}
        for entry, path in sorted(self._walk(), key=lambda item: (item[0].is_symlink(), item[1])):
            if not self._is_read(path):
                others[path] = entry.inode()
                continue
            stat = _look(entry.stat)
            if stat is None or (stat.device, stat.inode) in seen:
                continue
            if _origin(path).endswith(".log") and not self._holds_json(
                path, stat, known_logs.get(path)
            ):
                others[path] = stat.inode
                continue
            seen.add((stat.device, stat.inode))
            files[path] = stat
        return Listing(files, others)

    def stat(self, path: str) -> FileStat | None:
        """One file's look, or None if there is no such file."""
        return _look(lambda: os.stat(self.root / path))

    def concerns(self, path: str) -> bool:
        """Whether a change of this path may matter: a file that is read, a directory, or gone."""
        is_read = self._is_read(path) and self._logs.get(path, (None, True))[1]
        return is_read or not os.path.isfile(self.root / path)

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
        except OSError:
            return b""

    def _walk(self) -> Iterator[tuple["os.DirEntry[str]", str]]:
        """Every file with its path.

        Each directory is listed once, and by its own path rather than by that of a link to it.
        """
        seen: set[tuple[int, int]] = set()
        directories, links = [""], list[str]()
        while directories or links:
            links.sort(reverse=True)
            prefix = directories.pop() if directories else links.pop()
            for entry in self._list(prefix, seen):
                path = f"{prefix}{entry.name}"
                if _NOT_UTF8.search(path):
                    self._tell_once(f"{path!a} is left out: its name is not UTF-8")
                elif _answers(entry.is_file):
                    yield entry, path
                elif _answers(entry.is_dir):
                    (links if entry.is_symlink() else directories).append(f"{path}/")

    def _list(self, prefix: str, seen: set[tuple[int, int]]) -> list["os.DirEntry[str]"]:
        """What is in a directory; nothing if it was listed before, or cannot be."""
        directory = self.root / prefix
        try:
            here = os.stat(directory)
            if (here.st_dev, here.st_ino) in seen:
                return []
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(directory) as entries:
                return list(entries)
        except OSError as error:
            self._tell_once(f"{directory} cannot be listed: {error.strerror}")
            return []

    def _tell_once(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            logger.warning("%s", problem)

    def _is_read(self, path: str) -> bool:
        return _origin(path).endswith(self._suffixes)

    def _holds_json(self, path: str, stat: FileStat, known: tuple[FileStat, bool] | None) -> bool:
        """Whether the first line of a `.log` file is a JSON object; asked anew when it changed."""
        if known is None or known[0] != stat:
            known = stat, self._starts_with_json(path)
        self._logs[path] = known
        return known[1]

    def _starts_with_json(self, path: str) -> bool:
        if not self.head(path).removeprefix(_BOM).lstrip().startswith(b"{"):
            return False
        lines = [b""]
        with contextlib.suppress(OSError), self.open(path) as reader:
            while lines and not any(map(bytes.strip, lines)):
                lines = reader.read(FINGERPRINT_BYTES).lines
        return _is_record(next(filter(bytes.strip, lines), b""))


def _origin(path: str) -> str:
    """The name a file had before it was rotated: app.log for app.log.1 and app.log-20260218."""
    if path.endswith(".gz"):
        return f"{_ROTATED.sub('', path.removesuffix('.gz'))}.gz"
    return _ROTATED.sub("", path)


def _answers(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:  # a link to itself
        return False


def _look(ask: Callable[[], os.stat_result]) -> FileStat | None:
    try:
        return file_stat(ask())
    except OSError:
        return None
