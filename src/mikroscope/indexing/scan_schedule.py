"""When to look at the whole tree of files: at an interval, and more rarely where that is enough."""

from math import inf

SHARE = 50  # a look at the tree may take a fiftieth of the time at the most
NOTICE_SHARE = 5  # and a fifth where something has changed
MAX_CALM = 16  # intervals between two looks, where changes are told and there are none


class ScanSchedule:
    """Times are seconds of one monotonic clock. `interval_s` None: one look, and no more.

    Where the system tells of changes, a look that finds nothing makes the next one later. A look
    at a large tree makes the next one later, too.
    """

    def __init__(self, interval_s: float | None) -> None:
        self._interval_s = interval_s
        self._is_told = False
        self._calm = 1
        self.next_scan = 0.0
        self.next_after_event = 0.0
        """When at the earliest to look at what was told of."""

    def scan_now(self, now: float) -> None:
        """Look now."""
        self.next_scan = now

    def rescan(self, now: float) -> None:
        """Look now, unless there is to be but one look."""
        if self._interval_s is not None:
            self.next_scan = now

    def event_seen(self) -> None:
        """Of a change, be it of no file that is read: so changes are told at all."""
        self._is_told = True

    def events_lost(self, now: float) -> None:
        """Changes are told no more, until one is."""
        self._is_told = False
        if self._calm > 1:
            self._calm = 1
            self.rescan(now)

    def scanned(self, began: float, ended: float, has_found: bool) -> None:
        """A look is over, and has found something to be read, or not."""
        took = ended - began
        self.next_after_event = ended + took * NOTICE_SHARE
        self._calm = min(self._calm * 2, MAX_CALM) if self._is_told and not has_found else 1
        if self._interval_s is None:
            self.next_scan = inf
        else:
            self.next_scan = ended + max(self._interval_s * self._calm, took * SHARE)
