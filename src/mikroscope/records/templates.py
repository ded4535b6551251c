"""Turns messages into templates: what changes becomes `<*>`, so that one kind shares one text.

What is masked:

- Text in quotes after a space, `=`, `:`, `,`, `|` or an opening bracket: `relation "users"` becomes
  `relation <*>`. Three kinds of quotes are kept: at the beginning of a message, or after klog's
  `] `, they contain the message itself; a JSON key says what its value is; of a request line
  (`"GET /orders/7 HTTP/1.1"`) only the numbers are masked. An apostrophe within a word is not a
  quote, nor is a quote without a partner.
- Words that begin with a digit, and what is joined to them: units, times, dates, IP addresses,
  versions, UUIDs, hexadecimal ids. A list is masked as one: `[1, 2, 3]` becomes `[<*>]`.
- MAC and IPv6 addresses.
- Ids that begin with a letter: letters and digits that alternate (`x2x9z`), or eight and more
  hexadecimal digits, not only letters.
- Numbers in other words: `worker12` becomes `worker<*>`. They are kept where they look like a part
  of a name: up to three digits after up to three letters, or after `http`, `base`, `auth` and
  `TLSv` (`v2`, `utf8`, `sha256`, `k8s`, `http2`). In doubt they are masked: `sha<*>` can still be
  read, but a template for each worker hides that they are of one kind. `-` and `_` end a word:
  `shop-07` becomes `shop-<*>`.

All of them have the same placeholder: the words around it show what it stands for, and a kind is
not split because a value looks different in some of its messages.

Why it is fast: all messages are masked in one text, and in that every digit has become 0. So many
of them are equal, and each pattern begins with one certain byte, for which `re` searches with
`memchr`. Digits that are kept are put back from their places in the message.
"""

import re
import string
from collections.abc import Callable, Sequence

MAX_CHARACTERS = 256
"""A longer message is cut, at a space if there is one."""
MAX_WORDS = 64
"""A message with more words, separated by spaces, is cut."""
PLACEHOLDER = "<*>"
CUT_ENDING = " …"
"""The end of the template of a message that was cut."""

# Controls with a meaning while messages are masked; those in messages become U+FFFD.
_MASKED, _ID, _CUT, _END = b"\x1c", b"\x1d", b"\x1e", b"\x1f"
_CUT_TEXT, _END_TEXT = _CUT.decode(), _END.decode()
_WITHOUT_MARKS = dict.fromkeys(b"\x1c\x1d\x1e\x1f", "\ufffd")
_MAYBE_LONG = min(MAX_CHARACTERS, 2 * MAX_WORDS) + 1  # characters
_SPACED_WORD = re.compile("[^ ]+")
_WORD = (string.ascii_letters + string.digits).encode()
_ZEROS = bytes.maketrans(b"123456789", b"000000000")

# In all patterns 0 stands for any digit. Nothing crosses `_END`, and no repetition can be divided
# in two ways: at worst, a message takes time quadratic in MAX_CHARACTERS.
#
# A quote does not contain `<*>`. Otherwise one that has no end because of what is in it could be
# found in a template, where that is masked, and a template would not be its own template.
_QUOTED = rb"""
    Q (?<= [ \t\r\n=(\[{:,|] Q ) (?<! \]\ Q )
    (?! \s | (?: GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS )\  )
    [^Q\\<\x1e\x1f]*+ (?: (?: \\ [^<\x1e\x1f] | < (?!\*>) ) [^Q\\<\x1e\x1f]*+ )*+
    (?:
        Q (?! [\w<\x80-\xff] )
        (?! :\ ?(?: ["'{\[<0-9-] | true | false | null | True | False | None ) )  # not a key
      | (?= \x1e )
    )
"""
_QUOTES = [
    (quote, re.compile(_QUOTED.replace(b"Q", quote), re.VERBOSE)) for quote in (b'"', b"'", b"`")
]
# From the first colon of an address; `_without_beginnings` masks the digits before it.
_ADDRESS = re.compile(rb":(?<=[0A-Fa-f]:)(?:[0A-Fa-f]{0,4}:){2,6}[0A-Fa-f]{1,4}(?![0A-Za-z:])")
_LOG_DATE = re.compile(rb"/(?<=0/)[A-Z][a-z][a-z]/(?=0000:0)")  # 18/Feb/2026:10:20:00
_NUMBER = re.compile(
    rb"0(?<![0A-Za-z]0)[0A-Za-z]*+(?:[.:,+-]:?[A-Za-z]*+0[0A-Za-z]*+)*+",
)
# From the first digit of an id; `_without_beginnings` masks the letters before it.
_HEX = b"|".join(
    b"(?<=[A-Fa-f]{%d}0)(?<![0A-Za-z][A-Fa-f]{%d}0)[0A-Fa-f]{%d,}" % (before, before, 7 - before)
    for before in range(1, 7)
)
_ID_WORD = re.compile(
    rb"0(?<=[A-Za-z]0)(?:0*+[A-Za-z]++0[0A-Za-z]*+"
    rb"|(?:" + _HEX + rb"|(?<=[A-Fa-f]{7}0)[0A-Fa-f]*)(?![0A-Za-z]))"
)
_NUMBERED = re.compile(
    rb"0(?<=[A-Za-z]0)(?:(?=000)|(?<=[A-Za-z]{4}0)(?<!(?i:http|base|auth|tlsv)0))[0A-Za-z]*+"
)
_MICROSECONDS = re.compile(rb"\x1c(?:\xc2\xb5|\xce\xbc)s(?![0A-Za-z])")  # with either letter
_SERIES = re.compile(rb"\x1c(?:(?:, ?|[.:+-]|::)?\x1c|[:-][A-Fa-f]{4}[:-]\x1c)++")
_ZERO = re.compile(b"0")
_FINALLY = (
    (b" -\x1c", b" \x1c"),
    (b"=-\x1c", b"=\x1c"),
    (_MASKED, PLACEHOLDER.encode()),
    (_CUT, CUT_ENDING.encode()),
)

_Replacement = bytes | Callable[[re.Match[bytes]], bytes]


def template_of(message: str) -> str:
    """Return the message with `<*>` for its changing parts.

    Equal messages have equal templates; no text makes it raise. A template is its own template,
    unless it exceeds the limits itself.
    """
    return templates_of([message])[0]


def templates_of(messages: Sequence[str]) -> list[str]:
    """Return the template of each message; the more at once, the less time for each."""
    if not messages:
        return []
    text = _without_quotes(_joined(messages))
    zeroed = text.translate(_ZEROS).split(_END)
    forms = list(dict.fromkeys(zeroed))
    masked = _finished(_masked(_END.join(forms)))
    found = dict(zip(forms, masked.decode("utf-8", "surrogatepass").split(_END_TEXT), strict=True))
    templates = [found[form] for form in zeroed]
    if b"0" in masked:
        with_digits = {form: template for form, template in found.items() if "0" in template}
        _put_digits_back(templates, text.split(_END), zeroed, with_digits)
    return templates


def _joined(messages: Sequence[str]) -> bytes:
    """Return the messages in UTF-8, those that are too long cut, with `_END` between two."""
    parts = list(messages)
    cut = 0
    for index, message in enumerate(messages):
        if len(message) >= _MAYBE_LONG:
            parts[index] = _cut(message)
            cut += parts[index] is not message
    text = _END_TEXT.join(parts)
    controls = text.count("\x1c") + text.count("\x1d") + text.count("\x1e") + text.count("\x1f")
    if controls != cut + len(messages) - 1:
        return _joined([message.translate(_WITHOUT_MARKS) for message in messages])
    return text.encode("utf-8", "surrogatepass")


def _cut(message: str) -> str:
    """Return a message within the limits; one that exceeds them is cut and ends in `_CUT`."""
    end = len(message)
    if end > MAX_CHARACTERS:
        space = message.rfind(" ", 0, MAX_CHARACTERS)
        end = space if space > 0 else MAX_CHARACTERS
    if message.count(" ", 0, end) >= MAX_WORDS:
        ends = [word.end() for word in _SPACED_WORD.finditer(message, 0, end)]
        end = ends[MAX_WORDS - 1] if len(ends) > MAX_WORDS else end
    return message if end == len(message) else message[:end] + _CUT_TEXT


def _without_quotes(text: bytes) -> bytes:
    """Return text with each masked quote replaced by `_MASKED`."""
    for quote, pattern in _QUOTES:
        if quote in text:
            text = pattern.sub(_MASKED, text)
    return text


def _masked(text: bytes, keep_length: bool = False) -> bytes:
    """Return zeroed text without numbers and ids, if need be with a mark for each byte of them."""
    masked: _Replacement = _masked_each if keep_length else _MASKED
    ended: _Replacement = _id_each if keep_length else _ID
    if b"/0000:0" in text:
        text = _LOG_DATE.sub(masked, text)
    if b":" in text:
        text = _without_beginnings(_ADDRESS.sub(ended, text), keep_length)
    text = _NUMBER.sub(masked, text)
    if b"0" not in text:
        return text
    text = _without_beginnings(_ID_WORD.sub(ended, text), keep_length)
    return _NUMBERED.sub(masked, text)


def _masked_each(found: re.Match[bytes]) -> bytes:
    return _MASKED * len(found[0])


def _id_each(found: re.Match[bytes]) -> bytes:
    return _ID + _MASKED * (len(found[0]) - 1)


def _without_beginnings(text: bytes, keep_length: bool) -> bytes:
    """Return text in which each `_ID`, with the letters and digits before it, is masked."""
    if _ID not in text:
        return text
    *parts, last = text.split(_ID)
    stripped = [part.rstrip(_WORD) for part in parts]
    if keep_length:
        stripped = [
            short.ljust(len(part), _MASKED) for short, part in zip(stripped, parts, strict=True)
        ]
    return _MASKED.join([*stripped, last])


def _finished(text: bytes) -> bytes:
    """Return masked text as it is shown: lists and what is joined are one, signs are left out."""
    if b"\xb5s" in text or b"\xbcs" in text:
        text = _MICROSECONDS.sub(_MASKED, text)
    text = _SERIES.sub(_MASKED, text)
    for old, new in _FINALLY:
        text = text.replace(old, new)
    return text


def _put_digits_back(
    templates: list[str], lines: list[bytes], zeroed: list[bytes], found: dict[bytes, str]
) -> None:
    """Replace the zeros in templates by the digits of their lines."""
    kept = _masked(_END.join(found), keep_length=True).split(_END)
    formats = {
        form: (
            template.replace("%", "%%").replace("0", "%c"),
            [zero.start() for zero in _ZERO.finditer(left)],
        )
        for (form, template), left in zip(found.items(), kept, strict=True)
    }
    for index, form in enumerate(zeroed):
        if form in formats:
            template, places = formats[form]
            line = lines[index]
            templates[index] = template % tuple([line[place] for place in places])
