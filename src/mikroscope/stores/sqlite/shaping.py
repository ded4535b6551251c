"""Turns records into columns of values: records with the same keys together, field by field.

The tuple of a record's keys is its shape. Records of one shape are turned into columns by one call
of `zip`, and what a value means is found once for each distinct one.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from mikroscope.records.conventions import ERROR_PARTS, TEXT_FIELDS
from mikroscope.records.fields import scalar_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite.derived import Attributes
from mikroscope.stores.sqlite.piece import MARK
from mikroscope.stores.sqlite.shapes import (
    Chunk,
    Group,
    Places,
    Shaped,
    Values,
    at,
    groups,
    joined,
    placed,
)
from mikroscope.stores.sqlite.texts import (
    ERROR_FIELDS,
    MAX_DEPTH,
    collect_texts,
)

_TEXTS, _INTEGERS = {str}, {int}


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
    found = list(groups(records, shapes, time_names))
    _Fields(shaped).add_groups(found)
    Attributes(shaped).add_groups(found)
    return shaped


class _Fields:
    """Collects the values of all fields, those of nested objects by their paths."""

    def __init__(self, shaped: Shaped) -> None:
        self._shaped = shaped

    def add_groups(self, groups: Iterable[Group]) -> None:
        """Add the fields of records: those at the top first, then those inside of objects."""
        chunks: dict[str, list[Chunk]] = {}
        objects: dict[str, list[Chunk]] = {}
        for _, time_name, places, _, columns in groups:
            for name, values in columns.items():
                kept: Chunk = (places, values)
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
            inner = self._add(name, *joined(parts, self._shaped.size))
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
        chunks: dict[str, list[Chunk]] = {}
        for group in groups(values, list(map(tuple, values)), ("",) * len(values)):
            own = places if group.places is None else _inner_places(places, group.places)
            for name, column in group.columns.items():
                chunks.setdefault(name, []).append((own, column))
        inside = {}
        for name, parts in chunks.items():
            whole = joined(parts, self._shaped.size)
            if name in searched:
                self._search(*whole, depth)
            self._shaped.names.add(f"{path}.{name}")
            inner = self._add(f"{path}.{name}", *whole)
            if inner is not None:
                inside[name] = inner
        if depth < MAX_DEPTH:
            for name in sorted(inside, key=len):
                is_error = in_error or name in ERROR_FIELDS
                self._add_inside(f"{path}.{name}", *inside[name], depth + 1, is_error)

    def _search(self, places: Places, values: Sequence[Any], depth: int) -> None:
        searched = self._shaped.searched
        for place, value in placed(places, values):
            if isinstance(value, str | list):
                collect_texts(value, searched.setdefault(place, []), depth)

    def _add(self, path: str, places: Places, values: Sequence[Any]) -> Chunk | None:
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


def _inner_places(places: Places, inner: Sequence[int]) -> Sequence[int]:
    return inner if places is None else at(places, inner)


def _objects(places: Places, values: Sequence[Any]) -> Chunk:
    found = [(place, value) for place, value in placed(places, values) if type(value) is dict]
    return [place for place, _ in found], [value for _, value in found]


def _scalars(places: Places, values: Sequence[Any]) -> Chunk:
    found = [
        (place, value)
        for place, value in placed(places, values)
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


def by_code(texts: Iterable[str]) -> dict[str, int]:
    """Return the codes of distinct texts, in the order of their first appearance."""
    return dict(zip(dict.fromkeys(texts), count(1)))
