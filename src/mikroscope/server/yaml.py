"""Writes YAML 1.2 in block style: what JSON can hold, and nothing else."""

import re
from collections.abc import Iterator

# Texts that no YAML reader, old or new, takes for anything else than a text.
_PLAIN = re.compile(r"[A-Za-z/][\w /.,;'`(){}\[\]+=*-]*", re.ASCII)
_KEYWORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
# Quotes, and what YAML does not count as printable.
_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]')
# Lines that can stand as they are: the first one begins the text, none ends with a space.
_LITERAL = re.compile(r"[!-~](?:[ -~–…]*[!-~…])?(?:\n+[!-~](?:[ -~–…]*[!-~…])?)+")


def to_yaml(value: object) -> str:
    """A document that reads back as the same value; ends with a line end."""
    return "\n".join(_block(value)) + "\n"


def _block(value: object) -> Iterator[str]:
    """The lines of a value that stands on lines of its own."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _pair(_scalar(key), item)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _item(item)
    else:
        yield _scalar(value)


def _pair(key: str, item: object) -> Iterator[str]:
    if isinstance(item, str) and _LITERAL.fullmatch(item):
        yield f"{key}: |-"
        yield from (f"  {line}" if line else "" for line in item.split("\n"))
    elif _is_flat(item):
        yield f"{key}: {_scalar(item)}"
    else:
        yield f"{key}:"
        yield from (f"  {line}" if line else "" for line in _block(item))


def _item(item: object) -> Iterator[str]:
    """`- ` before the first line, and as much room before the others."""
    lines = _block(item)
    yield f"- {next(lines)}"
    yield from (f"  {line}" if line else "" for line in lines)


def _is_flat(value: object) -> bool:
    return not isinstance(value, dict | list) or not value


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if value == {} or value == []:
        return "{}" if value == {} else "[]"
    raise TypeError(f"{type(value).__name__} has no form in YAML here")


def _is_plain(text: str) -> bool:
    if text.endswith(" ") or text.lower() in _KEYWORDS:
        return False
    return _PLAIN.fullmatch(text) is not None


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return f"\\{character}"
    return "\\n" if character == "\n" else f"\\u{ord(character):04x}"
