"""Numbers of entries by value are exact however many values there are."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mikroscope.errors import QueryError
from mikroscope.stores.sqlite.read import tally
from mikroscope.stores.sqlite.read.tally import Tally

values = st.sampled_from([*"abcdefghij", "(missing)", "", "é"])
counted = st.dictionaries(values, st.integers(1, 5), max_size=6)


def best_of(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return counts in the order of their numbers, then of their values."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


@given(st.lists(counted), st.lists(counted), st.integers(0, 3), st.integers(1, 15))
def test_tallies_add_up(
    own: list[dict[str, int]], others: list[dict[str, int]], most: int, wanted: int
) -> None:
    """A tally with values aside, and one that it is added to, count as a plain counter does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "MOST_VALUES", most)
        one, other = Tally(), Tally()
        expected: Counter[str] = Counter()
        for target, parts in ((one, own), (other, others)):
            for counts in parts:
                target.add(counts.items())
                expected.update(counts)
        other.missing = 2
        one.add_tally(other)
        assert one.best(wanted, None) == best_of(expected)[:wanted]
        expected["(missing)"] += 2
        assert one.best(wanted, "(missing)") == best_of(expected)[:wanted]


def test_far_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take too much memory is refused, with a way out."""
    monkeypatch.setattr(tally, "MOST_VALUES", 1)
    monkeypatch.setattr(tally, "_MOST_BYTES", 1_000)
    counts = Tally()
    with pytest.raises(QueryError, match="narrow the query"):
        counts.add((f"value {n}", 1) for n in range(1_000))
