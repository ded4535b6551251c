"""What a store can be asked, and the results it returns."""

from typing import Annotated, Any, Literal, get_args

import msgspec

from mikroscope.json_body import JsonBody

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
GroupBy = Literal["level", "event", "field", "correlation"]
GROUPINGS: tuple[str, ...] = get_args(GroupBy)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Selects entries: an entry must match every filter that is set.

    `from_ms` and `to_ms` are inclusive epoch milliseconds; `level` is upper-case, a level
    or several with commas between them, and matches every level of their severities
    (`levels.severities_in`); `field` may be a dotted path; all words of `text`
    must occur in the message, in the error's text, or as the value of a field.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    level: str | None = None
    audit: bool | None = None
    field: str | None = None
    value: str | None = None
    text: str | None = None


class PageRequest(msgspec.Struct, frozen=True):
    """Selects a page of the matching entries: at most `limit` of them, after `cursor`.

    `cursor` is the `next_cursor` of the previous page; None, or any other text, selects the first
    page.
    """

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class Grouping(msgspec.Struct, frozen=True):
    """What an aggregate groups by; `field` is set only if `by` is "field"."""

    by: GroupBy
    field: str | None = None


class Entry(JsonBody, frozen=True):
    """One indexed record; `data` is its JSON text, unchanged."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    timestamp: str
    level: str
    event: str
    message: str
    data: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    source_file: str
    line_number: int

    def record(self) -> dict[str, Any]:
        """Return the record as parsed JSON."""
        fields: dict[str, Any] = msgspec.json.decode(self.data)
        return fields


class Page(JsonBody, frozen=True, kw_only=True, omit_defaults=True):
    """Entries, newest first, and the cursor of the next page if there is one.

    `complete` is false where something could not be read; `notes` say what.
    """

    entries: list[Entry]
    has_more: bool
    limit: int
    next_cursor: str | None = None
    complete: bool = True
    notes: tuple[str, ...] = ()


class Bucket(JsonBody, frozen=True):
    """Number of entries with the same value."""

    key: str
    count: int


class Aggregate(JsonBody, frozen=True, omit_defaults=True):
    """Buckets: highest count first, then by key; `hasMore` where there are more than `limit`.

    `complete` is false where something could not be read; `notes` say what.
    """

    buckets: list[Bucket]
    group_by: GroupBy
    group_field: str | None = None
    has_more: bool = False
    complete: bool = True
    notes: tuple[str, ...] = ()
