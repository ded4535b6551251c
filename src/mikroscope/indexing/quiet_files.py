"""Files that end in a line without its line feed, until they have been quiet for a while."""

from collections.abc import Iterable

QUIET_S = 2.0


class QuietFiles:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def ended(self, paths: Iterable[str], now: float) -> None:
        """Note that these files end in such a line now; they may have grown again."""
        for path in paths:
            self._due.pop(path, None)  # the order is that of the times
            self._due[path] = now + QUIET_S

    def due_at(self) -> float | None:
        """Return when the first of them is quiet; None if there is none."""
        return next(iter(self._due.values()), None)

    def take(self, now: float) -> list[str]:
        """Take those that are quiet by now."""
        quiet = [path for path, due in self._due.items() if due <= now]
        for path in quiet:
            del self._due[path]
        return quiet
