"""Lines made ready for the tables: all that a record costs before SQLite, in whatever process."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from time import time_ns
from typing import Any, NamedTuple

import msgspec

from mikroscope.records.attributes import audit_of, level_of, time_of
from mikroscope.records.conventions import TIME_FIELDS
from mikroscope.records.parsing import Fields, NotARecordError, parse_line
from mikroscope.records.timestamps import canonical_ms
from mikroscope.stores.sqlite.compression import SAMPLE_EVERY, Dictionary, strip_text, strip_time
from mikroscope.stores.sqlite.rows import COMMON, DOCUMENT, MINUTE_MS, ROW, Minute, with_key
from mikroscope.stores.sqlite.schema import MAX_MS, clamp
from mikroscope.stores.sqlite.terms import TermEncoder
from mikroscope.stores.sqlite.write.keys import keys_alone

FIRST_TIME_FIELD = TIME_FIELDS[0]


class LineRange(NamedTuple):
    """Neighbouring lines of one source, the first of them numbered `first`."""

    source: int
    is_audit_path: bool
    first: int
    content: bytes
    records: Sequence[Fields] | None = None
    """What the lines say, if that is known already; then none is blank."""


class MaybePruned(NamedTuple):
    """An entry that may have been pruned from the index that is rebuilt: it is asked first.

    `time_ms` is None if the record has no time of its own.
    """

    source: int
    is_audit_path: bool
    line: int
    time_ms: int | None
    raw: bytes


class EncodedBatch(msgspec.Struct):
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
    suspects: list[MaybePruned]
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
        self,
        pieces: list[LineRange],
        dictionary: Dictionary,
        rules: Rules | None,
        documents: TermEncoder,
    ) -> None:
        self._pieces = pieces
        self._dictionary = dictionary
        self._rules = rules
        self._documents: TermEncoder | None = documents

    def __getstate__(self) -> tuple[Any, ...]:
        return self._pieces, self._dictionary.number, self._dictionary.content, self._rules

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._pieces, number, content, self._rules = state
        self._dictionary = _dictionary(number, content)
        self._documents = None

    def run(self) -> EncodedBatch:
        """Parse, pack, and put in order."""
        documents = self._documents or TermEncoder()
        making = BatchEncoder(self._dictionary, self._rules, documents)
        for piece in self._pieces:
            making.add(piece)
        encoded = making.finish()
        if self._documents is None:
            encoded.names = documents.drain_new_fields()
        return encoded


def encode_kept(
    kept: Iterable[tuple[MaybePruned, int]], dictionary: Dictionary, documents: TermEncoder
) -> EncodedBatch:
    """Suspects that belong into the index, with the times of those that have none of their own."""
    making = BatchEncoder(dictionary, None, documents)
    for suspect, time_ms in kept:
        making.now_ms = time_ms
        making.add(LineRange(suspect.source, suspect.is_audit_path, suspect.line, suspect.raw))
    return making.finish()


_known: dict[int, Dictionary] = {}


def _dictionary(number: int, content: bytes) -> Dictionary:
    """Ready for use; the one of the task before, where that is the same."""
    known = _known.get(number)
    if known is None or known.content != content:
        _known.clear()
        known = _known[number] = Dictionary(number, content)
    return known


class BatchEncoder:
    """The entries of one task in the making."""

    def __init__(self, dictionary: Dictionary, rules: Rules | None, documents: TermEncoder) -> None:
        self._dictionary = dictionary
        self._rules = rules
        self._make_document = documents.make
        self.now_ms = time_ns() // 1_000_000
        self._rows: list[tuple[int, list[bytes], bool]] = []
        self._lines: list[bytes] = []
        self._prepared = EncodedBatch([], [], [], [], {}, {}, set(), [], [], 0, sample=[])

    def add(self, piece: LineRange) -> None:
        """The hot loop: everything a record costs before SQLite happens here.

        Where a function is called only after a look, the look tells the same for nearly all.
        """
        encoded, make_document, lines = self._prepared, self._make_document, self._lines
        times, documents, rows = encoded.times, encoded.documents, self._rows
        minutes, source, rules = encoded.minutes, piece.source, self._rules
        common = [COMMON % (source, self._dictionary.number, flags) for flags in range(4)]
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
                encoded.audit_sources.add(source)
            if rules is not None and rules.suspects(found, is_audit):
                suspect = MaybePruned(source, piece.is_audit_path, line, found, raw)
                encoded.suspects.append(suspect)
                continue
            field_values += len(fields)
            if found is None or not 0 <= found <= MAX_MS:
                time_ms = clamp(self.now_ms if found is None else found)
                encoded.has_timeless |= found is None
            else:
                time_ms, whole = found, raw
                raw = strip_time(raw, fields[time_field]) if text is None else strip_text(raw, text)
                has_taken_times |= raw is not whole
            lines.append(raw)
            documents.append(make_document(fields, level, is_audit, time_ms, time_field))
            times.append(time_ms)
            rows.append((line, common, is_audit))
            minute = time_ms // MINUTE_MS, level, is_audit
            minutes[minute] = minutes.get(minute, 0) + 1
        encoded.has_taken_times |= has_taken_times
        encoded.field_values += field_values
        self._extend_span(source, times[first:])

    def finish(self) -> EncodedBatch:
        """All that was added, in the order of times; that of arrival where they are equal."""
        encoded, rows, packed = self._prepared, self._rows, self._dictionary.pack_all(self._lines)
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

    def _records(self, piece: LineRange) -> Iterator[tuple[int, Fields, bytes]]:
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

    def _extend_span(self, source: int, times: list[int]) -> None:
        if not times:
            return
        first, last = min(times), max(times)
        before = self._prepared.spans.get(source, (first, last))
        self._prepared.spans[source] = min(first, before[0]), max(last, before[1])


def merged(encoded: EncodedBatch, more: EncodedBatch) -> EncodedBatch:
    """Both together, in the order of times; what `more` has counts as having come later."""
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
        has_taken_times=encoded.has_taken_times or more.has_taken_times,
    )
