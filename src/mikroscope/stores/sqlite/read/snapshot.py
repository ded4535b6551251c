"""One state of an index, for one query: its segments, and what could not be read of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from mikroscope.records.timestamps import format_time
from mikroscope.stores.sqlite import files
from mikroscope.stores.sqlite.read.directory import Content, Directory
from mikroscope.stores.sqlite.read.lookup import Lookup
from mikroscope.stores.sqlite.segment import MemorySegment, Segment
from mikroscope.stores.sqlite.stored import SegmentFile, SegmentInfo, StoredSegment


class Snapshot:
    """What a query sees. `check` raises where the query has to stop."""

    def __init__(self, file: SegmentFile, directory: Directory, check: Callable[[], None]) -> None:
        self.file = file
        self.check = check
        self.notes: list[str] = []
        """What could not be read; nothing is missing in the answer if there is none."""
        self.damage: Exception | None = None
        self._directory = directory
        self._lookups: dict[int, Lookup] = {}

    @cached_property
    def content(self) -> Content:
        """The segments and partitions."""
        return self._directory.content(self.file)

    def segments(
        self, accepts: Callable[[SegmentInfo | MemorySegment], bool] = lambda _: True
    ) -> Iterator[Segment]:
        """Yield the segments that are accepted by their last key, the greatest first."""
        fresh: list[Segment] = [one for one in self.content.fresh if accepts(one)]
        fresh.sort(key=_last_key)
        for info in self.content.segments:
            if not accepts(info):
                continue
            while fresh and fresh[-1].last_key >= info.last_key:
                yield fresh.pop()
            yield StoredSegment(info, self.file)
        yield from reversed(fresh)

    def lookup(self, part: int) -> Lookup:
        """Return the inverted index of a partition."""
        found = self._lookups.get(part)
        if found is None:
            found = self._lookups[part] = Lookup(self.file.sql, part)
        return found

    def levels(self) -> list[str]:
        """Return every level that entries have or had."""
        return [level for (level,) in self.file.sql.execute("SELECT level FROM levels")]

    def field_names(self) -> list[str]:
        """Return the names of all fields that entries have or had."""
        return [name for (name,) in self.file.sql.execute("SELECT name FROM fields")]

    @contextmanager
    def tolerating(self, segment: Segment) -> Iterator[None]:
        """Note damage of a segment instead of raising."""
        try:
            yield
        except files.DAMAGE as error:
            self.note_damage(segment, segment.entries, error)

    def note_damage(self, segment: Segment, entries: int, error: Exception) -> None:
        """Note that entries of a segment cannot be read."""
        self.damage = self.damage or error
        first, last = format_time(segment.first_ms), format_time(segment.last_ms)
        text = (
            f"up to {entries} entries from {first} to {last} cannot be read, because the index is "
            "damaged: rebuild it with 'mikroscope index --rebuild' or POST /api/reindex"
        )
        if text not in self.notes:
            self.notes.append(text)


def _last_key(segment: Segment) -> int:
    return segment.last_key
