"""A clock for the loggers that only advances with tick(), by 1125 ms.

These times are exact as binary fractions, so that every Python writes the same digits.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from freezegun import freeze_time  # type: ignore[import-not-found, unused-ignore]

STEP = timedelta(milliseconds=1125)
START = datetime(2026, 3, 9, 12, 0, 0, 125_000)


def frozen_clock() -> Callable[[], None]:
    """Freeze all clocks of this process; return the function that advances them."""
    frozen = freeze_time(START - STEP).start()

    def tick() -> None:
        frozen.tick(STEP)

    return tick
