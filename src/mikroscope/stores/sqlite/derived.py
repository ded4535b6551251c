"""Finds what records say: level, message, event, correlation, and which field that is."""

from collections.abc import Sequence

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
from mikroscope.records.levels import DEFAULT_LEVEL, LEVEL_NAMES
from mikroscope.stores.sqlite.piece import CORRELATION, EVENT, LEVEL
from mikroscope.stores.sqlite.shapes import Chunk, Group, Shaped, joined, placed
from mikroscope.stores.sqlite.texts import ERROR_FIELDS, error_texts

_TEXTS = {str}
_MESSAGE_NAMES = ("message", "msg")


class Attributes:
    """Finds level, message, event and correlation of all records."""

    def __init__(self, shaped: Shaped) -> None:
        self._shaped = shaped
        self._own_levels = self._own_events = True
        self._correlated: set[str] = set()  # the fields that correlations come from; "" for many

    def add_groups(self, groups: Sequence[Group]) -> None:
        """Find the attributes of records, and which of them are a field's values."""
        shaped, size = self._shaped, self._shaped.size
        found: list[list[Chunk]] = [[] for _ in range(5)]
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
            joined(chunks, size)[1] for chunks in found
        )
        shaped.worded = frozenset(name for name, is_so in worded.items() if is_so)
        if self._own_levels:
            shaped.aliases[LEVEL] = "level"
        if self._own_events:
            shaped.aliases[EVENT] = "event"
        if len(self._correlated) == 1 and "" not in self._correlated:
            shaped.aliases[CORRELATION] = next(iter(self._correlated))

    def _search_errors(self, group: Group, messages: Sequence[str]) -> None:
        if ERROR_FIELDS.isdisjoint(group.shape):
            return
        pairs = zip(group.rows, messages, strict=True)
        for place, (fields, message) in placed(group.places, list(pairs)):
            texts = error_texts(fields, message)
            if texts:
                self._shaped.searched.setdefault(place, []).extend(texts)

    def _levels(self, group: Group) -> Sequence[str]:
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

    def _events(self, group: Group, messages: Sequence[str]) -> Sequence[str]:
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

    def _correlations(self, group: Group) -> Sequence[str | None]:
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


def _messages(group: Group) -> Sequence[str]:
    """Return the messages, as a tuple where they are the values of one field."""
    if "message" in group.columns:
        own = group.columns["message"]
        if set(map(type, own)) == _TEXTS:
            return own
    elif MESSAGE_STARTS.isdisjoint(group.shape):
        return [""] * len(group.rows)
    return tuple(map(message_of, group.rows))
