"""The document of an entry in the inverted index: one token for each field, words of its texts.

A token is `name=value`, exactly as the record has it, under two constraints of FTS5: its tokenizer
folds A-Z and splits at spaces and control characters. So each of these is written as one byte
0x80..0xBB that stands alone, which UTF-8 never has: a token is as long as its text, keeps its
prefixes, and decodes back. What is derived bears a mark (0x1E) that no field's name begins with:

    <day>name=<value>        a field
    <day>^e=<event>          an event that does not come from the field `event`
    <day>^c=<id>             a correlation that comes from `requestId`
    <day>^x<name>=<value>    a value that is found but not counted: one of `event` or
                             `correlationId` that is not usable as such, a second one of one path
    ^l<audit><own><level>    level and audit; `own`: the field `level` says the same, so it has no
                             token of its own
    word                     of a message or an error

`<day>` is the UTC day of the entry's time, as three characters: the values of one day lie next to
each other, so that they are counted without a look at any other day.

A text of more than 24 characters, and any value of more than 128, becomes a mark and its BLAKE2b
hash (60 bits): unique messages would be the largest part of the index. The field that told the
entry's time has no token: its key holds that. No two pairs of name and value share a token, save
for hashes that collide and for a value that looks like what stands for a hash: a mark and ten
characters.
"""

import codecs
import hashlib
import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mikroscope.records.attributes import DEFAULT_EVENT, correlation_text, message_of
from mikroscope.records.fields import scalar_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite.schema import DAY_MS

MAX_TEXT_VALUE = 24  # characters; of longer values with a space in them the hash is kept
MAX_VALUE = 128  # and of longer values without a space
MAX_DEPTH = 16  # of nested objects
MAX_SEARCHED = 32_768  # characters of one text whose words are kept
MAX_KNOWN_NAMES = 10_000
MAX_KNOWN_DAYS = 100
HASH_CHARACTERS = 10  # six bits each
_SHORT_INTEGER = 10**MAX_TEXT_VALUE
_DAY_DIGITS = "0123456789_abcdefghijklmnopqrstuvwxyz~"  # which FTS5 does not fold; in order

SEPARATOR, MARK = "\x1f", "\x1e"
DERIVED_EVENT, REQUEST_CORRELATION, _UNUSABLE = f"{MARK}e=", f"{MARK}c=", f"{MARK}x"
NO_MATCH = f"{MARK}-"  # a token that no document has

# A usable value is the entry's own attribute, so that another one must not count as one.
_OWN_ATTRIBUTES = frozenset(("event", "correlationId"))

# The fields, at any depth, whose words can be searched; what `message_of` finds is, too.
TEXT_FIELDS = frozenset(
    (
        *("message", "msg", "reason", "error", "err", "errorMessage", "exception", "exc_info"),
        *("stack", "stack_trace", "stacktrace", "stack_info", "@x"),
    )
)

_ERROR_FIELDS = TEXT_FIELDS - {"message"}

_ESCAPED = [*range(0x41, 0x5B), *range(0x1F), 0x20, 0x7F, ord(SEPARATOR)]
_ESCAPES = bytearray(range(256))
for _number, _character in enumerate(_ESCAPED):
    _ESCAPES[_character] = 0x80 + _number
_TOKEN_TABLE = bytes(_ESCAPES)
_ESCAPES[ord(SEPARATOR)] = 0x20
_TABLE = bytes(_ESCAPES)
_UNESCAPES = bytearray(range(256))
_UNESCAPES[0x80 : 0x80 + len(_ESCAPED)] = bytes(_ESCAPED)
_FIRST_LEAD_BYTE = 0xC0  # of characters that UTF-8 writes with several bytes
_WORD_TABLE = bytes(
    code if code >= 0x80 or chr(code).isalnum() or code == 0x5F else 0x20 for code in range(256)
)
_WORD = re.compile(r"\w+")
_RESERVED = str.maketrans({"=": "\x1ce", SEPARATOR: "\x1cs", MARK: "\x1cm", "\x1c": "\x1cc"})


def _unescape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(_ESCAPED[error.object[error.start] - 0x80]), error.start + 1


codecs.register_error("mikroscope-terms", _unescape)


class _Prefixes(dict[str, str]):
    """`<day>name=` for each field's name; those that were not known before are added to `names`."""

    def __init__(self, day: str, names: set[str]) -> None:
        super().__init__()
        self.day = day
        self._names = names

    def __missing__(self, name: str) -> str:
        if len(self) >= MAX_KNOWN_NAMES:  # records whose keys are data
            self.clear()
        prefix = self[name] = self.day + field_prefix(name)
        self._names.add(name)
        return prefix


class _Days(dict[int, _Prefixes]):
    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, day: int) -> _Prefixes:
        if len(self) >= MAX_KNOWN_DAYS:
            self.clear()
        prefixes = self[day] = _Prefixes(day_text(day), self._names)
        return prefixes


class _LevelTokens(dict[tuple[str, bool, bool], str]):
    def __missing__(self, key: tuple[str, bool, bool]) -> str:
        if len(self) >= MAX_KNOWN_NAMES:
            self.clear()
        token = self[key] = level_token(*key)
        return token


class TermEncoder:
    """Makes documents; remembers the names of fields it has seen."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._days = _Days(self._names)
        self._level_tokens = _LevelTokens()

    def drain_new_fields(self) -> set[str]:
        """Names of fields, among them all that were not seen before the last call."""
        names = self._names.copy()
        self._names.clear()
        return names

    def encode(
        self, fields: Fields, level: str, audit: bool, time_ms: int, time_field: str | None
    ) -> bytes:
        """The document of one record. Takes `fields` apart: it cannot be used afterwards.

        `time_ms` is what its key says, or would say; without a `time_field` nothing else does.
        The same record of the same time always gives the same document: that is how it is deleted.
        """
        prefixes = self._days[time_ms // DAY_MS]
        message = fields.get("message")
        if type(message) is not str:
            message = message_of(fields)
        own = fields.get("level") == level
        tokens = [self._level_tokens[level, audit, own]]
        texts = [message] if message else []
        if not _ERROR_FIELDS.isdisjoint(fields):
            texts += _error_texts(fields, message)
        _add_event(tokens, prefixes.day, fields, message)
        _add_correlation(tokens, prefixes.day, fields)
        if own:
            del fields["level"]
        if time_field and not isinstance(fields[time_field], dict):
            del fields[time_field]
        _add_fields(tokens, texts, fields, prefixes)
        return encode_tokens(tokens) + b"".join(map(_words, texts))


def _add_fields(tokens: list[str], texts: list[str], fields: Fields, prefixes: _Prefixes) -> None:
    compound: list[str] = []
    tokens += [
        prefixes[name] + value
        if type(value) is str and len(value) <= MAX_TEXT_VALUE
        else f"{prefixes[name]}{value}"
        if type(value) is int and -_SHORT_INTEGER < value < _SHORT_INTEGER
        else _token(prefixes, name, value, compound)
        for name, value in fields.items()
    ]
    if not compound:
        return
    seen = set(fields).difference(compound)
    for name in sorted(compound, key=len):
        if type(fields[name]) is dict:
            _Nested(tokens, texts, prefixes, seen).add(name, fields[name], 1)


def _token(prefixes: _Prefixes, name: str, value: Any, compound: list[str]) -> str:
    """The token of any value; none, and a name in `compound`, for objects and arrays."""
    if type(value) in (dict, list):
        compound.append(name)
        return ""
    return prefixes[name] + shorten(scalar_text(value) or "")


class _Nested(NamedTuple):
    """Adds the scalars of objects; `seen` are the paths that have a value already."""

    tokens: list[str]
    texts: list[str]
    prefixes: _Prefixes
    seen: set[str]

    def add(self, path: str, fields: Fields, depth: int) -> None:
        """An object's scalars, in the order of `field_values`: the first of a path counts."""
        inner = []
        for name, value in fields.items():
            kind = type(value)
            if kind is dict:
                inner.append(name)
                continue
            text = value if kind is str else scalar_text(value)
            if text is not None:
                self._add_scalar(f"{path}.{name}", text)
                if kind is str and name in TEXT_FIELDS:
                    self.texts.append(value)
        if depth < MAX_DEPTH:
            for name in sorted(inner, key=len):
                self.add(f"{path}.{name}", fields[name], depth + 1)

    def _add_scalar(self, path: str, text: str) -> None:
        prefix = self.prefixes[path]
        if path in self.seen:
            day = self.prefixes.day
            prefix = f"{day}{_UNUSABLE}{prefix[len(day) :]}"
        self.tokens.append(prefix + shorten(text))
        self.seen.add(path)


def _error_texts(fields: Fields, message: str) -> list[str]:
    found = (fields.get(name) for name in _ERROR_FIELDS)
    return [text for text in found if isinstance(text, str) and text is not message]


def _add_event(tokens: list[str], day: str, fields: Fields, message: str) -> None:
    event = fields.get("event")
    if type(event) is str and event:
        return
    tokens.append(day + DERIVED_EVENT + shorten(message or DEFAULT_EVENT))
    _set_aside(tokens, day, fields, "event")


def _add_correlation(tokens: list[str], day: str, fields: Fields) -> None:
    own = fields.get("correlationId")
    if (type(own) is str and own) or correlation_text(own) is not None:
        return
    request = correlation_text(fields.get("requestId"))
    if request is not None:
        tokens.append(day + REQUEST_CORRELATION + shorten(request))
    _set_aside(tokens, day, fields, "correlationId")


def _set_aside(tokens: list[str], day: str, fields: Fields, name: str) -> None:
    """Keep a scalar that is no usable event or id findable, without being counted as one."""
    if name in fields and not isinstance(fields[name], dict):
        text = scalar_text(fields.pop(name))
        if text is not None:
            tokens.append(f"{day}{_UNUSABLE}{field_prefix(name)}{shorten(text)}")


# --- tokens ---------------------------------------------------------------------------------


def encode_tokens(tokens: Sequence[str]) -> bytes:
    """Tokens as FTS5 gets them, with spaces between."""
    joined = SEPARATOR.join(tokens)
    if joined.count(SEPARATOR) != len(tokens) - 1:  # some value holds that character itself
        encoded = [token.encode("utf-8", "replace") for token in tokens]
        return b" ".join(token.translate(_TOKEN_TABLE) for token in encoded)
    return joined.encode("utf-8", "replace").translate(_TABLE)


def decode_token(token: bytes) -> str:
    """The text of a token."""
    if not token or max(token) < _FIRST_LEAD_BYTE:  # all above ASCII stands for a character of it
        return token.translate(_UNESCAPES).decode("ascii")
    return token.decode("utf-8", "mikroscope-terms")


def day_text(day: int) -> str:
    """A day since 1970 as the first characters of a token; later days have greater texts."""
    base = len(_DAY_DIGITS)
    return _DAY_DIGITS[day // base**2] + _DAY_DIGITS[day // base % base] + _DAY_DIGITS[day % base]


def field_prefix(name: str) -> str:
    """What all tokens of a field begin with, behind the day."""
    if len(name) > MAX_VALUE:
        name = f"{MARK}n{_hashed(name)[1:]}"
        return f"{name}="
    return f"{name.translate(_RESERVED)}="


def level_token(level: str, audit: bool, own: bool) -> str:
    """The token of an entry's level."""
    return f"{MARK}l{audit:d}{own:d}{shorten(level)}"


def shorten(text: str) -> str:
    """The text, or what stands for it if it is too long."""
    length = len(text)
    if length <= MAX_TEXT_VALUE or (length <= MAX_VALUE and " " not in text):
        return text
    return _hashed(text)


def is_shortened(text: str) -> bool:
    """Whether this is what stands for a text that is too long."""
    return len(text) == 1 + HASH_CHARACTERS and text.startswith(MARK)


def _hashed(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=9).digest()
    return MARK + b2a_base64(digest, newline=False).decode()[:HASH_CHARACTERS]


# --- what a filter or a grouping looks for --------------------------------------------------


class AnyOf(NamedTuple):
    """Tokens of which an entry has one: `daily` ones behind its day, `plain` ones as they are."""

    plain: list[str]
    daily: list[str]

    def encoded(self, days: Sequence[str]) -> list[bytes]:
        """Each token of each of these days."""
        daily = [encode_tokens([token]) for token in self.daily]
        return [
            *(encode_tokens([token]) for token in self.plain),
            *(day.encode() + token for day in days for token in daily),
        ]


def level_tokens(level: str, audit: bool | None) -> list[str]:
    """Every token that says an entry has this level (and is, or is not, audit)."""
    audits = (False, True) if audit is None else (audit,)
    return [level_token(level, one, own) for one in audits for own in (False, True)]


def field_tokens(name: str, value: str) -> AnyOf:
    """Every token that says a record has this value in this field."""
    text = shorten(value)
    prefix = field_prefix(name)
    daily = [prefix + text]
    if name in _OWN_ATTRIBUTES or "." in name:
        daily.append(f"{_UNUSABLE}{prefix}{text}")
    plain = []
    if name == "level" and value == value.upper():
        plain = [level_token(value, audit, True) for audit in (False, True)]
    return AnyOf(plain, daily)


def field_prefixes(name: str) -> list[str]:
    """What the daily tokens that count for a field begin with; of `level` others count, too."""
    prefix = field_prefix(name)
    return [prefix, f"{_UNUSABLE}{prefix}"] if name in _OWN_ATTRIBUTES else [prefix]


def event_prefixes() -> list[str]:
    """What the tokens of an entry's event begin with."""
    return [field_prefix("event"), DERIVED_EVENT]


def correlation_prefixes() -> list[str]:
    """What the tokens of an entry's correlation begin with."""
    return [field_prefix("correlationId"), REQUEST_CORRELATION]


# --- words ----------------------------------------------------------------------------------


def _words(text: str) -> bytes:
    """A text as words with spaces before and between; FTS5 folds what is ASCII."""
    text = text[:MAX_SEARCHED]
    if text.isascii():
        return b" " + text.encode().translate(_WORD_TABLE)
    return b" " + " ".join(_WORD.findall(text.casefold())).encode("utf-8", "replace")


def words_of(text: str) -> list[str]:
    """The words of a search, as `_words` makes them, in lower case."""
    return [word.decode() for word in _words(text).lower().split()]


def expression(groups: Iterable[Iterable[bytes]]) -> bytes:
    """An FTS5 query: of each group one token or another, of all groups."""
    ors = (
        b" OR ".join(b'"%b"' % token.replace(b'"', b'""') for token in group) for group in groups
    )
    return b" AND ".join(b"(%b)" % alternatives for alternatives in ors)
