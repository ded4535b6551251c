"""Encodes lines as rows and documents: all the work on a record before SQLite, in any process."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from time import time_ns
from typing import Any, NamedTuple

import msgspec

from mikroscope.records.attributes import audit_of, find_time, level_of
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.fields import field_values
from mikroscope.records.levels import LEVEL_NAMES
from mikroscope.records.parsing import Fields, NotARecordError, cut_nesting, parse_line
from mikroscope.records.timestamps import canonical_ms
from mikroscope.records.wrappers import DOCKER_KEY, JOURNALD_KEY, OTLP_KEY, Record, unwrap
from mikroscope.records.zones import default_zone_name, set_default_zone
from mikroscope.stores.sqlite.compression import SAMPLE_EVERY, Dictionary, strip_text, strip_time
from mikroscope.stores.sqlite.rows import COMMON, DOCUMENT, MINUTE_MS, ROW, Minute, with_key
from mikroscope.stores.sqlite.schema import LINE_MASK, MAX_MS, PART_SHIFT, clamp
from mikroscope.stores.sqlite.terms import TermEncoder
from mikroscope.stores.sqlite.write.keys import keys_alone

FIRST_TIME_FIELD = TIME_FIELDS[0]
MAX_UNREADABLE = 20  # records of one batch whose time cannot be read that are named


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


class EncodedBatch(msgspec.Struct):
    """The entries of some lines, in the order of their times, and what must be counted.

    Their keys are the ones they get in an empty index.
    """

    times: list[int]
    rows: list[bytes]
    documents: list[bytes]
    spilled: list[int]
    minutes: dict[Minute, int]
    spans: dict[int, tuple[int, int]]
    """The first and the last time of each source that has entries."""
    audit_sources: set[int]
    problems: list[tuple[int, int, str]]
    """Source, line number and reason of each line that is not a record."""
    maybe_pruned: list[MaybePruned]
    lines: int
    """Lines that are not blank."""
    unreadable: list[tuple[int, int, str]] = []
    """Source, line number and reason of some records whose time cannot be read."""
    unreadable_times: int = 0
    """The number of these records."""
    field_values: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    sample: list[bytes] = []
    names: set[str] = set()
    has_timeless: bool = False
    """Some entry's time is known from its key only."""
    has_stripped_times: bool = False
    """The text of some entry's time was stripped: its key alone gives it back."""


class PruneRules(NamedTuple):
    """Entries older than these epoch milliseconds may have been pruned from the old index."""

    normal_ms: int
    audit_ms: int

    def may_apply(self, time_ms: int | None, is_audit: bool) -> bool:
        """Return whether the entry may have been pruned; without a time of its own it may."""
        return time_ms is None or time_ms < (self.audit_ms if is_audit else self.normal_ms)


class Task:
    """Encodes some ranges of lines; call it once, in any process (it can be pickled)."""

    def __init__(
        self,
        ranges: list[LineRange],
        dictionary: Dictionary,
        rules: PruneRules | None,
        terms: TermEncoder,
    ) -> None:
        self._ranges = ranges
        self._dictionary = dictionary
        self._rules = rules
        self._terms: TermEncoder | None = terms

    def __getstate__(self) -> tuple[Any, ...]:
        dictionary, zone = self._dictionary, default_zone_name()
        return self._ranges, dictionary.number, dictionary.content, self._rules, zone

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ranges, number, content, self._rules, zone = state
        set_default_zone(zone)
        self._dictionary = _dictionary(number, content)
        self._terms = None  # each process has an encoder of its own

    def __call__(self) -> EncodedBatch:
        """Parse, encode, compress and sort the lines."""
        terms = self._terms or TermEncoder()
        encoder = BatchEncoder(self._dictionary, self._rules, terms)
        for one in self._ranges:
            encoder.add(one)
        encoded = encoder.finish()
        if self._terms is None:
            encoded.names = terms.drain_new_fields()
        return encoded


def encode_kept(
    kept: Iterable[tuple[MaybePruned, int]], dictionary: Dictionary, terms: TermEncoder
) -> EncodedBatch:
    """Encode entries that were not pruned; each comes with the time to use if it has none."""
    encoder = BatchEncoder(dictionary, None, terms)
    for entry, time_ms in kept:
        encoder.now_ms = time_ms
        encoder.add(LineRange(entry.source, entry.is_audit_path, entry.line, entry.raw))
    return encoder.finish()


_known: dict[int, Dictionary] = {}


def _dictionary(number: int, content: bytes) -> Dictionary:
    """Return a dictionary ready for use; the previous task's one where it is the same."""
    known = _known.get(number)
    if known is None or known.content != content:
        _known.clear()
        known = _known[number] = Dictionary(number, content)
    return known


class BatchEncoder:
    """Encodes the ranges of one task."""

    def __init__(
        self, dictionary: Dictionary, rules: PruneRules | None, terms: TermEncoder
    ) -> None:
        self._dictionary = dictionary
        self._rules = rules
        self._encode_terms = terms.encode
        self.now_ms = time_ns() // 1_000_000
        self._rows: list[tuple[int, list[bytes], bool]] = []
        self._lines: list[bytes] = []
        self._encoded = EncodedBatch([], [], [], [], {}, {}, set(), [], [], 0, [], sample=[])

    def add(self, lines: LineRange) -> None:
        """Encode a range of lines.

        This is the hot loop: it does all the work on a record before SQLite. Some calls are guarded
        by a cheap test that spares nearly all records the call.
        """
        encoded, encode_terms, raw_lines = self._encoded, self._encode_terms, self._lines
        times, documents, rows = encoded.times, encoded.documents, self._rows
        minutes, rules = encoded.minutes, self._rules
        source, path_is_audit = lines.source, lines.is_audit_path
        common = [COMMON % (source, self._dictionary.number, flags) for flags in range(4)]
        first, count, has_stripped_times, own_text = len(times), 0, False, None
        for line, fields, raw in self._records(lines):
            text, found, time_field = fields.get(FIRST_TIME_FIELD), None, FIRST_TIME_FIELD
            if type(text) is str:
                found = canonical_ms(text)
            if found is None or found <= 0:
                found, time_field, own_text, unreadable = find_time(fields)
                text = None
                if unreadable:
                    self._count_unreadable(source, line, unreadable, fields)
            level = fields.get("level")
            level = (LEVEL_NAMES[level] if type(level) is str else "") or level_of(fields)
            is_audit = audit_of(fields, path_is_audit) if "audit" in fields else path_is_audit
            if is_audit:
                encoded.audit_sources.add(source)
            if rules is not None and rules.may_apply(found, is_audit):
                encoded.maybe_pruned.append(MaybePruned(source, path_is_audit, line, found, raw))
                continue
            count += len(fields)
            if found is None or not 0 <= found <= MAX_MS:
                time_ms = clamp(self.now_ms if found is None else found)
                encoded.has_timeless |= found is None
            else:
                time_ms, whole = found, raw
                raw = strip_time(raw, own_text) if text is None else strip_text(raw, text)
                has_stripped_times |= raw is not whole
            raw_lines.append(raw)
            documents.append(encode_terms(fields, level, is_audit, time_ms, time_field))
            times.append(time_ms)
            rows.append((line, common, is_audit))
            minute = time_ms // MINUTE_MS, level, is_audit
            minutes[minute] = minutes.get(minute, 0) + 1
        encoded.has_stripped_times |= has_stripped_times
        encoded.field_values += count
        self._extend_span(source, times[first:])

    def finish(self) -> EncodedBatch:
        """Return all that was added in the order of times, and of arrival where times are equal."""
        encoded, rows, packed = self._encoded, self._rows, self._dictionary.pack_all(self._lines)
        encoded.raw_bytes = sum(map(len, self._lines))
        encoded.packed_bytes = sum(len(data) for data, _ in packed)
        encoded.sample = self._lines[SAMPLE_EVERY - 1 :: SAMPLE_EVERY]
        times, documents = encoded.times, encoded.documents
        order = sorted(range(len(times)), key=times.__getitem__)
        if order != list(range(len(times))):
            times = encoded.times = [times[place] for place in order]
            documents = [documents[place] for place in order]
            rows = [rows[place] for place in order]
            packed = [packed[place] for place in order]
        keys, encoded.spilled = keys_alone(times)
        encoded.rows = [
            ROW % (key, line, common[is_audit | is_full << 1], data)
            for key, (line, common, is_audit), (data, is_full) in zip(
                keys, rows, packed, strict=True
            )
        ]
        encoded.documents = [DOCUMENT % document for document in zip(keys, documents, strict=True)]
        return encoded

    def _count_unreadable(self, source: int, line: int, name: str, fields: Fields) -> None:
        self._encoded.unreadable_times += 1
        if len(self._encoded.unreadable) < MAX_UNREADABLE:
            value = next(field_values(fields, name), None)
            text = f"the time in {name!r} cannot be read: {str(value)[:60]!r}"
            self._encoded.unreadable.append((source, line & LINE_MASK, text))

    def _records(self, lines: LineRange) -> Iterator[tuple[int, Fields, bytes]]:
        """Yield place, fields and UTF-8 text of each record; the fields may be changed.

        The place is the number of the line and the record's part of it.
        """
        numbered = enumerate(lines.content.split(b"\n"), lines.first)
        if lines.records is not None:
            self._encoded.lines += len(lines.records)
            for (number, raw), known in zip(numbered, lines.records, strict=True):
                if DOCKER_KEY in known or JOURNALD_KEY in known or OTLP_KEY in known:
                    yield from _parts(number, known, raw)
                else:
                    yield number, *cut_nesting(known.copy(), raw)
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
                    self._encoded.problems.append((lines.source, number, str(error)))
                continue
            if DOCKER_KEY in fields or JOURNALD_KEY in fields or OTLP_KEY in fields:
                yield from _parts(number, fields, raw)
            else:
                yield number, fields, raw
        self._encoded.lines += not_blank

    def _extend_span(self, source: int, times: list[int]) -> None:
        if not times:
            return
        first, last = min(times), max(times)
        before = self._encoded.spans.get(source, (first, last))
        self._encoded.spans[source] = min(first, before[0]), max(last, before[1])


def _parts(number: int, fields: Fields, raw: bytes) -> Iterator[tuple[int, Fields, bytes]]:
    """Yield the records that a line holds."""
    return _numbered(number, unwrap(fields, raw))


def _numbered(number: int, records: Iterable[Record]) -> Iterator[tuple[int, Fields, bytes]]:
    for part, (inner, text) in enumerate(records):
        yield part << PART_SHIFT | number, *cut_nesting(inner.copy(), text)


def _divided(raw: bytes) -> list[Record]:
    """Return the records of a line which a NUL byte divides; none if one of them is no record."""
    if b"\0" not in raw:
        return []
    try:
        return [one for piece in raw.split(b"\0") for one in unwrap(*parse_line(piece))]
    except NotARecordError:
        return []


def merged(encoded: EncodedBatch, more: EncodedBatch) -> EncodedBatch:
    """Merge two batches in the order of times; the entries of `more` count as arrived later."""
    times = [*encoded.times, *more.times]
    order = sorted(range(len(times)), key=times.__getitem__)
    rows, documents = [*encoded.rows, *more.rows], [*encoded.documents, *more.documents]
    times = [times[place] for place in order]
    keys, spilled = keys_alone(times)
    spans = dict(encoded.spans)
    for source, (first, last) in more.spans.items():
        known = spans.get(source, (first, last))
        spans[source] = min(first, known[0]), max(last, known[1])
    minutes = Counter(encoded.minutes)
    minutes.update(more.minutes)
    return msgspec.structs.replace(
        encoded,
        times=times,
        rows=[with_key(rows[place], key) for place, key in zip(order, keys, strict=True)],
        documents=[with_key(documents[place], key) for place, key in zip(order, keys, strict=True)],
        spilled=spilled,
        minutes=minutes,
        spans=spans,
        field_values=encoded.field_values + more.field_values,
        has_timeless=encoded.has_timeless or more.has_timeless,
        has_stripped_times=encoded.has_stripped_times or more.has_stripped_times,
    )
