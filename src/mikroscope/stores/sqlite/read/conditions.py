"""The conditions of a query, each as a mask of a segment's entries."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from mikroscope.query.model import Query
from mikroscope.records.attributes import TEMPLATE_FIELD
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.levels import severities_in, severity_of
from mikroscope.records.timestamps import possible_times
from mikroscope.stores.sqlite.masks import any_of
from mikroscope.stores.sqlite.piece import LEVEL, TEMPLATE
from mikroscope.stores.sqlite.schema import MAX_MS, clamp
from mikroscope.stores.sqlite.sealing import is_found_by_words
from mikroscope.stores.sqlite.segment import Segment
from mikroscope.stores.sqlite.shaping import column_name, field_of
from mikroscope.stores.sqlite.stored import StoredSegment
from mikroscope.stores.sqlite.texts import words_of
from mikroscope.stores.sqlite.tokens import (
    LEVEL_PREFIX,
    NO_MATCH,
    encode_token,
    extra_token,
    field_token,
    is_long,
    second_token,
    segment_token,
    shorten,
)
from mikroscope.stores.sqlite.tokens import any_of as any_token

MAX_SEARCHED_FIELDS = 200
_MOST_WORDS = 8  # of a long value that are looked up


class Condition(ABC):
    """One condition. What it finds is exact, but for what `needs_check` says."""

    @abstractmethod
    def entry_query(self, names: Sequence[str]) -> bytes:
        """Return the FTS5 query for documents of entries that match, by tokens or words.

        `names` are the fields that have tokens in the partition.
        """

    @abstractmethod
    def segment_query(self) -> bytes:
        """Return the FTS5 query for the documents of segments in whose columns entries may match.

        It finds no document of an entry.
        """

    @abstractmethod
    def column_mask(self, segment: Segment) -> bytes | None:
        """Return the entries that match by their columns; None if no entry does."""

    @abstractmethod
    def word_mask(self, segment: Segment) -> bytes | None:
        """Return the entries that match by their words, of a segment that is not posted."""

    def extra_mask(self, segment: Segment) -> bytes | None:
        """Return further entries that may match, whatever their tokens and columns are."""
        return None

    @property
    def is_indexed(self) -> bool:
        """Whether the inverted index finds every segment with matching entries."""
        return True

    def needs_check(self, segment: Segment) -> bool:
        """Return whether each entry found has to be compared with the query."""
        return False


class LevelIs(Condition):
    """Entries with one of these levels."""

    def __init__(self, levels: Iterable[str]) -> None:
        self._levels = list(levels)

    def entry_query(self, names: Sequence[str]) -> bytes:
        """Find the tokens that levels have where they are no column."""
        own = [LEVEL_PREFIX + shorten(level) for level in self._levels]
        return _any([*own, *(field_token("level", level) for level in self._levels)])

    def segment_query(self) -> bytes:
        """Find the levels as values."""
        return _any(map(segment_token, self._levels))

    def column_mask(self, segment: Segment) -> bytes | None:
        """Return the entries with one of the levels."""
        column = segment.column(LEVEL)
        if column is None:
            return None
        codes = [code for code in map(column.code_of, self._levels) if code]
        return column.mask(codes) if codes else None

    def word_mask(self, segment: Segment) -> bytes | None:
        """Levels are no words."""
        return None


class FieldIs(Condition):
    """Entries in which a field has exactly this value."""

    def __init__(self, field: str, value: str) -> None:
        self._field = field
        self._value = value
        self._column = TEMPLATE if field == TEMPLATE_FIELD else column_name(field)
        self._is_time = field in TIME_FIELDS
        self._words: list[bytes] = []
        if is_found_by_words(value):
            words = sorted(set(words_of(value)), key=len, reverse=True)
            self._words = [word.encode() for word in words[:_MOST_WORDS]]

    def entry_query(self, names: Sequence[str]) -> bytes:
        """Find the value, also as a second one of its path; or the words that it has at least."""
        own = _any((field_token(self._field, self._value), extra_token(self._field, self._value)))
        if not self._words:
            return own
        return b"%b OR (%b)" % (own, b" AND ".join(b'"%b"' % word for word in self._words))

    def segment_query(self) -> bytes:
        """Find the value."""
        return _any((segment_token(self._value),))

    def column_mask(self, segment: Segment) -> bytes | None:
        """Return the entries with the value."""
        return _equal(segment, self._column, self._value)

    def word_mask(self, segment: Segment) -> bytes | None:
        """Return the entries with the value as a second one of its path."""
        return segment.word_mask(encode_token(extra_token(self._field, self._value)))

    def extra_mask(self, segment: Segment) -> bytes | None:
        """Return entries whose time may be the value: the field that gave it is not indexed."""
        if self._column == TEMPLATE and _is_unknown(segment, TEMPLATE):
            return b"\1" * segment.entries
        if not self._is_time:
            return None
        moments = possible_times(self._value)
        near = {clamp(moment) for moment in moments}
        if not moments or not (
            any(segment.first_ms <= moment <= segment.last_ms for moment in moments)
            or segment.first_ms <= 0
            or segment.last_ms >= MAX_MS
        ):
            return None
        return bytes(time in moments or clamp(time) in near for time in segment.times)

    @property
    def is_indexed(self) -> bool:
        """Times, and templates of some segments, are not."""
        return not self._is_time and self._field != TEMPLATE_FIELD

    def needs_check(self, segment: Segment) -> bool:
        """Times, templates of some segments, and what words find have to be compared."""
        if self._is_time or is_long(self._value):
            return True
        return self._column == TEMPLATE and _is_unknown(segment, TEMPLATE)


class HasWord(Condition):
    """Entries with a word in their texts, or with the whole text as the value of some field.

    `part` is one word of `whole` as the index has it; empty if there is none in it.
    """

    def __init__(self, part: str, whole: str) -> None:
        self._part = part.encode()
        self._whole = whole

    def entry_query(self, names: Sequence[str]) -> bytes:
        """Find the word, and the text as the value of each of the fields."""
        own = _any((second_token(self._whole), *(field_token(name, self._whole) for name in names)))
        return b'"%b" OR %b' % (self._part, own) if self._part else own

    def segment_query(self) -> bytes:
        """Find the text as a value."""
        return _any((segment_token(self._whole),))

    def column_mask(self, segment: Segment) -> bytes | None:
        """Return the entries with the text as a value."""
        masks = []
        for name in segment.names:
            if field_of(name) is not None:
                mask = _equal(segment, name, self._whole)
                if mask is not None:
                    masks.append(mask)
        return any_of(masks, segment.entries) if masks else None

    def word_mask(self, segment: Segment) -> bytes | None:
        """Return the entries with the word, or the text as a second value of a path."""
        masks = [segment.word_mask(encode_token(second_token(self._whole)))]
        if self._part:
            masks.append(segment.word_mask(self._part))
        return any_of(masks, segment.entries)


def _any(tokens: Iterable[str]) -> bytes:
    return any_token(map(encode_token, tokens)) or any_token([encode_token(NO_MATCH)])


def _equal(segment: Segment, name: str, value: str) -> bytes | None:
    column = segment.column(name)
    if column is None:
        return None
    code = column.code_of(value)
    return column.mask((code,)) if code else None


def _is_unknown(segment: Segment, attribute: str) -> bool:
    return isinstance(segment, StoredSegment) and attribute in segment.head.unknown


def conditions_of(query: Query, levels: Iterable[str]) -> list[Condition]:
    """Return the conditions of a query but for time and audit; `levels` are those of the index."""
    found: list[Condition] = []
    if query.field is not None and query.value is not None:
        found.append(FieldIs(query.field, query.value))
    for whole in (query.text or "").split():
        found += [HasWord(part, whole) for part in words_of(whole) or [""]]
    if query.level is not None:
        severities = severities_in(query.level)
        found.append(LevelIs(level for level in levels if severity_of(level) in severities))
    return found
