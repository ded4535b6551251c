"""Appends whole lines to log files: a write that does not fit is taken back."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from mikroscope.disk import NO_SPACE
from mikroscope.errors import StorageFullError, StoreError
from mikroscope.logfiles.reader import FINGERPRINT_BYTES, FileStat, file_stat


class Appended(NamedTuple):
    """How a file looked before and after lines were appended to it."""

    before: FileStat
    after: FileStat
    tail: bytes
    """Its last bytes, FINGERPRINT_BYTES or all of them."""


class LogWriter:
    """Appends whole lines to the files below one root; one thread uses it.

    A write that does not fit is taken back, so that no half line is left in the file.
    """

    _MAX_OPEN = 64

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, int] = {}

    def append(self, path: str, lines: bytes) -> Appended:
        """Append complete lines. Raises StorageFullError or StoreError, with nothing written."""
        try:
            descriptor = self._descriptor(path)
            before = file_stat(os.fstat(descriptor))
            size = before.size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line: it keeps a line of its own
            self._write(descriptor, lines, size)
            after = file_stat(os.fstat(descriptor))
            tail = os.pread(descriptor, FINGERPRINT_BYTES, max(0, after.size - FINGERPRINT_BYTES))
        except OSError as error:
            kind = StorageFullError if error.errno in NO_SPACE else StoreError
            raise kind(f"{path} cannot be written: {error.strerror}") from error
        return Appended(before, after, tail)

    def take_back(self, path: str, size: int) -> None:
        """Cut a file back to the size it had before an `append`, whatever it is called now."""
        file = self._open.get(path, self._root / path)
        with contextlib.suppress(OSError):
            if os.stat(file).st_size > size:
                os.truncate(file, size)

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1])

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
