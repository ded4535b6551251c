"""Makes text from logs and file names harmless for a terminal.

A terminal acts on control characters: colours, titles, and worse. Bidirectional controls change the
order in which a line is shown. They are printed as escapes: C0 and C1 controls (ISO 6429), line and
paragraph separators, and the controls of the Unicode Bidirectional Algorithm (UAX #9).
"""

import re

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_IN_A_LINE = re.compile(f"[\n{_CONTROLS}\ud800-\udfff]")
_IN_LINES = re.compile(f"[{_CONTROLS}\ud800-\udfff]")
_IN_JSON = re.compile(f"[{_CONTROLS}]")


def printable(text: str) -> str:
    """Return text for one line of a terminal; controls and line feeds become escapes."""
    return text if text.isprintable() else _IN_A_LINE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return text for a terminal that keeps its line feeds; other controls become escapes."""
    return _IN_LINES.sub(_escape, text)


def printable_json(content: bytes) -> bytes:
    """Return JSON whose strings have the same values and no control; UTF-8 in, UTF-8 out."""
    if content.isascii() and b"\x7f" not in content:
        return content  # JSON itself escapes the ASCII controls
    text = content.decode("utf-8", "surrogateescape")
    return _IN_JSON.sub(_json_escape, text).encode("utf-8", "surrogateescape")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\\n" if code == 10 else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
