"""One state of an index, for one query: its segments, and what could not be read of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from mikroscope.records.parsing import Fields, parse_line
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
        content = self._directory.content(self.file)
        for lost in content.lost:
            self._note(lost.entries, lost.first_ms, lost.last_ms, lost.error)
        return content

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
    def tolerating(self, *segments: Segment) -> Iterator[None]:
        """Note damage of segments instead of raising."""
        try:
            yield
        except files.DAMAGE as error:
            for segment in segments:
                self.note_damage(segment, segment.entries, error)

    def note_damage(self, segment: Segment, entries: int, error: Exception) -> None:
        """Note that entries of a segment cannot be read."""
        self._note(entries, segment.first_ms, segment.last_ms, error)

    def records(
        self, segment: Segment, places: Sequence[int]
    ) -> Iterator[tuple[int, bytes, Fields]]:
        """Yield place, line and record of entries; what cannot be read is noted and left out."""
        try:
            found = [(line, parse_line(line)[0]) for line in segment.lines(places)]
        except files.DAMAGE as error:
            yield from self._readable(segment, places, error)
        else:
            yield from ((place, *one) for place, one in zip(places, found, strict=True))

    def _readable(
        self, segment: Segment, places: Sequence[int], error: Exception
    ) -> Iterator[tuple[int, bytes, Fields]]:
        """Yield those of some entries that can be read one by one."""
        lost = 0
        for place in places:
            try:
                [line] = segment.lines([place])
                fields, _ = parse_line(line)
            except files.DAMAGE:
                lost += 1
            else:
                yield place, line, fields
        self.note_damage(segment, lost, error)

    def _note(self, entries: int, first_ms: int, last_ms: int, error: Exception) -> None:
        self.damage = self.damage or error
        first, last = format_time(first_ms), format_time(last_ms)
        text = (
            f"up to {entries} entries from {first} to {last} cannot be read, because the index is "
            "damaged: rebuild it with 'mikroscope index --rebuild' or POST /api/reindex"
        )
        if text not in self.notes:
            self.notes.append(text)


def _last_key(segment: Segment) -> int:
    return segment.last_key
