"""Appends whole lines to log files, leaving no partial line behind when the disk is full."""

import contextlib
import errno
import os
from pathlib import Path
from typing import NamedTuple

from mikroscope.disk import NO_SPACE, sync
from mikroscope.errors import StorageFullError, StoreError
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, FileStat, file_stat


class Appended(NamedTuple):
    """The state of a file before and after lines were appended to it."""

    before: FileStat
    after: FileStat
    tail: bytes
    """The file's last FINGERPRINT_BYTES, or all of it if it is shorter."""


class LogAppender:
    """Appends whole lines to the files below one root. Not thread-safe.

    A write that fails halfway is undone by truncating the file to its previous size. If `durable`,
    an append returns when its lines are on the disk, so that they survive a crash of the machine.
    """

    _MAX_OPEN = 64

    def __init__(self, root: Path, *, durable: bool = False) -> None:
        self._root = root
        self._durable = durable
        self._open: dict[str, int] = {}

    def append(self, path: str, lines: bytes) -> Appended:
        """Append complete lines to the file at `path`, relative to the root.

        Raises StorageFullError or StoreError, with nothing written.
        """
        try:
            descriptor = self._descriptor(path)
            before = file_stat(os.fstat(descriptor))
            size = before.size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line; it must not merge with ours
            self._write(descriptor, lines, size)
            if self._durable and size == 0:
                self._sync_names(path)
            after = file_stat(os.fstat(descriptor))
            tail = os.pread(descriptor, FINGERPRINT_BYTES, max(0, after.size - FINGERPRINT_BYTES))
        except OSError as error:
            kind = StorageFullError if error.errno in NO_SPACE else StoreError
            is_link = error.errno == errno.ELOOP
            reason = "it is a link, expected a file: remove the link" if is_link else error.strerror
            raise kind(f"{path} cannot be written: {reason}") from error
        return Appended(before, after, tail)

    def truncate(self, path: str, size: int) -> None:
        """Truncate a file to the size it had before an `append`, even if it was renamed since.

        Failures are ignored.
        """
        file = self._open.get(path, self._root / path)
        with contextlib.suppress(OSError):
            if os.stat(file).st_size > size:
                os.truncate(file, size)

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _sync_names(self, path: str) -> None:
        """Make the name of a new file durable, and those of its directories."""
        directory = (self._root / path).parent
        while True:
            sync(directory)
            if directory == self._root:
                return
            directory = directory.parent

    def _write(self, descriptor: int, content: bytes, size_before: int) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
            if self._durable:
                os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size_before)
            raise

    def _descriptor(self, path: str) -> int:
        """Return a descriptor of the file that has this name now; logrotate may have moved it."""
        known = self._open.get(path)
        if known is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(known), os.lstat(self._root / path)):
                    return known
            os.close(self._open.pop(path))
        if len(self._open) >= self._MAX_OPEN:  # close the one that has been open longest
            os.close(self._open.pop(next(iter(self._open))))
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # A link here would let anyone who may write to the directory choose what is appended to.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        self._open[path] = os.open(target, flags, 0o640)
        return self._open[path]
