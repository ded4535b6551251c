"""Reads the layers that set options: config file, environment, overrides."""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mikroscope.errors import ConfigurationError
from mikroscope.errors.wording import did_you_mean, nearest
from mikroscope.settings.values import Option, Pairs, parse, shown

logger = logging.getLogger(__name__)

_PREFIX = "MIKROSCOPE_"
_OTHERS = tuple(  # variables of the installer, the client and other programs of ours
    f"{_PREFIX}{name}" for name in ("CONFIG_PATH", "INSTALL_", "BIN_DIR", "PYTHON", "URL", "TOKEN")
)
_KUBERNETES = re.compile(
    r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)


class Given(NamedTuple):
    """An option's value in one layer, and the name under which the user wrote it."""

    value: Any
    spelling: str


Layer = dict[str, Given]  # by the option's name
Blanks = dict[str, str]  # the spellings of credentials that are given without a value
CREDENTIALS = ("api_token", "auth_username", "auth_password", "ingest_producers")


def read_file(
    path: str, named_by: str | None, options: Iterable[Option], blanks: Blanks | None = None
) -> Layer:
    """Read the layer of a JSON config file. Raises ConfigurationError.

    Like the other layers, it adds to `blanks` the credentials that are empty.

    `named_by` is the flag or variable that named the file, for error messages. None means the
    default file, the only one that may be missing.
    """
    text = _file_text(path, named_by)
    if text is None:
        return {}
    place = path if path.isprintable() else repr(path)
    by_key = {option.key: option for option in options if option.key}
    layer: Layer = {}
    for key, raw in _json_pairs(text, place):
        if key not in by_key:
            raise _unknown(key, f" in {place}", by_key)
        option = by_key[key]
        if option.name in layer:
            raise ConfigurationError(f"{key} in {place}: expected once, got it twice")
        if _is_blank(raw):
            _note(blanks, option, f"{key} in {place}")
        else:
            layer[option.name] = _given(option, raw, f"{key} in {place}")
    return _fold_https(layer)


def read_environment(
    env: Mapping[str, str], options: Iterable[Option], blanks: Blanks | None = None
) -> Layer:
    """Read the layer of the environment. Raises ConfigurationError.

    Other variables with our prefix may be misspelt, so a warning names the nearest one. Kubernetes
    sets some for a service called `mikroscope`; these say nothing about options.
    """
    known = {option.env: option for option in options if option.env}
    layer: Layer = {}
    for name, text in env.items():
        if not name.startswith(_PREFIX) or _is_of_kubernetes(name, text):
            continue
        if name in known:
            if _is_blank(text):
                _note(blanks, known[name], name)
            else:
                layer[known[name].name] = _given(known[name], text, name)
        elif not name.startswith(_OTHERS):
            text = f"{name} is not an option and is ignored{did_you_mean(name, known)}"
            meant = nearest(name, known)
            fix = f"unset {name}" if meant is None else f"rename it to {meant}, or unset it"
            logger.warning("%s", text, extra={"fix": fix})
    return _fold_https(layer)


def _is_of_kubernetes(name: str, text: str) -> bool:
    """Return whether Kubernetes sets a variable like this in every container of a namespace.

    It does so for each service there ("Discovering services" in its documentation).
    """
    return bool(_KUBERNETES.search(name)) or (
        name.endswith("_PORT") and text.startswith(("tcp://", "udp://", "sctp://"))
    )


def read_overrides(
    overrides: Mapping[str, object], options: Iterable[Option], blanks: Blanks | None = None
) -> Layer:
    """Read the layer of flags and direct parameters. Raises ConfigurationError.

    Keys are field names or JSON keys; None means "not set".
    """
    by_name = {name: option for option in options for name in (option.name, option.key) if name}
    layer: Layer = {}
    for name, raw in overrides.items():
        if name not in by_name:
            raise _unknown(name, "", by_name)
        option = by_name[name]
        # An empty text means "none"; an empty number or switch is a mistake, which parse() refuses.
        if raw is None:
            continue
        if _is_blank(raw) and option.kind not in ("integer", "boolean"):
            _note(blanks, option, option.flag)
            continue
        if option.name in layer:
            raise ConfigurationError(f"{option.flag}: expected once, got it twice")
        layer[option.name] = _given(option, raw, option.flag)
    return _fold_https(layer)


def _given(option: Option, raw: object, spelling: str) -> Given:
    return Given(parse(option, raw, spelling), spelling)


def _note(blanks: Blanks | None, option: Option, spelling: str) -> None:
    if blanks is not None and option.name in CREDENTIALS:
        blanks[option.name] = spelling


def _is_blank(raw: object) -> bool:
    return raw is None or (isinstance(raw, str) and not raw.strip())


def _fold_https(layer: Layer) -> Layer:
    """Replace the alias `https` by `protocol`. Raises ConfigurationError if they disagree."""
    switch = layer.pop("https", None)
    if switch is None:
        return layer
    protocol = "https" if switch.value else "http"
    given = layer.get("protocol", switch._replace(value=protocol))
    if given.value != protocol:
        raise ConfigurationError(
            f"{switch.spelling}: {shown(switch.value)} contradicts {given.spelling}, "
            f"which is {shown(given.value)}; set only one of them, or make both agree"
        )
    return layer | {"protocol": given}


def _file_text(path: str, named_by: str | None) -> str | None:
    spelling = named_by or "config file"
    try:
        with open(path, encoding="utf-8-sig") as file:  # editors on Windows write a BOM
            return file.read()
    except FileNotFoundError:
        if named_by is None:
            return None
        raise ConfigurationError(
            f"{spelling}: expected an existing file, got {shown(path)}"
        ) from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except ValueError:  # not UTF-8, or a path that cannot exist
        reason = "is not UTF-8 text"
    raise ConfigurationError(f"{spelling}: expected a JSON file, but {shown(path)} {reason}")


def _json_pairs(text: str, place: str) -> Pairs:
    try:
        content = json.loads(text, object_pairs_hook=Pairs)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        text = f"{place}: expected JSON, but {where}: {error.msg}"
        raise ConfigurationError(text, f"correct {where} of {place}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or deep nesting
        raise ConfigurationError(f"{place}: expected JSON of sensible size and depth") from None
    if not isinstance(content, Pairs):
        raise ConfigurationError(f"{place}: expected one JSON object, got {shown(content)}")
    return content


def _unknown(name: str, place: str, known: Iterable[str]) -> ConfigurationError:
    meant = nearest(name, known)
    fix = "remove it" if meant is None else f"rename it to '{meant}'"
    text = f"Unknown option {shown(name)}{place}{did_you_mean(name, known)}"
    return ConfigurationError(text, f"{fix}{place}")
