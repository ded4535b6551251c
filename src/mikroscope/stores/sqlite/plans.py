"""A query becomes plans: what to ask the inverted index, in which keys, and what to check after."""

import base64
import binascii
from collections.abc import Iterable, Sequence

import msgspec

from mikroscope.query import Query
from mikroscope.records import (
    TIME_FIELDS,
    Fields,
    field_values,
    scalar_text,
    time_of,
)
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK, MAX_KEY, MAX_MS, clamp
from mikroscope.timestamps import possible_times

MAX_SEARCHED_FIELDS = 200


class Plan(msgspec.Struct, frozen=True):
    """Entries with `low` <= key <= `high` that match an FTS5 expression (None: all of them).

    With `check` they are more than were asked for: `matches` decides on each.
    """

    match: bytes | None
    low: int
    high: int
    check: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is."""
        return self.match is None and self.low == 0 and self.high == MAX_KEY

    def narrowed(self, *tokens: Iterable[str]) -> "Plan":
        """The same, with one token of each given group."""
        if not tokens:
            return self
        groups = [[terms.encode_tokens([token]) for token in group] for group in tokens]
        both = [part for part in (self.match, terms.expression(groups)) if part]
        return msgspec.structs.replace(self, match=b" AND ".join(both))


def make_plans(
    query: Query, levels: Sequence[str], fields: Sequence[str], spill_ms: int
) -> list[Plan]:
    """Plans whose entries together are the answer.

    They lie apart from each other, except where `query.field` is one of TIME_FIELDS. `levels` and
    `fields` are all that the index knows; `spill_ms` says how far an entry may stand behind its
    time.
    """
    ranges = _ranges(query, spill_ms)
    groups = _groups(query, levels, fields)
    if query.field is None or query.value is None:
        return [plan.narrowed(*groups) for plan in ranges]
    by_token = [*groups, terms.field_tokens(query.field, query.value)]
    plans = [plan.narrowed(*by_token) for plan in ranges]
    return [*plans, *(plan.narrowed(*groups) for plan in _moments(query, ranges, spill_ms))]


def _groups(query: Query, levels: Sequence[str], fields: Sequence[str]) -> list[list[str]]:
    groups = []
    if query.level is not None:
        groups.append(terms.level_tokens(query.level, query.audit))
    elif query.audit is not None:
        known = [token for level in levels for token in terms.level_tokens(level, query.audit)]
        groups.append(known or [terms.NOWHERE])
    for word in (query.text or "").split():
        groups += _search_groups(word, fields)
    return groups


def _search_groups(word: str, fields: Sequence[str]) -> list[list[str]]:
    """Of a searched word: it stands in a text, or it is the value of a field.

    What the tokenizer folds is folded here, since `encode_tokens` writes capitals apart.
    """
    parts = terms.words_of(word)
    as_value = [
        token for name in fields[:MAX_SEARCHED_FIELDS] for token in terms.field_tokens(name, word)
    ]
    if len(parts) == 1:
        return [[*parts, *as_value]]
    return [[part, *as_value] for part in parts] or [as_value or [terms.NOWHERE]]


def _moments(query: Query, ranges: list[Plan], spill_ms: int) -> list[Plan]:
    """A field that told an entry's time has no token: look at the entries of such moments."""
    if query.field not in TIME_FIELDS or query.value is None or not ranges:
        return []
    plans = []
    for moment in {clamp(time_ms) for time_ms in possible_times(query.value)}:
        low = max(ranges[0].low, moment << KEY_BITS)
        high = min(ranges[-1].high, _last_key(moment + spill_ms))
        plans.append(Plan(None, low, high, check=True))
    return plans


def _ranges(query: Query, spill_ms: int) -> list[Plan]:
    """The keys between `from` and `to`, and below the cursor, in rising order.

    At the bounds, entries may stand behind their time, and at the ends of what a key can hold
    the time is not exact: those parts are to be checked.
    """
    low = sure_low = 0
    high = sure_high = MAX_KEY
    if query.from_ms is not None:
        low = clamp(query.from_ms) << KEY_BITS
        sure_low = max(1 if query.from_ms <= 0 else 0, clamp(query.from_ms)) + spill_ms << KEY_BITS
        if query.from_ms > MAX_MS:
            sure_low = MAX_KEY + 1
    if query.to_ms is not None:
        high = _last_key(clamp(query.to_ms) + spill_ms)
        sure_high = _last_key(query.to_ms) if query.to_ms >= 0 else -1
        if query.to_ms >= MAX_MS:
            high, sure_high = MAX_KEY, _last_key(MAX_MS - 1)
    after = decode_cursor(query.cursor)
    if after is not None:
        high, sure_high = min(high, after - 1), min(sure_high, after - 1)
    parts = [
        Plan(None, low, min(sure_low - 1, high), check=True),
        Plan(None, sure_low, sure_high),
        Plan(None, max(sure_high + 1, sure_low), high, check=True),
    ]
    return [plan for plan in parts if plan.low <= plan.high]


def _last_key(milliseconds: int) -> int:
    return milliseconds << KEY_BITS | KEY_MASK


def matches(query: Query, fields: Fields, key: int) -> bool:
    """Whether a record of a plan with `check` is what the query asks for."""
    found = time_of(fields)
    time_ms = key >> KEY_BITS if found is None else found[0]
    if query.from_ms is not None and time_ms < query.from_ms:
        return False
    if query.to_ms is not None and time_ms > query.to_ms:
        return False
    if query.field is None:
        return True
    return any(scalar_text(value) == query.value for value in field_values(fields, query.field))


def encode_cursor(key: int) -> str:
    """The opaque text that stands for "behind this entry"."""
    return base64.urlsafe_b64encode(key.to_bytes(8, "big")).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """The key in a cursor; None for one that is missing or malformed."""
    try:
        content = base64.b64decode(f"{cursor or ''}=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(content, "big") if len(content) == 8 else None
