"""Packs bytes as zstd frames that have a checksum."""

import threading

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
