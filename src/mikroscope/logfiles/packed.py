"""Opens log files, plain or packed with gzip or Zstandard, as a stream of their content."""

import gzip
import logging
import zlib
from pathlib import Path
from typing import IO, Protocol

import zstandard

logger = logging.getLogger(__name__)

SUFFIXES = (".gz", ".zst")
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What unpacking raises if a packed file is damaged, or not complete (EOFError)."""
_BLOCK = 1 << 20
# Bytes unpacked by one call; what zstandard has unpacked by the call that finds damage is lost.
_PIECES = {".gz": 1 << 16, ".zst": 1 << 12}
# The format of a Zstandard frame: RFC 8878, section 3.1.
_SKIPPABLE_FRAMES = range(0x184D2A50, 0x184D2A60)
_MAX_FRAME_HEADER = 18
_RUN_LENGTH_BLOCK = 1


class Content(Protocol):
    """The content of an open file; positions count its bytes after unpacking."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end, which may be only the end for now."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset; return where that led: packed content may end before it."""

    def tell(self) -> int:
        """Return the position."""

    def fileno(self) -> int:
        """Return the descriptor of the file."""

    def close(self) -> None:
        """Close the file."""


def packing(name: str) -> str:
    """Return the ending, in lower case, that says how a file is packed; empty if it is not."""
    ending = name[name.rfind(".") :].lower()
    return ending if ending in SUFFIXES else ""


def is_packed(name: str) -> bool:
    """Return whether a file of this name is packed."""
    return bool(packing(name))


def unpacked_name(name: str) -> str:
    """Return the name that a packed file had before; another name as it is."""
    return name[: len(name) - len(packing(name))]


def open_content(path: Path) -> Content:
    """Open a file according to its name. Raises OSError."""
    return PackedFile(path) if is_packed(path.name) else path.open("rb", buffering=0)


def unpack_all(path: Path) -> None:
    """Unpack a packed file to its end. Raises OSError, or one of DAMAGE if that is impossible."""
    with path.open("rb") as file:
        stream = _unpacking(path.name, file)
        while stream.read1(_BLOCK):
            pass
        if packing(path.name) == ".zst":  # the library does not mind an unfinished frame
            _check_frames(file)


class PackedFile:
    """A packed file that ends where it cannot be unpacked any further, instead of raising."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._piece = _PIECES[packing(path.name)]
        self._ended = False
        self._rewind()

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; fewer only at the end."""
        left, parts = size, list[bytes]()
        try:
            while (
                left > 0
                and not self._ended
                and (part := self._stream.read1(min(left, self._piece)))
            ):
                parts.append(part)
                left -= len(part)
        except DAMAGE as error:
            self._ended = True
            if not isinstance(error, EOFError):  # a truncated file may still be growing
                logger.warning(
                    "%s is damaged, only its beginning is indexed: %s", self._path, error
                )
        content = b"".join(parts)
        self._position += len(content)
        return content

    def seek(self, offset: int, /) -> int:
        """Go to an offset, backwards from the beginning on; return where the content has led."""
        if offset < self._position:
            self._rewind()
        while (left := offset - self._position) > 0 and self.read(min(left, _BLOCK)):
            pass
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def fileno(self) -> int:
        """Return the descriptor of the packed file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._stream = _unpacking(self._path.name, self._file)
        self._position = 0
        self._ended = False


class _Stream(Protocol):
    def read1(self, size: int, /) -> bytes:
        """Return some bytes, unpacked by few reads of the file; none at the end."""


def _unpacking(name: str, file: IO[bytes]) -> _Stream:
    if packing(name) == ".gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    decompressor = zstandard.ZstdDecompressor()
    return decompressor.stream_reader(file, read_across_frames=True, closefd=False)


def _check_frames(file: IO[bytes]) -> None:
    """Raise EOFError unless the file ends with a whole Zstandard frame, which can be unpacked."""
    position, end = 0, file.seek(0, 2)
    while position < end:
        position = _end_of_frame(file, position)
    if position > end:
        raise EOFError("its last frame is not complete")


def _end_of_frame(file: IO[bytes], start: int) -> int:
    """Return where a frame ends; behind the end of the file if that is somewhere in the frame."""
    file.seek(start)
    header = file.read(_MAX_FRAME_HEADER)
    if int.from_bytes(header[:4], "little") in _SKIPPABLE_FRAMES:
        return start + 8 + int.from_bytes(header[4:8], "little")
    try:
        position = start + zstandard.frame_header_size(header)
        has_checksum = zstandard.get_frame_parameters(header).has_checksum
    except zstandard.ZstdError:
        raise EOFError("its last frame is not complete") from None
    is_last = False
    while not is_last:
        file.seek(position)
        block = int.from_bytes(raw := file.read(3), "little")
        if len(raw) < 3:
            return position + 3
        is_last, kind = bool(block & 1), block >> 1 & 3
        position += 3 + (1 if kind == _RUN_LENGTH_BLOCK else block >> 3)
    return position + 4 * has_checksum
