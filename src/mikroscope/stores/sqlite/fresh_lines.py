"""Lines of one commit that are not sealed yet: what a row of the table `fresh` holds.

Committing them costs little: their fields are not looked at. Readers and the sealer make pieces of
many rows at once.
"""

from collections.abc import Callable, Sequence

import msgspec
import zstandard

from mikroscope.stores.sqlite.piece import pick


class FreshLines(msgspec.Struct, array_like=True):
    """Entries in the order of their keys; every list has one item for each entry."""

    is_audit: bool
    commit: int
    """The number of the commit that they came with."""
    keys: list[int]
    times: list[int]
    """Epoch milliseconds, of which a key is usually made."""
    sources: list[int]
    lines: list[int]
    """The number of the line and, above its bits, the part (`schema.PART_SHIFT`)."""
    raw: list[bytes]
    """The lines, without the text of the time where `compression.restore_time` gives it back."""

    def __len__(self) -> int:
        return len(self.keys)

    def chosen(self, places: Sequence[int]) -> "FreshLines":
        """Return some of the entries, in the order given."""
        return FreshLines(
            self.is_audit,
            self.commit,
            keys=pick(self.keys, places),
            times=pick(self.times, places),
            sources=pick(self.sources, places),
            lines=pick(self.lines, places),
            raw=pick(self.raw, places),
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FreshLines).decode


def pack_lines(lines: FreshLines, compress: Callable[[bytes], bytes]) -> bytes:
    """Return lines as a row of `fresh` has them."""
    return compress(_encode(lines))


def unpack_lines(content: bytes) -> FreshLines:
    """Undo `pack_lines`, for bytes that are unpacked already. Raises ZstdError for damage."""
    try:
        found = _decode(content)
    except msgspec.DecodeError as error:
        raise zstandard.ZstdError(f"lines that are not sealed cannot be read: {error}") from error
    sizes = {len(found.keys), len(found.times), len(found.sources), len(found.lines)}
    if sizes != {len(found.raw)}:
        raise zstandard.ZstdError("lines that are not sealed have columns of different lengths")
    return found
