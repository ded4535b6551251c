"""Keeps the index below its maximum size: deletes the oldest entries, and logs how many."""

import logging
from collections.abc import Callable, Iterator

from mikroscope.errors.wording import in_words
from mikroscope.stores.base import Deleted, Store

logger = logging.getLogger(__name__)

_LOG_MS = 600_000  # while an index is full, some entries leave every few seconds


class SizeLimit:
    """The limit of `--db-max-bytes`; 0 sets none. Belongs to one thread at a time."""

    def __init__(self, store: Store, max_bytes: int, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._clock_ms = clock_ms
        self._unlogged = Deleted()
        self._logged_ms: int | None = None
        self._is_exceeded = False

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self._max_bytes > 0

    def may_be_exceeded(self) -> bool:
        """Return whether the files of the index take more; some of that may be free space."""
        size = self._store.status().size_bytes
        return self.is_set and size is not None and size > self._max_bytes

    def shrink(self) -> Iterator[Deleted]:
        """Delete the oldest entries in steps, as long as the index is too large.

        Warns if it stays too large, once until it is small enough again.
        """
        size = yield from self._store.shrink(self._max_bytes)
        was_exceeded, self._is_exceeded = self._is_exceeded, size > self._max_bytes
        if self._is_exceeded and not was_exceeded:
            logger.warning(
                "the index takes %s bytes without any entry, more than the %s of --db-max-bytes",
                *(f"{size:,}", f"{self._max_bytes:,}"),
                extra={"fix": "raise the limit"},
            )

    def log(self, deleted: Deleted) -> None:
        """Log what was deleted, or count it for the next line: there is one in ten minutes."""
        self._unlogged.add(deleted)
        now_ms = self._clock_ms()
        is_early = self._logged_ms is not None and now_ms - self._logged_ms < _LOG_MS
        if is_early or not self._unlogged.entries:
            return
        counts = (
            (self._unlogged.normal_entries, "normal entry"),
            (self._unlogged.audit_entries, "audit entry"),
        )
        for count, what in counts:
            if count:
                logger.info(
                    "retention: deleted %s, the oldest, so that the index takes at most %s bytes",
                    *(in_words(count, what), f"{self._max_bytes:,}"),
                )
        self._unlogged, self._logged_ms = Deleted(), now_ms
