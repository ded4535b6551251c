"""Packs raw lines with zstd, each by itself, with a trained dictionary that they share."""

from collections import deque
from typing import Any

import zstandard

from mikroscope.records.timestamps import canonical_ms, format_time

DICTIONARY_BYTES = 16_384
SAMPLE_LINES = 2_000
SAMPLE_EVERY = 32  # one in so many packed lines is kept for training
MIN_SAMPLE_LINES = 1_000
RETRAIN_AFTER_LINES = 50_000
WORSE_BY = 1.25  # packed/raw has to grow by this factor before a new dictionary is trained
LEVEL = 3
_MAGIC = zstandard.FRAME_HEADER  # the first four bytes of every frame, so they are not stored
# Nearly every frame is a single compressed block with a content size of two bytes (RFC 8878,
# 3.1.1). Of its ten bytes of headers only that size is stored; the rest follows from the length.
_USUAL = 0x60
_LAST_COMPRESSED = 0b101
TIME_PLACE = b"\x01"  # a byte that never occurs in JSON text


def strip_time(raw: bytes, text: object) -> bytes:
    """Return a line without the text of its time, if `format_time` restores exactly that text."""
    if type(text) is str and canonical_ms(text) is not None:
        return strip_text(raw, text)
    return raw


def strip_text(raw: bytes, text: str) -> bytes:
    """Return a line without the text of its time, which must be in canonical form."""
    return raw.replace(text.encode(), TIME_PLACE, 1)


def restore_time(line: bytes, milliseconds: int) -> bytes:
    """Undo `strip_time`."""
    if TIME_PLACE in line:
        return line.replace(TIME_PLACE, format_time(milliseconds).encode(), 1)
    return line


class Dictionary:
    """A zstd dictionary, ready for use; number 0 is the empty one. Belongs to one thread."""

    def __init__(self, number: int, content: bytes) -> None:
        self.number = number
        self.content = content
        data = zstandard.ZstdCompressionDict(content) if content else None
        self._data = data
        self._compressor: zstandard.ZstdCompressor | None = None
        self.unpack = zstandard.ZstdDecompressor(dict_data=data).decompress

    def pack(self, content: bytes) -> bytes:
        """Pack bytes as a zstd frame with a checksum."""
        return self._ready_compressor().compress(content)

    def pack_all(self, contents: list[bytes]) -> list[bytes]:
        """Pack each of several contents, as `pack` does; the interpreter lock is released once."""
        if len(contents) < 2:
            return [self.pack(content) for content in contents]
        given: Any = contents  # list is invariant, so the stubs' list of buffers does not match
        frames = self._ready_compressor().multi_compress_to_buffer(given)
        return [frames[place].tobytes() for place in range(len(contents))]

    def _ready_compressor(self) -> zstandard.ZstdCompressor:
        # Made on first use: a dictionary that only unpacks does not need the tables.
        if self._compressor is None:
            if self._data is not None:
                self._data.precompute_compress(level=LEVEL)
            self._compressor = zstandard.ZstdCompressor(
                level=LEVEL, dict_data=self._data, write_checksum=True, write_dict_id=False
            )
        return self._compressor


class Packer:
    """Holds the current dictionary; trains the first, and a new one when it fits no longer."""

    def __init__(self, dictionary: Dictionary | None = None, next_number: int = 1) -> None:
        self.current = dictionary or Dictionary(0, b"")
        self._next_number = next_number
        self._sample: deque[bytes] = deque(maxlen=SAMPLE_LINES)
        self._raw = self._packed = self._lines = 0
        self._first_ratio: float | None = None

    @property
    def wants_sample(self) -> bool:
        """True if there is no dictionary yet, so `observe` should be called before packing."""
        return not self.current.number

    def observe(self, lines: list[bytes]) -> None:
        """Add lines to the training sample."""
        self._sample.extend(lines)

    def count(self, lines: int, raw: int, packed: int) -> None:
        """Record how many lines were packed, and their bytes before and after."""
        self._lines += lines
        self._raw += raw
        self._packed += packed

    def train(self) -> Dictionary | None:
        """Train a dictionary if one is due, make it the current one and return it; else None."""
        if not self._due() or len(self._sample) < MIN_SAMPLE_LINES:
            return None
        try:
            data = zstandard.train_dictionary(DICTIONARY_BYTES, list(self._sample))
        except zstandard.ZstdError:  # the lines are too short or too similar
            self._sample.clear()
            return None
        self.current = Dictionary(self._next_number, data.as_bytes())
        self._next_number += 1
        self._raw = self._packed = self._lines = 0
        self._first_ratio = None
        return self.current

    def _due(self) -> bool:
        if not self.current.number:
            return True
        if self._lines < RETRAIN_AFTER_LINES or not self._raw:
            return False
        ratio = self._packed / self._raw
        self._raw = self._packed = self._lines = 0
        if self._first_ratio is None:
            self._first_ratio = ratio
        return ratio > self._first_ratio * WORSE_BY
