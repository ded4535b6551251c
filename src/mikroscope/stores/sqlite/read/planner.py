"""A query becomes plans: what to ask the inverted index, in which keys, and what to check after."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from mikroscope.query.model import Query
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.timestamps import possible_times
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.schema import (
    DAY_MS,
    KEY_BITS,
    KEY_MASK,
    MAX_KEY,
    MAX_MS,
    clamp,
)
from mikroscope.stores.sqlite.terms import AnyOf

MAX_SEARCHED_FIELDS = 200
MAX_DAYS = 64  # that one expression names
_MAX_DAILY_TOKENS = 512  # and how many tokens that may make
_MOST_WORDS = 3  # of a search that are tried alone


class IndexFacts(NamedTuple):
    """What plans are made from: what the index holds, as far as a query needs it."""

    levels: Sequence[str]
    """Every level that occurs, where `audit` is asked for without a level."""
    fields: Sequence[str]
    """The names of all fields, where words are searched."""
    days: Sequence[int]
    """The days that have entries, rising, where a field or words are asked for."""
    spill_ms: int
    """How far an entry may stand behind its time."""


class Plan(msgspec.Struct, frozen=True):
    """Entries with `low` <= key <= `high` that match an FTS5 expression (None: all of them).

    With `check` they are more than were asked for: `checking.Check` decides on each. With `keys`
    these are the entries.
    """

    match: bytes | None
    low: int
    high: int
    check: bool = False
    keys: tuple[int, ...] | None = None


class Plans(NamedTuple):
    """Plans whose entries together are the answer."""

    parts: list[Plan]
    """They lie apart from each other, the newest first."""
    exact_times: list[Plan]
    """Of an entry's time, asked for as the value of a field; these overlap with the others."""


def single_conditions(query: Query) -> list[Query]:
    """Queries that ask for one of its conditions each, in the same range, where it has several.

    Only those that few entries may fulfil: a field, and the longest words.
    """
    words = sorted(set((query.text or "").split()), key=len, reverse=True)
    has_level = query.level is not None or query.audit is not None
    if has_level + (query.field is not None) + len(words) < 2:
        return []
    replace = msgspec.structs.replace
    alone = replace(query, level=None, audit=None, field=None, value=None, text=None)
    fields = [] if query.field is None else [replace(alone, field=query.field, value=query.value)]
    return fields + [replace(alone, text=word) for word in words[:_MOST_WORDS]]


def in_texts(query: Query, spill_ms: int, cursor: str | None = None) -> Plan | None:
    """Entries with the words of a query in their texts, in its range; None if there is no word.

    Not all that it asks for, but what tells at little cost that there are many.
    """
    ranges = _ranges(query, spill_ms, cursor)
    words = terms.words_of(query.text or "")
    if not words or not ranges:
        return None
    match = terms.expression([[word.encode()] for word in words])
    return Plan(match, ranges[0].low, ranges[-1].high)


def few_entries(keys: Sequence[int], exact_times: Sequence[Plan]) -> Plans:
    """Plans for entries that were found by one condition; the others are to be checked."""
    replace = msgspec.structs.replace
    found = Plan(None, min(keys, default=0), max(keys, default=0), check=True, keys=tuple(keys))
    return Plans([found], [replace(plan, check=True) for plan in exact_times])


def make_plans(
    query: Query, known: IndexFacts, first_days: int = 1, cursor: str | None = None
) -> Plans:
    """How to answer a query; of what stands in daily tokens, `first_days` are looked at first.

    A page is full with the first of them mostly; each next plan has twice as many.
    """
    ranges = _ranges(query, known.spill_ms, cursor)
    groups = _groups(query, known)
    if query.field is None or query.value is None:
        return Plans(_windows(ranges, groups, known, first_days), [])
    by_token = [*groups, terms.field_tokens(query.field, query.value)]
    exact_times = _windows(_exact_times(query, ranges, known.spill_ms), groups, known, MAX_DAYS)
    return Plans(_windows(ranges, by_token, known, first_days), exact_times)


def _groups(query: Query, known: IndexFacts) -> list[AnyOf]:
    groups = []
    if query.level is not None:
        groups.append(AnyOf(terms.level_tokens(query.level, query.audit), []))
    elif query.audit is not None:
        levels = [terms.level_tokens(level, query.audit) for level in known.levels]
        groups.append(AnyOf([*chain(*levels)] or [terms.NO_MATCH], []))
    for word in (query.text or "").split():
        groups += search_groups(word, known.fields)
    return groups


def search_groups(word: str, fields: Sequence[str]) -> list[AnyOf]:
    """Of a searched word: it stands in a text, or it is the value of a field.

    What the tokenizer folds is folded here, since `encode_tokens` writes capitals apart.
    """
    parts = terms.words_of(word)
    values = [terms.field_tokens(name, word) for name in fields[:MAX_SEARCHED_FIELDS]]
    plain = [*chain.from_iterable(value.plain for value in values)]
    daily = [*chain.from_iterable(value.daily for value in values)]
    if not parts:
        return [AnyOf(plain or [terms.NO_MATCH], daily)]
    return [AnyOf([part, *plain], daily) for part in parts]


def _windows(
    ranges: Sequence[Plan], groups: Sequence[AnyOf], known: IndexFacts, first_days: int
) -> list[Plan]:
    """The ranges with an expression for all groups; cut at days where some tokens are daily."""
    daily_tokens = sum(len(group.daily) for group in groups)
    if not daily_tokens:
        return [restrict(plan, groups, []) for plan in reversed(ranges)]
    most = max(1, min(MAX_DAYS, _MAX_DAILY_TOKENS // daily_tokens))
    return [
        window
        for plan in reversed(ranges)
        for window in day_windows(
            plan, groups, known.days, known.spill_ms, min(first_days, most), most
        )
    ]


def day_windows(
    plan: Plan,
    groups: Sequence[AnyOf],
    days: Sequence[int],
    spill_ms: int,
    size: int = MAX_DAYS,
    most: int = MAX_DAYS,
) -> Iterator[Plan]:
    """A plan for those of its entries that have a token of each group, in windows of days.

    The first window has the newest `size` of `days`, each next one twice as many. An entry may
    stand behind the end of its day, so that a window names the days before as well that reach
    into it.
    """
    days = overlapping_days(days, plan.low, plan.high, spill_ms)
    end, high = len(days), plan.high
    while end:
        start = max(0, end - size)
        low = max(plan.low, first_key(days[start])) if start else plan.low
        if low <= high:
            window = msgspec.structs.replace(plan, low=low, high=high)
            before = overlapping_days(days[:start], low, high, spill_ms)
            yield restrict(window, groups, [*before, *days[start:end]])
        end, high, size = start, low - 1, min(size * 2, most)


def overlapping_days(days: Iterable[int], low: int, high: int, spill_ms: int) -> list[int]:
    """Those days of which entries may have keys from `low` to `high`."""
    return [
        day
        for day in days
        if first_key(day) <= high and _last_key((day + 1) * DAY_MS - 1 + spill_ms) >= low
    ]


def restrict(plan: Plan, groups: Sequence[AnyOf], days: Iterable[int]) -> Plan:
    """A plan for those of its entries, of some days, that have a token of each group."""
    if not groups:
        return plan
    texts = [terms.day_text(day) for day in days]
    match = terms.expression([group.encoded(texts) for group in groups])
    both = [part for part in (plan.match, match) if part]
    return msgspec.structs.replace(plan, match=b" AND ".join(both))


def first_key(day: int) -> int:
    """Where the entries of a day begin."""
    return day * DAY_MS << KEY_BITS


def _exact_times(query: Query, ranges: list[Plan], spill_ms: int) -> list[Plan]:
    """A field that told an entry's time has no token: look at the entries of such moments."""
    if query.field not in TIME_FIELDS or query.value is None or not ranges:
        return []
    plans = []
    for moment in {clamp(time_ms) for time_ms in possible_times(query.value)}:
        low = max(ranges[0].low, moment << KEY_BITS)
        high = min(ranges[-1].high, _last_key(moment + spill_ms))
        plans.append(Plan(None, low, high, check=True))
    return plans


def _ranges(query: Query, spill_ms: int, cursor: str | None) -> list[Plan]:
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
    after = decode_cursor(cursor)
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
