"""When the whole tree of files is looked at."""

from math import inf

from mikroscope.indexing.scan_schedule import MAX_CALM, ScanSchedule


def test_first_look_is_due_at_once() -> None:
    """Nobody has to ask for it."""
    assert ScanSchedule(2.0).next_scan == 0.0


def test_interval() -> None:
    """Where changes are not told, looks come at the interval, whatever they find."""
    cadence = ScanSchedule(2.0)
    for has_found in (True, False, False, False):
        cadence.scanned(10.0, 10.0, has_found)
        assert cadence.next_scan == 12.0


def test_looks_become_rarer() -> None:
    """Where changes are told and looks find nothing: twice as long each time, up to a bound."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    waits = []
    for _ in range(6):
        cadence.scanned(10.0, 10.0, found_work=False)
        waits.append(cadence.next_scan - 10.0)
    assert waits == [4.0, 8.0, 16.0, 32.0, 32.0, 32.0]
    assert waits[-1] == 2.0 * MAX_CALM


def test_what_was_not_told_brings_the_interval_back() -> None:
    """A look that finds something is followed by the next one soon."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    cadence.scanned(10.0, 10.0, found_work=False)
    cadence.scanned(20.0, 20.0, found_work=True)
    assert cadence.next_scan == 22.0


def test_when_changes_are_told_no_more() -> None:
    """The tree is looked at right away, and at the interval from then on."""
    cadence = ScanSchedule(2.0)
    cadence.event_seen()
    cadence.scanned(10.0, 10.0, found_work=False)
    cadence.events_lost(11.0)
    assert cadence.next_scan == 11.0
    cadence.scanned(11.0, 11.0, found_work=False)
    assert cadence.next_scan == 13.0


def test_large_tree() -> None:
    """A look takes a fiftieth of the time at the most, and a fifth where something was told."""
    cadence = ScanSchedule(2.0)
    cadence.scanned(10.0, 11.0, found_work=True)
    assert (cadence.next_scan, cadence.next_after_event) == (61.0, 16.0)


def test_one_look_only() -> None:
    """Without an interval there is no second one, unless it is asked for."""
    cadence = ScanSchedule(None)
    cadence.scanned(10.0, 10.0, found_work=True)
    cadence.rescan(11.0)
    assert cadence.next_scan == inf
    cadence.scan_now(12.0)
    assert cadence.next_scan == 12.0
