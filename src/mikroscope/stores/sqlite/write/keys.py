"""Gives rows their keys: by time, and among those of one millisecond by arrival."""

from collections.abc import Sequence
from typing import Any

import apsw

from mikroscope.stores.sqlite.schema import KEY_BITS, KEY_MASK

_FEW_KEYS_PER_ROW = 4


def keys_alone(times: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rising keys for times in rising order, where there is nothing yet.

    Where a millisecond is full the key is one of a later millisecond: second comes the list of the
    positions where that is so.
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
    """The greatest key there is; -1 if there is none."""
    found = connection.execute("SELECT max(key) FROM entries").get
    return -1 if found is None else int(found)


def assign_keys(connection: apsw.Connection, times: Sequence[int]) -> tuple[list[int], list[int]]:
    """Keys that are free, rising, and behind all keys of the same millisecond.

    `times` are clamped epoch milliseconds in rising order; what is returned is as of `keys_alone`.
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
    """The last key of each millisecond, asked for one by one."""

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
    """The first key from `key` on that stands behind all others of its millisecond."""
    while True:
        last = last_keys[key >> KEY_BITS]
        if key > last:
            return key
        key = last + 1
        if key & KEY_MASK:
            return key


def _last_keys(connection: apsw.Connection, times: Sequence[int]) -> _LastKeys:
    """What is there between the first time and the last."""
    first, last = times[0] << KEY_BITS, times[-1] << KEY_BITS | KEY_MASK
    found = _LastKeys(connection)
    most = len(times) * _FEW_KEYS_PER_ROW
    keys: Any = connection.execute(
        "SELECT key FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
        (first, last, most),
    ).fetchall()
    if len(keys) < most:  # all of them: what is not found here has none
        found.update(dict.fromkeys(times, -1))
        found.update({key >> KEY_BITS: key for (key,) in keys})
    return found
