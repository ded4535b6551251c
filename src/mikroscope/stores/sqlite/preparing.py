"""Lines made ready for the tables: all that a record costs before SQLite, in whatever process."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from time import time_ns
from typing import Any, NamedTuple

import msgspec

from mikroscope.records import (
    TIME_FIELDS,
    Fields,
    NotARecordError,
    audit_of,
    level_of,
    parse_line,
    time_of,
)
from mikroscope.stores.sqlite.keys import keys_alone
from mikroscope.stores.sqlite.packing import (
    SAMPLE_EVERY,
    Dictionary,
    take_text,
    take_time,
)
from mikroscope.stores.sqlite.schema import DAY_MS, KEY_BITS, MAX_MS, clamp
from mikroscope.stores.sqlite.terms import Documents
from mikroscope.timestamps import canonical_ms

MINUTE_MS = 60_000
DAY_MINUTES = DAY_MS // MINUTE_MS
FIRST_TIME_FIELD = TIME_FIELDS[0]
AUDIT, WHOLE_FRAME = 1, 2  # flags of an entry

# A row as one text, so that SQLite can read thousands of them at once (see `writer`): key, line,
# and what most have in common (source, dictionary and flags), each in decimal and as wide as it can
# get; then the packed line. And its document, with the key in front.
_ROW = b"%016d%010d%b%b"
_COMMON = b"%010d%06d%d"
DOCUMENT = b"%016d%b"
KEY_WIDTH = 16
_LINE, _SOURCE = slice(16, 26), slice(26, 36)
_DICTIONARY, _FLAGS = slice(36, 42), slice(42, 43)
_DATA = slice(43, None)

Minute = tuple[int, str, bool]
"""A minute since 1970, a level, and audit: what entries are counted by."""


class Piece(NamedTuple):
    """Neighbouring lines of one source, the first of them numbered `first`."""

    source: int
    is_audit_path: bool
    first: int
    content: bytes
    records: Sequence[Fields] | None = None
    """What the lines say, if that is known already; then none is blank."""


class Suspect(NamedTuple):
    """An entry that may have been pruned from the index that is rebuilt: it is asked first.

    `time_ms` is None if the record has no time of its own.
    """

    source: int
    is_audit_path: bool
    line: int
    time_ms: int | None
    raw: bytes


class Prepared(msgspec.Struct):
    """The entries of some lines, in the order of their times, with what must be counted.

    Their keys are those they get where nothing is yet.
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
    """Source, line and what is wrong with it, of lines that are no records."""
    suspects: list[Suspect]
    lines: int
    """Lines that are not blank."""
    field_values: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    sample: list[bytes] = []
    names: set[str] = set()
    has_timeless: bool = False
    """Whether the key is all that tells some entry's time."""
    has_taken_times: bool = False
    """Whether the text of some entry's time stands in its key only."""


class Rules(NamedTuple):
    """Which entries may have been pruned from the index that is rebuilt: those older than this."""

    normal_ms: int
    audit_ms: int

    def suspects(self, time_ms: int | None, is_audit: bool) -> bool:
        """Whether this is one of them; of a record without a time nobody knows."""
        return time_ms is None or time_ms < (self.audit_ms if is_audit else self.normal_ms)


class Task:
    """Makes the entries of some pieces of files; `run` may be called in any process, once."""

    def __init__(
        self, pieces: list[Piece], dictionary: Dictionary, rules: Rules | None, documents: Documents
    ) -> None:
        self._pieces = pieces
        self._dictionary = dictionary
        self._rules = rules
        self._documents: Documents | None = documents

    def __getstate__(self) -> tuple[Any, ...]:
        return self._pieces, self._dictionary.number, self._dictionary.content, self._rules

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._pieces, number, content, self._rules = state
        self._dictionary = _dictionary(number, content)
        self._documents = None

    def run(self) -> Prepared:
        """Parse, pack, and put in order."""
        documents = self._documents or Documents()
        making = _Making(self._dictionary, self._rules, documents)
        for piece in self._pieces:
            making.add(piece)
        prepared = making.finish()
        if self._documents is None:
            prepared.names = documents.take_new_names()
        return prepared


def prepare_kept(
    kept: Iterable[tuple[Suspect, int]], dictionary: Dictionary, documents: Documents
) -> Prepared:
    """Suspects that belong into the index, with the times of those that have none of their own."""
    making = _Making(dictionary, None, documents)
    for suspect, time_ms in kept:
        making.now_ms = time_ms
        making.add(Piece(suspect.source, suspect.is_audit_path, suspect.line, suspect.raw))
    return making.finish()


_known: dict[int, Dictionary] = {}


def _dictionary(number: int, content: bytes) -> Dictionary:
    """Ready for use; the one of the task before, where that is the same."""
    known = _known.get(number)
    if known is None or known.content != content:
        _known.clear()
        known = _known[number] = Dictionary(number, content)
    return known


class _Making:
    """The entries of one task in the making."""

    def __init__(self, dictionary: Dictionary, rules: Rules | None, documents: Documents) -> None:
        self._dictionary = dictionary
        self._rules = rules
        self._make_document = documents.make
        self.now_ms = time_ns() // 1_000_000
        self._rows: list[tuple[int, list[bytes], bool]] = []
        self._lines: list[bytes] = []
        self._prepared = Prepared([], [], [], [], {}, {}, set(), [], [], 0, sample=[])

    def add(self, piece: Piece) -> None:
        """The hot loop: everything a record costs before SQLite happens here.

        Where a function is called only after a look, the look tells the same for nearly all.
        """
        prepared, make_document, lines = self._prepared, self._make_document, self._lines
        times, documents, rows = prepared.times, prepared.documents, self._rows
        minutes, source, rules = prepared.minutes, piece.source, self._rules
        common = [_COMMON % (source, self._dictionary.number, flags) for flags in range(4)]
        first, field_values, has_taken_times = len(times), 0, False
        for line, fields, raw in self._records(piece):
            text, found, time_field = fields.get(FIRST_TIME_FIELD), None, FIRST_TIME_FIELD
            if type(text) is str:
                found = canonical_ms(text)
            if found is None:
                found, time_field = time_of(fields) or (None, "")
                text = None
            level = fields.get("level")
            level = level.upper() if type(level) is str and level else level_of(fields)
            is_audit = piece.is_audit_path
            if "audit" in fields:
                is_audit = audit_of(fields, is_audit)
            if is_audit:
                prepared.audit_sources.add(source)
            if rules is not None and rules.suspects(found, is_audit):
                suspect = Suspect(source, piece.is_audit_path, line, found, raw)
                prepared.suspects.append(suspect)
                continue
            field_values += len(fields)
            if found is None or not 0 <= found <= MAX_MS:
                time_ms = clamp(self.now_ms if found is None else found)
                prepared.has_timeless |= found is None
            else:
                time_ms, whole = found, raw
                raw = take_time(raw, fields[time_field]) if text is None else take_text(raw, text)
                has_taken_times |= raw is not whole
            lines.append(raw)
            documents.append(make_document(fields, level, is_audit, time_ms, time_field))
            times.append(time_ms)
            rows.append((line, common, is_audit))
            minute = time_ms // MINUTE_MS, level, is_audit
            minutes[minute] = minutes.get(minute, 0) + 1
        prepared.has_taken_times |= has_taken_times
        prepared.field_values += field_values
        self._note_span(source, times[first:])

    def finish(self) -> Prepared:
        """All that was added, in the order of times; that of arrival where they are equal."""
        prepared, rows, packed = self._prepared, self._rows, self._dictionary.pack_all(self._lines)
        prepared.raw_bytes = sum(map(len, self._lines))
        prepared.packed_bytes = sum(len(data) for data, _ in packed)
        prepared.sample = self._lines[SAMPLE_EVERY - 1 :: SAMPLE_EVERY]
        times, documents = prepared.times, prepared.documents
        order = sorted(range(len(times)), key=times.__getitem__)
        if order != list(range(len(times))):
            times = prepared.times = [times[place] for place in order]
            documents = [documents[place] for place in order]
            rows = [rows[place] for place in order]
            packed = [packed[place] for place in order]
        keys, prepared.spilled = keys_alone(times)
        prepared.rows = [
            _ROW % (key, line, common[is_audit | is_whole << 1], data)
            for key, (line, common, is_audit), (data, is_whole) in zip(
                keys, rows, packed, strict=True
            )
        ]
        prepared.documents = [DOCUMENT % document for document in zip(keys, documents, strict=True)]
        return prepared

    def _records(self, piece: Piece) -> Iterator[tuple[int, Fields, bytes]]:
        """Each record with its line number, and as valid UTF-8."""
        numbered = enumerate(piece.content.split(b"\n"), piece.first)
        if piece.records is not None:
            self._prepared.lines += len(piece.records)
            for (number, raw), fields in zip(numbered, piece.records, strict=True):
                yield number, fields, raw
            return
        lines = 0
        for number, raw in numbered:
            if not raw or raw.isspace():
                continue
            lines += 1
            try:
                fields, raw = parse_line(raw)
            except NotARecordError as error:
                self._prepared.problems.append((piece.source, number, str(error)))
                continue
            yield number, fields, raw
        self._prepared.lines += lines

    def _note_span(self, source: int, times: list[int]) -> None:
        if not times:
            return
        first, last = min(times), max(times)
        before = self._prepared.spans.get(source, (first, last))
        self._prepared.spans[source] = min(first, before[0]), max(last, before[1])


def merged(prepared: Prepared, more: Prepared) -> Prepared:
    """Both together, in the order of times; what `more` has counts as having come later."""
    times = [*prepared.times, *more.times]
    order = sorted(range(len(times)), key=times.__getitem__)
    rows, documents = [*prepared.rows, *more.rows], [*prepared.documents, *more.documents]
    times = [times[place] for place in order]
    keys, spilled = keys_alone(times)
    spans = dict(prepared.spans)
    for source, (first, last) in more.spans.items():
        known = spans.get(source, (first, last))
        spans[source] = min(first, known[0]), max(last, known[1])
    minutes = Counter(prepared.minutes)
    minutes.update(more.minutes)
    return msgspec.structs.replace(
        prepared,
        times=times,
        rows=[with_key(rows[place], key) for place, key in zip(order, keys, strict=True)],
        documents=[with_key(documents[place], key) for place, key in zip(order, keys, strict=True)],
        spilled=spilled,
        minutes=minutes,
        spans=spans,
        field_values=prepared.field_values + more.field_values,
        has_timeless=prepared.has_timeless or more.has_timeless,
        has_taken_times=prepared.has_taken_times or more.has_taken_times,
    )


def document_again(
    documents: Documents, fields: Fields, key: int, is_audit: bool
) -> tuple[Minute, bytes]:
    """The minute in which an entry of the index is counted, and its document.

    Takes `fields` apart.
    """
    time_ms, time_field = time_of(fields) or (key >> KEY_BITS, None)
    time_ms, level = clamp(time_ms), level_of(fields)
    document = documents.make(fields, level, is_audit, time_ms, time_field)
    return (time_ms // MINUTE_MS, level, is_audit), document


# --- rows that were made --------------------------------------------------------------------


def with_key(row_or_document: bytes, key: int) -> bytes:
    """The same with another key."""
    return b"%016d%b" % (key, row_or_document[KEY_WIDTH:])


class ParsedRow(NamedTuple):
    """A row taken apart again."""

    key: int
    line: int
    source: int
    dictionary: int
    flags: int
    data: bytes


def parse_row(row: bytes) -> ParsedRow:
    """Take a row apart."""
    return ParsedRow(
        key=int(row[:KEY_WIDTH]),
        line=int(row[_LINE]),
        source=int(row[_SOURCE]),
        dictionary=int(row[_DICTIONARY]),
        flags=int(row[_FLAGS]),
        data=row[_DATA],
    )


def make_row(row: ParsedRow) -> bytes:
    """Put a row together."""
    common = _COMMON % (row.source, row.dictionary, row.flags)
    return _ROW % (row.key, row.line, common, row.data)
