"""Finds secrets in the text of a log line, by the names of their fields, and masks them."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

MASK = "***"
LONGEST = 16_384
"""Characters of a text that are kept at most."""

_Span = tuple[int, int]

# What may follow the words that matter: password_confirmation, tokenValue.
_QUALIFIERS = frozenset(("value", "hash", "confirmation", "confirm", "header", "raw"))
_ONE_WORD = 5  # letters of a name that is also found at the end of a longer word: userpassword
_WHOLE_WORD = 8  # shorter values are masked only where they are words of their own
_MOST_WORDS = 8  # of one name
_DIGITS = 4  # shorter numbers are no secrets

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ALPHANUMERIC = re.compile(r"[^\W_]+")
# Quantifiers with a second "+" never give back what they have matched: so each of these patterns
# takes time in proportion to the text, whatever it holds.
_KEY = re.compile(
    r"""(?<![\w.\-])([\w.\-]++)(?:\\*["'`])?"""
    r"""(?:\]|%5[Dd])?(?:\[\d*+\]|%5[Bb]\d*+%5[Dd])?[ \t]*+(?:=>|:=|[:=]|%3[AaDd])[ \t]*+"""
)
_WORDS_BEFORE = re.compile(r"(?:[\w.\-]++ ){1,2}$")
_FLAG = re.compile(r"(?<!\S)--([\w.\-]++)[ \t]++(?!-)(\S++)")
_ELEMENT = re.compile(r"<([\w.:\-]++)(?:\s[^<>]*+)?>([^<]++)")
_CREDENTIALS = re.compile(r"://[^\s/?#@:]*+:([^\s/?#]+)@")
_BEARER = re.compile(r"\bBearer[ \t]+((?=[\w.~+/=\-]*\d)[\w.~+/=\-]{8,}+)", re.IGNORECASE)
_BASIC = re.compile(r"\bBasic[ \t]+([\w+/\-]{4,}+={0,2})", re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)

_QUOTE = re.compile(r"""(\\*)(["'`])""")
_BRACKET = re.compile(r"""["](?:[^"\\]|\\.)*+["]|[{}\[\]]""", re.DOTALL)
# A comma, a bracket or a quote is part of a value, unless the value ends with it.
_UNQUOTED = re.compile(
    r"""(?:[^\s&<>,;)\]}"'`]|[,;)\]}"'`](?![\s,;:.)\]}"'`]|$|[\w.\-"']+\s*[=:]))++"""
)
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|JWT|ApiKey|Negotiate|NTLM)[ \t]+", re.IGNORECASE)
_LONG_SCHEME = re.compile(r"(?:Digest|OAuth|Hawk|AWS4-[\w\-]+)[ \t][^\n]*+", re.IGNORECASE)
_COOKIES = re.compile(r"""[^\s;"']++(?:;[ \t]*+[^\s;"']++)*+""")


class Redactor:
    """Masks the values of fields with one of the given names.

    Names compare without case, `-`, `_`, `.` and spaces. They may be the last words of a longer
    name: `token` is also `access_token`, `X-Auth-Token` and `csrfToken`, but not `tokens`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset("".join(_ALPHANUMERIC.findall(one)).casefold() for one in names)
        self._one_word = tuple(one for one in self._names if len(one) >= _ONE_WORD)

    def is_named(self, field: str) -> bool:
        """Return whether the values of a field with this name are to be masked."""
        if "".join(_ALPHANUMERIC.findall(field)).casefold() in self._names:
            return True
        words = _words(field)
        tails = ("".join(words[-count:]) for count in range(1, _MOST_WORDS + 1))
        return bool(words) and (
            words[-1].endswith(self._one_word) or any(tail in self._names for tail in tails)
        )

    def mask(self, text: str, record: Mapping[str, object]) -> str:
        """Return the first `LONGEST` characters of a text with secrets replaced by `MASK`.

        Secrets are what stands behind a name as its value (`password=…`, `"token": "…"`,
        `Authorization: Bearer …`, `--api-key …`, `<secret>…`), and the values that named fields of
        the record have, wherever they occur.
        """
        values = {form for value in self._values(record) for form in _forms(value)}
        # A value that begins before the end is seen as a whole.
        text_seen = text[: LONGEST + max(map(len, values), default=0)]
        spans = [span for value in values for span in _occurrences(text_seen, value)]
        spans += self._spans_by_name(text_seen)
        return _masked(text[:LONGEST], spans)

    def _values(self, record: Mapping[str, object]) -> Iterator[str]:
        """Yield the scalars in named fields, at any depth."""
        waiting: list[tuple[object, bool]] = [(record, False)]
        while waiting:
            value, is_secret = waiting.pop()
            if isinstance(value, Mapping):
                waiting += [(v, is_secret or self.is_named(k)) for k, v in value.items()]
            elif isinstance(value, list):
                waiting += [(item, is_secret) for item in value]
            elif is_secret and isinstance(value, str):
                yield value
            elif is_secret and type(value) in (int, float) and len(str(value)) >= _DIGITS:
                yield str(value)

    def _spans_by_name(self, text: str) -> Iterator[_Span]:
        yield from self._values_of_keys(text)
        for pattern in (_FLAG, _ELEMENT):
            for found in pattern.finditer(text):
                if self.is_named(found[1]):
                    yield found.span(2)
        for name, pattern in (("password", _CREDENTIALS), ("private key", _PRIVATE_KEY)):
            if self.is_named(name):
                yield from (found.span(1) for found in pattern.finditer(text))
        if self.is_named("authorization"):
            yield from (found.span(1) for found in _BEARER.finditer(text))
            yield from (f.span(1) for f in _BASIC.finditer(text) if _is_basic(f[1]))

    def _values_of_keys(self, text: str) -> Iterator[_Span]:
        end = 0
        for found in _KEY.finditer(text):
            if found.start() < end:
                continue  # within a value
            before = _WORDS_BEFORE.search(text, max(0, found.start() - 32), found.start())
            name = (before[0] if before else "") + found[1]
            if self.is_named(name):
                span = _value(text, found, is_cookie=_words(name)[-1].startswith("cookie"))
                end = span[1]
                yield span


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, without the numbers and qualifiers at its end."""
    words = [one.casefold() for one in _ALPHANUMERIC.findall(_HUMP.sub(" ", name))]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _QUALIFIERS):
        words.pop()
    if words:
        words[-1] = words[-1].rstrip("0123456789") or words[-1]
    return words


def _value(text: str, key: re.Match[str], *, is_cookie: bool) -> _Span:
    """Return where the value of a key begins and ends."""
    start = key.end()
    opening = _QUOTE.match(text, start)
    if opening is not None:
        return opening.end(), _closing_quote(text, opening)
    if text[start : start + 1] in ("{", "["):
        return start, _closing_bracket(text, start)
    for pattern in (_COOKIES,) if is_cookie else (_LONG_SCHEME,):
        if (found := pattern.match(text, start)) is not None:
            return found.span()
    scheme = _SCHEME.match(text, start)
    found = _UNQUOTED.match(text, scheme.end() if scheme else start)
    return start, found.end() if found else start


def _closing_quote(text: str, opening: re.Match[str]) -> int:
    """Return where a quoted text ends; the end of the text if it was cut before that.

    Within a text that is quoted itself, quotes have backslashes: as many at the end of the value as
    at its beginning.
    """
    backslashes = len(opening[1])
    for found in _QUOTE.finditer(text, opening.end()):
        if found[2] != opening[2]:
            continue
        run = len(found[1])
        if run == backslashes or (not backslashes and run % 2 == 0):
            return found.start() if backslashes else found.end() - 1
    return len(text)


def _closing_bracket(text: str, start: int) -> int:
    """Return where an object or array ends; the end of the text if it was cut before that."""
    depth = 0
    for found in _BRACKET.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(text)


def _is_basic(credentials: str) -> bool:
    """Return whether a word is `user:password` in base64, and not just a word."""
    try:
        return b":" in base64.b64decode(credentials + "=" * (-len(credentials) % 4), b"-_")
    except (binascii.Error, ValueError):
        return False


def _forms(value: str) -> Iterator[str]:
    """Yield the spellings in which a value may occur within a text."""
    plain = value.strip()
    parts = [plain]
    if (scheme := _SCHEME.match(plain)) is not None:
        parts.append(plain[scheme.end() :])
    parts += [pair.partition("=")[2] for pair in plain.split(";") if "=" in pair]
    for part in filter(None, parts):
        yield from (part, quote(part, safe=""), json.dumps(part)[1:-1])
        yield json.dumps(part, ensure_ascii=False)[1:-1]


def _occurrences(text: str, value: str) -> Iterator[_Span]:
    start = -1
    while (start := text.find(value, start + 1)) >= 0:
        end = start + len(value)
        if len(value) >= _WHOLE_WORD or not (
            text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()
        ):
            yield start, end


def _masked(text: str, spans: Iterable[_Span]) -> str:
    """Return a text with each of these spans replaced; spans that touch become one mask."""
    parts: list[str] = []
    done, is_open = 0, False
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if start >= len(text):
            break
        if start > done or not is_open:
            parts += [text[done:start], MASK]
        is_open = True
        done = max(done, end)
    return "".join((*parts, text[done:]))
