"""Plans how to answer a query: what to ask the inverted index, for which keys, what to recheck."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

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
from mikroscope.stores.sqlite.texts import words_of

MAX_SEARCHED_FIELDS = 200
MAX_DAYS = 64  # that one expression names
_MAX_DAILY_TOKENS = 512  # and how many tokens that may make
_MOST_WORDS = 3  # of a search that are tried alone
FEW_ROWS = 1_000  # entries that are read and rechecked rather than matched


class IndexFacts(NamedTuple):
    """What the index holds, as far as the plans of one query need it."""

    levels: Sequence[str]
    """Every level that the query wants, if it has a level or `audit`."""
    fields: Sequence[str]
    """The names of all fields, if the query searches words."""
    days: Sequence[int]
    """The days that have entries, in rising order, if the query has a field or words."""
    spill_ms: int
    """By how many milliseconds a key may be later than its entry's time."""


class Plan(msgspec.Struct, frozen=True):
    """Entries with `low` <= key <= `high` that match an FTS5 expression (None: all of them).

    With `check` some of them do not match the query: `recheck.Recheck` decides on each. With `keys`
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
    """Their ranges of keys do not overlap; the newest comes first."""
    exact_times: list[Plan]
    """Entries whose time is the value that the query wants in a field; they overlap the parts."""


class Lookup(Protocol):
    """What the planner asks of an index; the answers hold for one snapshot."""

    def levels(self, wanted: str | None = None) -> list[str]:
        """Return every level that occurs; with `wanted`, those of its severities."""

    def field_names(self) -> list[str]:
        """Return the names of all fields."""

    def days(self) -> list[int]:
        """Return the days that have entries, in rising order."""

    def spill_ms(self) -> int:
        """Return by how many milliseconds a key may be later than its entry's time."""

    def keys_of(self, plan: Plan, limit: int) -> list[int]:
        """Return the first `limit` keys that match a plan, newest first."""


class Planner:
    """Decides how the questions of one snapshot are answered."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def plans(self, query: Query, first_days: int = 1, cursor: str | None = None) -> Plans:
        """Plan a query, behind `cursor`; daily tokens are asked of the newest `first_days` first.

        FTS5 finds what two tokens have in common by looking both up on every day, and reads all
        entries of the more frequent one. So if few entries meet one of the conditions, these are
        read, and rechecked against the other conditions.
        """
        spill_ms = self._lookup.spill_ms()
        for one in _single_conditions(query):
            texts = _text_plan(one, spill_ms, cursor) if one.text else None
            if texts is not None and len(self._lookup.keys_of(texts, FEW_ROWS)) >= FEW_ROWS:
                continue
            plans = make_plans(one, self._facts(one), first_days, cursor)
            keys = self._few_keys(plans.parts)
            if keys is not None:
                return _few_entries(keys, plans.exact_times)
        return make_plans(query, self._facts(query), first_days, cursor)

    def _facts(self, query: Query) -> IndexFacts:
        lookup = self._lookup
        return IndexFacts(
            levels=lookup.levels(query.level) if _has_level(query) else [],
            fields=lookup.field_names() if query.text else [],
            days=lookup.days() if query.field is not None or query.text else [],
            spill_ms=lookup.spill_ms(),
        )

    def _few_keys(self, plans: list[Plan]) -> list[int] | None:
        """Return the keys of all entries that match, newest first; None if they are many."""
        keys: list[int] = []
        for plan in plans:
            keys += self._lookup.keys_of(plan, FEW_ROWS - len(keys))
            if len(keys) >= FEW_ROWS:
                return None
        return keys


def _single_conditions(query: Query) -> list[Query]:
    """Return queries with one condition each, in the same range, if the query has several.

    Only for conditions that few entries may meet: a field, and the longest words.
    """
    words = sorted(set((query.text or "").split()), key=len, reverse=True)
    if _has_level(query) + (query.field is not None) + len(words) < 2:
        return []
    replace = msgspec.structs.replace
    alone = replace(query, level=None, audit=None, field=None, value=None, text=None)
    fields = [] if query.field is None else [replace(alone, field=query.field, value=query.value)]
    return fields + [replace(alone, text=word) for word in words[:_MOST_WORDS]]


def _has_level(query: Query) -> bool:
    return query.level is not None or query.audit is not None


def _text_plan(query: Query, spill_ms: int, cursor: str | None = None) -> Plan | None:
    """Plan the entries with a query's words in their texts; None if it has no word.

    These are not all entries that match, but show at little cost that there are many.
    """
    ranges = _ranges(query, spill_ms, cursor)
    words = words_of(query.text or "")
    if not words or not ranges:
        return None
    match = terms.expression([[word.encode()] for word in words])
    return Plan(match, ranges[0].low, ranges[-1].high)


def _few_entries(keys: Sequence[int], exact_times: Sequence[Plan]) -> Plans:
    """Plan the entries that meet one condition; they are rechecked against the others."""
    replace = msgspec.structs.replace
    found = Plan(None, min(keys, default=0), max(keys, default=0), check=True, keys=tuple(keys))
    return Plans([found], [replace(plan, check=True) for plan in exact_times])


def make_plans(
    query: Query, known: IndexFacts, first_days: int = 1, cursor: str | None = None
) -> Plans:
    """Plan a query; the plans of daily tokens begin with the newest `first_days`.

    These usually fill a page; each further plan has twice as many days.
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
    if _has_level(query):
        levels = [terms.level_tokens(level, query.audit) for level in known.levels]
        groups.append(AnyOf([*chain(*levels)] or [terms.NO_MATCH], []))
    for word in (query.text or "").split():
        groups += search_groups(word, known.fields)
    return groups


def search_groups(word: str, fields: Sequence[str]) -> list[AnyOf]:
    """Return the tokens of a searched word: in a text, or as the value of a field.

    Capitals are folded here, as FTS5's tokenizer does, since `encode_tokens` escapes them.
    """
    parts = words_of(word)
    values = [terms.field_tokens(name, word) for name in fields[:MAX_SEARCHED_FIELDS]]
    plain = [*chain.from_iterable(value.plain for value in values)]
    daily = [*chain.from_iterable(value.daily for value in values)]
    if not parts:
        return [AnyOf(plain or [terms.NO_MATCH], daily)]
    return [AnyOf([part, *plain], daily) for part in parts]


def _windows(
    ranges: Sequence[Plan], groups: Sequence[AnyOf], known: IndexFacts, first_days: int
) -> list[Plan]:
    """Add the expression of all groups to the ranges; split them by days for daily tokens."""
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
    """Split a plan into windows of days; each has the entries with a token of each group.

    The first window has the newest `size` of `days`, each further one twice as many, up to `most`.
    A key may be later than its entry's day, so a window also names earlier days that reach into it.
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
    """Return the days whose entries may have keys from `low` to `high`."""
    return [
        day
        for day in days
        if first_key(day) <= high and _last_key((day + 1) * DAY_MS - 1 + spill_ms) >= low
    ]


def restrict(plan: Plan, groups: Sequence[AnyOf], days: Iterable[int]) -> Plan:
    """Restrict a plan to entries of some days that have a token of each group."""
    if not groups:
        return plan
    texts = [terms.day_text(day) for day in days]
    match = terms.expression([group.encoded(texts) for group in groups])
    both = [part for part in (plan.match, match) if part]
    return msgspec.structs.replace(plan, match=b" AND ".join(both))


def first_key(day: int) -> int:
    """Return the first key of a day."""
    return day * DAY_MS << KEY_BITS


def _exact_times(query: Query, ranges: list[Plan], spill_ms: int) -> list[Plan]:
    """A field that gave an entry its time has no token, so read the entries of such times."""
    if query.field not in TIME_FIELDS or query.value is None or not ranges:
        return []
    plans = []
    for moment in {clamp(time_ms) for time_ms in possible_times(query.value)}:
        low = max(ranges[0].low, moment << KEY_BITS)
        high = min(ranges[-1].high, _last_key(moment + spill_ms))
        plans.append(Plan(None, low, high, check=True))
    return plans


def _ranges(query: Query, spill_ms: int, cursor: str | None) -> list[Plan]:
    """Return the ranges of keys between `from` and `to`, below the cursor, in rising order.

    Near a bound a key may be later than its entry's time, and at the ends of what a key can hold
    the time is not exact: the entries of these ranges are rechecked.
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
    """Return the opaque text that means "behind this entry"."""
    return base64.urlsafe_b64encode(key.to_bytes(8, "big")).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """Return the key in a cursor; None for a missing or malformed one."""
    try:
        content = base64.b64decode(f"{cursor or ''}=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(content, "big") if len(content) == 8 else None
