"""Finds which lines of a source are in the index already."""

from collections.abc import Iterable, Sequence

from mikroscope.stores.sqlite.fresh_lines import FreshLines
from mikroscope.stores.sqlite.schema import LINE_MASK
from mikroscope.stores.sqlite.stored import INFO_COLUMNS, StoredSegment

WITH_LINES = f"""
SELECT {INFO_COLUMNS} FROM segment_sources JOIN segments ON id = segment
WHERE source = ? AND first_line <= ? AND last_line >= ?
"""  # noqa: S608
"""The segments that may have a line of a source: its number, the last line and the first one."""


def lines_present(
    segments: Iterable[StoredSegment], fresh: Iterable[FreshLines], source: int, wanted: range
) -> set[int]:
    """Return those of some lines of a source that are entries."""
    found: set[int] = set()
    for segment in segments:
        found |= _lines_of(segment.sources, segment.line_numbers, source, segment.alive)
    for lines in fresh:
        found |= _lines_of(lines.sources, lines.lines, source, None)
    return {line for line in found if line in wanted}


def _lines_of(
    sources: Sequence[int], lines: Sequence[int], source: int, alive: bytes | None
) -> set[int]:
    alive = alive or b"\1" * len(lines)
    return {
        line & LINE_MASK
        for of, line, is_there in zip(sources, lines, alive, strict=True)
        if is_there and of == source
    }
