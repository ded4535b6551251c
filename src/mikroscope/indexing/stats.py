"""Counts and states of indexing, as reports and `/health` show them."""

from typing import Literal

import msgspec

from mikroscope.json_body import Count, JsonBody, Time


class IndexStats(msgspec.Struct, rename="camel"):
    """What was done so far."""

    files_scanned: int = 0
    lines_scanned: int = 0
    records_inserted: int = 0
    records_skipped: int = 0
    parse_errors: int = 0

    def since(self, earlier: "IndexStats") -> "IndexStats":
        """What came on top of an earlier stats."""
        return IndexStats(
            *(now - then for now, then in zip(_counts(self), _counts(earlier), strict=True))
        )

    def add(self, other: "IndexStats") -> None:
        """Count what somebody else has done."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def copy(self) -> "IndexStats":
        """The stats as it is now."""
        return IndexStats(*_counts(self))


def _counts(stats: IndexStats) -> tuple[int, ...]:
    return msgspec.structs.astuple(stats)


class IndexReport(JsonBody, frozen=True, kw_only=True):
    """What one pass over the log files did."""

    files_scanned: Count
    lines_scanned: Count
    records_inserted: Count
    records_skipped: Count
    parse_errors: Count
    started_at: Time
    finished_at: Time
    mode: Literal["incremental", "full"]


class RunState:
    """What `/health` tells of the runs that keep the index up with the files; times in seconds."""

    def __init__(self) -> None:
        self.running = False
        self.runs = 0
        self.last_run_at: float | None = None
        self.last_success_at: float | None = None
        self.last_duration_ms: int | None = None
        self.last_error: str | None = None
        self.last_run = IndexStats()
        self.last_mode: Literal["incremental", "full"] = "incremental"


class QueueStatus:
    """What `/health` tells of the queue."""

    def __init__(self) -> None:
        self.records_queued = 0
        self.records_flushed = 0
        self.last_error: str | None = None
        self.last_flush_at: float | None = None
