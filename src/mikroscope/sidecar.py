"""Builds the parts of a server from Settings, starts them and stops them."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mikroscope.alerts.policy import AlertPolicy
from mikroscope.disk import (
    free_bytes,
    prepare_directory,
    require_no_directory,
    require_no_file,
)
from mikroscope.errors import ConfigurationError, StorageFullError
from mikroscope.indexing.index_check import IndexCheck
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.rebuild import RebuildJob
from mikroscope.indexing.upgrade import IndexUpgrade
from mikroscope.indexing.writer_thread import WriterThread
from mikroscope.logfiles.appender import LogAppender
from mikroscope.logfiles.skipped import Skipped, describe_skipped
from mikroscope.logfiles.tree import LogTree
from mikroscope.logfiles.watcher import Watcher
from mikroscope.maintenance.maintainer import Maintainer, Retention
from mikroscope.query.model import MAX_LIMIT, Entry, Grouping, PageRequest, Query
from mikroscope.records.levels import ERRORS
from mikroscope.records.timestamps import parse_time
from mikroscope.records.zones import set_default_zone
from mikroscope.settings.options import Settings, options
from mikroscope.settings.sources import CREDENTIALS
from mikroscope.stores import open_store
from mikroscope.stores.base import Store

if TYPE_CHECKING:
    from mikroscope.alerts.alerter import Alerter

logger = logging.getLogger(__name__)

_CHECK_SPACE_S = 0.25
_ALERT_LINES = 5  # log lines in a notification
_FIRST_CLEAN_UP_S = 5.0  # a start waits for it no longer than this
_FIRST_READING_S = 1.0  # likewise: few files are read before the first answer
_READ_AT_FIRST = 4_000_000  # bytes; a new index for more than that takes longer
_LOOK_S = 0.02
_CREATED = (
    "created the logs directory %s, which did not exist: if your logs are elsewhere, set --logs"
)
_RELOADED = (*CREDENTIALS, "tls_cert_path", "tls_key_path")


def open_tree(settings: Settings) -> LogTree:
    """Return the tree of log files; its root is absolute, since the watcher reports such paths."""
    return LogTree(settings.logs_path.resolve(), settings.log_file_suffixes)


class Sidecar:
    """A running sidecar without its HTTP side. Raises MikroScopeError if it cannot start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.db_directory = settings.db_path.resolve().parent
        # With an index there is something to answer from, and to clean up.
        has_index, reserve = settings.db_path.exists(), settings.min_free_bytes
        self._is_new = not has_index
        require_no_file(settings.logs_path, "--logs")
        require_no_directory(settings.db_path, "--db")
        prepare_directory(self.db_directory, "database", reserve, may_be_full=has_index)
        if prepare_directory(settings.logs_path, "logs", reserve, may_be_full=has_index):
            logger.info(_CREATED, settings.logs_path.absolute())
        _check_backup_directory(settings)
        self._check_space_at = 0.0
        self._space_problem: str | None = None
        self.started_s = time.monotonic()
        set_default_zone(settings.default_timezone)
        self.store: Store = open_store(
            settings.db_path, "server", query_timeout_s=settings.query_timeout_ms / 1000
        )
        tree = open_tree(settings)
        try:
            self.writer = _make_writer(settings, self.store, tree)
            self.alerter = self._make_alerter()
        except BaseException:
            self.store.close()
            raise
        self._described: tuple[Mapping[str, int], Skipped | None] = ({}, None)
        self._skipped = threading.Thread(target=self._name_skipped, daemon=True)
        watcher = Watcher(tree, self.writer.files_changed, self.writer.watching_lost)
        self._watcher = None if settings.disable_auto_ingest else watcher
        self._index_check = IndexCheck(self.store)
        exclusive = threading.Lock()
        self.rebuilder = RebuildJob(
            self.store,
            lambda: open_tree(settings),
            run_job=self.writer.run_job,
            scan=self.writer.scan,
            done=self.writer.rebuilt,
            exclusive=exclusive,
        )
        self.maintainer = self._make_maintainer(exclusive)
        first_run = self.maintainer.first_run
        self.upgrade = IndexUpgrade(self.store, self.rebuilder.run, first_run)
        if (problem := self._lack_of_space()) is not None:
            logger.warning("%s: logs sent over HTTP are refused until more is free", problem)

    def start(self, url: str) -> None:
        """Start indexing and watching the log files; alerts name `url` as the server's address.

        Returns when the files are read, and clean-ups have run before and after that, or when
        this takes long.
        """
        self._skipped.start()
        # Retention runs before the files are read, which costs less, and again afterwards.
        self.writer.start(scan=False)
        self.alerter.start(url)
        self.maintainer.start()
        self.upgrade.start()
        if self._watcher is not None:
            self._watcher.start()
        self._wait_for_first_runs()

    def _wait_for_first_runs(self) -> None:
        read_by = time.monotonic() + _FIRST_READING_S
        self.maintainer.first_run.wait(_FIRST_CLEAN_UP_S)
        if self.upgrade.is_needed:
            return  # what the files have is in the index when that is done
        while time.monotonic() < read_by and not self.maintainer.settled.wait(_LOOK_S):
            if self._is_new and self.writer.listed_bytes > _READ_AT_FIRST:
                return

    def wait_for_first_notes(self, timeout_s: float) -> None:
        """Wait until the log has named the files that are not indexed, or for this time."""
        self._skipped.join(timeout_s)

    def _name_skipped(self) -> None:
        self.writer.scanned.wait()
        log_skipped(self.skipped_files())

    def skipped_files(self) -> Skipped | None:
        """Describe the files that the last scan found and that are not indexed."""
        unread = self.writer.unread_files
        if unread is not self._described[0]:
            root, suffixes = self.settings.logs_path, self.settings.log_file_suffixes
            own = self.settings.own_files
            self._described = unread, describe_skipped(root, suffixes, unread, own)
        return self._described[1]

    def close(self) -> None:
        """Write and index what was accepted, then release everything."""
        if self._watcher is not None:
            self._watcher.stop()
        self.alerter.stop()
        self.upgrade.stop()
        self.rebuilder.stop()
        self.maintainer.stop()
        self.writer.stop()
        self.upgrade.join()
        self.store.close()

    def reload(self, settings: Settings) -> None:
        """Take over new credentials, and the alert policy as it is stored or configured now.

        A warning names other options that have changed. Raises MikroScopeError if the stored policy
        cannot be used; nothing is changed then.
        """
        self.alerter.reload(alert_policy(settings))
        for option in options():
            name = option.name
            is_taken = name in _RELOADED or name.startswith("alert_")
            if not is_taken and getattr(settings, name, None) != getattr(self.settings, name, None):
                logger.warning("%s has changed, which needs a restart", option.flag)
        taken = {name: getattr(settings, name) for name in CREDENTIALS}
        self.settings = replace(self.settings, **taken)

    def give_up_waits(self) -> None:
        """Cancel what requests may wait for long: a rebuild, and the test of a webhook."""
        self.upgrade.stop()
        self.rebuilder.stop()
        self.alerter.stop()

    def require_free_space(self) -> None:
        """Raise StorageFullError while the disk of index or logs has less than its reserve.

        Free space is read at most four times a second: reading it takes a good part of the time of
        a small request, and a write that does not fit is undone anyway.
        """
        now = time.monotonic()
        if now >= self._check_space_at:
            self._check_space_at = now + _CHECK_SPACE_S
            self._space_problem = self._lack_of_space()
        if self._space_problem is not None:
            raise StorageFullError(self._space_problem)

    def problems(self) -> list[str]:
        """Return what is wrong now, one text for each problem, for the operator."""
        alerts = self.alerter.state.last_error
        found = (
            self._lack_of_space(),
            self._missing_logs(),
            self.writer.run.last_error,
            self.writer.write_error,
            self.maintainer.state.job.last_error,
            self.store.status().problem,
            self._index_check.problem,
            self.upgrade.problem,
            f"alerts: {alerts}" if alerts is not None else None,
        )
        return list(dict.fromkeys(problem for problem in found if problem))

    @property
    def ingest_enabled(self) -> bool:
        """Whether any client may send logs."""
        return bool(self.settings.ingest_producers) or self.settings.auth_username is not None

    @property
    def must_check_index(self) -> bool:
        """Whether `check_index` has something to do."""
        return self._index_check.is_due

    def check_index(self) -> None:
        """Ask the index a cheap question, unless that was done within the last second.

        `problems` has the outcome. An index that is gone is built again from the log files.
        """
        if self._index_check.run() and not self.settings.db_path.exists():
            self.writer.recover_index()

    def _missing_logs(self) -> str | None:
        if self.settings.logs_path.is_dir():
            return None
        place = self.settings.logs_path.absolute()
        return f"the logs directory {place} is gone: is its file system mounted?"

    def _lack_of_space(self) -> str | None:
        reserve = self.settings.min_free_bytes
        for what, directory in (("logs", self.settings.logs_path), ("index", self.db_directory)):
            free = free_bytes(directory)
            if free is not None and free < reserve:
                return (
                    f"the disk of the {what} is nearly full: {directory.absolute()} has {free} "
                    f"bytes free, less than the {reserve} of --min-free-bytes"
                )
        return None

    def _make_maintainer(self, exclusive: threading.Lock) -> Maintainer:
        settings = self.settings
        return Maintainer(
            self.store,
            open_tree(settings),
            Retention(
                entries=settings.db_retention_days,
                audit_entries=settings.db_audit_retention_days,
                files=settings.log_retention_days,
                audit_files=settings.log_audit_retention_days,
                files_by_default="log_retention_days" not in settings.given,
                audit_files_by_default="log_audit_retention_days" not in settings.given,
                backup=settings.audit_backup_directory,
                max_index_bytes=settings.db_max_bytes,
            ),
            run_job=self.writer.run_job,
            on_first_run=self.writer.start_scanning,
            caught_up=self.writer.caught_up,
            exclusive=exclusive,
            interval_s=settings.maintenance_interval_ms / 1000,
            clock_ms=_now_ms,
        )

    def _make_alerter(self) -> "Alerter":
        from mikroscope.alerts.alerter import Alerter  # loads asyncio, which commands do not need

        observer = _IndexObserver(self.store, self.writer.caught_up)
        return Alerter(
            default=alert_policy(self.settings),
            limits=policy_limits(),
            path=Path(os.path.abspath(self.settings.alert_config_file)),
            count_levels=observer.count_levels,
            last_log_ms=observer.last_log_ms,
            newest_entries=observer.newest_entries,
            redact_fields=self.settings.redact_fields,
            caught_up=self.writer.caught_up,
            clock_ms=_now_ms,
        )


class _IndexObserver:
    """Asks the index what the alert rules need to know. Raises StoreError."""

    def __init__(self, store: Store, caught_up: "Future[None]") -> None:
        self._store = store
        self._caught_up = caught_up
        self._started_ms = _now_ms()

    def count_levels(self, from_ms: int, to_ms: int) -> dict[str, int]:
        """Count the entries of each level between two times, both inclusive."""
        query = Query(from_ms=from_ms, to_ms=to_ms)
        buckets = self._store.aggregate(query, Grouping("level"), MAX_LIMIT).buckets
        return {bucket.key: bucket.count for bucket in buckets}

    def last_log_ms(self) -> int | None:
        """Return the time of the last entry; None while there has never been one.

        Where it is unknown, the time of the start counts. While the index is outdated it is not
        known what arrives: it counts as now.
        """
        if self._store.status().is_outdated:
            return _now_ms()
        newest = self._search(Query(to_ms=_now_ms()), 1)
        if not newest and self._caught_up.done() and not self._search(Query(), 1):
            return None
        found = parse_time(newest[0].timestamp) if newest else None
        if found is None:
            return self._started_ms
        # Before the files are read it is unknown how long it was quiet before the start.
        return found if self._caught_up.done() else max(found, self._started_ms)

    def newest_entries(self, from_ms: int | None, to_ms: int, only_errors: bool) -> list[Entry]:
        """Return the newest entries between two times, both inclusive; all, or the errors."""
        level = ",".join(ERRORS) if only_errors else None
        return self._search(Query(from_ms=from_ms, to_ms=to_ms, level=level), _ALERT_LINES)

    def _search(self, query: Query, limit: int) -> list[Entry]:
        return self._store.search(query, PageRequest(limit)).entries


def log_skipped(found: Skipped | None) -> None:
    """Log which files are not indexed, and why."""
    if found is not None:
        logger.warning("%s: %s", found.text, found.fix)


def _check_backup_directory(settings: Settings) -> None:
    backup = settings.audit_backup_directory
    if backup is not None and backup.resolve().is_relative_to(settings.logs_path.resolve()):
        raise ConfigurationError(
            f"--audit-backup-dir: {backup} is inside the logs directory {settings.logs_path}, "
            "where its files would be indexed again: choose another directory"
        )


def _make_writer(settings: Settings, store: Store, tree: LogTree) -> WriterThread:
    interval_s = None if settings.disable_auto_ingest else settings.ingest_interval_ms / 1000
    return WriterThread(
        Indexer(store, tree),
        LogAppender(tree.root, durable=settings.ingest_fsync),
        interval_s=interval_s,
        flush_s=settings.ingest_queue_flush_ms / 1000,
        clock_ms=_now_ms,
        monotonic=time.monotonic,
    )


def alert_policy(settings: Settings) -> AlertPolicy:
    """Return the policy that the options state; a stored one takes precedence over it."""
    names = [name for name in AlertPolicy.__struct_fields__ if name != "enabled"]
    values = {name: getattr(settings, f"alert_{name}") for name in names}
    return AlertPolicy(enabled=settings.alert_webhook_url is not None, **values)


def policy_limits() -> dict[str, tuple[int, int]]:
    """Return the bounds of the policy's numbers by JSON key: those of their `alert_*` options."""
    found = {option.name: option for option in options() if option.kind == "integer"}
    return {
        field.encode_name: (option.floor or 0, option.maximum)
        for field in msgspec.structs.fields(AlertPolicy)
        if (option := found.get(f"alert_{field.name}"))
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def now_utc() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)
