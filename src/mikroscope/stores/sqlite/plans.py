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
from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK, MAX_MS, clamp
from mikroscope.timestamps import parse_time

MAX_KEY = MAX_MS << KEY_BITS | KEY_MASK
MAX_SEARCHED_FIELDS = 200


class Plan(msgspec.Struct, frozen=True):
    """Entries with `low` <= key <= `high` that match an FTS5 expression (None: all of them).

    With `check` they are more than were asked for: `matches` decides on each.
    """

    match: bytes | None
    low: int
    high: int
    check: bool = False

    def narrowed(self, *tokens: Iterable[str]) -> "Plan":
        """The same, with one token of each given group."""
        groups = [[terms.encode_tokens([token]) for token in group] for group in tokens]
        both = [part for part in (self.match, terms.expression(groups)) if part]
        return msgspec.structs.replace(self, match=b" AND ".join(both))


def make_plans(query: Query, levels: Sequence[str], fields: Sequence[str]) -> list[Plan]:
    """One plan, or two whose entries together are the answer (one may be in both).

    `levels` and `fields` are all that the index knows.
    """
    base = _range(query)
    groups = _groups(query, levels, fields)
    if query.field is not None and query.value is not None:
        by_token = base.narrowed(*groups, terms.field_tokens(query.field, query.value))
        return [by_token, *_by_time(query, base, groups)]
    return [base.narrowed(*groups) if groups else base]


def _groups(query: Query, levels: Sequence[str], fields: Sequence[str]) -> list[list[str]]:
    groups = []
    if query.level is not None:
        groups.append(terms.level_tokens(query.level, query.audit))
    elif query.audit is not None:
        known = [token for level in levels for token in terms.level_tokens(level, query.audit)]
        groups.append(known or [terms.level_token("", query.audit, True)])
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
    return [[part, *as_value] for part in parts] or [as_value]


def _by_time(query: Query, base: Plan, groups: list[list[str]]) -> list[Plan]:
    """A field that told an entry's time has no token: look at the entries of that moment."""
    if query.field not in TIME_FIELDS or query.value is None:
        return []
    milliseconds = parse_time(query.value)
    if milliseconds is None:
        return []
    moment = clamp(milliseconds) << KEY_BITS
    low, high = max(base.low, moment), min(base.high, moment | KEY_MASK)
    plan = Plan(None, low, high, check=True)
    return [plan.narrowed(*groups) if groups else plan]


def _range(query: Query) -> Plan:
    """The keys between `from` and `to`, and below the cursor."""
    low, high = 0, MAX_KEY
    outside = False
    if query.from_ms is not None:
        low = clamp(query.from_ms) << KEY_BITS
        outside = query.from_ms > MAX_MS
    if query.to_ms is not None:
        high = clamp(query.to_ms) << KEY_BITS | KEY_MASK
        outside = outside or query.to_ms < 0
    after = decode_cursor(query.cursor)
    if after is not None:
        high = min(high, after - 1)
    return Plan(None, low, high, check=outside)


def matches(query: Query, fields: Fields) -> bool:
    """Whether a record of a plan with `check` is what the query asks for."""
    found = time_of(fields)
    if found is not None:
        low, high = query.from_ms, query.to_ms
        if (low is not None and found[0] < low) or (high is not None and found[0] > high):
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
