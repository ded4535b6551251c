"""Cleans up on its cadence: old files and entries go, and the room they took is given back."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mikroscope.errors import MikroScopeError, StaleBatchError
from mikroscope.job_status import JobStatus
from mikroscope.logfiles.sources import Source
from mikroscope.logfiles.tree import LogTree
from mikroscope.maintenance.file_retention import delete_file, expired_files
from mikroscope.stores.base import Cutoffs, Deleted, Store

logger = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_HEAD_START_MS = 1000  # that the first clean-up has before anything else begins
_PRUNE_ENTRIES = 250  # deleted in one step: others wait for no more than that
_Result = TypeVar("_Result")

RunJob = Callable[[Callable[[], bool]], "Future[None]"]
"""Has a step called by the thread that writes, between other work, until it returns False."""


class Retention(NamedTuple):
    """Days that entries and files stay; 0 keeps them for good."""

    entries: int
    audit_entries: int
    files: int
    audit_files: int
    backup: Path | None


class MaintenanceState:
    """The state of maintenance, as `/health` reports it."""

    def __init__(self) -> None:
        self.job = JobStatus()
        self.vacuum_runs = 0
        self.last = Removed()
        self.total = Removed()


class Removed:
    """What clean-ups have deleted."""

    def __init__(self) -> None:
        self.normal_files = 0
        self.audit_files = 0
        self.entries = Deleted()

    def add(self, other: "Removed") -> None:
        """Count another clean-up."""
        self.normal_files += other.normal_files
        self.audit_files += other.audit_files
        self.entries.add(other.entries)


class Maintainer:
    """Runs at the start, and then on its cadence, in a thread of its own.

    It holds `exclusive` meanwhile: a rebuild would bring back what it deletes. `on_first_prune` is
    called once: when at the start what was too old has left the index, or after a while.
    """

    def __init__(
        self,
        store: Store,
        tree: LogTree,
        retention: Retention,
        *,
        run_job: RunJob,
        on_first_prune: Callable[[], None],
        exclusive: threading.Lock,
        interval_s: float,
        clock_ms: Callable[[], int],
    ) -> None:
        self.state = MaintenanceState()
        self._store = store
        self._tree = tree
        self._retention = retention
        self._in_turn = run_job
        self._on_first_prune: Callable[[], None] | None = on_first_prune
        self._exclusive = exclusive
        self._interval_s = interval_s
        self._clock_ms = clock_ms
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mikroscope-clean", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do no more; what was begun is left as it is, the next run goes on with it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            with self._exclusive:
                self._run()
            self._stopping.wait(self._interval_s)

    def _run(self) -> None:
        state = self.state
        state.last = Removed()
        try:
            with state.job.run(self._clock_ms) as began_ms:
                self._clean_and_count(state.last, began_ms)
        except Exception as error:
            if self._stopping.is_set():
                return
            if not isinstance(error, MikroScopeError):
                logger.exception("the clean-up failed")
        self._log_result()

    def _clean_and_count(self, removed: Removed, now_ms: int) -> None:
        """Raise MikroScopeError if something could not be deleted; the rest was then."""
        try:
            problems = self._clean(removed, now_ms)
        finally:
            self.state.total.add(removed)
        if problems:
            raise MikroScopeError("; ".join(problems))

    def _clean(self, removed: Removed, now_ms: int) -> list[str]:
        keep = self._retention
        try:
            self._prune(removed.entries, _cutoffs(now_ms, keep.entries, keep.audit_entries))
        finally:
            self._begin_others()
        problems = self._delete_files(
            removed, _cutoffs(now_ms, keep.files, keep.audit_files), keep.backup
        )
        self._tidy()
        return problems

    def _delete_files(self, removed: Removed, cutoffs: Cutoffs, backup: Path | None) -> list[str]:
        problems: list[str] = []
        if cutoffs.normal_ms is None and cutoffs.audit_ms is None:
            return problems
        sources: list[Source] = self._ask(self._store.sources)
        for expired in expired_files(self._tree, self._tree.walk().files, sources, cutoffs):
            if self._stopping.is_set():
                break
            try:
                if not delete_file(self._tree, expired, backup):
                    continue
            except MikroScopeError as error:
                problems.append(str(error))
                continue
            removed.audit_files += expired.is_audit
            removed.normal_files += not expired.is_audit
        return problems

    def _begin_others(self) -> None:
        on_first_prune, self._on_first_prune = self._on_first_prune, None
        if on_first_prune is not None:
            on_first_prune()

    def _prune(self, deleted: Deleted, cutoffs: Cutoffs) -> None:
        position: int | None = 0
        head_start_until_ms = self._clock_ms() + _HEAD_START_MS

        def step() -> bool:
            nonlocal position
            if self._clock_ms() > head_start_until_ms:
                self._begin_others()
            if position is not None and not self._stopping.is_set():
                some, position = self._prune_some(cutoffs, position)
                deleted.add(some)
            return position is not None and not self._stopping.is_set()

        if cutoffs.normal_ms is not None or cutoffs.audit_ms is not None:
            self._in_turn(step).result()

    def _prune_some(self, cutoffs: Cutoffs, position: int) -> tuple[Deleted, int | None]:
        try:
            return self._store.prune(cutoffs, position, _PRUNE_ENTRIES)
        except StaleBatchError:  # another process has put a new index there
            self._store.sources()
            return Deleted(), 0

    def _tidy(self) -> None:
        did_some = False

        def step() -> bool:
            nonlocal did_some
            more = not self._stopping.is_set() and self._tidy_some()
            did_some = did_some or more
            return more

        self._in_turn(step).result()
        self.state.vacuum_runs += did_some

    def _tidy_some(self) -> bool:
        try:
            return self._store.tidy()
        except StaleBatchError:
            self._store.sources()
            return True

    def _ask(self, question: Callable[[], _Result]) -> _Result:
        """Have the thread that writes answer."""
        answer: dict[str, Any] = {}

        def step() -> bool:
            answer["result"] = question()
            return False

        self._in_turn(step).result()
        found: _Result = answer["result"]
        return found

    def _log_result(self) -> None:
        last = self.state.last
        counts: Mapping[str, int] = {
            "log files": last.normal_files,
            "audit files": last.audit_files,
            "entries": last.entries.normal_entries,
            "audit entries": last.entries.audit_entries,
        }
        if any(counts.values()):
            told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            logger.info("cleaned up: %s were older than is to be kept", told)
        if self.state.job.last_error:
            logger.error("the clean-up is not complete: %s", self.state.job.last_error)


def _cutoffs(now_ms: int, days: int, audit_days: int) -> Cutoffs:
    return Cutoffs(
        now_ms - days * _DAY_MS if days else None,
        now_ms - audit_days * _DAY_MS if audit_days else None,
    )
