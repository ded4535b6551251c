"""When to scan the whole tree of log files: at an interval, and less often where that is enough."""

from math import inf

SHARE = 50  # scans take at most a fiftieth of the time
EVENT_SHARE = 5  # and at most a fifth after file-system events
MAX_CALM = 16  # intervals between two scans while events work and there are none


class ScanSchedule:
    """Times are seconds of one monotonic clock. `interval_s` None: scan once, then never again.

    Where file-system events work, a scan that finds nothing makes the next one later. So does a
    scan that takes long.
    """

    def __init__(self, interval_s: float | None) -> None:
        self._interval_s = interval_s
        self._events_work = False
        self._calm = 1
        self.next_scan = 0.0
        self.next_after_event = 0.0
        """The earliest time to index files for which an event arrived."""

    def scan_now(self, now: float) -> None:
        """Scan now."""
        self.next_scan = now

    def rescan(self, now: float) -> None:
        """Scan now, unless the schedule is to scan only once."""
        if self._interval_s is not None:
            self.next_scan = now

    def event_seen(self) -> None:
        """Note that a file-system event arrived (for any path), so events work here."""
        self._events_work = True

    def events_lost(self, now: float) -> None:
        """Note that events no longer arrive, until one does."""
        self._events_work = False
        if self._calm > 1:
            self._calm = 1
            self.rescan(now)

    def scanned(self, began: float, ended: float, found_work: bool) -> None:
        """Note that a scan has ended, and whether it found anything to read."""
        took = ended - began
        self.next_after_event = ended + took * EVENT_SHARE
        self._calm = min(self._calm * 2, MAX_CALM) if self._events_work and not found_work else 1
        if self._interval_s is None:
            self.next_scan = inf
        else:
            self.next_scan = ended + max(self._interval_s * self._calm, took * SHARE)
