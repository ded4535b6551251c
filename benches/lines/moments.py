"""The times of the records: evenly spread over thirty days, out of order, or over many years."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
SPAN_MS = DAYS * DAY_MS
MANY_DAYS = 5000
MOST_LATE_MS = 5 * DAY_MS


class Clock:
    """Formats milliseconds since its first day as ISO 8601 in UTC, from parts made once."""

    def __init__(self, days: int = DAYS) -> None:
        """Cover this many days, the last of which is the last day of the thirty."""
        first = START + timedelta(days=DAYS - days)
        self._days = [(first + timedelta(days=day)).strftime("%Y-%m-%dT") for day in range(days)]
        self._minutes = [f"{minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60)]
        self._rests = [f"{ms // 1000:02}.{ms % 1000:03}Z" for ms in range(MINUTE_MS)]

    def text(self, ms: int) -> str:
        """Return the time as text."""
        minutes, rest = divmod(ms, MINUTE_MS)
        day, minute = divmod(minutes, 24 * 60)
        return self._days[day] + self._minutes[minute] + self._rests[rest]


def even(records: int) -> Iterator[str]:
    """Yield ascending times in even steps from START, the last one before START plus SPAN_MS."""
    clock = Clock()
    for index in range(records):
        yield clock.text(index * SPAN_MS // records)


def partly_late(records: int, rng: Random, share: float) -> Iterator[str]:
    """Yield the same times, but let a share of them be up to MOST_LATE_MS before their place.

    Half of the late ones are less than a quarter of that late.
    """
    clock = Clock()
    for index in range(records):
        ms = index * SPAN_MS // records
        if rng.random() < share:
            ms = max(0, ms - int(MOST_LATE_MS * rng.random() ** 2))
        yield clock.text(ms)


def over_many_days(records: int) -> Iterator[str]:
    """Yield ascending times in even steps over MANY_DAYS."""
    clock = Clock(MANY_DAYS)
    for index in range(records):
        yield clock.text(index * MANY_DAYS * DAY_MS // records)


def of_any_day(records: int, rng: Random) -> Iterator[str]:
    """Yield times from anywhere within MANY_DAYS, in no order."""
    clock = Clock(MANY_DAYS)
    for _ in range(records):
        yield clock.text(int(MANY_DAYS * DAY_MS * rng.random()))


def now() -> Iterator[str]:
    """Yield the present time, without end."""
    while True:
        yield datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
