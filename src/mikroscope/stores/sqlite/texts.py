"""The texts of a record whose words can be searched, and their words as the index has them."""

import re
from collections.abc import Sequence

from mikroscope.records.conventions import ERROR_PARTS, TEXT_FIELDS
from mikroscope.records.parsing import Fields

MAX_DEPTH = 16  # of nested objects
MAX_SEARCHED = 32_768  # characters of one text; words beyond are not indexed
ERROR_FIELDS = TEXT_FIELDS - {"message"}
"""The fields of errors; `message` is that of the entry."""
_WORD_TABLE = bytes(
    code if code >= 0x80 or chr(code).isalnum() or code == 0x5F else 0x20 for code in range(256)
)
_WORD = re.compile(r"\w+")


def error_texts(fields: Fields, message: str) -> list[str]:
    """Return the texts of a record's errors; those inside of objects are left out."""
    texts: list[str] = []
    for name in ERROR_FIELDS.intersection(fields):
        value = fields[name]
        if value is not message and not isinstance(value, dict):
            collect_texts(value, texts, 1)
    return texts


def collect_texts(value: object, texts: list[str], depth: int) -> None:
    """Add a text, those of a list, and of objects in a list those of an error's parts."""
    if isinstance(value, str):
        texts.append(value)
    elif depth >= MAX_DEPTH:
        return
    elif isinstance(value, list):
        for one in value:
            collect_texts(one, texts, depth + 1)
    elif isinstance(value, dict):
        for name in ERROR_PARTS.intersection(value):
            collect_texts(value[name], texts, depth + 1)


def encode_words(text: str) -> bytes:
    """Return a text's words with a space before each; FTS5 itself folds ASCII letters."""
    text = text[:MAX_SEARCHED]
    if text.isascii():
        return b" " + text.encode().translate(_WORD_TABLE)
    return b" " + " ".join(_WORD.findall(text.casefold())).encode("utf-8", "replace")


def words_of(text: str) -> list[str]:
    """Return the words of a search, split as `encode_words` does, in lower case."""
    return [word.decode() for word in encode_words(text).lower().split()]


def encode_all_words(texts: Sequence[str]) -> list[bytes]:
    """Return `encode_words` of each text, in lower case; quickly where they are ASCII."""
    joined = "\0".join(texts)
    if joined.isascii() and joined.count("\0") == len(texts) - 1 and len(joined) < MAX_SEARCHED:
        return [b" " + one for one in joined.encode().translate(_LINE_TABLE).lower().split(b"\n")]
    if len(texts) > _CHUNK:
        middle = len(texts) // 2
        return encode_all_words(texts[:middle]) + encode_all_words(texts[middle:])
    return [encode_words(text).lower() for text in texts]


_LINE_TABLE = b"\n" + _WORD_TABLE[1:]
_CHUNK = 64
