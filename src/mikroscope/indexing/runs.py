"""Runs: from the moment when there is something to index until everything is indexed."""

import logging
from collections.abc import Callable
from concurrent.futures import Future

from mikroscope.indexing.stats import IndexStats, Mode

logger = logging.getLogger(__name__)


class RunStatus:
    """The state of the runs, as `/health` shows it; times in seconds since 1970."""

    def __init__(self) -> None:
        self.running = False
        self.runs = 0
        self.last_run_at: float | None = None
        self.last_success_at: float | None = None
        self.last_duration_ms: int | None = None
        self.last_error: str | None = None
        self.last_run = IndexStats()
        self.last_mode: Mode = "incremental"


class Runs:
    """Keeps the status of the runs. Belongs to the writing thread; any thread may read `status`.

    `clock` gives seconds since 1970, `monotonic` seconds of a clock that is never set back.
    """

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self.status = RunStatus()
        self.caught_up: Future[None] = Future()
        """Done when everything is indexed that the files held at the start."""
        self._clock = clock
        self._now = monotonic
        self._began: tuple[float, IndexStats] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._began is not None

    def begin(self, stats: IndexStats) -> None:
        """Begin a run, unless one is running; `stats` are the counts so far."""
        if self._began is None:
            self._began = self._now(), stats.copy()
            self.status.running = True
            self.status.last_run_at = self._clock()

    def end(self, stats: IndexStats) -> None:
        """End the run that is running: everything is indexed."""
        if self._began is None:
            return
        began, before = self._began
        self._began = None
        status = self.status
        status.running = False
        status.last_duration_ms = round((self._now() - began) * 1000)
        self._succeeded(stats.since(before), "incremental")
        if not self.caught_up.done():
            self.caught_up.set_result(None)

    def rebuilt(self, stats: IndexStats) -> None:
        """Count a rebuild as a run; `stats` are what went into the new index."""
        self.status.last_run_at = self._clock()
        self._succeeded(stats, "full")

    def fail(self, error: Exception) -> None:
        """End the run with an error; an error is logged once until it changes."""
        if self.status.last_error != str(error):
            logger.error("indexing failed, trying again: %s", error)
        self._began = None
        self.status.running = False
        self.status.last_error = str(error)

    def _succeeded(self, stats: IndexStats, mode: Mode) -> None:
        status = self.status
        status.runs += 1
        status.last_success_at = self._clock()
        status.last_error = None
        status.last_mode = mode
        status.last_run = stats
