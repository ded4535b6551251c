"""Turns any Python value into JSON text that a server takes, without ever failing."""

import json
import math
from collections.abc import Mapping, Set
from datetime import date, time
from numbers import Integral, Real

MAX_DEPTH = 100  # of nested containers; what lies deeper is left out (a server takes 500)
_LARGEST_BITS = 10_000  # of an integer that Python writes in decimal

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _plain(value)
).encode


def to_json(value: object) -> bytes:
    """JSON text in UTF-8. What JSON does not have becomes a text, a list or an object."""
    try:
        text = _encode(value)
        may_be_deep = text.count("{") + text.count("[") > MAX_DEPTH
    except Exception:  # odd keys, NaN, a circle, an object that raises
        may_be_deep = True
    if may_be_deep:
        text = _encode(_safe(value, MAX_DEPTH))
    return text.encode("utf-8", "replace")  # a lone surrogate has no UTF-8


def text_of(value: object) -> str:
    """`str(value)`, or a text that says that it has none."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def _plain(value: object) -> object:
    """What stands in JSON for a value that `json` does not know."""
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
    """The same value, made of nothing but what JSON has."""
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
