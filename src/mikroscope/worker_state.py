"""What `/health` tells of the thread that writes."""

from typing import Literal

from mikroscope.tally import Tally


class RunState:
    """What `/health` tells of the runs that keep the index up with the files; times in seconds."""

    def __init__(self) -> None:
        self.running = False
        self.runs = 0
        self.last_run_at: float | None = None
        self.last_success_at: float | None = None
        self.last_duration_ms: int | None = None
        self.last_error: str | None = None
        self.last_run = Tally()
        self.last_mode: Literal["incremental", "full"] = "incremental"


class QueueState:
    """What `/health` tells of the queue."""

    def __init__(self) -> None:
        self.records_queued = 0
        self.records_flushed = 0
        self.last_error: str | None = None
        self.last_flush_at: float | None = None
