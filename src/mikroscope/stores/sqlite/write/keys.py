"""Assigns keys to rows: in order of time, and within a millisecond in order of arrival."""

from collections.abc import Sequence
from typing import Any

import apsw

from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK

_FEW_KEYS_PER_ROW = 4  # with more existing keys per new row, single look-ups are cheaper


def keys_alone(times: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return ascending keys for ascending times, for an index without entries at these times.

    If a millisecond is full, its further keys spill into later ones. The second list has the
    positions in `times` of those keys.
    """
    keys: list[int] = []
    spilled: list[int] = []
    previous = -1
    for milliseconds in times:
        key = milliseconds << KEY_BITS
        if key <= previous:
            key = previous + 1
            if key >> KEY_BITS != milliseconds:
                spilled.append(len(keys))
        keys.append(key)
        previous = key
    return keys, spilled


def newest_key(connection: apsw.Connection) -> int:
    """Return the greatest key in the index; -1 if it is empty."""
    found = connection.execute("SELECT max(key) FROM entries").get
    return -1 if found is None else int(found)


def assign_keys(connection: apsw.Connection, times: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return free keys, ascending, each after all existing keys of its millisecond.

    `times` are clamped epoch milliseconds in ascending order. The second list is as for
    `keys_alone`.
    """
    last_keys = _last_keys(connection, times)
    keys: list[int] = []
    spilled = []
    previous = -1
    for position, milliseconds in enumerate(times):
        key = _behind(last_keys, max(milliseconds << KEY_BITS, previous + 1))
        if key >> KEY_BITS != milliseconds:
            spilled.append(position)
        keys.append(key)
        previous = key
    return keys, spilled


class _LastKeys(dict[int, int]):
    """Cache of the last key of each millisecond (-1: none), queried one by one."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, milliseconds: int) -> int:
        first = milliseconds << KEY_BITS
        found = self._connection.execute(
            "SELECT max(key) FROM entries WHERE key BETWEEN ? AND ?", (first, first | KEY_MASK)
        ).get
        self[milliseconds] = -1 if found is None else found
        return self[milliseconds]


def _behind(last_keys: _LastKeys, key: int) -> int:
    """Return the first key from `key` on that is after all existing ones of its millisecond."""
    while True:
        last = last_keys[key >> KEY_BITS]
        if key > last:
            return key
        key = last + 1
        if key & KEY_MASK:  # otherwise the millisecond is full, and this is the next one's first
            return key


def _last_keys(connection: apsw.Connection, times: Sequence[int]) -> _LastKeys:
    """Read the last keys between the first and the last time, if they are few enough."""
    first, last = times[0] << KEY_BITS, times[-1] << KEY_BITS | KEY_MASK
    found = _LastKeys(connection)
    most = len(times) * _FEW_KEYS_PER_ROW
    keys: Any = connection.execute(
        "SELECT key FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
        (first, last, most),
    ).fetchall()
    if len(keys) < most:  # these are all keys, so the other milliseconds have none
        found.update(dict.fromkeys(times, -1))
        found.update({key >> KEY_BITS: key for (key,) in keys})
    return found
