"""Snapshots and inspection of an index file, as `mikroscope.stores.administration` promises."""

from contextlib import AbstractContextManager
from pathlib import Path

from mikroscope.stores.administration import IndexContent, Leftovers, SnapshotContent
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.admin import inspection, snapshot


class SqliteTools:
    """Both protocols for the index file at `path`, or the one that a link there leads to."""

    def __init__(self, path: Path) -> None:
        self._path = files.resolve_link(path)

    def snapshot_size_bytes(self) -> int:
        """The size of the file and its log: a snapshot is compact, so never larger."""
        return files.size_bytes(self._path)

    def snapshot_to(self, target: Path) -> SnapshotContent:
        """Write the last committed state to a new file."""
        return snapshot.snapshot_to(self._path, target)

    def verify(self, snapshot_path: Path) -> int:
        """Read all of a snapshot, check it, and return its number of entries."""
        return snapshot.verify(snapshot_path)

    def staging(self) -> AbstractContextManager[Path]:
        """A path beside the index for its replacement; no server can start meanwhile."""
        return snapshot.staging(self._path)

    def restore_from(self, staged: Path) -> Path | None:
        """Make the staged snapshot the index; returns the new name of the old one."""
        return snapshot.restore_from(staged, self._path)

    def engine(self) -> str:
        """The SQLite in use."""
        return inspection.engine()

    def owner(self) -> str | None:
        """The process whose server uses the index."""
        return inspection.owner(self._path)

    def files(self) -> list[Path]:
        """The index file, and those that SQLite and a server write beside it."""
        return inspection.written_files(self._path)

    def leftovers(self) -> Leftovers:
        """Return what lies next to the index, or is still in its write-ahead log."""
        return inspection.leftovers(self._path)

    def examine(self) -> IndexContent | None:
        """Read and check all of the index; None if there is none yet."""
        return inspection.examine(self._path)

    def may_be_an_index(self) -> bool:
        """Judge a damaged file by its name and by what lies beside it."""
        return files.may_be_an_index(self._path)
