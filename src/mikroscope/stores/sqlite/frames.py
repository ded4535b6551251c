"""Packs bytes as zstd frames that have a checksum, and headers of numbers with one of their own."""

import struct
import threading
import zlib
from typing import Any

import zstandard


class _Local(threading.local):
    """The library's contexts, which no two threads may use at once."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=3, write_checksum=True).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_local = _Local()


def pack(content: bytes) -> bytes:
    """Pack bytes as a zstd frame with a checksum."""
    return _local.compress(content)


def unpack(frame: bytes) -> bytes:
    """Undo `pack`. Raises ZstdError if the frame is damaged."""
    return _local.decompress(frame)


_CHECK = struct.Struct("<I")


def pack_header(form: struct.Struct, *numbers: int) -> bytes:
    """Return numbers as bytes with a checksum."""
    header = form.pack(*numbers)
    return header + _CHECK.pack(zlib.crc32(header))


def unpack_header(form: struct.Struct, content: bytes) -> tuple[Any, ...]:
    """Return the numbers at the beginning of bytes. Raises ZstdError if they are damaged."""
    header, check = content[: form.size], content[form.size : header_bytes(form)]
    if check != _CHECK.pack(zlib.crc32(header)):
        raise zstandard.ZstdError("a header does not have its checksum")
    return form.unpack(header)


def header_bytes(form: struct.Struct) -> int:
    """Return how many bytes a header takes."""
    return form.size + _CHECK.size
