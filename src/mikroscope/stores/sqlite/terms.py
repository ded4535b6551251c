"""Encodes an entry as a document of the inverted index: a token per field, and words of its texts.

A token is `name=value`, exactly as in the record. FTS5's tokenizer imposes two constraints: it
folds A-Z, and splits at spaces and control characters. So each of these characters is written as a
lone byte 0x80..0xBB, which never occurs in UTF-8: a token is as long as its text, keeps its
prefixes, and can be decoded. Derived tokens have a mark (0x1E) that no field's name begins with:

    <day>name=<value>        a field
    <day>^e=<event>          an event that does not come from the field `event`
    <day>^c=<id>             a correlation that comes from another field than `correlationId`
    <day>^x<name>=<value>    a value that can be found but is not counted: an unusable value of
                             `event` or `correlationId`, or a second value of one path
    ^l<audit><own><level>    level and audit; with `own`, the field `level` has the same value and
                             therefore no other token
    word                     a word of a message or an error

`<day>` is the UTC day of the entry's time in three characters. The values of one day are adjacent
in the index, so that they are counted without reading any other day.

A text of more than 24 characters with a space in it, and any value of more than 128, is replaced by
a mark and its BLAKE2b hash (60 bits); otherwise unique messages would be the largest part of the
index. The field that the entry's time comes from has no token, because the key holds the time. Two
pairs of name and value share a token only if their hashes collide, or if a value looks like an
encoded hash: a mark and ten characters.
"""

import codecs
import hashlib
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mikroscope.records.attributes import (
    CORRELATION_STARTS,
    DEFAULT_EVENT,
    correlation_of,
    correlation_text,
    message_of,
)
from mikroscope.records.conventions import ERROR_PARTS, TEXT_FIELDS
from mikroscope.records.fields import scalar_text
from mikroscope.records.parsing import Fields
from mikroscope.stores.sqlite.schema import DAY_MS
from mikroscope.stores.sqlite.texts import (
    ERROR_FIELDS,
    MAX_DEPTH,
    collect_texts,
    encode_words,
    error_texts,
)

MAX_TEXT_VALUE = 24  # characters; longer values that contain a space are hashed
MAX_VALUE = 128  # characters; longer values without a space are hashed
MAX_KNOWN_NAMES = 10_000
MAX_KNOWN_DAYS = 100
HASH_CHARACTERS = 10  # six bits each
_SHORT_INTEGER = 10**MAX_TEXT_VALUE
_DAY_DIGITS = "0123456789_abcdefghijklmnopqrstuvwxyz~"  # in ASCII order; FTS5 folds none of them

SEPARATOR, MARK = "\x1f", "\x1e"
DERIVED_EVENT, OTHER_CORRELATION, _UNUSABLE = f"{MARK}e=", f"{MARK}c=", f"{MARK}x"
NO_MATCH = f"{MARK}-"  # a token that no document has

# Only usable values of these fields are the entry's attributes, so only they may be counted.
_OWN_ATTRIBUTES = frozenset(("event", "correlationId"))

# Records with none of these keys, which are most of them, need nothing of what is rare.
_RARE_FIELDS = ERROR_FIELDS | CORRELATION_STARTS - {"correlationId", "requestId"}

# The characters to escape, in the order of their escape bytes from 0x80 on.
_ESCAPED = [*range(0x41, 0x5B), *range(0x1F), 0x20, 0x7F, ord(SEPARATOR)]
_ESCAPES = bytearray(range(256))
for _number, _character in enumerate(_ESCAPED):
    _ESCAPES[_character] = 0x80 + _number
_TOKEN_TABLE = bytes(_ESCAPES)
_ESCAPES[ord(SEPARATOR)] = 0x20  # to join tokens; where one contains it, see `encode_tokens`
_TABLE = bytes(_ESCAPES)
_UNESCAPES = bytearray(range(256))
_UNESCAPES[0x80 : 0x80 + len(_ESCAPED)] = bytes(_ESCAPED)
_FIRST_LEAD_BYTE = 0xC0  # the first byte of every multi-byte character in UTF-8 is at least this
_RESERVED = str.maketrans({"=": "\x1ce", SEPARATOR: "\x1cs", MARK: "\x1cm", "\x1c": "\x1cc"})


def _unescape(error: UnicodeError) -> tuple[str, int]:
    # The escapes are invalid UTF-8, so that a decoder's error handler can resolve them.
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(_ESCAPED[error.object[error.start] - 0x80]), error.start + 1


codecs.register_error("mikroscope-terms", _unescape)


class _Prefixes(dict[str, str]):
    """Cache of `<day>name=` by field name; a name that is not in it is added to `names`."""

    def __init__(self, day: str, names: set[str]) -> None:
        super().__init__()
        self.day = day
        self._names = names

    def __missing__(self, name: str) -> str:
        if len(self) >= MAX_KNOWN_NAMES:  # some records have data as keys
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
    """Encodes records as documents, and collects the names of their fields. Not thread-safe."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._days = _Days(self._names)
        self._level_tokens = _LevelTokens()

    def drain_new_fields(self) -> set[str]:
        """Return and forget the collected names, at least those new since the last call."""
        names = self._names.copy()
        self._names.clear()
        return names

    def encode(
        self, fields: Fields, level: str, audit: bool, time_ms: int, time_field: str | None
    ) -> bytes:
        """Return the document of one record. Modifies `fields`, which must not be used afterwards.

        `time_ms` is the time of the entry's key; `time_field` is the field it comes from, None if
        the record has no time. The same record with the same time always gives the same document,
        because FTS5 needs the document again to delete it.
        """
        prefixes = self._days[time_ms // DAY_MS]
        message = fields.get("message")
        if type(message) is not str:
            message = message_of(fields)
        own = fields.get("level") == level
        tokens = [self._level_tokens[level, audit, own]]
        texts = [message] if message else []
        has_rare = not _RARE_FIELDS.isdisjoint(fields)
        if has_rare:
            texts += error_texts(fields, message)
        _add_event(tokens, prefixes.day, fields, message)
        _add_correlation(tokens, prefixes.day, fields, has_rare)
        if own:
            del fields["level"]
        if time_field:
            value = fields.pop(time_field, None)  # a nested one is not there
            if type(value) is dict:
                fields[time_field] = value
        _add_fields(tokens, texts, fields, prefixes)
        return encode_tokens(tokens) + b"".join(map(encode_words, texts))


def _add_fields(tokens: list[str], texts: list[str], fields: Fields, prefixes: _Prefixes) -> None:
    # The hottest loop of indexing: short texts and integers are handled without a call.
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
            nested = _Nested(tokens, texts, prefixes, seen)
            nested.add(name, fields[name], 1, name in ERROR_FIELDS)


def _token(prefixes: _Prefixes, name: str, value: Any, compound: list[str]) -> str:
    """Return the token of a scalar; for objects and arrays, nothing but a name in `compound`."""
    if type(value) in (dict, list):
        compound.append(name)
        return ""
    return prefixes[name] + shorten(scalar_text(value) or "")


class _Nested(NamedTuple):
    """Adds the scalars of nested objects; `seen` has the paths that already have a value."""

    tokens: list[str]
    texts: list[str]
    prefixes: _Prefixes
    seen: set[str]

    def add(self, path: str, fields: Fields, depth: int, in_error: bool) -> None:
        """Add an object's scalars in the order of `field_values`: a path's first one counts.

        `in_error` is True inside of an error, where more of its texts can be searched.
        """
        inner = []
        searched = ERROR_PARTS if in_error else TEXT_FIELDS
        for name, value in fields.items():
            kind = type(value)
            if kind is dict:
                inner.append(name)
                continue
            text = value if kind is str else scalar_text(value)
            if text is not None:
                self._add_scalar(f"{path}.{name}", text)
            if name in searched and (kind is str or kind is list):
                collect_texts(value, self.texts, depth)
        if depth < MAX_DEPTH:
            for name in sorted(inner, key=len):
                is_error = in_error or name in ERROR_FIELDS
                self.add(f"{path}.{name}", fields[name], depth + 1, is_error)

    def _add_scalar(self, path: str, text: str) -> None:
        prefix = self.prefixes[path]
        if path in self.seen:
            day = self.prefixes.day
            prefix = f"{day}{_UNUSABLE}{prefix[len(day) :]}"
        self.tokens.append(prefix + shorten(text))
        self.seen.add(path)


def _add_event(tokens: list[str], day: str, fields: Fields, message: str) -> None:
    event = fields.get("event")
    if type(event) is str and event:
        return
    tokens.append(day + DERIVED_EVENT + shorten(message or DEFAULT_EVENT))
    _set_aside(tokens, day, fields, "event")


def _add_correlation(tokens: list[str], day: str, fields: Fields, has_rare: bool) -> None:
    own, other = fields.get("correlationId"), fields.get("requestId")
    if own is not None and correlation_text(own) is not None:
        return
    if other is not None:
        other = correlation_text(other)
    if other is None and has_rare:
        other = correlation_of(fields)
    if other is not None:
        tokens.append(day + OTHER_CORRELATION + shorten(other))
    if own is not None or "correlationId" in fields:
        _set_aside(tokens, day, fields, "correlationId")


def _set_aside(tokens: list[str], day: str, fields: Fields, name: str) -> None:
    """Make an unusable `event` or `correlationId` findable without counting it as a value."""
    if name in fields and not isinstance(fields[name], dict):
        text = scalar_text(fields.pop(name))
        if text is not None:
            tokens.append(f"{day}{_UNUSABLE}{field_prefix(name)}{shorten(text)}")


# --- tokens ---------------------------------------------------------------------------------


def encode_tokens(tokens: Sequence[str]) -> bytes:
    """Return tokens as FTS5 expects them, separated by spaces."""
    joined = SEPARATOR.join(tokens)
    if joined.count(SEPARATOR) != len(tokens) - 1:  # some value contains the separator itself
        encoded = [token.encode("utf-8", "replace") for token in tokens]
        return b" ".join(token.translate(_TOKEN_TABLE) for token in encoded)
    return joined.encode("utf-8", "replace").translate(_TABLE)


def decode_token(token: bytes) -> str:
    """Return the text of a token."""
    if not token or max(token) < _FIRST_LEAD_BYTE:  # every byte above ASCII is an escape
        return token.translate(_UNESCAPES).decode("ascii")
    return token.decode("utf-8", "mikroscope-terms")


def day_text(day: int) -> str:
    """Return the number of a day since 1970 as three characters that sort in order of time."""
    base = len(_DAY_DIGITS)
    return _DAY_DIGITS[day // base**2] + _DAY_DIGITS[day // base % base] + _DAY_DIGITS[day % base]


def field_prefix(name: str) -> str:
    """Return the beginning of all tokens of a field, after the day."""
    if len(name) > MAX_VALUE:
        name = f"{MARK}n{_hashed(name)[1:]}"
        return f"{name}="
    return f"{name.translate(_RESERVED)}="


def level_token(level: str, audit: bool, own: bool) -> str:
    """Return the token of an entry's level; `own`: the field `level` has exactly this value."""
    return f"{MARK}l{audit:d}{own:d}{shorten(level)}"


def shorten(text: str) -> str:
    """Return the text, or its mark and hash if it is too long."""
    length = len(text)
    if length <= MAX_TEXT_VALUE or (length <= MAX_VALUE and " " not in text):
        return text
    return _hashed(text)


def is_shortened(text: str) -> bool:
    """Return True if this is the mark and hash of a text that was too long."""
    return len(text) == 1 + HASH_CHARACTERS and text.startswith(MARK)


def _hashed(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=9).digest()
    return MARK + b2a_base64(digest, newline=False).decode()[:HASH_CHARACTERS]


# --- the tokens that a filter or a grouping searches for -------------------------------------


class AnyOf(NamedTuple):
    """Alternative tokens of an entry: `daily` ones follow the entry's day, `plain` ones do not."""

    plain: list[str]
    daily: list[str]

    def encoded(self, days: Sequence[str]) -> list[bytes]:
        """Return the plain tokens, and each daily token for each of these days."""
        daily = [encode_tokens([token]) for token in self.daily]
        return [
            *(encode_tokens([token]) for token in self.plain),
            *(day.encode() + token for day in days for token in daily),
        ]


def level_tokens(level: str, audit: bool | None) -> list[str]:
    """Return every token of entries with this level; `audit` None means both kinds of entries."""
    audits = (False, True) if audit is None else (audit,)
    return [level_token(level, one, own) for one in audits for own in (False, True)]


def field_tokens(name: str, value: str) -> AnyOf:
    """Return every token of records with this value in this field."""
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
    """Return the beginnings of the daily tokens that count for a field.

    The field `level` has other tokens as well, see `level_token`.
    """
    prefix = field_prefix(name)
    return [prefix, f"{_UNUSABLE}{prefix}"] if name in _OWN_ATTRIBUTES else [prefix]


def event_prefixes() -> list[str]:
    """Return the beginnings of the tokens of an entry's event."""
    return [field_prefix("event"), DERIVED_EVENT]


def correlation_prefixes() -> list[str]:
    """Return the beginnings of the tokens of an entry's correlation."""
    return [field_prefix("correlationId"), OTHER_CORRELATION]


def expression(groups: Iterable[Iterable[bytes]]) -> bytes:
    """Return an FTS5 query for documents that have a token of every group."""
    ors = (
        b" OR ".join(b'"%b"' % token.replace(b'"', b'""') for token in group) for group in groups
    )
    return b" AND ".join(b"(%b)" % alternatives for alternatives in ors)
