"""Copies the entries whose file is gone out of an index of format 5 into the one that replaces it.

All other entries come from the files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import apsw
import msgspec

from mikroscope.logfiles.sources import Source
from mikroscope.stores.sqlite.admin.lines import open_file, times_by_line
from mikroscope.stores.sqlite.previous.rows import UNREADABLE, Row, rows_between
from mikroscope.stores.sqlite.schema import MAX_KEY
from mikroscope.stores.sqlite.write.reading import MaybePruned

_AT_ONCE = 8_192  # entries of one commit
_READ_AT_ONCE = 32_768  # rows that are looked at in one step

Kept = tuple[MaybePruned, int]
"""An entry, and the time that it has in the old index."""

Keep = Callable[[Mapping[int, Source], Sequence[Kept]], None]
"""Commits entries, with their sources, to the new index."""


def without_file(old: Iterable[Source], new: Iterable[Source]) -> dict[int, Source]:
    """Return the sources whose file is gone, by number.

    A file that went before the new index had read any of it is one that the new index has
    discarded, or it was renamed or packed, and is another source there.
    """
    known = {one.id: one for one in new}
    gone = {number: one for number, one in known.items() if one.gone}
    for one in old:
        if one.id not in known and not any(_holds(other, one) for other in known.values()):
            gone[one.id] = msgspec.structs.replace(one, gone=True)
    return gone


def _holds(source: Source, old: Source) -> bool:
    """Return whether a source of the new index was made of the file of one of the old index."""
    now, before = source.checkpoint, old.checkpoint
    if (now.device, now.inode) == (before.device, before.inode):
        return True
    return now.head == before.head and now.offset >= before.offset > 0


class Carrier:
    """Copies the entries of some sources, with a walk over the old index for each call.

    `keep` commits entries to the new index; `lost` gets what one damaged entry raises.
    """

    def __init__(self, old: apsw.Connection, keep: Keep, lost: Callable[[Exception], None]) -> None:
        self.entries = 0
        """The number of entries that were copied."""
        self._file = open_file(old)
        self._keep = keep
        self._lost = lost
        self._done: set[int] = set()

    def copy(self, sources: Mapping[int, Source], new: apsw.Connection) -> Iterator[None]:
        """Copy the entries of those sources that were not copied before, step by step.

        Lines that the new index has already are left out.
        """
        wanted = {number: one for number, one in sources.items() if number not in self._done}
        if not wanted:
            return
        there = {number: set(times_by_line(new, number)) for number in wanted}
        kept: list[Kept] = []
        for rows in self._rows():
            for row in rows:
                if row.source in wanted and row.line not in there[row.source]:
                    kept += self._read(row)
            if len(kept) >= _AT_ONCE:
                self._commit(wanted, kept)
                kept = []
            yield
        self._commit(wanted, kept)
        self._done |= set(wanted)

    def _rows(self) -> Iterator[list[Row]]:
        """Yield all rows in the order of their keys, some at a time."""
        select = "SELECT max(key) FROM (SELECT key FROM entries WHERE key > ? ORDER BY key LIMIT ?)"
        after = -1
        while after < MAX_KEY:
            last = self._file.sql.execute(select, (after, _READ_AT_ONCE)).get
            if last is None:
                return
            yield from self._some(after + 1, int(last))
            after = int(last)

    def _some(self, first: int, last: int) -> Iterator[list[Row]]:
        rows: list[Row] = []
        for row in rows_between(self._file, first, last):
            rows.append(row)
            if len(rows) == _AT_ONCE:
                yield rows
                rows = []
        yield rows

    def _read(self, row: Row) -> list[Kept]:
        try:
            raw = row.raw(self._file)
        except UNREADABLE as error:
            self._lost(error)
            return []
        entry = MaybePruned(row.source, row.is_audit, row.line, row.time_ms, raw)
        return [(entry, row.time_ms)]

    def _commit(self, sources: Mapping[int, Source], kept: Sequence[Kept]) -> None:
        if kept:
            numbers = {entry.source for entry, _ in kept}
            self._keep({number: sources[number] for number in numbers}, kept)
            self.entries += len(kept)
