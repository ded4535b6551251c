"""Parses JSON text into the fields of a record, and makes the text one that every parser reads.

Parsers differ in what they refuse: a lone surrogate, a number beyond a double, many levels of
nesting. One such record would make a whole page of answers unreadable, so that the text given out
has none of them. Log files keep what they hold.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

Fields = dict[str, Any]
MAX_NESTING = 500  # levels of objects and arrays
SHOWN_NESTING = 100  # levels that are given out as JSON; jq 1.6 reads 256, others fewer
_MAX_DIGITS = 300  # of an integer: more is beyond a double, which is what most programs read
_decode = msgspec.json.Decoder().decode
_TOKEN = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?P<fraction>\.\d+)?(?P<exponent>[eE][+-]?\d+)?', re.DOTALL
)
_RECORD_SEPARATOR = b"\x1e"  # begins each text in RFC 7464, JSON text sequences: Twisted
_OPEN_ARRAY = ord("[")
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
# An escape in a string of JSON: a pair of surrogates, one alone, or any other.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][\dA-Fa-f]{2}\\u[dD][c-fC-F][\dA-Fa-f]{2}"
    r"|(?P<alone>u[dD][89a-fA-F][\dA-Fa-f]{2})|.)"
)


class NotARecordError(ValueError):
    """A line is not a JSON object; the text says why."""


def parse_line(raw: bytes) -> tuple[Fields, bytes]:
    """Return the fields of one line, and the line as valid UTF-8. Raises NotARecordError.

    What lies deeper than SHOWN_NESTING levels is a string of JSON in both.
    """
    fields, raw = parse_json(raw)
    if type(fields) is not dict:
        raise NotARecordError(f"a JSON {_kind(fields)}, expected an object")
    # A level of objects takes five bytes at least, and one of arrays a bracket: quickly searched.
    if len(raw) < 5 * SHOWN_NESTING and _OPEN_ARRAY not in raw:
        return fields, raw
    if raw.count(b"{") + raw.count(b"[") <= SHOWN_NESTING:
        return fields, raw
    check_nesting(fields, raw)
    return cut_nesting(fields, raw)


def cut_nesting(fields: Fields, raw: bytes) -> tuple[Fields, bytes]:
    """Return a record and its line with what lies too deep as strings of JSON."""
    if raw.count(b"{") + raw.count(b"[") <= SHOWN_NESTING:
        return fields, raw
    parts, depth, begin, copied = [], 0, 0, 0
    for token in _STRING_OR_BRACKET.finditer(raw):
        if token[0] in (b"{", b"["):
            depth += 1
            begin = token.start() if depth == SHOWN_NESTING + 1 else begin
        elif token[0] in (b"}", b"]"):
            if depth == SHOWN_NESTING + 1:
                text = msgspec.json.encode(raw[begin : token.end()].decode())
                parts += [raw[copied:begin], text]
                copied = token.end()
            depth -= 1
    if not parts:
        return fields, raw
    cut = b"".join([*parts, raw[copied:]])
    return _decode(cut), cut


def check_nesting(value: object, raw: bytes) -> None:
    """Raise NotARecordError if `value`, parsed from `raw`, has more than MAX_NESTING levels.

    How deep the parser itself can go depends on the free stack of its caller. Without a fixed limit
    a line could be accepted once and fail when it is read again later.
    """
    # Fewer brackets than that cannot nest too deeply; this settles nearly every line cheaply.
    if len(raw) <= 2 * MAX_NESTING or raw.count(b"{") + raw.count(b"[") <= MAX_NESTING:
        return
    level = [value]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return
    raise NotARecordError(f"nested too deeply, expected {MAX_NESTING} levels at most")


def _containers(value: object) -> list[object]:
    values: Iterable[object] = value.values() if isinstance(value, dict) else ()
    values = value if isinstance(value, list) else values
    return [inner for inner in values if isinstance(inner, dict | list)]


def parse_json(raw: bytes) -> tuple[Any, bytes]:
    """Return the value of a JSON text, and the text as valid UTF-8. Raises NotARecordError.

    The text is unchanged except that bytes which are not UTF-8, and lone surrogates, become U+FFFD,
    and a number out of a double's range a string of its digits. The last of equal keys wins.
    """
    try:
        return _decode(raw), raw
    except RecursionError:
        raise NotARecordError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if raw.startswith(_RECORD_SEPARATOR):
            return parse_json(raw.lstrip(_RECORD_SEPARATOR))
        return _parse_unusual(raw)


def _parse_unusual(raw: bytes) -> tuple[Any, bytes]:
    """Parse what msgspec refuses although it is JSON: lone surrogates, numbers out of range.

    A number out of range becomes a string of its digits, and a lone surrogate U+FFFD.
    """
    text = raw.decode("utf-8", "replace")
    if "\\u" in text:
        text = _ESCAPE.sub(_without_lone_surrogate, text)
    try:
        fields = json.loads(
            text, parse_float=_float, parse_int=_int, parse_constant=_refuse_constant
        )
        clean = json.dumps(fields, ensure_ascii=False).encode()
        return _decode(clean), _TOKEN.sub(_in_range, text.encode())
    except RecursionError:
        raise NotARecordError("nested too deeply") from None
    except NotARecordError:
        raise
    except ValueError as error:
        raise NotARecordError(f"not JSON: {error}") from None


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["alone"] else escape[0]


def _in_range(token: re.Match[bytes]) -> bytes:
    """Return a token of JSON as it is, or as a string if it is a number out of range."""
    text = token[0]
    if text.startswith(b'"'):
        return text
    is_float = token["fraction"] or token["exponent"]
    value = _float(text.decode()) if is_float else _int(text.decode())
    return b'"%s"' % text if isinstance(value, str) else text


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _refuse_constant(name: str) -> NoReturn:
    raise NotARecordError(f"not JSON: {name} is not a JSON value")


def _kind(value: object) -> str:
    kinds: dict[type, str] = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
