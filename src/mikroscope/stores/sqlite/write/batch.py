"""A batch of changes, encoded in memory so that the transaction that writes it is short."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import chain, count, islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from mikroscope.errors import StoreError
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.records.attributes import find_time, is_audit_path
from mikroscope.records.parsing import Fields, NotARecordError, parse_line
from mikroscope.stores.base import BatchResult, Executor, LineProblem
from mikroscope.stores.sqlite.compression import SAMPLE_LINES, Dictionary, Packer, strip_time
from mikroscope.stores.sqlite.schema import LINE_MASK
from mikroscope.stores.sqlite.write.encoding import EncodedBatch, Task, encode_kept, merged
from mikroscope.stores.sqlite.write.reading import LineRange, MaybePruned, PruneRules

ACTIVE, GONE, DISCARDED = range(3)  # states of a source


class Replaced(NamedTuple):
    """What a new index asks the index that it replaces."""

    rules: PruneRules
    time_of: Callable[[MaybePruned], int | None]
    """The time of an entry in epoch milliseconds; None if the entry was pruned."""


LinesPresent = Callable[[int, int, int], set[int]]
"""The lines of a source, from the first to the last one given, that are entries of the index."""


class WriterState:
    """What the batches of one writer share, from one load of the committed state to the next."""

    def __init__(
        self,
        packer: Packer,
        next_source: int,
        last_lines: dict[int, int],
        lines_present: LinesPresent,
        replaced: Replaced | None = None,
    ) -> None:
        self.packer = packer
        self.next_source = next_source
        self.replaced = replaced
        self.new_dictionaries: list[Dictionary] = []
        """Trained and not committed yet; a batch that is given up may have packed with them."""
        self._last_lines = last_lines  # the highest line number ever added to a source
        self._lines_present = lines_present
        self._under_way: WeakKeyDictionary[SqliteBatch, list[tuple[int, range]]] = (
            WeakKeyDictionary()
        )

    def claim(self, batch: "SqliteBatch", source: int, lines: range) -> list[range]:
        """Return the runs of these lines that no batch has added yet, and note them as added.

        Lines that the batch has removed count as not added, once.
        """
        last_line = self._last_lines.get(source, 0)
        self._last_lines[source] = max(last_line, lines.stop - 1)
        removed = batch.take_removed(source, lines)
        first_kept = next(line for line in count(lines.start) if line not in removed)
        is_new = first_kept > last_line
        runs = [lines] if is_new else list(self._missing(source, lines, removed))
        self._under_way.setdefault(batch, []).extend((source, run) for run in runs)
        return runs

    def committed(self, batch: "SqliteBatch") -> None:
        """Note that the lines of a batch are in the index."""
        self._under_way.pop(batch, None)

    def forget(self, batch: "SqliteBatch", source: int, line: int) -> None:
        """Note that a line is not in this batch any more."""
        claimed = self._under_way.get(batch, [])
        claimed[:] = [
            (of_source, part)
            for of_source, run in claimed
            for part in (without(run, line) if of_source == source else [run])
        ]

    def _missing(self, source: int, lines: range, removed: set[int]) -> Iterator[range]:
        """Yield the runs of lines that are neither committed nor in a batch that is under way."""
        there = self._lines_present(source, lines.start, lines.stop - 1)
        for of_source, added in chain.from_iterable(self._under_way.values()):
            if of_source == source:
                there.update(range(max(added.start, lines.start), min(added.stop, lines.stop)))
        start = lines.start
        for line in sorted(there - removed):
            if line > start:
                yield range(start, line)
            start = line + 1
        if start < lines.stop:
            yield range(start, lines.stop)


class _BatchFuture(Future[BatchResult]):
    """The result of a batch; the first call of `result` runs the last step of the work.

    It does not refer to the batch, so that a batch that is given up is gone at once.
    """

    def __init__(
        self,
        encoding: "Future[EncodedBatch]",
        state: WriterState,
        sources: dict[int, tuple[Source, int]],
    ) -> None:
        super().__init__()
        self.encoded: EncodedBatch | None = None
        self._encoding = encoding
        self._writer_state = state
        self._sources = sources

    def result(self, timeout: float | None = None) -> BatchResult:
        """Return what became of the lines; belongs to the writing thread."""
        if not self.done():
            self.set_result(self._finish(self._encoding.result(timeout)))
        return super().result()

    def _finish(self, encoded: EncodedBatch) -> BatchResult:
        """Add the entries that were not pruned, and report the ratio to the packer."""
        pruned = len(encoded.maybe_pruned)
        kept = self._encode_kept(encoded.maybe_pruned)
        if kept is not None:
            pruned -= kept.records
            encoded = merged(encoded, kept)
        self.encoded = encoded
        packer = self._writer_state.packer
        packer.observe(encoded.sample)
        if encoded.sealed:
            sealed_bytes = sum(one.raw_bytes for one in encoded.sealed)
            entries = sum(one.entries for one in encoded.sealed)
            packer.count(entries, sealed_bytes, encoded.packed_bytes)
        paths = {number: source.path for number, (source, _) in self._sources.items()}
        return BatchResult(
            lines=encoded.lines,
            records=encoded.records,
            pruned=pruned,
            problems=_line_problems(encoded.problems, paths),
            unreadable_times=encoded.unreadable_times,
            unreadable=_line_problems(encoded.unreadable, paths),
        )

    def _encode_kept(self, maybe_pruned: Sequence[MaybePruned]) -> EncodedBatch | None:
        """Encode those entries that were not pruned from the index that this one replaces."""
        replaced = self._writer_state.replaced
        if not maybe_pruned or replaced is None:
            return None
        answers = ((entry, replaced.time_of(entry)) for entry in maybe_pruned)
        kept = [(entry, time_ms) for entry, time_ms in answers if time_ms is not None]
        return encode_kept(kept, self._writer_state.packer.current)


class SqliteBatch:
    """Rows, counts and sources; written by `Writer.commit`."""

    def __init__(self, state: WriterState) -> None:
        self.state = state
        self.sources: dict[int, tuple[Source, int]] = {}
        self.last_lines: dict[int, int] = {}
        self.removed: set[tuple[int, int]] = set()
        """Source and number of the lines whose entries go before those of the batch come."""
        self._removed_only: set[tuple[int, int]] = set()  # those that were not added again
        self._ranges: list[LineRange] = []
        self._kept: list[tuple[MaybePruned, int]] = []
        self._future: _BatchFuture | None = None

    def open_source(self, path: str) -> Source:
        """Create a source with nothing indexed yet."""
        source = Source(self.state.next_source, path, Checkpoint())
        self.state.next_source += 1
        self.update_source(source)
        return source

    def update_source(self, source: Source) -> None:
        """Change the path, checkpoint or `gone` of a source."""
        self.sources[source.id] = source, GONE if source.gone else ACTIVE

    def discard_source(self, source: Source) -> None:
        """Forget a source; `Store.collect` deletes its entries later."""
        self.sources[source.id] = source, DISCARDED

    def add(
        self,
        source: Source,
        first_line: int,
        lines: bytes,
        checkpoint: Checkpoint,
        records: Sequence[Fields] | None = None,
    ) -> None:
        """Add consecutive lines of a source, and the checkpoint behind them."""
        if self._future is not None:
            raise StoreError("nothing can be added to a batch after it was prepared")
        if lines and records is None:  # blank lines in front may continue a line that is indexed
            content = lines.lstrip(b"\n")
            first_line, lines = first_line + len(lines) - len(content), content
        if lines:
            number = len(records) if records is not None else lines.count(b"\n") + 1
            self._add_lines(source, range(first_line, first_line + number), lines, records)
        self.update_source(msgspec.structs.replace(source, checkpoint=checkpoint))

    def remove_line(self, source: Source, line: int) -> None:
        """Remove the entries of one line of a source, before those of this batch are added."""
        if self._future is not None:
            raise StoreError("nothing can be removed by a batch after it was prepared")
        self.removed.add((source.id, line))
        self._removed_only.add((source.id, line))
        self.state.forget(self, source.id, line)
        self._ranges = [part for one in self._ranges for part in _parts(one, source.id, line)]

    def take_removed(self, source: int, lines: range) -> set[int]:
        """Return those of some lines that were removed and not added again, as they are now."""
        taken = {one for one in self._removed_only if one[0] == source and one[1] in lines}
        self._removed_only -= taken
        return {line for _, line in taken}

    def prepare(self, executor: Executor | None = None) -> "Future[BatchResult]":
        """Encode the added lines, in `executor` if there is one."""
        if self._future is None and self._kept:
            encoded = encode_kept(self._kept, self._trained(map(_line_of, self._kept)))
            self._future = _BatchFuture(_done(encoded), self.state, self.sources)
        elif self._future is None:
            task = self._task()
            encoding = executor.submit(task) if executor is not None else _done(task())
            self._future = _BatchFuture(encoding, self.state, self.sources)
        return self._future

    def keep(
        self, sources: Mapping[int, Source], entries: Sequence[tuple[MaybePruned, int]]
    ) -> None:
        """Add entries of an index that this one replaces; their sources stay as they are.

        Each comes with the time to use if it has none. A batch with them has no other lines.
        """
        for source in sources.values():
            self.update_source(source)
        for entry, _ in entries:
            last_line = self.last_lines.get(entry.source, 0)
            self.last_lines[entry.source] = max(last_line, entry.line & LINE_MASK)
        self._kept += entries

    def whole(self) -> EncodedBatch | None:
        """Return what is to be written; None if that is sources only."""
        if not self._ranges and not self._kept and self._future is None:
            return None
        self.prepare().result()
        return self._future.encoded if self._future else None

    def _add_lines(
        self, source: Source, numbers: range, lines: bytes, records: Sequence[Fields] | None
    ) -> None:
        is_audit = is_audit_path(source.path)
        self.last_lines[source.id] = max(self.last_lines.get(source.id, 0), numbers.stop - 1)
        for run in self.state.claim(self, source.id, numbers):
            whole = LineRange(source.id, is_audit, numbers.start, lines, records)
            self._ranges.append(whole if run == numbers else _cut(whole, run))

    def _task(self) -> Task:
        dictionary = self._trained(self._ranges)
        ranges, self._ranges = self._ranges, []
        rules = self.state.replaced.rules if self.state.replaced else None
        return Task(ranges, dictionary, rules)

    def _trained(self, ranges: Iterable[LineRange]) -> Dictionary:
        """Return the dictionary to pack with; train the first one with lines of the batch."""
        state = self.state
        if state.packer.wants_sample:
            state.packer.observe(_sample(ranges))
        dictionary = state.packer.train()
        if dictionary is not None:
            state.new_dictionaries.append(dictionary)
        return state.packer.current


def _line_problems(
    found: Sequence[tuple[int, int, str]], paths: dict[int, str]
) -> list[LineProblem]:
    return [LineProblem(paths.get(source, ""), line, text) for source, line, text in found]


def without(lines: range, line: int) -> list[range]:
    """Return the runs of lines that are left without one of them."""
    if line not in lines:
        return [lines]
    runs = range(lines.start, line), range(line + 1, lines.stop)
    return [run for run in runs if run]


def _parts(lines: LineRange, source: int, line: int) -> list[LineRange]:
    """Return a range without one line of a source."""
    number = len(lines.records) if lines.records is not None else lines.content.count(b"\n") + 1
    numbers = range(lines.first, lines.first + number)
    if lines.source != source or line not in numbers:
        return [lines]
    return [_cut(lines, run) for run in without(numbers, line)]


def _cut(lines: LineRange, run: range) -> LineRange:
    """Return some of the lines of a range."""
    first, end = run.start - lines.first, run.stop - lines.first
    return lines._replace(
        first=run.start,
        content=b"\n".join(lines.content.split(b"\n")[first:end]),
        records=None if lines.records is None else lines.records[first:end],
    )


def _done(encoded: EncodedBatch) -> "Future[EncodedBatch]":
    future: Future[EncodedBatch] = Future()
    future.set_result(encoded)
    return future


def _line_of(kept: tuple[MaybePruned, int]) -> LineRange:
    entry, _ = kept
    return LineRange(entry.source, entry.is_audit_path, entry.line, entry.raw)


def _sample(ranges: Iterable[LineRange]) -> list[bytes]:
    """The first lines, as they are packed."""
    lines = (line for one in ranges for line in one.content.split(b"\n"))
    sample = []
    for raw in islice(lines, SAMPLE_LINES):
        try:
            fields, text = parse_line(raw)
        except NotARecordError:
            continue
        sample.append(strip_time(text, find_time(fields).value))
    return sample
