"""When the whole tree of files is looked at."""

from math import inf

from mikroscope.cadence import MAX_CALM, Cadence


def test_first_look_is_due_at_once() -> None:
    """Nobody has to ask for it."""
    assert Cadence(2.0).next_look == 0.0


def test_interval() -> None:
    """Where changes are not told, looks come at the interval, whatever they find."""
    cadence = Cadence(2.0)
    for has_found in (True, False, False, False):
        cadence.looked(10.0, 10.0, has_found)
        assert cadence.next_look == 12.0


def test_looks_become_rarer() -> None:
    """Where changes are told and looks find nothing: twice as long each time, up to a bound."""
    cadence = Cadence(2.0)
    cadence.told()
    waits = []
    for _ in range(6):
        cadence.looked(10.0, 10.0, has_found=False)
        waits.append(cadence.next_look - 10.0)
    assert waits == [4.0, 8.0, 16.0, 32.0, 32.0, 32.0]
    assert waits[-1] == 2.0 * MAX_CALM


def test_what_was_not_told_brings_the_interval_back() -> None:
    """A look that finds something is followed by the next one soon."""
    cadence = Cadence(2.0)
    cadence.told()
    cadence.looked(10.0, 10.0, has_found=False)
    cadence.looked(20.0, 20.0, has_found=True)
    assert cadence.next_look == 22.0


def test_when_changes_are_told_no_more() -> None:
    """The tree is looked at right away, and at the interval from then on."""
    cadence = Cadence(2.0)
    cadence.told()
    cadence.looked(10.0, 10.0, has_found=False)
    cadence.lost(11.0)
    assert cadence.next_look == 11.0
    cadence.looked(11.0, 11.0, has_found=False)
    assert cadence.next_look == 13.0


def test_large_tree() -> None:
    """A look takes a fiftieth of the time at the most, and a fifth where something was told."""
    cadence = Cadence(2.0)
    cadence.looked(10.0, 11.0, has_found=True)
    assert (cadence.next_look, cadence.next_after_notice) == (61.0, 16.0)


def test_one_look_only() -> None:
    """Without an interval there is no second one, unless it is asked for."""
    cadence = Cadence(None)
    cadence.looked(10.0, 10.0, has_found=True)
    cadence.look_again(11.0)
    assert cadence.next_look == inf
    cadence.ask_for_look(12.0)
    assert cadence.next_look == 12.0
