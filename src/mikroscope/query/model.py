"""What can be asked, and the shape of the answers: parsed once, for HTTP and the CLI alike."""

from typing import Annotated, Any, Literal, get_args

import msgspec

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
GroupBy = Literal["level", "event", "field", "correlation"]
GROUPINGS: tuple[str, ...] = get_args(GroupBy)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: every filter that is set must hold.

    `from_ms` and `to_ms` are inclusive epoch milliseconds; `level` is upper-case; `field` may
    be a dotted path; `text` asks for all its words in the message or the error's text.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    level: str | None = None
    audit: bool | None = None
    field: str | None = None
    value: str | None = None
    text: str | None = None


class PageRequest(msgspec.Struct, frozen=True):
    """Which page of the matching entries: at most `limit` of them, behind `cursor`.

    `cursor` is the `next_cursor` of an earlier page; None, or a text that no page gave, asks for
    the first page.
    """

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class Grouping(msgspec.Struct, frozen=True):
    """What an aggregate groups by; `field` only where `by` is "field"."""

    by: GroupBy
    field: str | None = None


class Entry(msgspec.Struct, rename="camel", frozen=True):
    """One indexed record as the API shows it; `data` is its JSON text, passed through as it is."""

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


class Page(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Entries, newest first; with the cursor of the next page where there is one."""

    entries: list[Entry]
    has_more: bool
    limit: int
    next_cursor: str | None = None


class Bucket(msgspec.Struct, frozen=True):
    """How many entries share one value."""

    key: str
    count: int


class Aggregate(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Buckets, highest count first, then by key."""

    buckets: list[Bucket]
    group_by: GroupBy
    group_field: str | None = None
