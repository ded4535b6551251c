"""Reads what is new in one file into a batch, and moves the checkpoint of its source."""

from typing import NamedTuple

import msgspec

from mikroscope.indexing.line_warnings import LineWarnings
from mikroscope.indexing.pipeline import PendingBatch
from mikroscope.logfiles.reader import MIN_LINE_COST, PART_BYTES, Chunk, LineReader
from mikroscope.logfiles.rotation import checkpoint_after, is_same_content
from mikroscope.logfiles.sources import Checkpoint, Source
from mikroscope.logfiles.tree import LogTree

FILE_COST = 4096  # bytes whose indexing takes about as long as opening a file


class Reading(NamedTuple):
    """What came of reading a file."""

    cost: int
    """Bytes, but as if no file and no line were very short."""
    source: Source | None = None
    """The source with its new checkpoint; None if nothing was read."""
    is_done: bool = True
    """Whether the end was reached, or the file cannot be read now."""
    is_other_file: bool = False
    """Whether the file is gone, or is another one than the source's."""


class SourceReader:
    """Reads files of a tree. Belongs to the writing thread."""

    def __init__(self, tree: LogTree, warnings: LineWarnings) -> None:
        self._tree = tree
        self._warnings = warnings

    def read(
        self, path: str, source: Source | None, pending: PendingBatch, limit: int, final: bool
    ) -> Reading:
        """Read a file, up to a cost of `limit`.

        With `final` a last line without its line feed is read too, if it is a record.
        """
        known = source.checkpoint if source else Checkpoint()
        place = known.offset, known.line, known.open_bytes
        try:
            with self._tree.resume(path, *place) as reader:
                if not reader.approach(PART_BYTES):
                    return Reading(limit, is_done=False)
                if not is_same_content(reader, known):
                    return Reading(FILE_COST, is_other_file=True)
                source = source or pending.batch.open_source(path)
                return self._read_lines(reader, source, pending, limit, final)
        except FileNotFoundError:
            return Reading(FILE_COST, is_other_file=True)
        except OSError as error:
            self._warn(path, error)
        return Reading(FILE_COST)

    def _read_lines(
        self, reader: LineReader, source: Source, pending: PendingBatch, limit: int, final: bool
    ) -> Reading:
        cost = 0
        is_end = False
        pending.paths.add(source.path)
        while cost < limit and not is_end:
            try:
                chunk = reader.read(limit - cost, final)
            except OSError as error:
                self._warn(source.path, error)
                return Reading(cost + FILE_COST, source)
            before, is_end = source.checkpoint.offset, chunk.is_end
            source = self._add(source, chunk, reader, pending)
            skipped_only = not (is_end or chunk.length or chunk.refused or chunk.offset > before)
            cost += max(chunk.offset - before, chunk.length * MIN_LINE_COST)
            cost += limit * skipped_only  # many bytes were read, although there was no line
        pending.files_read += is_end
        return Reading(cost + FILE_COST, source, is_end)

    def _add(
        self, source: Source, chunk: Chunk, reader: LineReader, pending: PendingBatch
    ) -> Source:
        before = source.checkpoint
        for line, problem in chunk.refused:
            pending.refused += 1
            self._warnings.add(source.path, line, problem)
        if chunk.replaces:
            pending.batch.remove_line(source, before.line)
        checkpoint = checkpoint_after(before, chunk, reader, self._tree, source.path)
        first = chunk.line - chunk.length + 1
        pending.batch.add(source, first, chunk.content, checkpoint)
        return msgspec.structs.replace(source, checkpoint=checkpoint)

    def _warn(self, path: str, error: OSError) -> None:
        self._warnings.add(path, None, f"cannot be read: {error.strerror or error}")
