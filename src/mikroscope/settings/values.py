"""Describes an option, and parses what the user gave for it into the value the program uses."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from mikroscope.errors import ConfigurationError
from mikroscope.records.zones import zone_named
from mikroscope.settings.origins import check_origin

Kind = Literal[
    "text",
    "password",
    "username",
    "url",
    "path",
    "choice",
    "boolean",
    "integer",
    "list",
    "origins",
    "suffixes",
    "timezone",
    "fields",
    "producers",
]
WebhookFormat = Literal["auto", "mikroscope", "slack", "discord", "teams"]
WEBHOOK_FORMATS: tuple[str, ...] = get_args(WebhookFormat)
"""What an alert may look like; `auto` goes by the webhook's URL."""

HIDDEN = "a secret value (not shown)"
LARGEST_INTEGER = 2**53 - 1  # many JSON parsers round larger integers
PRODUCER_ID = "a letter or digit, then up to 127 letters, digits, dots, underscores or hyphens"

_PRODUCER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUFFIX = re.compile(r"\.[^\s/\\]+")
# The number of digits is limited, so that int() and float() cannot fail.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True)
_BOOLEANS |= dict.fromkeys(("false", "0", "no", "off"), False)
_SHOWN_LENGTH = 80


class Pairs(tuple[tuple[str, object], ...]):
    """A JSON object as its key-value pairs, so that a duplicate key can be reported."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names in every layer, its type and limits, and its documentation."""

    name: str
    key: str | None  # None: not allowed in the config file
    flag: str
    env: str
    kind: Kind
    default: str  # as shown in --help and the docs
    help: str
    group: str
    secret: bool = False
    choices: tuple[str, ...] = ()
    floor: int | None = None  # lower values, even negative ones, are raised to it with a warning
    zero_is_off: bool = False  # 0 is no value below the floor, and negative ones are errors
    maximum: int = LARGEST_INTEGER


def parse(option: Option, raw: object, spelling: str) -> object:
    """Return the option's value, parsed from what the user gave under the name `spelling`.

    Raises ConfigurationError, which names the spelling, the value (unless secret) and what was
    expected.
    """
    try:
        return _PARSERS[option.kind](raw, option)
    except ValueError as error:
        if option.kind == "url":
            raise ConfigurationError(f"{spelling} {error}", f"correct {spelling}") from None
        got = "(value not shown)" if option.secret else f"got {shown(raw)}"
        text = f"{spelling}: expected {error}{' ' if option.secret else ', '}{got}"
        raise ConfigurationError(text, f"correct {spelling}") from None


def shown(raw: object) -> str:
    """Return a value for an error message: short, and always on one line."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if raw is None:
        return "null"
    if isinstance(raw, Pairs | Mapping):
        return "an object"
    if isinstance(raw, list | tuple):
        return "a list"
    text = repr(str(raw)) if isinstance(raw, str | Path) else repr(raw)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def default_text(default: object) -> str:
    """Return an option's default as --help and the docs show it."""
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    if isinstance(default, Path):
        return f"./{default}"
    return "none" if default is None else str(default).lower()


# Each parser raises a ValueError whose text says what was expected. It must not contain the value,
# which may be a secret.


def _text(raw: object, option: Option) -> str:
    if not isinstance(raw, str) or not raw.strip().isprintable():
        raise ValueError("text on one line")
    return raw.strip()


def _password(raw: object, option: Option) -> str:
    # Spaces are kept, too. Lone surrogates (not UTF-8) could never be sent by a client.
    if not isinstance(raw, str) or raw != raw.encode("utf-8", "replace").decode():
        raise ValueError("text in UTF-8")
    return raw


def _username(raw: object, option: Option) -> str:
    # A client that sends logs with Basic auth is a producer, with the username as its name.
    if not isinstance(raw, str) or not _PRODUCER_ID.fullmatch(raw.strip()):
        raise ValueError(PRODUCER_ID)
    return raw.strip()


def _url(raw: object, option: Option) -> str:
    return web_url(raw)


def web_url(raw: object) -> str:
    """Return an http or https URL, without space around it.

    Raises ValueError: what it must be, to follow the name of the option or field. URLs may hold a
    key, so the text does not show the value.
    """
    if not isinstance(raw, str) or not raw.strip().lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https:// (value not shown)")
    if not is_web_url(raw.strip()):
        raise ValueError("must be a URL with a valid host, and no space inside (value not shown)")
    return raw.strip()


def is_web_url(url: str) -> bool:
    """Return True for an http or https URL with a valid host and, if given, a valid port."""
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        is_host = _is_host(parts.hostname or "")
        return parts.scheme in ("http", "https") and is_host and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False


def _is_host(name: str) -> bool:
    """Return True if DNS could resolve the name: no label is empty, too long or badly encoded.

    Names beyond ASCII follow IDNA 2008, as in httpx; the standard library's codec only knows
    IDNA 2003.
    """
    try:
        if not name.isascii() or "xn--" in name:
            import idna  # its tables are large and rarely needed; httpx depends on it

            name = idna.encode(idna.decode(name)).decode()
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def _path(raw: object, option: Option) -> Path:
    if not isinstance(raw, str | Path) or "\0" in str(raw):
        raise ValueError("a path")
    try:
        str(raw).encode()  # SQLite and JSON responses require it
    except UnicodeEncodeError:
        raise ValueError("a path in UTF-8") from None
    if option.name == "db_path" and "://" in str(raw):
        raise ValueError("the path of the index file, not a URL")
    return Path(raw)


def _choice(raw: object, option: Option) -> str:
    if not isinstance(raw, str) or raw.strip().lower() not in option.choices:
        raise ValueError(" or ".join(option.choices))
    return raw.strip().lower()


def _boolean(raw: object, option: Option) -> bool:
    value = _BOOLEANS.get(str(raw).strip().lower()) if isinstance(raw, str | int) else None
    if value is None:
        raise ValueError("true or false (also 1/0, yes/no, on/off)")
    return value


def _integer(raw: object, option: Option) -> int:
    number = whole_number(raw)
    # A value below the floor passes here: it is raised later, if no other layer overrides it.
    least = 0 if option.floor is None or option.zero_is_off else None
    too_low = number is not None and least is not None and number < least
    if number is None or too_low or number > option.maximum:
        least = least if least is not None else option.floor
        raise ValueError(f"a whole number from {least} to {option.maximum}")
    return number


def whole_number(raw: object) -> int | None:
    """Return an int, an integral float or a numeric text as an int; None for anything else."""
    if isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
        return int(raw)
    if isinstance(raw, str) and _NUMBER.fullmatch(raw.strip()):
        raw = float(raw)
    if isinstance(raw, float):
        return int(raw) if raw.is_integer() else None
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def _list(raw: object, option: Option) -> tuple[str, ...]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list | tuple) or isinstance(items, Pairs):
        raise ValueError("texts separated by commas, or a list of texts")
    if not all(isinstance(item, str) and item.strip().isprintable() for item in items):
        raise ValueError("texts separated by commas, or a list of texts")
    return tuple(item.strip() for item in items if item.strip())


def _origins(raw: object, option: Option) -> tuple[str, ...]:
    return tuple(check_origin(origin) for origin in _list(raw, option))


def _timezone(raw: object, option: Option) -> str:
    name = _text(raw, option).strip()
    if zone_named(name) is None:
        raise ValueError("a time zone such as Europe/Berlin, +02:00 or UTC")
    return name


def _suffixes(raw: object, option: Option) -> tuple[str, ...]:
    suffixes = _list(raw, option)
    if not suffixes or not all(_SUFFIX.fullmatch(suffix) for suffix in suffixes):
        raise ValueError("file name endings such as .ndjson, separated by commas")
    return suffixes


def _fields(raw: object, option: Option) -> tuple[str, ...]:
    names = _list(raw, option)
    if not all(any(sign.isalnum() for sign in name) for name in names):
        raise ValueError("field names such as password or api_key, separated by commas")
    return names


def _producers(raw: object, option: Option) -> tuple[tuple[str, str], ...]:
    seen: dict[str, str] = {}
    for number, (token, producer) in enumerate(_producer_pairs(raw), start=1):
        if not token or not token.isprintable():
            raise ValueError(f"a printable token before the producer id in pair {number}")
        if not _PRODUCER_ID.fullmatch(producer):
            raise ValueError(f"a producer id in pair {number} ({PRODUCER_ID})")
        if token in seen:
            raise ValueError(f"each token once (pair {number} has the token of an earlier pair)")
        seen[token] = producer
    return tuple(seen.items())


def _producer_pairs(raw: object) -> list[tuple[str, str]]:
    if isinstance(raw, str):
        return [_producer_pair(text) for text in raw.split(",") if text.strip()]
    pairs = list(raw.items()) if isinstance(raw, Mapping) else raw
    if not isinstance(pairs, list | tuple) or not all(_is_pair(pair) for pair in pairs):
        raise ValueError("token=producer pairs separated by commas, or an object of them")
    return [(token.strip(), producer.strip()) for token, producer in pairs]


def _producer_pair(text: str) -> tuple[str, str]:
    # Split at the last "=": a base64 token may end in "=", a producer id never contains one.
    token, _, producer = text.rpartition("=")
    return token.strip(), producer.strip()


def _is_pair(pair: object) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(part, str) for part in pair)
    )


_PARSERS: dict[Kind, Callable[[object, Option], object]] = {
    "text": _text,
    "password": _password,
    "username": _username,
    "url": _url,
    "path": _path,
    "choice": _choice,
    "boolean": _boolean,
    "integer": _integer,
    "list": _list,
    "origins": _origins,
    "suffixes": _suffixes,
    "timezone": _timezone,
    "fields": _fields,
    "producers": _producers,
}
