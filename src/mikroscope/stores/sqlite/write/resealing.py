"""Makes segments of lines that are in the index already, and have their keys."""

from collections.abc import Iterator, Sequence

from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.piece import MAX_PIECE
from mikroscope.stores.sqlite.pieces import piece_of_fresh
from mikroscope.stores.sqlite.schema import clamp
from mikroscope.stores.sqlite.sealing import seal
from mikroscope.stores.sqlite.write.encoding import LEAST_ENTRIES, divide
from mikroscope.stores.sqlite.write.storing import Placed


def seal_lines(lines: Sequence[FreshLines], dictionary: Dictionary) -> list[Placed]:
    """Return the segments of lines of one kind; those with too few entries have no documents."""
    times = sorted(clamp(time) for one in lines for time in one.times)
    placed = []
    for start, end in divide(times):
        last = times[end] if end < len(times) else None
        part = list(_between(lines, times[start], last))
        # It is empty where a millisecond has very many entries, which are all in a later part then.
        placed += [seal_as_one(some, dictionary) for some in _within_limit(part)]
    return placed


def _within_limit(lines: Sequence[FreshLines]) -> Iterator[list[FreshLines]]:
    """Yield groups of rows that have at most MAX_PIECE entries together."""
    group: list[FreshLines] = []
    for one in lines:
        if group and sum(map(len, group)) + len(one) > MAX_PIECE:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def seal_as_one(lines: Sequence[FreshLines], dictionary: Dictionary) -> Placed:
    """Return one segment of lines of one kind, of which there is at least one."""
    piece = piece_of_fresh(lines)
    sealed = seal(piece, dictionary, post=len(piece) >= LEAST_ENTRIES)
    return Placed(sealed, piece.commits)


def _between(lines: Sequence[FreshLines], first: int, end: int | None) -> Iterator[FreshLines]:
    """Yield the entries with times from `first` to before `end`."""
    for one in lines:
        places = [
            place
            for place, time in enumerate(map(clamp, one.times))
            if first <= time and (end is None or time < end)
        ]
        if places:
            yield one if len(places) == len(one) else one.chosen(places)
