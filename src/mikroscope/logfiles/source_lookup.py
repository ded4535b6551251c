"""Finds sources by their file's inode and by the fingerprint of their first bytes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from mikroscope.logfiles.reader import FINGERPRINT_BYTES, fingerprint
from mikroscope.logfiles.sources import Source


class SourceLookup:
    """Finds sources by inode and by the fingerprint of their first bytes."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._inodes: dict[tuple[int, int], list[Source]] = defaultdict(list)
        self._heads: dict[bytes, list[Source]] = defaultdict(list)
        self._lengths: set[int] = set()
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        """Add a source."""
        checkpoint = source.checkpoint
        self._inodes[checkpoint.device, checkpoint.inode].append(source)
        self._heads[checkpoint.head].append(source)
        self._lengths.add(min(checkpoint.offset, FINGERPRINT_BYTES))

    def by_inode(self, device: int, inode: int) -> list[Source]:
        """Return the sources that were last read from the file with this inode."""
        return self._inodes.get((device, inode), [])

    def by_fingerprint(self, head: bytes) -> list[Source]:
        """Return the sources whose first bytes have this fingerprint."""
        return self._heads.get(head, [])

    def by_head(self, head: bytes) -> Iterator[Source]:
        """Yield the sources that begin as a file does, those of which most is known first."""
        for length in sorted(self._lengths, reverse=True):
            if length <= len(head):
                yield from self.by_fingerprint(fingerprint(head[:length]))
