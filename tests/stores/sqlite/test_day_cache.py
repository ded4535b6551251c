"""The counts of a day are cached until the day changes."""

from collections.abc import Iterator

from mikroscope.stores.sqlite.read.day_cache import MAX_VALUES_OF_DAY, DayCountCache, DayState

WHAT = ("level=",)


class Counting:
    """A callable that counts its calls."""

    def __init__(self, values: int = 2) -> None:
        self.asked = 0
        self._values = values

    def __call__(self) -> Iterator[tuple[str, int]]:
        self.asked += 1
        return ((f"v{number}", number) for number in range(self._values))


def state(day: int = 1, changed: int = 1, inode: int = 1) -> DayState:
    """Return the state of one day of an index."""
    return DayState((0, inode), day, changed)


def test_counted_once() -> None:
    """An unchanged day is counted once."""
    counts, count = DayCountCache(), Counting()
    assert counts.get(state(), WHAT, count) == counts.get(state(), WHAT, count)
    assert count.asked == 1


def test_counted_again() -> None:
    """A changed day, another day, file or field is counted separately."""
    counts, count = DayCountCache(), Counting()
    for other in (state(), state(changed=2), state(day=2), state(inode=2)):
        counts.get(other, WHAT, count)
    counts.get(state(), ("event=",), count)
    assert count.asked == 5


def test_too_many_values() -> None:
    """If a day has too many values, the cache stores only that fact."""
    counts, count = DayCountCache(), Counting(MAX_VALUES_OF_DAY + 1)
    assert [counts.get(state(), WHAT, count) for _ in range(2)] == [None, None]
    assert count.asked == 1


def test_oldest_leave() -> None:
    """When the cache is full, it evicts the least recently used counts."""
    counts, count = DayCountCache(max_values=9), Counting()
    for day in (1, 2, 3, 1, 4):
        counts.get(state(day), WHAT, count)
    assert count.asked == 4
    counts.get(state(1), WHAT, count)
    assert count.asked == 4
    counts.get(state(2), WHAT, count)
    assert count.asked == 5
