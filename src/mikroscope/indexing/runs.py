"""Runs: from the moment when there is something to index until everything is indexed."""

import logging
from collections.abc import Callable
from concurrent.futures import Future

from mikroscope.indexing.stats import IndexStats, Mode
from mikroscope.job_status import JobStatus

logger = logging.getLogger(__name__)


class RunStatus(JobStatus):
    """The status of the runs, as `/health` reports it."""

    def __init__(self) -> None:
        super().__init__()
        self.last_run = IndexStats()
        self.last_mode: Mode = "incremental"


class Runs:
    """Keeps the status of the runs. Belongs to the writing thread; any thread may read `status`.

    A run spans many steps, so it is begun and ended by calls. `clock_ms` gives epoch milliseconds.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.status = RunStatus()
        self.caught_up: Future[None] = Future()
        """Done when everything is indexed that the files held at the start."""
        self._clock_ms = clock_ms
        self._before: IndexStats | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._before is not None

    def begin(self, stats: IndexStats) -> None:
        """Begin a run, unless one is running; `stats` are the counts so far."""
        if self._before is None:
            self._before = stats.copy()
            self.status.running = True
            self.status.last_run_ms = self._clock_ms()

    def end(self, stats: IndexStats) -> None:
        """End the run that is running: everything is indexed."""
        if self._before is None:
            return
        self._succeeded(stats.since(self._before), "incremental")
        self.status.running = False
        self._before = None
        if not self.caught_up.done():
            self.caught_up.set_result(None)

    def rebuilt(self, stats: IndexStats) -> None:
        """Count a rebuild as a run; `stats` are what went into the new index."""
        self.status.last_run_ms = self._clock_ms()
        self._succeeded(stats, "full")

    def fail(self, error: Exception) -> None:
        """End the run with an error; an error is logged once until it changes."""
        if self.status.last_error != str(error):
            logger.error("indexing failed, trying again: %s", error)
        self._before = None
        self.status.running = False
        self.status.last_error = str(error)

    def _succeeded(self, stats: IndexStats, mode: Mode) -> None:
        status, now_ms = self.status, self._clock_ms()
        status.runs += 1
        status.last_success_ms = now_ms
        if mode == "incremental" and status.last_run_ms is not None:
            status.last_duration_ms = max(0, now_ms - status.last_run_ms)
        status.last_error = None
        status.last_mode = mode
        status.last_run = stats
