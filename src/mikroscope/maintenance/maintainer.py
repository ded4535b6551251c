"""Runs retention on its schedule: deletes old files and entries, and gives their space back."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from mikroscope.errors import MikroScopeError
from mikroscope.errors.wording import in_words
from mikroscope.job_status import JobStatus
from mikroscope.logfiles.sources import Source
from mikroscope.logfiles.tree import LogTree
from mikroscope.maintenance.file_retention import (
    Expired,
    delete_file,
    expired_files,
    is_behind_link,
    is_written_here,
)
from mikroscope.maintenance.size_limit import SizeLimit
from mikroscope.stores.base import Cutoffs, Deleted, Store

logger = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_RETRY_S = 60.0  # after a clean-up that failed
_CHECK_S = 10.0  # how often the size of the index is looked at where it has a limit
_HEAD_START_MS = 1000  # for the first clean-up, before the files are scanned

RunJob = Callable[[Iterator[object]], "Future[Any]"]
"""Takes the steps of an iterator in the writing thread; the future gets what it returns."""


class Retention(NamedTuple):
    """Days until entries and files are deleted; 0 keeps them forever.

    The oldest entries also leave where the index takes more than `max_index_bytes`; 0 is no limit.
    Files that ingest did not write are deleted only if their days are not just the default.
    """

    entries: int
    audit_entries: int
    files: int
    audit_files: int
    files_by_default: bool
    audit_files_by_default: bool
    backup: Path | None
    max_index_bytes: int = 0

    def reason_to_keep(self, tree: LogTree, expired: Expired) -> str | None:
        """Return why an expired file is kept all the same; None if it may be deleted."""
        option = "--log-audit-retention-days" if expired.is_audit else "--log-retention-days"
        days = self.audit_files if expired.is_audit else self.files
        by_default = self.audit_files_by_default if expired.is_audit else self.files_by_default
        if is_behind_link(tree, expired.path):
            return f"older than {in_words(days)} ({option}): a link leads there"
        if by_default and not is_written_here(expired.path):
            return (
                f"older than {in_words(days)}, which MikroScope did not write: "
                f"set {option} to delete such files (0 keeps them without this message)"
            )
        return None


class MaintenanceState:
    """The state of maintenance, as `/health` reports it."""

    def __init__(self) -> None:
        self.job = JobStatus()
        self.vacuum_runs = 0
        self.last = Removed()
        self.total = Removed()


class Removed:
    """Counts of what clean-ups have deleted."""

    def __init__(self) -> None:
        self.normal_files = 0
        self.audit_files = 0
        self.expired = Deleted(field_values=0)
        self.oversize = Deleted(field_values=0)
        """Entries that had to leave because the index was too large."""

    def add(self, other: "Removed") -> None:
        """Add the counts of another clean-up."""
        self.normal_files += other.normal_files
        self.audit_files += other.audit_files
        self.expired.add(other.expired)
        self.oversize.add(other.oversize)

    @property
    def entries(self) -> Deleted:
        """All entries, those that were too old and those beyond the size of the index."""
        both = Deleted(field_values=0)
        both.add(self.expired)
        both.add(self.oversize)
        return both


class Maintainer:
    """Runs retention at the start, when `caught_up` is done, and then at an interval.

    Between the runs it looks at the size of the index every `check_s` seconds if that is limited.

    It has a thread of its own. It holds `exclusive` while it runs, since a rebuild would bring back
    what it deletes. It calls `on_first_run` once: after the first run, or after a second of it.
    `first_run` is set when the first run is over, and `settled` when the one is over that follows
    the first reading of the files.
    """

    def __init__(
        self,
        store: Store,
        tree: LogTree,
        retention: Retention,
        *,
        run_job: RunJob,
        on_first_run: Callable[[], None],
        caught_up: "Future[None]",
        exclusive: threading.Lock,
        interval_s: float,
        clock_ms: Callable[[], int],
        check_s: float = _CHECK_S,
    ) -> None:
        self.state = MaintenanceState()
        self.first_run = threading.Event()
        self.settled = threading.Event()
        self._store = store
        self._tree = tree
        self._retention = retention
        self._run_job = run_job
        self._on_first_run: Callable[[], None] | None = on_first_run
        self._head_start_until_ms = 0
        self._exclusive = exclusive
        self._interval_s = interval_s
        self._clock_ms = clock_ms
        self._check_s = check_s
        self._limit = SizeLimit(store, retention.max_index_bytes, clock_ms)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._caught_up = caught_up
        self._kept: Counter[str] | None = Counter()  # None after the start: it is said only then
        self._thread = threading.Thread(target=self._loop, name="mikroscope-clean", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step; the next run continues there."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        self._caught_up.add_done_callback(lambda _: self._wake.set())
        while not self._stopping.is_set():
            is_starting = not self._caught_up.done()
            with self._exclusive:
                self._run()
            self.first_run.set()
            if not is_starting:
                self._kept = None
                self.settled.set()
            failed = self.state.job.last_error is not None
            if failed:
                self._wake.wait(min(self._interval_s, _RETRY_S))
            else:
                self._pause()
            self._wake.clear()

    def _pause(self) -> None:
        """Wait for the next run; meanwhile keep the index below its limit."""
        until = time.monotonic() + self._interval_s
        while (left := until - time.monotonic()) > 0:
            if self._wake.wait(min(left, self._check_s) if self._limit.is_set else left):
                return
            if not self._keep_small():
                return

    def _keep_small(self) -> bool:
        """Return False if the index is too large and nothing can be deleted: a run reports why."""
        if not self._limit.may_be_exceeded() or not self._exclusive.acquire(blocking=False):
            return True
        removed = Removed()
        try:
            self._shrink(removed.oversize)
            if removed.entries.entries:
                self._compact()
        except Exception:
            return False
        finally:
            self._exclusive.release()
            self.state.total.add(removed)
        return True

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
                logger.exception("retention failed")
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
        self._head_start_until_ms = self._clock_ms() + _HEAD_START_MS
        try:
            self._expire(removed.expired, _cutoffs(now_ms, keep.entries, keep.audit_entries))
            problems = self._delete_files(removed, _cutoffs(now_ms, keep.files, keep.audit_files))
            self._shrink(removed.oversize)
            self._compact()
        finally:
            self._start_others()
        return problems

    def _delete_files(self, removed: Removed, cutoffs: Cutoffs) -> list[str]:
        problems: list[str] = []
        if cutoffs.normal_ms is None and cutoffs.audit_ms is None:
            return problems
        sources: list[Source] = self._run_job(self._read_sources()).result()
        kept: Counter[str] = Counter()
        for expired in expired_files(self._tree, self._tree.walk().files, sources, cutoffs):
            self._end_head_start()
            if self._stopping.is_set():
                break
            reason = self._retention.reason_to_keep(self._tree, expired)
            if reason is not None:
                kept[reason] += 1
                continue
            try:
                self._delete_file(removed, expired)
            except MikroScopeError as error:
                problems.append(str(error))
        self._log_kept(kept)
        return problems

    def _delete_file(self, removed: Removed, expired: Expired) -> None:
        if not delete_file(self._tree, expired, self._retention.backup):
            return
        removed.audit_files += expired.is_audit
        removed.normal_files += not expired.is_audit
        days = self._retention.audit_files if expired.is_audit else self._retention.files
        kind = "an audit file" if expired.is_audit else "a log file"
        logger.info("retention: deleted %s, %s older than %s", expired.path, kind, in_words(days))

    def _log_kept(self, kept: Counter[str]) -> None:
        """Say what is kept, once per start."""
        if self._kept is None or kept == self._kept:
            return
        self._kept = kept
        for reason, count in kept.items():
            logger.info("retention: kept %s %s", in_words(count, "log file"), reason)

    def _end_head_start(self) -> None:
        if self._clock_ms() > self._head_start_until_ms:
            self._start_others()

    def _start_others(self) -> None:
        on_first_run, self._on_first_run = self._on_first_run, None
        if on_first_run is not None:
            on_first_run()

    def _expire(self, deleted: Deleted, cutoffs: Cutoffs) -> None:
        if cutoffs.normal_ms is None and cutoffs.audit_ms is None:
            return
        self._run_job(self._expire_steps(deleted, cutoffs)).result()

    def _expire_steps(self, deleted: Deleted, cutoffs: Cutoffs) -> Iterator[None]:
        for some in self._store.expire(cutoffs):
            deleted.add(some)
            self._end_head_start()
            if self._stopping.is_set():
                return
            yield

    def _shrink(self, deleted: Deleted) -> None:
        if not self._limit.is_set:
            return
        try:
            self._run_job(self._shrink_steps(deleted)).result()
        finally:
            self._limit.log(deleted)

    def _shrink_steps(self, deleted: Deleted) -> Iterator[None]:
        for some in self._limit.shrink():
            deleted.add(some)
            self._end_head_start()
            if self._stopping.is_set():
                return
            yield

    def _compact(self) -> None:
        self.state.vacuum_runs += self._run_job(self._compact_steps()).result()

    def _compact_steps(self) -> Generator[None, None, bool]:
        """Compact the store; return whether there was anything to do."""
        did_some = False
        for _ in self._store.compact():
            did_some = True
            self._end_head_start()
            if self._stopping.is_set():
                break
            yield
        return did_some

    def _read_sources(self) -> Generator[None, None, list[Source]]:
        sources = self._store.sources()
        yield
        return sources

    def _log_result(self) -> None:
        last, keep = self.state.last, self._retention
        counts = (
            (last.normal_files, "log file", keep.files),
            (last.audit_files, "audit file", keep.audit_files),
            (last.expired.normal_entries, "normal entry", keep.entries),
            (last.expired.audit_entries, "audit entry", keep.audit_entries),
        )
        for count, what, days in counts:
            if count:
                amount = in_words(count, what)
                logger.info("retention: deleted %s older than %s", amount, in_words(days))
        if self.state.job.last_error:
            logger.error("retention is incomplete: %s", self.state.job.last_error)


def _cutoffs(now_ms: int, days: int, audit_days: int) -> Cutoffs:
    return Cutoffs(
        now_ms - days * _DAY_MS if days else None,
        now_ms - audit_days * _DAY_MS if audit_days else None,
    )
