"""Turns any Python value into JSON text that the server accepts, without ever failing."""

import json
import math
from collections.abc import Mapping, Set
from datetime import date, time
from numbers import Integral, Real

MAX_DEPTH = 100  # of nested containers; deeper ones are left out (the server allows 500)
_LARGEST_BITS = 10_000  # of an integer; str() refuses much longer ones, hex() does not

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _plain(value)
).encode


def to_json(value: object) -> bytes:
    """Return a value as JSON in UTF-8; a type unknown to JSON becomes its nearest equivalent."""
    try:
        text = _encode(value)
        may_be_deep = text.count("{") + text.count("[") > MAX_DEPTH
    except Exception:  # odd keys, NaN, a circular reference, an object that raises
        may_be_deep = True
    if may_be_deep:
        text = _encode(_safe(value, MAX_DEPTH))
    return text.encode("utf-8", "replace")  # lone surrogates cannot be encoded


def text_of(value: object) -> str:
    """Return `str(value)`, or a placeholder if that raises."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _plain(value: object) -> object:
    """Return a substitute for a value that the `json` module does not support."""
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {text_of(key): value[key] for key in value}
    if isinstance(value, Set):
        return sorted(value, key=text_of)
    if isinstance(value, Integral):  # also those of NumPy
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return text_of(value)


def _safe(value: object, depth: int) -> object:
    """Return a copy of the value that uses only JSON's types, cut off below `depth`."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LARGEST_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth == 0:
        return f"<{type(value).__name__}, nested too deeply>"
    if isinstance(value, dict):
        return {text_of(key): _safe(inner, depth - 1) for key, inner in list(value.items())}
    if isinstance(value, list | tuple):
        return [_safe(inner, depth - 1) for inner in value]
    return _safe(_try_plain(value), depth - 1)


def _try_plain(value: object) -> object:
    try:
        return _plain(value)
    except Exception:
        return text_of(value)
