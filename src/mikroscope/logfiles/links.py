"""Where files really are that the tree reaches through links, and what lies rotated beside them."""

import os
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple, Self

from mikroscope.logfiles.names import is_rotated, renamed
from mikroscope.logfiles.sources import Source

_MAX_LINKS = 40  # of one chain, as in Linux


class Directory(NamedTuple):
    """A directory; if another one takes its path, that is not equal."""

    path: str
    device: int
    inode: int


class Watched(NamedTuple):
    """Directories outside the tree: whole ones, and those of which only the files matter."""

    whole: frozenset[Directory]
    files_only: frozenset[Directory]


class Known(NamedTuple):
    """Where the file of a source was that is outside the tree: see `Checkpoint`."""

    target: str
    is_adopted: bool

    @classmethod
    def of(cls, source: Source) -> Self:
        """Return what is known of a source; the target of one inside the tree is empty."""
        return cls(source.checkpoint.target, source.checkpoint.is_adopted)


class Links:
    """The links of a tree, as one walk found them. Paths of the tree are relative, with `/`."""

    def __init__(self, root: Path) -> None:
        self._inside = f"{os.path.realpath(root)}{os.sep}"
        self.files: dict[str, str] = {}
        """The real path of each file outside the tree, by its path in the tree."""
        self.paths: dict[str, str] = {}
        """The path in the tree of each file or directory outside, by its real path."""
        self.directories: set[str] = set()
        """The real paths of the directories outside that links lead to."""
        self._beside: set[str] = set()  # directories that hold linked files, or links to them
        self._linked: set[str] = set()  # paths in the tree of links to directories
        self._listed: dict[str, list[str]] = {}

    def add_file(self, path: str, file: Path | str) -> bool:
        """Note a file that links lead to; return whether it is outside the tree."""
        real = os.path.realpath(file)
        if real.startswith(self._inside):
            return False
        self.files[path] = real
        self.paths.setdefault(real, path)
        return True

    def add_located(self, path: str, file: str, *, is_watched: bool) -> None:
        """Note a file outside to which no link leads; its directory may have to be watched."""
        if self.add_file(path, file) and is_watched:
            self._beside.add(os.path.dirname(self.files[path]))

    def leads_elsewhere(self, path: str, known: Known, files: Container[str]) -> bool:
        """Return whether a link, or one to a directory above, leads to another file than before."""
        is_same = self.files.get(path, "") == known.target
        if known.is_adopted or is_same or not known.target:
            return False
        is_there = path in files or path in self.files  # a link to no file is not listed
        return is_there or any(path.startswith(f"{one}/") for one in self._linked)

    def add_link(self, path: str, link: str) -> None:
        """Note the link itself that leads to such a file, and those that it leads to before."""
        for _ in range(_MAX_LINKS):
            if not os.path.islink(link):
                break
            link = os.path.join(os.path.dirname(link), os.readlink(link))
            directory, name = os.path.split(link)
            directory = os.path.realpath(directory)
            link = os.path.join(directory, name)
            if not link.startswith(self._inside):
                self._beside.add(directory)
                self.paths.setdefault(link, path)

    def watched(self) -> "Watched":
        """Return the directories outside whose changes matter."""
        beside = {
            one for one in self._beside if not any(_is_in(one, other) for other in self.directories)
        }
        return Watched(_present(self.directories), _present(beside))

    def add_directory(self, path: str, directory: Path) -> None:
        """Note a directory that a link leads to."""
        real = os.path.realpath(directory)
        self._linked.add(path)
        if not f"{real}{os.sep}".startswith(self._inside):
            self.directories.add(real)
            self.paths.setdefault(real, path)

    def rotated(self, path: str, real: str) -> Iterator[tuple[str, str]]:
        """Yield the files that rotation has made of a linked one: a path for each, and where it is.

        A path is what the link would be named if it were rotated with its file.
        """
        directory, of = os.path.split(real)
        parent, separator, link = path.rpartition("/")
        names = self._list(directory)
        stem = of.rpartition(".")[0] or of
        begin = bisect_left(names, stem)
        for name in takewhile(lambda name: name.startswith(stem), islice(names, begin, None)):
            if name != of and is_rotated(name, of):
                named = renamed(name, of, link)
                yield f"{parent}{separator}{named}", os.path.join(directory, name)

    def path_of(self, real: str) -> str | None:
        """Return the path in the tree of a file outside; of one that is not known, a near one.

        That is the path of its directory's link, or of a linked file beside it that may have been
        rotated. None if no link leads there.
        """
        if (known := self.paths.get(real)) is not None:
            return known
        for above in map(str, Path(real).parents):
            if above in self.directories:
                return f"{self.paths[above]}/{os.path.relpath(real, above)}".replace(os.sep, "/")
        directory, name = os.path.split(real)
        beside = (one for one in list(self.paths) if os.path.dirname(one) == directory)
        related = (one for one in beside if is_related(os.path.basename(one), name))
        return self.paths.get(next(related, ""))

    def _list(self, directory: str) -> list[str]:
        if directory not in self._listed:
            try:
                self._listed[directory] = sorted(os.listdir(directory))
            except OSError:
                self._listed[directory] = []
        return self._listed[directory]


def _present(directories: Iterable[str]) -> frozenset[Directory]:
    """Return those that exist."""
    found = set[Directory]()
    for path in directories:
        with suppress(OSError):
            stat = os.stat(path)
            found.add(Directory(path, stat.st_dev, stat.st_ino))
    return frozenset(found)


def _is_in(directory: str, other: str) -> bool:
    return directory == other or directory.startswith(f"{other}{os.sep}")


def is_related(name: str, other: str) -> bool:
    """Return True if `other` may be `name` rotated: app.ndjson, app-1.ndjson, app.ndjson.1.gz."""
    return other.startswith(name.split(".")[0])


def candidates(real: str, inode: int) -> list[str]:
    """Return where the file may be now that had a real path and an inode, the likeliest first.

    That is any file in its directory with that inode, and those with a related name.
    """
    directory, name = os.path.split(real)
    same, related = list[str](), list[str]()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.inode() == inode:
                    same.append(entry.path)
                elif is_related(name, entry.name):
                    related.append(entry.path)
    except OSError:
        return []
    return [path for path in [*same, *sorted(related)] if os.path.isfile(path)]
