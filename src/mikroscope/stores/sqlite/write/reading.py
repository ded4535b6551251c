"""Reads the records of lines: all of a kind at once where they are plain, else one by one."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from time import time_ns
from typing import Any, NamedTuple

import msgspec

from mikroscope.records.attributes import audit_of, find_time
from mikroscope.records.fields import field_values
from mikroscope.records.parsing import (
    SHOWN_NESTING,
    Fields,
    NotARecordError,
    cut_nesting,
    parse_line,
)
from mikroscope.records.timestamps import canonical_ms, canonical_times
from mikroscope.records.wrappers import DOCKER_KEY, JOURNALD_KEY, OTLP_KEY, Record, unwrap
from mikroscope.stores.sqlite.compression import TIME_PLACE, strip_text
from mikroscope.stores.sqlite.piece import pick
from mikroscope.stores.sqlite.pieces import FIRST_TIME_FIELD
from mikroscope.stores.sqlite.schema import LINE_MASK, PART_SHIFT

MAX_UNREADABLE = 20  # records of one batch whose time cannot be read that are named
_SHORT = 5 * SHOWN_NESTING  # bytes of a line that cannot nest too deeply, if it has no array
_decode_lines = msgspec.json.Decoder().decode_lines
_WRAPPERS = frozenset((DOCKER_KEY, JOURNALD_KEY, OTLP_KEY))


class LineRange(NamedTuple):
    """Consecutive lines of one source; `first` is the number of the first line."""

    source: int
    is_audit_path: bool
    first: int
    content: bytes
    records: Sequence[Fields] | None = None
    """The parsed lines, if the caller had them already; no line is blank then."""


class MaybePruned(NamedTuple):
    """An entry that may have been pruned from the index that is being rebuilt.

    `line` has the part too, as in the table; `time_ms` is None if the record has no time of its
    own.
    """

    source: int
    is_audit_path: bool
    line: int
    time_ms: int | None
    raw: bytes


class PruneRules(NamedTuple):
    """Entries older than these epoch milliseconds may have been pruned from the old index."""

    normal_ms: int
    audit_ms: int

    def may_apply(self, time_ms: int | None, is_audit: bool) -> bool:
        """Return whether the entry may have been pruned; without a time of its own it may."""
        return time_ms is None or time_ms < (self.audit_ms if is_audit else self.normal_ms)


class Read(NamedTuple):
    """Records that were read, all lists with one item for each."""

    times: list[int]
    keys: list[int]
    """As they are in an empty index; none before all are read."""
    time_names: list[str]
    """The field that the time comes from; empty where it comes from the clock."""
    sources: list[int]
    lines: list[int]
    audits: list[bool]
    records: list[Fields]
    shapes: list[tuple[str, ...]]
    raw: list[bytes]

    def chosen(self, places: Sequence[int]) -> "Read":
        """Return some of the records, in the order given."""
        columns: Any = (pick(column, places) if column else [] for column in self)
        return Read(*columns)

    def part(self, start: int, end: int) -> "Read":
        """Return consecutive records."""
        if start == 0 and end == len(self.times):
            return self
        columns: Any = (column[start:end] for column in self)
        return Read(*columns)

    def extend(self, more: "Read") -> None:
        """Add further records."""
        columns: Any = zip(self, more, strict=True)
        for column, of_more in columns:
            column.extend(of_more)


def nothing() -> Read:
    """Return no records."""
    return Read([], [], [], [], [], [], [], [], [])


class RecordReader:
    """Reads ranges of lines, and keeps what is wrong with some of them."""

    def __init__(self, rules: PruneRules | None) -> None:
        self._rules = rules
        self.now_ms = time_ns() // 1_000_000
        """The time of records without one, in epoch milliseconds."""
        self.lines = 0
        """Lines that are not blank."""
        self.problems: list[tuple[int, int, str]] = []
        """Source, line number and reason of each line that is not a record."""
        self.maybe_pruned: list[MaybePruned] = []
        self.audit_sources: set[int] = set()
        self.unreadable: list[tuple[int, int, str]] = []
        """Source, line number and reason of some records whose time cannot be read."""
        self.unreadable_times = 0
        """The number of these records."""

    def read(self, lines: LineRange) -> Read:
        """Return the records of a range of lines."""
        read = None if self._rules else read_plain(lines)
        if read is None:
            read = self._read_any(lines)
        else:
            self.lines += len(read.times)
        if True in read.audits:
            self.audit_sources.add(lines.source)
        return read

    def _read_any(self, lines: LineRange) -> Read:
        """Read lines of any kind, one by one."""
        rules, is_audit_path = self._rules, lines.is_audit_path
        read = nothing()
        for line, fields, raw in self._records(lines):
            found, time_name, own, unreadable = find_time(fields)
            if unreadable:
                self._count_unreadable(lines.source, line, unreadable, fields)
            is_audit = audit_of(fields, is_audit_path) if "audit" in fields else is_audit_path
            if rules is not None and rules.may_apply(found, is_audit):
                if is_audit:
                    self.audit_sources.add(lines.source)
                pruned = MaybePruned(lines.source, is_audit_path, line, found, raw)
                self.maybe_pruned.append(pruned)
                continue
            if found is not None and type(own) is str and canonical_ms(own) == found:
                raw = strip_text(raw, own)
            read.times.append(self.now_ms if found is None else found)
            read.time_names.append(time_name)
            read.sources.append(lines.source)
            read.lines.append(line)
            read.audits.append(is_audit)
            read.records.append(fields)
            read.shapes.append(tuple(fields))
            read.raw.append(raw)
        return read

    def _count_unreadable(self, source: int, line: int, name: str, fields: Fields) -> None:
        self.unreadable_times += 1
        if len(self.unreadable) < MAX_UNREADABLE:
            value = next(field_values(fields, name), None)
            text = f"the time in {name!r} cannot be read: {str(value)[:60]!r}"
            self.unreadable.append((source, line & LINE_MASK, text))

    def _records(self, lines: LineRange) -> Iterator[tuple[int, Fields, bytes]]:
        """Yield place, fields and UTF-8 text of each record; the fields are only read.

        The place is the number of the line and the record's part of it.
        """
        numbered = enumerate(lines.content.split(b"\n"), lines.first)
        if lines.records is not None:
            self.lines += len(lines.records)
            for (number, raw), known in zip(numbered, lines.records, strict=True):
                if DOCKER_KEY in known or JOURNALD_KEY in known or OTLP_KEY in known:
                    yield from _parts(number, known, raw)
                else:
                    yield number, *cut_nesting(known, raw)
            return
        not_blank = 0
        for number, raw in numbered:
            if not raw or raw.isspace():
                continue
            not_blank += 1
            try:
                fields, raw = parse_line(raw)
            except NotARecordError as error:
                if divided := _divided(raw):
                    yield from _numbered(number, divided)
                else:
                    self.problems.append((lines.source, number, str(error)))
                continue
            if DOCKER_KEY in fields or JOURNALD_KEY in fields or OTLP_KEY in fields:
                yield from _parts(number, fields, raw)
            else:
                yield number, fields, raw
        self.lines += not_blank


def read_plain(lines: LineRange) -> Read | None:
    """Read lines that need no second look; None if one of them may: it is read one by one then.

    These are objects with a canonical time in the first of TIME_FIELDS, which nest little.
    """
    raw = lines.content.split(b"\n")
    records = lines.records
    if records is None:
        try:
            records = _decode_lines(lines.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    if (
        len(records) != len(raw)
        or set(map(type, records)) != {dict}
        or not _is_flat(lines.content, raw)
    ):
        return None
    try:
        texts = list(map(itemgetter(FIRST_TIME_FIELD), records))
    except KeyError:
        return None
    if set(map(type, texts)) != {str}:
        return None
    times = canonical_times(texts)
    if times is None or min(times) <= 0:
        return None
    shapes = list(map(tuple, records))
    distinct = set(shapes)
    if any(not _WRAPPERS.isdisjoint(shape) for shape in distinct):
        return None
    size, is_audit = len(raw), lines.is_audit_path
    audits = [is_audit] * size
    if any("audit" in shape for shape in distinct):
        audits = [audit_of(fields, is_audit) for fields in records]
    stripped = map(bytes.replace, raw, map(str.encode, texts), repeat(TIME_PLACE), repeat(1))
    return Read(
        times=times,
        keys=[],
        time_names=[FIRST_TIME_FIELD] * size,
        sources=[lines.source] * size,
        lines=list(range(lines.first, lines.first + size)),
        audits=audits,
        records=list(records),
        shapes=shapes,
        raw=list(stripped),
    )


def _is_flat(content: bytes, raw: Sequence[bytes]) -> bool:
    """Return whether no line can nest deeply."""
    if max(map(len, raw)) < _SHORT and b"[" not in content:
        return True
    return all(line.count(b"{") + line.count(b"[") <= SHOWN_NESTING for line in raw)


def _parts(number: int, fields: Fields, raw: bytes) -> Iterator[tuple[int, Fields, bytes]]:
    """Yield the records that a line holds."""
    return _numbered(number, unwrap(fields, raw))


def _numbered(number: int, records: Iterable[Record]) -> Iterator[tuple[int, Fields, bytes]]:
    for part, (inner, text) in enumerate(records):
        yield part << PART_SHIFT | number, *cut_nesting(inner, text)


def _divided(raw: bytes) -> list[Record]:
    """Return the records of a line which a NUL byte divides; none if one of them is no record."""
    if b"\0" not in raw:
        return []
    try:
        return [one for piece in raw.split(b"\0") for one in unwrap(*parse_line(piece))]
    except NotARecordError:
        return []
