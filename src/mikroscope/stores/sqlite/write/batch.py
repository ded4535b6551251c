"""A batch of changes, made ready in memory so that the transaction that writes it is short."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from mikroscope.errors import StoreError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.records.attributes import is_audit_path, time_of
from mikroscope.records.parsing import Fields, NotARecordError, parse_line
from mikroscope.stores.base import Accepted, LineProblem
from mikroscope.stores.base import Prepared as AnyPrepared
from mikroscope.stores.sqlite.compression import SAMPLE_LINES, Dictionary, Packer, strip_time
from mikroscope.stores.sqlite.rows import MINUTE_MS, Minute
from mikroscope.stores.sqlite.terms import TermEncoder
from mikroscope.stores.sqlite.write.encoding import (
    EncodedBatch,
    LineRange,
    MaybePruned,
    Rules,
    Task,
    encode_kept,
    merged,
)

ACTIVE, GONE, DISCARDED = range(3)  # states of a source


class Replaced(NamedTuple):
    """What an index in the making asks the one that it replaces."""

    rules: Rules
    time_of: Callable[[MaybePruned], int | None]
    """The time that a suspect has, or gets; None if it was pruned."""


class Preparation:
    """What batches of one store share: the dictionary in use, known names, the next source."""

    def __init__(self, packer: Packer, next_source: int, replaced: Replaced | None = None) -> None:
        self.replaced = replaced
        self.packer = packer
        self.documents = TermEncoder()
        self.next_source = next_source
        self.new_dictionaries: list[Dictionary] = []
        """Trained and not committed yet; a batch that is given up may have packed with them."""


class SqliteBatch:
    """Rows, counts and sources; written by `Writer.commit`."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.encoded: EncodedBatch | None = None
        self.sources: dict[int, tuple[Source, int]] = {}
        self._pieces: list[LineRange] = []

    def add(
        self,
        source: Source,
        first: int,
        lines: bytes,
        checkpoint: Checkpoint,
        records: Sequence[Fields] | None = None,
    ) -> None:
        """Neighbouring lines of one source, and how far that brings it."""
        if lines:
            is_audit = is_audit_path(source.path)
            self._pieces.append(LineRange(source.id, is_audit, first, lines, records))
        self.update_source(msgspec.structs.replace(source, checkpoint=checkpoint))

    def task(self) -> Task:
        """The work of making ready what was added."""
        preparation = self.preparation
        if preparation.packer.wants_sample:
            preparation.packer.observe(_sample(self._pieces))
        dictionary = preparation.packer.train()
        if dictionary is not None:
            preparation.new_dictionaries.append(dictionary)
        pieces, self._pieces = self._pieces, []
        rules = preparation.replaced.rules if preparation.replaced else None
        return Task(pieces, preparation.packer.current, rules, preparation.documents)

    def accept(self, encoded: AnyPrepared) -> Accepted:
        """Take what the task has made."""
        if not isinstance(encoded, EncodedBatch):
            raise TypeError(f"{encoded!r} was not made by a task of this batch")
        if self._pieces or self.encoded is not None:
            raise StoreError("a batch takes what one task has made, and that of all its lines")
        kept = self._ask_about(encoded.suspects)
        if kept is not None:
            encoded = merged(encoded, kept)
        self.encoded = encoded
        packer = self.preparation.packer
        packer.observe(encoded.sample)
        packer.count(len(encoded.times), encoded.raw_bytes, encoded.packed_bytes)
        paths = {number: source.path for number, (source, _) in self.sources.items()}
        return Accepted(
            lines=encoded.lines,
            records=len(encoded.times),
            problems=[
                LineProblem(paths.get(source, ""), line, text)
                for source, line, text in encoded.problems
            ],
        )

    def open_source(self, path: str) -> Source:
        """A source that has nothing indexed yet."""
        source = Source(self.preparation.next_source, path, Checkpoint())
        self.preparation.next_source += 1
        self.update_source(source)
        return source

    def update_source(self, source: Source) -> None:
        """Another path, checkpoint or `gone` for a source."""
        self.sources[source.id] = source, GONE if source.gone else ACTIVE

    def discard_source(self, source: Source) -> None:
        """Forget a source; its entries leave with `Store.purge`."""
        self.sources[source.id] = source, DISCARDED

    def whole(self) -> EncodedBatch | None:
        """What is to be written; None if that is sources only.

        Raises StoreError if lines were not made ready.
        """
        if self._pieces:
            raise StoreError("lines of this batch were added and not made ready")
        return self.encoded

    def _ask_about(self, suspects: Sequence[MaybePruned]) -> EncodedBatch | None:
        """Those that were not pruned, made ready."""
        replaced = self.preparation.replaced
        if not suspects or replaced is None:
            return None
        answers = ((suspect, replaced.time_of(suspect)) for suspect in suspects)
        kept = [(suspect, time_ms) for suspect, time_ms in answers if time_ms is not None]
        preparation = self.preparation
        return encode_kept(kept, preparation.packer.current, preparation.documents)


def moved(minutes: dict[Minute, int], minute: Minute, time_ms: int) -> None:
    """Count an entry in the minute of another time."""
    after = time_ms // MINUTE_MS, *minute[1:]
    minutes[minute] -= 1
    minutes[after] = minutes.get(after, 0) + 1


def _sample(pieces: Sequence[LineRange]) -> list[bytes]:
    """The first lines, as they are packed."""
    lines = (line for piece in pieces for line in piece.content.split(b"\n"))
    sample = []
    for raw in islice(lines, SAMPLE_LINES):
        try:
            fields, text = parse_line(raw)
        except NotARecordError:
            continue
        found = time_of(fields)
        sample.append(text if found is None else strip_time(text, fields[found[1]]))
    return sample
