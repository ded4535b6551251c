"""Counts and states of indexing, as reports and `/health` show them."""

from typing import Literal

import msgspec

from mikroscope.json_body import Count, JsonBody, Time

Mode = Literal["incremental", "full"]


class IndexStats(msgspec.Struct, rename="camel"):
    """Counts of what indexing has done."""

    files_scanned: int = 0
    lines_scanned: int = 0
    records_inserted: int = 0
    records_skipped: int = 0
    parse_errors: int = 0
    unreadable_timestamps: int = 0

    def since(self, earlier: "IndexStats") -> "IndexStats":
        """Return what was counted after earlier stats."""
        return IndexStats(
            *(now - then for now, then in zip(_counts(self), _counts(earlier), strict=True))
        )

    def add(self, other: "IndexStats") -> None:
        """Add other stats to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def copy(self) -> "IndexStats":
        """Return a copy that later work does not change."""
        return IndexStats(*_counts(self))


class FilesOfPass:
    """Counts the files that a pass looks at, each once: all of them in a scan, else those it reads.

    A pass lasts until nothing is left to read.
    """

    def __init__(self) -> None:
        self._listed = 0
        self._unread = 0  # of those that were listed

    def add_listed(self, count: int) -> int:
        """Return how many of the files that a scan has listed are new in this pass."""
        new = max(0, count - self._listed)
        self._listed += new
        self._unread += new
        return new

    def add_read(self, count: int) -> int:
        """Return how many of the files that were read no scan of this pass has listed."""
        listed = min(count, self._unread)
        self._unread -= listed
        return count - listed


def _counts(stats: IndexStats) -> tuple[int, ...]:
    return msgspec.structs.astuple(stats)


class IndexReport(JsonBody, frozen=True, kw_only=True):
    """The report of one pass over the log files."""

    files_scanned: Count
    lines_scanned: Count
    records_inserted: Count
    records_skipped: Count
    parse_errors: Count
    started_at: Time
    finished_at: Time
    mode: Mode


class QueueStatus:
    """The state of the ingest queue, as `/health` reports it; times in epoch milliseconds."""

    def __init__(self) -> None:
        self.records_queued = 0
        self.records_flushed = 0
        self.last_error: str | None = None
        self.last_flush_ms: int | None = None
