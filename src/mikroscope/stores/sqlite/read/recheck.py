"""Rechecks one entry against a query, where a plan yields more entries than match."""

from collections.abc import Sequence

from mikroscope.query.matching import matches
from mikroscope.query.model import Query
from mikroscope.records.attributes import time_of
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.read.planner import search_groups
from mikroscope.stores.sqlite.rows import DAY_MINUTES, encode_again
from mikroscope.stores.sqlite.schema import KEY_BITS


class Recheck:
    """The conditions of one query; `names` are all fields of the index if it searches words."""

    def __init__(self, query: Query, names: Sequence[str]) -> None:
        self._query = query
        self._terms = terms.TermEncoder()
        groups = [
            group for word in (query.text or "").split() for group in search_groups(word, names)
        ]
        self._words = [
            (set(group.encoded([])), terms.AnyOf([], group.daily).encoded([""])) for group in groups
        ]

    def matches(self, fields: Fields, key: int, is_audit: bool) -> bool:
        """Return whether a record meets every condition. Changes `fields`."""
        found = time_of(fields)
        time_ms = key >> KEY_BITS if found is None else found[0]
        if not matches(self._query, fields, time_ms, is_audit):
            return False
        return not self._words or self._has_words(fields, key, is_audit)

    def _has_words(self, fields: Fields, key: int, is_audit: bool) -> bool:
        """Look the words up in the record's document, as FTS5 does."""
        (minute, _, _), document = encode_again(self._terms, fields, key, is_audit)
        tokens = set(document.lower().split(b" "))
        day = terms.day_text(minute // DAY_MINUTES).encode()
        return all(
            not tokens.isdisjoint(plain) or any(day + token in tokens for token in daily)
            for plain, daily in self._words
        )
