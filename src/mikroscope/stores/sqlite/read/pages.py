"""Pages of entries, newest first, out of segments whose ranges of keys may overlap."""

import base64
import binascii
import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from mikroscope.query.model import Entry, Page, PageRequest, Query
from mikroscope.records.attributes import event_of, find_time, level_of, message_of
from mikroscope.records.parsing import Fields
from mikroscope.records.timestamps import format_time, has_zone
from mikroscope.stores.sqlite.masks import both, mask_between
from mikroscope.stores.sqlite.read.matching import Match, Matcher
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.schema import KEY_BITS, LINE_MASK
from mikroscope.stores.sqlite.segment import Segment

_CURSOR_BYTES = 7
_OLD_CURSOR_BYTES = 8  # of index formats before 6, whose keys had 6 bits below the time
_OLD_KEY_BITS = 6


class _Hit(NamedTuple):
    """A matching entry."""

    key: int
    segment: Segment
    place: int


def page(snapshot: Snapshot, query: Query, request: PageRequest) -> Page:
    """Return one page of the matching entries, newest first."""
    wanted = request.limit + 1
    hits = list(islice(_newest(snapshot, query, decode_cursor(request.cursor), wanted), wanted))
    shown = hits[: request.limit]
    has_more = len(hits) > request.limit
    return Page(
        entries=entries_of(snapshot, shown),
        has_more=has_more,
        limit=request.limit,
        next_cursor=encode_cursor(shown[-1].key) if has_more else None,
        complete=not snapshot.notes,
        notes=tuple(snapshot.notes),
    )


def get(snapshot: Snapshot, key: int) -> Entry | None:
    """Return the entry with a key."""
    for segment in snapshot.segments():
        if segment.first_key <= key <= segment.last_key:
            place = bisect_left(segment.keys, key)
            if segment.keys[place] == key and (segment.alive is None or segment.alive[place]):
                found = entries_of(snapshot, [_Hit(key, segment, place)])
                if not found and snapshot.damage is not None:
                    raise snapshot.damage
                return found[0]
    return None


def _newest(snapshot: Snapshot, query: Query, after: int | None, wanted: int) -> Iterator[_Hit]:
    """Yield matching entries, newest first, behind the key `after`."""
    matcher = Matcher(snapshot, query)
    waiting = matcher.segments()
    following = next(waiting, None)
    # The newest entry of each open segment that was not taken, with the rest of the segment's.
    opened: list[tuple[int, int, Segment, int, Iterator[int]]] = []
    number = 0
    while following is not None or opened:
        while following is not None and (not opened or following.last_key >= -opened[0][0]):
            if after is None or following.first_key < after:
                with snapshot.tolerating(following):
                    places = _places(matcher, following, after, wanted)
                    place = next(places, None)
                    if place is not None:
                        number += 1
                        key = following.keys[place]
                        heapq.heappush(opened, (-key, number, following, place, places))
            following = next(waiting, None)
        if not opened:
            return
        key, order, segment, place, places = opened[0]
        yield _Hit(-key, segment, place)
        further = next(places, None)
        if further is None:
            heapq.heappop(opened)
        else:
            heapq.heapreplace(opened, (-segment.keys[further], order, segment, further, places))


def _places(matcher: Matcher, segment: Segment, after: int | None, wanted: int) -> Iterator[int]:
    """Return the places of a segment's matching entries behind a key, the last one first."""
    is_cut = after is not None and segment.last_key >= after
    match = matcher.find(segment, None if is_cut else wanted)
    if match is None:
        return iter(())
    if is_cut and after is not None:
        before = mask_between(0, bisect_left(segment.keys, after), segment.entries)
        mask = before if match.mask is None else both(before, match.mask)
        match = Match(segment, mask)
    return matcher.checked_places(match)


def entries_of(snapshot: Snapshot, hits: Sequence[_Hit]) -> list[Entry]:
    """Return the entries of hits, in their order; what cannot be read is noted and left out."""
    by_segment: dict[int, list[_Hit]] = {}
    for hit in hits:
        by_segment.setdefault(id(hit.segment), []).append(hit)
    found: dict[int, Entry] = {}
    paths: dict[int, str] = {}
    for of_segment in by_segment.values():
        segment = of_segment[0].segment
        keys = {hit.place: hit.key for hit in of_segment}
        with snapshot.tolerating(segment):
            for place, line, fields in snapshot.records(segment, list(keys)):
                hit = _Hit(keys[place], segment, place)
                found[hit.key] = _entry(snapshot, hit, line, fields, paths)
    return [found[hit.key] for hit in hits if hit.key in found]


def _entry(
    snapshot: Snapshot, hit: _Hit, raw: bytes, fields: Fields, paths: dict[int, str]
) -> Entry:
    segment, place = hit.segment, hit.place
    source = segment.source_of(place)
    if source not in paths:
        select = "SELECT path FROM sources WHERE id = ?"
        paths[source] = snapshot.file.sql.execute(select, (source,)).get or ""
    return Entry(
        id=hit.key,
        timestamp=_timestamp(fields, segment.times[place]),
        level=level_of(fields),
        event=event_of(fields),
        message=message_of(fields),
        data=msgspec.Raw(raw),
        source_file=paths[source],
        line_number=segment.line_of(place) & LINE_MASK,
    )


def _timestamp(fields: Fields, time_ms: int) -> str:
    """Return the record's own text if it is ISO 8601 with a zone, else the time in ISO 8601."""
    found = find_time(fields)
    if found.milliseconds is None:
        return format_time(time_ms)
    own = found.value
    return own if isinstance(own, str) and has_zone(own) else format_time(found.milliseconds)


def encode_cursor(key: int) -> str:
    """Return the opaque text that means "behind this entry"."""
    return base64.urlsafe_b64encode(key.to_bytes(_CURSOR_BYTES, "big")).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """Return the key in a cursor; None for a missing or malformed one.

    A cursor of an older index format means the first place of its millisecond, or one near it.
    """
    text = cursor or ""
    try:
        padded = text + "=" * (-len(text) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    number = int.from_bytes(content, "big")
    if len(content) == _OLD_CURSOR_BYTES:
        moment, place = divmod(number, 1 << _OLD_KEY_BITS)
        return moment << KEY_BITS | place
    return number if len(content) == _CURSOR_BYTES else None
