"""The schedule of scans over the whole tree of log files."""

from math import inf

from mikroscope.indexing.scan_schedule import MAX_CALM, ScanSchedule


def test_first_look_is_due_at_once() -> None:
    """The first scan is due immediately, without a request."""
    assert ScanSchedule(2.0).next_scan == 0.0


def test_interval() -> None:
    """Without file-system events, scans run at the interval, whatever they find."""
    cadence = ScanSchedule(2.0)
    for has_found in (True, False, False, False):
        cadence.scanned(10.0, 10.0, has_found)
        assert cadence.next_scan == 12.0


def test_looks_become_rarer() -> None:
    """With file-system events, the pause between scans that find nothing doubles up to a limit."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    waits = []
    for _ in range(6):
        cadence.scanned(10.0, 10.0, found_work=False)
        waits.append(cadence.next_scan - 10.0)
    assert waits == [4.0, 8.0, 16.0, 32.0, 32.0, 32.0]
    assert waits[-1] == 2.0 * MAX_CALM


def test_what_was_not_told_brings_the_interval_back() -> None:
    """A scan that finds changes without an event resets the pause to the interval."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    cadence.scanned(10.0, 10.0, found_work=False)
    cadence.scanned(20.0, 20.0, found_work=True)
    assert cadence.next_scan == 22.0


def test_when_changes_are_told_no_more() -> None:
    """When file-system events stop working, a scan runs immediately and then at the interval."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    cadence.scanned(10.0, 10.0, found_work=False)
    cadence.events_lost(11.0)
    assert cadence.next_scan == 11.0
    cadence.scanned(11.0, 11.0, found_work=False)
    assert cadence.next_scan == 13.0


def test_large_tree() -> None:
    """Scans take at most a fiftieth of the time, and at most a fifth after an event."""
    cadence = ScanSchedule(2.0)
    cadence.scanned(10.0, 11.0, found_work=True)
    assert (cadence.next_scan, cadence.next_after_event) == (61.0, 16.0)


def test_one_look_only() -> None:
    """Without an interval, the tree is scanned only once unless a scan is requested."""
    cadence = ScanSchedule(None)
    cadence.scanned(10.0, 10.0, found_work=True)
    cadence.rescan(11.0)
    assert cadence.next_scan == inf
    cadence.scan_now(12.0)
    assert cadence.next_scan == 12.0
