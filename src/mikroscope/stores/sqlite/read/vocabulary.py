"""Counts values by the tokens of an inverted index, through `fts5vocab`."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
from zstandard import ZstdError

from mikroscope.stores.sqlite.read.directory import Partition
from mikroscope.stores.sqlite.read.snapshot import Snapshot
from mikroscope.stores.sqlite.stored import SegmentInfo, StoredSegment
from mikroscope.stores.sqlite.tokens import decode_token, encode_token

_ROWS_AT_ONCE = 5_000
_BETWEEN = "term >= CAST(? AS TEXT) AND term < CAST(? AS TEXT)"


class Posting(NamedTuple):
    """Matching entries of a segment whose values are tokens; None for all entries."""

    segment: StoredSegment
    mask: bytes | None

    @property
    def entries(self) -> int:
        """The number of matching entries."""
        return self.segment.entries if self.mask is None else self.mask.count(1)


def count_tokens(
    snapshot: Snapshot,
    partition: Partition,
    infos: Sequence[SegmentInfo],
    prefix: str,
    postings: Sequence[Posting],
) -> Iterator[tuple[str, int]]:
    """Yield each value whose tokens begin with `prefix`, and its number of matching entries.

    `infos` are all segments of the partition. Each value comes once.
    """
    sql = snapshot.file.sql
    start = encode_token(prefix)
    posted = [info for info in infos if info.is_posted]
    documents = sum(info.entries + 1 for info in posted)
    is_whole = (
        len(postings) == len(posted)
        and all(posting.mask is None for posting in postings)
        and documents == partition.next_ordinal - 1
    )
    if is_whole:
        rows: Any = sql.execute(
            f"SELECT CAST(term AS BLOB), doc FROM {_table(sql, partition.id, 'row')} "  # noqa: S608
            f"WHERE {_BETWEEN}",
            _bounds(start),
        )
        for number, (term, count) in enumerate(rows):
            if number % _ROWS_AT_ONCE == 0:
                snapshot.check()
            yield _value(term, start), count
        return
    yield from _count_instances(snapshot, partition, start, postings)


def _count_instances(
    snapshot: Snapshot, partition: Partition, start: bytes, postings: Sequence[Posting]
) -> Iterator[tuple[str, int]]:
    """Yield each value and its number of entries, entry by entry."""
    sql = snapshot.file.sql
    chosen = bytearray(partition.next_ordinal)
    for segment, mask in postings:
        first = segment.info.first_ordinal
        chosen[first : first + segment.entries] = mask or b"\1" * segment.entries
    rows = sql.execute(
        f"SELECT CAST(term AS BLOB), doc FROM {_table(sql, partition.id, 'instance')} "  # noqa: S608
        f"WHERE {_BETWEEN}",
        _bounds(start),
    )
    last, entries = b"", 0
    for number, (term, document) in enumerate(rows):
        if number % _ROWS_AT_ONCE == 0:
            snapshot.check()
        if term != last:
            if entries:
                yield _value(last, start), entries
            last, entries = term, 0
        if document >= len(chosen):
            raise ZstdError(f"the inverted index of partition {partition.id} has another entry")
        entries += chosen[document]
    if entries:
        yield _value(last, start), entries


def _bounds(start: bytes) -> tuple[bytes, bytes]:
    """Return the bounds of the tokens that begin with some bytes."""
    return start, start[:-1] + bytes([start[-1] + 1])


def _value(term: bytes, start: bytes) -> str:
    """Return the value of a token. Raises ZstdError if it is damaged."""
    try:
        return decode_token(term[len(start) :])
    except (IndexError, UnicodeError) as error:
        raise ZstdError(f"the token {term!r} cannot be read") from error


def _table(sql: apsw.Connection, part: int, kind: str) -> str:
    """Return the name of a temporary table of an inverted index's tokens; create it if missing."""
    name = f"vocabulary_{part}_{kind}"
    sql.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{name} "
        f"USING fts5vocab('main', 'terms_{part}', '{kind}')"
    )
    return f"temp.{name}"
