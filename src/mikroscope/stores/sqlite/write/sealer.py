"""Seals the pieces of small commits in another thread, while further ones are committed."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import apsw

from mikroscope.stores.sqlite.compression import Dictionary
from mikroscope.stores.sqlite.fresh_lines import unpack_lines
from mikroscope.stores.sqlite.stored import SegmentFile
from mikroscope.stores.sqlite.write.fresh import FreshRows
from mikroscope.stores.sqlite.write.resealing import seal_lines
from mikroscope.stores.sqlite.write.storing import Placed, put_segment
from mikroscope.stores.sqlite.write.templates import limit_templates

SEAL_ENTRIES = 8_192  # fresh entries are sealed when there are as many
_HELD_BACK = 4  # times as many fresh entries: then the writer waits for the other thread


class PackedPieces(NamedTuple):
    """Rows of `fresh` of one kind, and the dictionaries that they need; works in any thread."""

    rows: Sequence[tuple[int, int, bytes]]
    dictionaries: dict[int, bytes]
    current: int

    def seal(self) -> list[Placed]:
        """Return the segments of all lines; days with too few entries are without documents."""
        known = {number: Dictionary(number, one) for number, one in self.dictionaries.items()}
        lines = [unpack_lines(known[number].unpack(data)) for _, number, data in self.rows]
        return seal_lines(lines, known[self.current])

    @property
    def ids(self) -> list[int]:
        """The numbers of the rows."""
        return [row for row, _, _ in self.rows]


class Sealer:
    """Belongs to the writing thread; only the work on the pieces runs in another one."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "mikroscope-seal")
        self._running: tuple[list[int], Future[list[Placed]]] | None = None

    def begin(self, fresh: FreshRows, file: SegmentFile, current: Dictionary) -> None:
        """Start to seal the committed pieces of one kind if there are enough of them."""
        if self._running is not None:
            return
        for is_audit in (False, True):
            if fresh.entries(is_audit) >= SEAL_ENTRIES:
                packed = _packed(fresh, file, current, is_audit)
                self._running = packed.ids, self._executor.submit(packed.seal)
                return

    def put_finished(self, connection: apsw.Connection, fresh: FreshRows) -> None:
        """Store what the other thread has sealed, in the place of its pieces."""
        if self._running is None:
            return
        ids, future = self._running
        if future.done() or fresh.most_entries >= _HELD_BACK * SEAL_ENTRIES:
            self._running = None
            _replace(connection, fresh, ids, future.result())

    def seal_now(
        self,
        connection: apsw.Connection,
        fresh: FreshRows,
        file: SegmentFile,
        current: Dictionary,
        least: int | None = None,
    ) -> bool:
        """Seal the lines of one kind if there are at least so many; return False if not.

        None means as many as are sealed while others are committed.
        """
        least = SEAL_ENTRIES if least is None else least
        if self._running is not None:
            ids, future = self._running
            self._running = None
            _replace(connection, fresh, ids, future.result())
            return True
        for is_audit in (False, True):
            if fresh.entries(is_audit) >= least:
                packed = _packed(fresh, file, current, is_audit)
                _replace(connection, fresh, packed.ids, packed.seal())
                return True
        return False

    def forget(self) -> None:
        """Drop what the other thread does: its pieces may not be there any more."""
        self._running = None

    def close(self) -> None:
        """End the other thread."""
        self._executor.shutdown(cancel_futures=True)


def _packed(
    fresh: FreshRows, file: SegmentFile, current: Dictionary, is_audit: bool
) -> PackedPieces:
    rows = fresh.rows(is_audit)
    needed = {number: file.dictionary(number).content for _, number, _ in rows}
    needed[current.number] = current.content
    return PackedPieces(rows, needed, current.number)


def _replace(
    connection: apsw.Connection, fresh: FreshRows, ids: list[int], segments: Sequence[Placed]
) -> None:
    if not fresh.has_all(ids):  # some entry was deleted meanwhile
        return
    for placed in segments:
        limit_templates(connection, placed.sealed)
        put_segment(connection, placed)
    fresh.delete(ids)
