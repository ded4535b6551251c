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
from mikroscope.records.timestamps import canonical_ms, format_time, has_zone
from mikroscope.stores.sqlite.integers import numbers_at
from mikroscope.stores.sqlite.masks import both, mask_between
from mikroscope.stores.sqlite.read.matching import Match, Matcher
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.schema import KEY_BITS, LINE_MASK
from mikroscope.stores.sqlite.segment import Segment

_CURSOR_BYTES = 7
_HITS_AT_ONCE = 32
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
    opened: list[tuple[int, int, _Hit, Iterator[_Hit]]] = []
    number = 0
    while following is not None or opened:
        while following is not None and (not opened or following.last_key >= -opened[0][0]):
            if after is None or following.first_key < after:
                with snapshot.tolerating(following):
                    hits = _hits(matcher, following, after, wanted)
                    hit = next(hits, None)
                    if hit is not None:
                        number += 1
                        heapq.heappush(opened, (-hit.key, number, hit, hits))
            following = next(waiting, None)
        if not opened:
            return
        _, order, hit, hits = opened[0]
        yield hit
        further = next(hits, None)
        if further is None:
            heapq.heappop(opened)
        else:
            heapq.heapreplace(opened, (-further.key, order, further, hits))


def _hits(matcher: Matcher, segment: Segment, after: int | None, wanted: int) -> Iterator[_Hit]:
    """Yield a segment's matching entries behind a key, the last one first."""
    places = _places(matcher, segment, after, wanted)
    while some := list(islice(places, _HITS_AT_ONCE)):
        for key, place in zip(segment.keys_at(some), some, strict=True):
            yield _Hit(key, segment, place)


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
        with snapshot.tolerating(of_segment[0].segment):
            found.update(_entries_of_segment(snapshot, of_segment, paths))
    return [found[hit.key] for hit in hits if hit.key in found]


def _entries_of_segment(
    snapshot: Snapshot, hits: Sequence[_Hit], paths: dict[int, str]
) -> Iterator[tuple[int, Entry]]:
    """Yield key and entry of hits of one segment."""
    segment = hits[0].segment
    keys = {hit.place: hit.key for hit in hits}
    places = list(keys)
    columns = zip(
        numbers_at(segment.times, places),
        segment.sources_at(places),
        segment.line_numbers_at(places),
        strict=True,
    )
    about = dict(zip(places, columns, strict=True))
    for place, line, fields in snapshot.records(segment, places):
        time_ms, source, number = about[place]
        if source not in paths:
            select = "SELECT path FROM sources WHERE id = ?"
            paths[source] = snapshot.file.sql.execute(select, (source,)).get or ""
        yield keys[place], _entry(keys[place], time_ms, paths[source], number, fields, line)


def _entry(key: int, time_ms: int, path: str, line: int, fields: Fields, raw: bytes) -> Entry:
    return Entry(
        id=key,
        timestamp=_timestamp(fields, time_ms),
        level=level_of(fields),
        event=event_of(fields),
        message=message_of(fields),
        data=msgspec.Raw(raw),
        source_file=path,
        line_number=line & LINE_MASK,
    )


def _timestamp(fields: Fields, time_ms: int) -> str:
    """Return the record's own text if it is ISO 8601 with a zone, else the time in ISO 8601."""
    text = fields.get("timestamp")
    if type(text) is str and canonical_ms(text) == time_ms:
        return text
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
