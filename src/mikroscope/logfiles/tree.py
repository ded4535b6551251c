"""Finds the log files below a root directory and opens them."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mikroscope.logfiles.first_lines import FirstLines
from mikroscope.logfiles.links import Known, Links, Watched
from mikroscope.logfiles.names import has_suffix
from mikroscope.logfiles.nuls import end_of_hole
from mikroscope.logfiles.packed import is_packed, open_content
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, FileStat, LineReader, file_stat

logger = logging.getLogger(__name__)
_Found = tuple["os.DirEntry[str]", str, bool]
_NOTHING: Mapping[str, Known] = MappingProxyType({})
_MIXED = (".log",)  # files that are read only if they begin with a record
_MANY_BYTES = 1 << 20
_STILL_WRITTEN_NS = 3_600_000_000_000  # after the last write, for files without a link
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # Python's surrogate escapes in file names


class Listing(NamedTuple):
    """The result of one walk of the tree; paths are relative to its root and use `/`."""

    files: dict[str, FileStat]
    """The files to index, sorted by path; a file with several names appears once."""
    others: dict[str, int]
    """All other files with their inodes; a rotated file may have any name."""


class _Collector:
    """Collects the files of a walk; of several names of a file, the first one counts."""

    def __init__(self, is_log: Callable[[str, FileStat], bool]) -> None:
        self.files: dict[str, FileStat] = {}
        self.others: dict[str, int] = {}
        self._seen: set[tuple[int, int]] = set()
        self._is_log = is_log

    def has(self, path: str) -> bool:
        """Return whether there is a file of this path."""
        return path in self.files or path in self.others

    def add(self, path: str, stat: FileStat | None) -> bool:
        """Add a file under a name that is read; return whether it is to be indexed under it."""
        if stat is None or stat[:2] in self._seen:
            return False
        if not self._is_log(path, stat):
            self.others[path] = stat.inode
            return False
        self._seen.add(stat[:2])
        self.files[path] = stat
        return True


class LogTree:
    """The files below one root whose names end in one of the suffixes. Not thread-safe."""

    def __init__(self, root: Path, suffixes: tuple[str, ...]) -> None:
        self.root = root
        self._suffixes = tuple(suffix.lower() for suffix in suffixes)
        self._first_lines = FirstLines(lambda path: self.head(path), lambda path: self.open(path))
        self._warned: set[str] = set()
        self._kept: tuple[str, LineReader] | None = None
        self._links = Links(root)
        self._watched = self._links.watched()
        self.on_walked: Callable[[], None] = lambda: None
        """Called after each walk and adoption: other directories may have to be watched now."""
        self._located: dict[str, str] = {}  # files that are not below the root

    def walk(self, known: Mapping[str, Known] = _NOTHING) -> Listing:
        """List every file. Unreadable ones are left out; circular links are not followed.

        Of a file behind a link, what rotation has made of it is listed as well, as if it were
        beside the link. `known` says of paths where their files outside the tree were: if a link
        leads elsewhere now, these are listed, too, under other names.
        """
        with self._first_lines.renewed():
            return self._list_all(known)

    def _list_all(self, known: Mapping[str, Known]) -> Listing:
        self._located = {}
        links, beside = Links(self.root), list[tuple[str, str]]()
        found = _Collector(self._is_log)
        # Symbolic links last, so that a file is known by its real path.
        for entry, path, is_linked in sorted(self._walk(links), key=_by_link):
            if not self._is_read(path):
                found.others[path] = entry.inode()
                continue
            found.add(path, _stat(entry.stat))
            # Links to empty files, and to none, count: they may have been rotated just now.
            is_outside = (is_linked or entry.is_symlink()) and links.add_file(path, entry.path)
            if is_outside and entry.is_symlink():
                links.add_link(path, entry.path)
                beside.extend(links.rotated(path, links.files[path]))
        self._locate(found, known, chain(beside, _left_behind(known, links, found)))
        for path, real in self._located.items():
            found.add(path, stat := self.stat(path))
            links.add_located(path, real, is_watched=_is_recent(stat))
        self._links, self._watched = links, links.watched()
        self.on_walked()
        return Listing(found.files, found.others)

    def _locate(
        self, found: _Collector, known: Mapping[str, Known], others: Iterable[tuple[str, str]]
    ) -> None:
        """Give each file that is not below the root a path that no other file has.

        Adopted ones have theirs; if it is taken, such a file is left out. Others have a path that
        they should have, and their real path.
        """
        adopted = {path: one.target for path, one in known.items() if one.is_adopted}
        self._located = {path: real for path, real in adopted.items() if not found.has(path)}
        taken = {*found.files, *found.others, *adopted}
        located = set(self._located.values())
        for path, real in others:
            if real not in located and self._is_read(path) and os.path.exists(real):
                located.add(real)
                name = _free_name(path, real, taken)
                taken.add(name)
                self._located[name] = real

    def watched(self) -> Watched:
        """Return the directories outside the tree whose changes matter, as of the last walk."""
        return self._watched

    def locate(self, path: str) -> Path:
        """Return where a file is: below the root, or beside the file that a link leads to."""
        real = self._located.get(path)
        return self.root / path if real is None else Path(real)

    def target(self, path: str) -> str:
        """Return the real path of a file outside the tree, as the last walk found it; else ""."""
        return self._links.files.get(path, "")

    def is_located(self, path: str) -> bool:
        """Return whether a path is only a name here: the file is not below the root."""
        return path in self._located

    def adopt(self, path: str, real: str, listing: Listing) -> str:
        """Give a name to a file outside that is no longer behind a link; return the name.

        It is its present path if no file of the listing has that one.
        """
        name = _free_name(path, real, {*listing.files, *listing.others})
        self._located[name] = real
        self._links.add_located(name, real, is_watched=_is_recent(self.stat(name)))
        self._watched = self._links.watched()
        self.on_walked()
        return name

    def stat(self, path: str) -> FileStat | None:
        """Return the FileStat of one file; None if there is no such file."""
        return _stat(lambda: os.stat(self.locate(path)))

    def data_after(self, path: str, offset: int, size: int) -> int:
        """Return how many bytes of a file follow an offset; of many, without a hole right there."""
        if size - offset > _MANY_BYTES and not is_packed(path):
            with contextlib.suppress(OSError), self.locate(path).open("rb", buffering=0) as file:
                file.seek(offset)
                skipped = end_of_hole(file.fileno())
                return 0 if skipped is None else max(0, size - offset - skipped)
        return size - offset

    def concerns(self, path: str) -> bool:
        """Return True if a change of this path may matter to the index.

        That is a file to index, a directory, or a path that does not exist any more.
        """
        if not self._is_read(path):
            return not os.path.isfile(self.locate(path))
        return self._first_lines.may_become_record(path, self.stat(path))

    def relative(self, absolute: str) -> str | None:
        """Return an absolute path relative to the root, with `/`.

        Of a path outside, the one in the tree that a link gives it; None if no link leads there.
        """
        root = f"{self.root}{os.sep}"
        if absolute.startswith(root):
            return absolute[len(root) :].replace(os.sep, "/")
        return self._links.path_of(absolute)

    def open(self, path: str, offset: int = 0, line: int = 0, open_bytes: int = 0) -> "LineReader":
        """Open a file to read on after `offset` bytes and `line` lines. Raises OSError.

        The last `open_bytes` of them are a line that was read without its line end.
        """
        return LineReader(self.locate(path), offset, line, open_bytes)

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
            with contextlib.closing(open_content(self.locate(path))) as file:
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

    def _walk(self, links: Links) -> Iterator["_Found"]:
        """Yield every file with its path, and whether a linked directory leads to it.

        Links to files that do not exist are among them.

        Each directory is listed once, by its own path rather than by that of a link to it: links
        are followed only when no directory is left.
        """
        seen: set[tuple[int, int]] = set()
        directories, linked, is_linked = [""], list[str](), False
        while directories or linked:
            if not directories:
                linked.sort(reverse=True)
                directories, is_linked = [linked.pop()], True
                links.add_directory(directories[0].removesuffix("/"), self.root / directories[0])
            prefix = directories.pop()
            for entry in self._list(prefix, seen):
                path = f"{prefix}{entry.name}"
                if _NOT_UTF8.search(path):
                    self._warn_once(f"{path!a} is not indexed: its name is not UTF-8")
                elif _safely(entry.is_file):
                    yield entry, path, is_linked
                elif _safely(entry.is_dir):
                    (linked if entry.is_symlink() else directories).append(f"{path}/")
                elif self._is_read(path) and _leads_nowhere(entry):
                    yield entry, path, is_linked

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

    def _is_log(self, path: str, stat: FileStat) -> bool:
        """Return False for a `.log` file whose first line is not a record."""
        return not has_suffix(path, _MIXED) or self._first_lines.is_record(path, stat)


def _left_behind(
    known: Mapping[str, Known], links: Links, found: _Collector
) -> Iterator[tuple[str, str]]:
    """Yield paths and real paths of files that links do not lead to any more.

    With each comes what rotation has made of it.
    """
    listed = {*found.files, *found.others}
    for path, one in known.items():
        if links.leads_elsewhere(path, one, listed):
            yield path, one.target
        elif not one.is_adopted:
            continue
        yield from links.rotated(path, one.target)


def _by_link(found: _Found) -> tuple[bool, str]:
    return found[0].is_symlink(), found[1]


def _free_name(path: str, real: str, taken: Collection[str]) -> str:
    """Return a path that is not taken: this one, or one with the name that the file has."""
    wanted = f"{path[: path.rfind('/') + 1]}{os.path.basename(real)}"
    names = chain([path, wanted], (f"{wanted}@{number}" for number in count(2)))
    return next(one for one in names if one not in taken)


def _is_recent(stat: FileStat | None) -> bool:
    return stat is not None and stat.mtime_ns > time.time_ns() - _STILL_WRITTEN_NS


def _is_as_opened(reader: LineReader, stat: FileStat | None) -> bool:
    """Return whether a file that was kept open is still the one at its path; it may have grown."""
    if reader.is_packed or stat is None:
        return reader.stat == stat
    return reader.stat[:2] == stat[:2] and reader.stat.size <= stat.size


def _leads_nowhere(entry: "os.DirEntry[str]") -> bool:
    """Return whether this is a link to a file that does not exist, for now perhaps."""
    try:
        return entry.is_symlink() and not entry.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False


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
