"""Replaces an index of an earlier format by one of this version, in the background."""

import logging
import threading
from collections.abc import Callable

from mikroscope.errors import MikroScopeError
from mikroscope.indexing.rebuild import RebuildResult
from mikroscope.stores.base import Store

logger = logging.getLogger(__name__)

RETRY_S = 60.0  # after a rebuild that failed
_POLL_S = 0.1  # how soon a stop is noticed
_STARTED = (
    "the index has the format of an earlier version: queries are answered from it, while a new one "
    "is built from the log files; what arrives meanwhile is found after that"
)


class IndexUpgrade:
    """Rebuilds an outdated index, and tries again after a failure; does nothing for another one.

    `rebuild` rebuilds, or waits for a rebuild that is running; it begins after `cleaned_up`, since
    no clean-up can run beside it. Any thread may read `problem`.
    """

    def __init__(
        self,
        store: Store,
        rebuild: Callable[[], RebuildResult],
        cleaned_up: threading.Event,
    ) -> None:
        self.problem: str | None = None
        """Why the last try failed, and what that means; None without a failure."""
        self._store = store
        self._rebuild = rebuild
        self._cleaned_up = cleaned_up
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mikroscope-upgrade", daemon=True)

    @property
    def is_needed(self) -> bool:
        """Whether the index is outdated still."""
        return self._store.status().is_outdated

    def start(self) -> None:
        """Start, if the index is outdated."""
        if self.is_needed:
            logger.warning(_STARTED)
            self._thread.start()

    def stop(self) -> None:
        """Do not try again; a rebuild that runs is not ended by this."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the rebuild that runs has ended, after `stop`."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._cleaned_up.wait(_POLL_S) and not self._stopping.is_set():
            pass
        while self.is_needed and not self._stopping.is_set():
            try:
                result = self._rebuild()
            except MikroScopeError as error:
                self._failed(error)
            except Exception as error:
                logger.exception("the upgrade of the index failed")
                self._failed(error)
            else:
                records = result.stats.records_inserted
                logger.info("the new index has replaced the old one: %d records read", records)
                break
            self._stopping.wait(RETRY_S)
        if not self._stopping.is_set():
            self.problem = None

    def _failed(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        text = (
            f"the index could not be rebuilt in the format of this version: {error}; queries are "
            "answered from the old one, without what has arrived since, and it is tried again"
        )
        if text != self.problem:
            logger.error("%s", text)
        self.problem = text
