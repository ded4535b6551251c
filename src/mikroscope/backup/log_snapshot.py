"""Copies a tree of log files into a backup while they are written, rotated and deleted."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mikroscope.backup.manifest import LOGS, ChangedError, SavedFile, copy_file, make_directory
from mikroscope.errors import MikroScopeError
from mikroscope.logfiles.packed import is_packed
from mikroscope.logfiles.reader import FileStat
from mikroscope.logfiles.tree import LogTree

_ROUNDS = 20
_BLOCK = 1 << 16
_DISK_BLOCK = 4096  # bytes that the smallest file takes on most file systems


class Previous(NamedTuple):
    """An earlier backup on the same disk, and its files by path."""

    directory: Path
    files: Mapping[str, SavedFile]

    def same(self, path: str, stat: FileStat) -> SavedFile | None:
        """The copy of a file there, if that is complete and the file has not changed since."""
        saved = self.files.get(f"{LOGS}{path}")
        is_same = saved and (saved.size, saved.mtime_ns) == (stat.size, stat.mtime_ns)
        return saved if is_same else None


NOTHING_BEFORE = Previous(Path(), {})


class _Copied(NamedTuple):
    saved: SavedFile
    device: int
    inode: int
    head: bytes


class LogCopy:
    """Copies the files that the server reads, and rotated ones that the index follows.

    `indexed` is the number of bytes of each file that are indexed: at least those are copied, and
    beyond them only whole lines. Files unchanged since the previous backup are linked from there.
    """

    def __init__(
        self,
        tree: LogTree,
        target: Path,
        indexed: Mapping[str, int],
        previous: Previous = NOTHING_BEFORE,
    ) -> None:
        self._tree = tree
        self._target = target
        self._indexed = indexed
        self._previous = previous
        self._copied: dict[str, _Copied] = {}
        self._inodes: set[int] = set()  # of all files that were ever copied
        self._gone: list[bytes] = []  # first bytes of the files found gone in the last round

    def bytes_to_copy(self) -> int:
        """About how many bytes a copy takes on disk."""
        files = self._scan()
        return sum(
            -(-stat.size // _DISK_BLOCK) * _DISK_BLOCK
            for path, stat in files.items()
            if not self._previous.same(path, stat)
        )

    def run(self) -> list[SavedFile]:
        """Copy all files, so that the copies match one state of the tree.

        Rotation moves content from name to name: what was copied under one name must not be
        copied under another as well, or its entries would be indexed twice. So the tree is
        scanned again until nothing has moved. Raises OSError and MikroScopeError.
        """
        make_directory(self._tree.root, self._target)
        for _ in range(_ROUNDS):
            if not self._round(self._scan()):
                return [self._copied[path].saved for path in sorted(self._copied)]
        raise MikroScopeError(
            f"the files below {self._tree.root} are renamed faster than they can be copied: "
            "try again at another time"
        )

    def _round(self, files: Mapping[str, FileStat]) -> bool:
        """Delete outdated copies, and copy what is missing; False if there was nothing to do."""
        stale = [path for path in self._copied if not self._is_current(path, files.get(path))]
        gone = [self._copied[path].head for path in stale]
        stale += self._half_moved(stale, files, gone + self._gone)
        self._gone = gone
        for path in stale:
            del self._copied[path]
            (self._target / path).unlink()
        missing = [path for path in files if path not in self._copied]
        for path in missing:
            self._copy(path, files[path])
        return bool(stale or missing)

    def _scan(self) -> dict[str, FileStat]:
        """The files to copy, including rotated ones whose new names are not read."""
        listing = self._tree.walk()
        renamed = self._inodes - {stat.inode for stat in listing.files.values()}
        followed = {
            path: self._tree.stat(path)
            for path, inode in listing.others.items()
            if path in self._indexed or inode in renamed
        }
        return listing.files | {path: stat for path, stat in followed.items() if stat is not None}

    def _half_moved(
        self, stale: list[str], files: Mapping[str, FileStat], gone: list[bytes]
    ) -> list[str]:
        """Copies of files that rotation was still writing, by copying or packing another file.

        They have grown since, and begin like a file that is gone since this scan or the last.
        """
        return [
            path
            for path in self._copied.keys() - set(stale)
            if files[path].size > self._copied[path].saved.size
            and any(_begin_alike(self._copied[path].head, head) for head in gone)
        ]

    def _is_current(self, path: str, stat: FileStat | None) -> bool:
        copied = self._copied[path]
        if stat is None or (stat.device, stat.inode) != (copied.device, copied.inode):
            return False
        return stat.size >= copied.saved.size and self._tree.head(path).startswith(copied.head)

    def _copy(self, path: str, stat: FileStat) -> None:
        """Copy one file; leave one that is deleted or truncated meanwhile to the next round."""
        target = self._target / path
        try:
            make_directory(self._tree.locate(path).parent, target.parent)
            saved = self._link(path, stat, target) or self._copy_lines(path, target)
        except (FileNotFoundError, ChangedError):
            target.unlink(missing_ok=True)
            return
        copied = LogTree(self._target, ()).head(path)
        self._inodes.add(stat.inode)
        self._copied[path] = _Copied(saved, stat.device, stat.inode, copied)

    def _link(self, path: str, stat: FileStat, target: Path) -> SavedFile | None:
        saved = self._previous.same(path, stat)
        before = LogTree(self._previous.directory / LOGS, ())
        if saved is None or before.head(path) != self._tree.head(path):
            return None
        try:
            os.link(self._previous.directory / saved.path, target)
        except OSError:  # deleted, or a file system without hard links
            return None
        return saved

    def _copy_lines(self, path: str, target: Path) -> SavedFile:
        with self._tree.locate(path).open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            if not is_packed(path):
                size = _end_of_lines(source, size, self._indexed.get(path, 0))
            return copy_file(source, target, f"{LOGS}{path}", size)


def _begin_alike(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _end_of_lines(file: BinaryIO, size: int, indexed: int) -> int:
    """The offset after the last line end, or after what is indexed, which may end without one."""
    at_least = indexed if indexed <= size else 0
    start = size
    while start > at_least:
        end, start = start, max(at_least, start - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return at_least
