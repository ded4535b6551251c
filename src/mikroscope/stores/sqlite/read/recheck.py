"""Decides on one entry whether it is what a query asks for."""

from collections.abc import Sequence

from mikroscope.query.model import Query
from mikroscope.records.attributes import level_of, time_of
from mikroscope.records.fields import field_values, scalar_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite import terms
from mikroscope.stores.sqlite.read.planner import search_groups
from mikroscope.stores.sqlite.rows import DAY_MINUTES, document_again
from mikroscope.stores.sqlite.schema import KEY_BITS


class Recheck:
    """For one question; `names` are those of all fields, where words are asked for."""

    def __init__(self, query: Query, names: Sequence[str]) -> None:
        self._query = query
        self._documents = terms.TermEncoder()
        groups = [
            group for word in (query.text or "").split() for group in search_groups(word, names)
        ]
        self._words = [
            (set(group.encoded([])), terms.AnyOf([], group.daily).encoded([""])) for group in groups
        ]

    def matches(self, fields: Fields, key: int, is_audit: bool) -> bool:
        """Whether a record fulfils every condition. Takes `fields` apart."""
        return _matches(self._query, fields, key, is_audit) and (
            not self._words or self._has_words(fields, key, is_audit)
        )

    def _has_words(self, fields: Fields, key: int, is_audit: bool) -> bool:
        """Whether its document has what FTS5 would look for."""
        (minute, _, _), document = document_again(self._documents, fields, key, is_audit)
        tokens = set(document.lower().split(b" "))
        day = terms.day_text(minute // DAY_MINUTES).encode()
        return all(
            not tokens.isdisjoint(plain) or any(day + token in tokens for token in daily)
            for plain, daily in self._words
        )


def _matches(query: Query, fields: Fields, key: int, is_audit: bool) -> bool:
    """The same, but for its words."""
    if query.audit is not None and query.audit != is_audit:
        return False
    if query.level is not None and query.level != level_of(fields):
        return False
    found = time_of(fields)
    time_ms = key >> KEY_BITS if found is None else found[0]
    if query.from_ms is not None and time_ms < query.from_ms:
        return False
    if query.to_ms is not None and time_ms > query.to_ms:
        return False
    if query.field is None:
        return True
    return any(scalar_text(value) == query.value for value in field_values(fields, query.field))
