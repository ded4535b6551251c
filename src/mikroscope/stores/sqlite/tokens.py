"""Tokens of the inverted index: what a document has for a value, a word, and what a segment holds.

A document of an entry has a token `name=value` for each of its fields without column, and the
words of its texts. A document of a segment has a token for each value of its columns, without the
name. FTS5's tokenizer imposes two constraints: it folds A-Z, and splits at spaces and control
characters. So each of these characters is written as a lone byte 0x80..0xBB, which never occurs in
UTF-8: a token is as long as its text, keeps its prefixes, and can be decoded. Tokens that are not a
field's begin with a mark (0x1E), as no field's name does:

    name=value       an entry's field, if it has no column
    ^xname=value     a value that can be found but is not counted: a second one of the same path
    ^yvalue          the same without the name
    ^lLEVEL          an entry's level, if levels have no column
    ^c=id            an entry's correlation, if it is not that of one field
    ^vvalue          in the document of a segment: some column has this value
    word             a word of a message or an error

A text of more than 24 characters with a space in it, and any value of more than 128, is replaced by
a mark and its BLAKE2b hash (60 bits); otherwise unique messages would be the largest part of the
index. What is found by a hash, or by the words of a long message, is compared with the line itself.
"""

import codecs
import hashlib
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from itertools import repeat

MAX_TEXT_VALUE = 24  # characters; longer values that contain a space are hashed
MAX_VALUE = 128  # characters; longer values without a space are hashed
_HASH_CHARACTERS = 10  # six bits each

SEPARATOR, MARK = "\x1f", "\x1e"
END = "\x1d"  # of a document, between those that are encoded together
NO_MATCH = f"{MARK}-"  # a token that no document has

# The characters to escape, in the order of their escape bytes from 0x80 on.
_ESCAPED = [*range(0x41, 0x5B), *range(0x1F), 0x20, 0x7F, ord(SEPARATOR)]
_ESCAPES = bytearray(range(256))
for _number, _character in enumerate(_ESCAPED):
    _ESCAPES[_character] = 0x80 + _number
_TOKEN_TABLE = bytes(_ESCAPES)
_ESCAPES[ord(SEPARATOR)] = 0x20  # to join tokens; where one contains it, see `encode_documents`
_ESCAPES[ord(END)] = 0x0A
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


codecs.register_error("mikroscope-tokens", _unescape)


def encode_documents(documents: Sequence[Sequence[str]]) -> list[bytes]:
    """Return documents of tokens as FTS5 expects them: tokens with a space between each two."""
    joined = END.join(map(SEPARATOR.join, documents))
    marks = sum(map(len, documents)) - len(documents)
    if joined.count(END) == len(documents) - 1 and joined.count(SEPARATOR) == marks:
        return joined.encode("utf-8", "replace").translate(_TABLE).split(b"\n")
    return [b" ".join(map(encode_token, tokens)) for tokens in documents]


def encode_token(token: str) -> bytes:
    """Return a token as FTS5 expects it."""
    return token.encode("utf-8", "replace").translate(_TOKEN_TABLE)


def decode_token(token: bytes) -> str:
    """Return the text of a token."""
    if not token or max(token) < _FIRST_LEAD_BYTE:  # every byte above ASCII is an escape
        return token.translate(_UNESCAPES).decode("ascii")
    return token.decode("utf-8", "mikroscope-tokens")


def field_prefix(name: str) -> str:
    """Return the beginning of all tokens of a field."""
    if len(name) > MAX_VALUE:
        name = f"{MARK}n{_hashed(name)[1:]}"
        return f"{name}="
    return f"{name.translate(_RESERVED)}="


def field_token(name: str, value: str) -> str:
    """Return the token of a field's value."""
    return field_prefix(name) + shorten(value)


def extra_token(name: str, value: str) -> str:
    """Return the token of a value that can be found but is not counted."""
    return f"{MARK}x{field_prefix(name)}{shorten(value)}"


def second_token(value: str) -> str:
    """Return the token of a value that can be found but is not counted, without the name."""
    return f"{MARK}y{shorten(value)}"


LEVEL_PREFIX = f"{MARK}l"
CORRELATION_PREFIX = f"{MARK}c="


def segment_token(value: str) -> str:
    """Return the token of a value that a column of a segment has."""
    return f"{MARK}v{shorten(value)}"


def segment_tokens(values: Sequence[str]) -> list[str]:
    """Return `segment_token` of each value."""
    return prefixed(f"{MARK}v", values)


def prefixed(prefix: str, values: Sequence[str]) -> list[str]:
    """Return the shortened values with a prefix."""
    if max(map(len, values), default=0) <= MAX_TEXT_VALUE:
        return list(map(str.__add__, repeat(prefix), values))
    return [
        prefix + (value if len(value) <= MAX_TEXT_VALUE else shorten(value)) for value in values
    ]


def shorten(text: str) -> str:
    """Return the text, or its mark and hash if it is too long."""
    return _hashed(text) if is_long(text) else text


def is_long(text: str) -> bool:
    """Return whether a text has a hash instead of itself in its token."""
    length = len(text)
    return length > MAX_TEXT_VALUE and (length > MAX_VALUE or " " in text)


def _hashed(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=9).digest()
    return MARK + b2a_base64(digest, newline=False).decode()[:_HASH_CHARACTERS]


def any_of(tokens: Iterable[bytes]) -> bytes:
    """Return an FTS5 query for documents that have one of these tokens."""
    return b" OR ".join(b'"%b"' % token.replace(b'"', b'""') for token in tokens)


def all_of(queries: Iterable[bytes]) -> bytes:
    """Return an FTS5 query for documents that each of these queries finds."""
    return b" AND ".join(b"(%b)" % query for query in queries)
