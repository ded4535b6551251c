"""Tells log files from others of the same suffix by their first line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from mikroscope.logfiles.nuls import is_record
from mikroscope.logfiles.reader import BOM, FINGERPRINT_BYTES, FileStat, LineReader

_BLANK = b"\0 \t\r\n"
_COMPARED = 64  # bytes that tell whether a file was rewritten


class FirstLine(Enum):
    """What the first line of a file is that is not blank."""

    RECORD = "a record"
    OTHER = "something else"
    MISSING = "not there yet"


class FirstLines:
    """Remembers what files begin with. `head` and `open_file` take a path and read its file."""

    def __init__(
        self, head: Callable[[str], bytes], open_file: Callable[[str], LineReader]
    ) -> None:
        self._head = head
        self._open = open_file
        self._known: dict[str, tuple[FileStat, FirstLine, bytes]] = {}
        self._before = self._known

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Forget, at the end, the files that were not asked for meanwhile."""
        self._before, self._known = self._known, {}
        yield
        self._before = self._known

    def is_record(self, path: str, stat: FileStat) -> bool:
        """Return whether a file begins with a record; it is read only if it has changed."""
        known = self._before.get(path)
        if known is None or known[0] != stat:
            head = self._head(path)
            known = stat, self._read(path, head), head[:_COMPARED]
        self._known[path] = known
        return known[1] is FirstLine.RECORD

    def may_become_record(self, path: str, stat: FileStat | None) -> bool:
        """Return False for a file that began with something else, and still does."""
        known = self._known.get(path)
        if known is None or known[1] is not FirstLine.OTHER or stat is None:
            return True
        if stat[:2] != known[0][:2] or stat.size < known[0].size:
            return True
        return not self._head(path).startswith(known[2])  # rewritten, and longer by now

    def _read(self, path: str, head: bytes) -> FirstLine:
        # The cheap check first: most plain-text logs do not begin with a brace.
        start = head.removeprefix(BOM).lstrip(_BLANK)
        if start and not start.startswith((b"{", b"\x1e{")):  # RFC 7464 begins with 1E
            return FirstLine.OTHER
        try:
            with self._open(path) as reader:
                return _first_line(reader)
        except OSError:
            return FirstLine.MISSING


def _first_line(reader: LineReader) -> FirstLine:
    while not (chunk := reader.read(FINGERPRINT_BYTES, final=True)).is_end:
        if first := next(filter(bytes.strip, chunk.lines), b""):
            return FirstLine.RECORD if is_record(first) else FirstLine.OTHER
        if chunk.refused:
            return FirstLine.OTHER
    return FirstLine.MISSING
