"""What a store may offer beyond queries: snapshots for backups, and inspection for the doctor."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from mikroscope.logfiles.sources import Source
from mikroscope.query.model import Entry


class SnapshotContent(NamedTuple):
    """What a snapshot holds: every source with its checkpoint, and the number of entries."""

    sources: list[Source]
    entries: int


@runtime_checkable
class Snapshots(Protocol):
    """Copies an index into one file, and puts such a copy in the place of the index.

    Every method may raise StoreError.
    """

    def snapshot_size_bytes(self) -> int:
        """An upper bound for the size of a snapshot made now; 0 if there is no index."""

    def snapshot_to(self, target: Path) -> SnapshotContent:
        """Write the last committed state to a new file, with the permissions of the index.

        Neither readers nor writers wait meanwhile. The file is complete, and can be read on a
        file system that cannot be written, when this returns; it is not synced to disk.
        Raises DamagedIndexError for a damaged index, StorageFullError if the disk is full.
        """

    def verify(self, snapshot: Path) -> int:
        """Read all of a snapshot, check it, and return its number of entries.

        Raises DamagedIndexError if anything in it is wrong, IndexFormatError if it was made in
        a format that this version does not read. The snapshot is not changed.
        """

    def staging(self) -> AbstractContextManager[Path]:
        """A path on the disk of the index where a snapshot is put before `restore_from`.

        While the context is open no server can start with this index. Raises StoreError if one
        uses it already. A file left at the path is deleted when the context ends.
        """

    def restore_from(self, staged: Path) -> Path | None:
        """Make the staged snapshot the index, in one step.

        An index that was there before is renamed; its new name is returned.
        """


class IndexContent(NamedTuple):
    """What an intact index holds; `newest` is the entry with the latest time."""

    entries: int
    newest: Entry | None


class UnfinishedRebuild(NamedTuple):
    """A new index that is being built; `process` builds it, None if that was killed."""

    path: Path
    process: str | None


class Leftovers(NamedTuple):
    """What lies next to an index, or has yet to be merged into it."""

    rebuild: UnfinishedRebuild | None
    restore: Path | None
    """What a running restore has staged, or a killed one has left."""
    renamed: list[Path]
    """Earlier indexes that were kept under other names."""
    unmerged_bytes: int
    """Committed data that is not in the main file yet."""


@runtime_checkable
class Inspectable(Protocol):
    """Reports on an index and its files, and changes nothing."""

    def engine(self) -> str:
        """The name and version of the database engine."""

    def owner(self) -> str | None:
        """The id of the process whose server uses the index ("unknown" if it left none).

        None if no server uses it. Raises StoreError if that cannot be determined.
        """

    def files(self) -> list[Path]:
        """The files that a server writes; some may not exist."""

    def leftovers(self) -> Leftovers:
        """Return what lies next to the index. Raises StoreError if that cannot be read."""

    def examine(self) -> IndexContent | None:
        """Read and check all of the index; None if there is none yet.

        Raises DamagedIndexError, also if damage was found earlier, IndexFormatError for another
        format, StoreError if it is not an index or cannot be read.
        """

    def may_be_an_index(self) -> bool:
        """Return False if a damaged file is probably something else, named by mistake."""
