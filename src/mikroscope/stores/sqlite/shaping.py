"""Turns records into columns of values: records with the same keys together, field by field.

The tuple of a record's keys is its shape. Records of one shape are turned into columns by one call
of `zip`, and what a value means is found once for each distinct one.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from operator import itemgetter
from typing import Any, NamedTuple

from mikroscope.records.attributes import (
    CORRELATION_KEYS,
    DEFAULT_EVENT,
    LEVEL_STARTS,
    MESSAGE_STARTS,
    correlation_of,
    correlation_text,
    level_of,
    message_of,
)
from mikroscope.records.conventions import ERROR_PARTS, TEXT_FIELDS
from mikroscope.records.fields import scalar_text
from mikroscope.records.levels import DEFAULT_LEVEL, LEVEL_NAMES
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite.piece import CORRELATION, EVENT, LEVEL, MARK
from mikroscope.stores.sqlite.texts import (
    ERROR_FIELDS,
    MAX_DEPTH,
    collect_texts,
    error_texts,
)

Places = Sequence[int] | None
"""Places of entries in their piece; None means all of them."""
_TEXTS, _INTEGERS = {str}, {int}
_MESSAGE_NAMES = ("message", "msg")


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


class _Group(NamedTuple):
    """Records with the same keys, whose times come from the same field."""

    shape: tuple[str, ...]
    time_name: str
    places: Places
    rows: Sequence[Fields]
    columns: dict[str, tuple[Any, ...]]
    """The values of each field, one for each row."""


def shape_records(
    records: Sequence[Fields],
    shapes: Sequence[tuple[str, ...]],
    time_names: Sequence[str],
) -> Shaped:
    """Return the columns of some records, which are only read.

    `shapes` are their keys. `time_names` are the fields that their times come from, which have no
    column; an empty name where a record has no time.
    """
    shaped = Shaped(len(records))
    groups = list(_groups(records, shapes, time_names))
    _Fields(shaped).add_groups(groups)
    _Attributes(shaped).add_groups(groups)
    return shaped


def _groups(
    records: Sequence[Fields], shapes: Sequence[tuple[str, ...]], time_names: Sequence[str]
) -> Iterator[_Group]:
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
        yield _group(shape, time_name, places, _at(records, places))


def _group(
    shape: tuple[str, ...], time_name: str, places: Places, rows: Sequence[Fields]
) -> _Group:
    columns = zip(*map(dict.values, rows), strict=True)
    return _Group(shape, time_name, places, rows, dict(zip(shape, columns, strict=True)))


def _at(items: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    return itemgetter(*places)(items) if len(places) > 1 else [items[places[0]]]


_Chunk = tuple[Places, Sequence[Any]]


class _Fields:
    """Collects the values of all fields, those of nested objects by their paths."""

    def __init__(self, shaped: Shaped) -> None:
        self._shaped = shaped

    def add_groups(self, groups: Iterable[_Group]) -> None:
        """Add the fields of records: those at the top first, then those inside of objects."""
        chunks: dict[str, list[_Chunk]] = {}
        objects: dict[str, list[_Chunk]] = {}
        for _, time_name, places, _, columns in groups:
            for name, values in columns.items():
                kept: _Chunk = (places, values)
                if name and name == time_name:
                    if dict in set(map(type, values)):  # only an object in it is a value of its own
                        kept = _objects(places, values)
                        objects.setdefault(name, []).append(kept)
                    continue
                found = chunks.get(name)
                if found is None:
                    chunks[name] = [kept]
                else:
                    found.append(kept)
        for name, parts in chunks.items():
            inner = self._add(name, *_joined(parts, self._shaped.size))
            if inner is not None:
                objects.setdefault(name, []).append(inner)
        self._shaped.names.update(chunks, objects)
        for name in sorted(objects, key=len):
            for own_places, inner_records in objects[name]:
                self._add_inside(name, own_places, inner_records, 1, name in ERROR_FIELDS)

    def _add_inside(
        self, path: str, places: Places, values: Sequence[Fields], depth: int, in_error: bool
    ) -> None:
        """Add the fields of objects; inside of an error more of the texts can be searched."""
        searched = ERROR_PARTS if in_error else TEXT_FIELDS
        chunks: dict[str, list[_Chunk]] = {}
        for group in _groups(values, list(map(tuple, values)), ("",) * len(values)):
            own = places if group.places is None else _inner_places(places, group.places)
            for name, column in group.columns.items():
                chunks.setdefault(name, []).append((own, column))
        inside = {}
        for name, parts in chunks.items():
            joined = _joined(parts, self._shaped.size)
            if name in searched:
                self._search(*joined, depth)
            self._shaped.names.add(f"{path}.{name}")
            inner = self._add(f"{path}.{name}", *joined)
            if inner is not None:
                inside[name] = inner
        if depth < MAX_DEPTH:
            for name in sorted(inside, key=len):
                is_error = in_error or name in ERROR_FIELDS
                self._add_inside(f"{path}.{name}", *inside[name], depth + 1, is_error)

    def _search(self, places: Places, values: Sequence[Any], depth: int) -> None:
        searched = self._shaped.searched
        for place, value in _placed(places, values):
            if isinstance(value, str | list):
                collect_texts(value, searched.setdefault(place, []), depth)

    def _add(self, path: str, places: Places, values: Sequence[Any]) -> _Chunk | None:
        """Add the scalars among the values of a path; return the objects among them."""
        kinds = set(map(type, values))
        inner = None
        if kinds == _TEXTS:
            texts: Sequence[str] = values
        else:
            if dict in kinds or list in kinds:
                inner = _objects(places, values) if dict in kinds else None
                places, values = _scalars(places, values)
                kinds -= {dict, list}
            texts = _texts(values, kinds)
        if texts:
            self._put(path, places, texts)
        return inner

    def _put(self, path: str, places: Places, texts: Sequence[str]) -> None:
        name = column_name(path)
        known = self._shaped.fields.get(name)
        if known is None:
            self._shaped.fields[name] = Values(places, texts)
            return
        size = self._shaped.size
        taken = set(range(size) if known.places is None else known.places)
        more_places, more_texts = [], []
        for place, text in zip(range(size) if places is None else places, texts, strict=True):
            if place in taken:  # the first value of a path counts
                self._shaped.extra.setdefault(place, []).append((path, text))
            else:
                more_places.append(place)
                more_texts.append(text)
        if more_places:
            both = sorted(
                zip([*(known.places or ()), *more_places], [*known.texts, *more_texts], strict=True)
            )
            self._shaped.fields[name] = Values(
                [place for place, _ in both], [text for _, text in both]
            )


def names_of(records: Sequence[Fields], shapes: Iterable[tuple[str, ...]]) -> set[str]:
    """Return the names of all fields of some records, nested ones as paths."""
    names: set[str] = set().union(*set(shapes))
    for fields in records:
        if dict in map(type, fields.values()):
            _add_inner_names(fields, "", 1, names)
    return names


def _add_inner_names(fields: Fields, path: str, depth: int, names: set[str]) -> None:
    for name, value in fields.items():
        if path:
            names.add(path + name)
        if type(value) is dict and depth <= MAX_DEPTH:
            _add_inner_names(value, f"{path}{name}.", depth + 1, names)


def column_name(field: str) -> str:
    """Return the name of a field's column, which is never that of an attribute."""
    return MARK + field if field.startswith(MARK) else field


def field_of(column: str) -> str | None:
    """Return the field of a column; None for an attribute."""
    if not column.startswith(MARK):
        return column
    return column[1:] if column.startswith(MARK * 2) else None


def _joined(chunks: Sequence[_Chunk], size: int) -> _Chunk:
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
    return _in_order(places, values)


def _in_order(places: Sequence[int], values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    order = sorted(range(len(places)), key=places.__getitem__)
    return [places[one] for one in order], [values[one] for one in order]


def _inner_places(places: Places, inner: Sequence[int]) -> Sequence[int]:
    return inner if places is None else _at(places, inner)


def _placed(places: Places, values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(range(len(values)) if places is None else places, values, strict=True)


def _objects(places: Places, values: Sequence[Any]) -> _Chunk:
    found = [(place, value) for place, value in _placed(places, values) if type(value) is dict]
    return [place for place, _ in found], [value for _, value in found]


def _scalars(places: Places, values: Sequence[Any]) -> _Chunk:
    found = [
        (place, value)
        for place, value in _placed(places, values)
        if type(value) is not dict and type(value) is not list
    ]
    return [place for place, _ in found], [value for _, value in found]


def _texts(values: Sequence[Any], kinds: set[type]) -> Sequence[str]:
    """Return the texts of scalars; equal ones of one kind are rendered once."""
    if len(kinds) > 1:  # 1 == 1.0 == True
        return [value if type(value) is str else scalar_text(value) or "" for value in values]
    distinct = set(values)
    if kinds == _INTEGERS and len(distinct) * 2 > len(values):
        return list(map(str, values))
    text_of = {value: scalar_text(value) or "" for value in distinct}
    return list(map(text_of.__getitem__, values))


class _Attributes:
    """Finds level, message, event and correlation of all records."""

    def __init__(self, shaped: Shaped) -> None:
        self._shaped = shaped
        self._own_levels = self._own_events = True
        self._correlated: set[str] = set()  # the fields that correlations come from; "" for many

    def add_groups(self, groups: Sequence[_Group]) -> None:
        """Find the attributes of records, and which of them are a field's values."""
        shaped, size = self._shaped, self._shaped.size
        found: list[list[_Chunk]] = [[] for _ in range(5)]
        worded = dict.fromkeys(_MESSAGE_NAMES, True)
        for group in groups:
            messages = _messages(group)
            for name in _MESSAGE_NAMES:
                if worded[name] and name in group.columns:
                    worded[name] = group.columns[name] == messages
            self._search_errors(group, messages)
            of_group = (
                *(self._levels(group), messages, self._events(group, messages)),
                *(self._correlations(group), [len(group.shape)] * len(group.rows)),
            )
            for column, values in zip(found, of_group, strict=True):
                column.append((group.places, values))
        shaped.levels, shaped.messages, shaped.events, shaped.correlations, shaped.field_counts = (
            _joined(chunks, size)[1] for chunks in found
        )
        shaped.worded = frozenset(name for name, is_so in worded.items() if is_so)
        if self._own_levels:
            shaped.aliases[LEVEL] = "level"
        if self._own_events:
            shaped.aliases[EVENT] = "event"
        if len(self._correlated) == 1 and "" not in self._correlated:
            shaped.aliases[CORRELATION] = next(iter(self._correlated))

    def _search_errors(self, group: _Group, messages: Sequence[str]) -> None:
        if ERROR_FIELDS.isdisjoint(group.shape):
            return
        pairs = zip(group.rows, messages, strict=True)
        for place, (fields, message) in _placed(group.places, list(pairs)):
            texts = error_texts(fields, message)
            if texts:
                self._shaped.searched.setdefault(place, []).extend(texts)

    def _levels(self, group: _Group) -> Sequence[str]:
        if "level" in group.columns:
            own = group.columns["level"]
            if set(map(type, own)) == _TEXTS:
                levels = tuple(map(LEVEL_NAMES.__getitem__, own))
                if all(levels):
                    self._own_levels = self._own_levels and levels == own
                    return levels
        self._own_levels = False
        if LEVEL_STARTS.isdisjoint(group.shape):
            return [DEFAULT_LEVEL] * len(group.rows)
        return list(map(level_of, group.rows))

    def _events(self, group: _Group, messages: Sequence[str]) -> Sequence[str]:
        if "event" in group.columns:
            own = group.columns["event"]
            if set(map(type, own)) == _TEXTS and all(own):
                return own
            self._own_events = False
            return [
                event if type(event) is str and event else message or DEFAULT_EVENT
                for event, message in zip(own, messages, strict=True)
            ]
        self._own_events = False
        return [message or DEFAULT_EVENT for message in messages]

    def _correlations(self, group: _Group) -> Sequence[str | None]:
        names = group.shape
        fields = [name for name, first in CORRELATION_KEYS if first in names or name in names]
        if not fields:
            return [None] * len(group.rows)
        if fields[0] in names and fields[0] != group.time_name:
            own = group.columns[fields[0]]
            if set(map(type, own)) == _TEXTS and all(map(correlation_text, set(own))):
                self._correlated.add(fields[0])
                return own
        self._correlated.add("")
        return list(map(correlation_of, group.rows))


def _messages(group: _Group) -> Sequence[str]:
    """Return the messages, as a tuple where they are the values of one field."""
    if "message" in group.columns:
        own = group.columns["message"]
        if set(map(type, own)) == _TEXTS:
            return own
    elif MESSAGE_STARTS.isdisjoint(group.shape):
        return [""] * len(group.rows)
    return tuple(map(message_of, group.rows))


def by_code(texts: Iterable[str]) -> dict[str, int]:
    """Return the codes of distinct texts, in the order of their first appearance."""
    return dict(zip(dict.fromkeys(texts), count(1)))
