"""Warns on stderr, at a limited rate, when the log itself cannot be delivered."""

import logging
import time

from mikroscope.logging.drops import LOGGER

INTERVAL_S = 60.0


class StderrWarnings:
    """Writes at most one line a minute for each kind of warning."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Write a line through `logging.lastResort`; an application may set that to None."""
        now = time.monotonic()
        last = self._last.get(kind)
        if last is not None and now - last < INTERVAL_S:
            return
        self._last[kind] = now
        if logging.lastResort is not None:
            line = f"{LOGGER}: {text}"
            logging.lastResort.handle(
                logging.LogRecord(LOGGER, logging.WARNING, __file__, 0, line, None, None)
            )
