"""Says on stderr what cannot be said in the log: seldom, and only as a last resort."""

import logging
import time

from mikroscope.logging.drops import LOGGER

INTERVAL_S = 60.0


class Complaints:
    """One line a minute at the most for each kind of trouble."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def say(self, kind: str, text: str) -> None:
        """Write a line by `logging.lastResort` (an application may set that to None)."""
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
