"""Records by their shape, the tuple of their keys, and the columns that they are turned into."""

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from mikroscope.records.parsing import Fields

Places = Sequence[int] | None
"""Places of entries in their piece; None means all of them."""


class Values(NamedTuple):
    """The texts of a field, of the entries at some places."""

    places: Places
    texts: Sequence[str]


class Shaped:
    """The records of a piece as columns of texts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.fields: dict[str, Values] = {}
        """By the name of the column: a field's name, with a mark before one that begins with it."""
        self.names: set[str] = set()
        """The names of all fields."""
        self.extra: dict[int, list[tuple[str, str]]] = {}
        """By place: names and values of a record that gives one path several values, but for the
        first of them."""
        self.searched: dict[int, list[str]] = {}
        """By place: texts whose words can be searched, besides the message."""
        self.levels: Sequence[str] = []
        self.messages: Sequence[str] = []
        self.events: Sequence[str] = []
        self.correlations: Sequence[str | None] = []
        self.field_counts: Sequence[int] = []
        self.aliases: dict[str, str] = {}
        self.worded: frozenset[str] = frozenset()


class Group(NamedTuple):
    """Records with the same keys, whose times come from the same field."""

    shape: tuple[str, ...]
    time_name: str
    places: Places
    rows: Sequence[Fields]
    columns: dict[str, tuple[Any, ...]]
    """The values of each field, one for each row."""


def groups(
    records: Sequence[Fields], shapes: Sequence[tuple[str, ...]], time_names: Sequence[str]
) -> Iterator[Group]:
    keys: Sequence[Any] = shapes
    one_time = time_names[0] if len(set(time_names)) == 1 else None
    if one_time is None:
        keys = list(zip(shapes, time_names, strict=True))
    if len(set(keys)) == 1:
        yield _group(shapes[0], time_names[0], None, records)
        return
    places_of: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        found = places_of.get(key)
        if found is None:
            places_of[key] = [place]
        else:
            found.append(place)
    for key, places in places_of.items():
        shape, time_name = (key, one_time) if one_time is not None else key
        yield _group(shape, time_name, places, at(records, places))


def _group(shape: tuple[str, ...], time_name: str, places: Places, rows: Sequence[Fields]) -> Group:
    columns = zip(*map(dict.values, rows), strict=True)
    return Group(shape, time_name, places, rows, dict(zip(shape, columns, strict=True)))


def at(items: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    return itemgetter(*places)(items) if len(places) > 1 else [items[places[0]]]


Chunk = tuple[Places, Sequence[Any]]
"""Places of entries, and a value for each of them."""


def joined(chunks: Sequence[Chunk], size: int) -> Chunk:
    """Put the values of one field together."""
    if len(chunks) == 1:
        return chunks[0]
    places = list(chain.from_iterable(one if one is not None else () for one, _ in chunks))
    values = list(chain.from_iterable(values for _, values in chunks))
    if len(places) == size:  # all entries have it
        ordered: list[Any] = [None] * size
        for place, value in zip(places, values, strict=True):
            ordered[place] = value
        return None, ordered
    return in_order(places, values)


def in_order(places: Sequence[int], values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    order = sorted(range(len(places)), key=places.__getitem__)
    return [places[one] for one in order], [values[one] for one in order]


def placed(places: Places, values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(range(len(values)) if places is None else places, values, strict=True)
