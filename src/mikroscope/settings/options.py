# ruff: noqa: RUF009 -- declare() is dataclasses.field() with metadata: it makes nothing mutable.
"""The options of MikroScope: each is stated once, here, and resolved into frozen Settings."""

import logging
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from mikroscope.errors import ConfigurationError
from mikroscope.settings.sources import Given, Layer, read_environment, read_file, read_overrides
from mikroscope.settings.values import HIDDEN, LARGEST_INTEGER, Kind, Option, shown

__all__ = [
    "Option",
    "Settings",
    "config_file",
    "describe",
    "options",
    "resolve_settings",
]

logger = logging.getLogger(__name__)

_KIND_BY_TYPE: dict[object, Kind] = {
    bool: "boolean",
    int: "integer",
    str: "text",
    str | None: "text",
    Path: "path",
    Path | None: "path",
}
# By the last word of the name. Far above any use, and low enough that no timer overflows.
_MAXIMUM_BY_UNIT = {
    "ms": 100 * 365 * 86_400_000,
    "minutes": 100 * 365 * 1440,
    "days": 1_000_000,
    "attempts": 100,
    "port": 65_535,
}
_ALERT_CONFIG_NAME = "mikroscope.alert-config.json"

_T = TypeVar("_T")


def declare(default: _T, help_text: str, /, *, secret: bool = False, **deviations: object) -> _T:
    """Declare an option; `deviations` are those attributes of Option that no rule gives."""
    metadata = {"help": help_text, "secret": secret, **deviations}
    stated: _T = field(default=default, repr=not secret, metadata=metadata)
    return stated


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option with its value in force; build one with `resolve_settings`.

    A field states its option. The rest follows by rule: names in file, environment and on the
    command line from the field's name, the largest number from its last word, the kind from its
    type. The order is that of the docs; a group lasts until the next one is named.
    """

    logs_path: Path = declare(
        Path("./logs"),
        "Root of the log files to read and write.",
        group="Core and security",
        flag="--logs",
    )
    db_path: Path = declare(Path("./data/mikroscope.db"), "File that holds the index.", flag="--db")
    host: str = declare("127.0.0.1", "Address to listen on.")
    port: int = declare(4310, "Port to listen on; 0 takes any free one.")
    protocol: Literal["http", "https"] = declare(
        "http", "What the server speaks: http or https.", kind="choice", choices=("http", "https")
    )
    tls_cert_path: Path | None = declare(
        None, "Certificate chain in PEM format; https needs it.", flag="--tls-cert"
    )
    tls_key_path: Path | None = declare(
        None, "Private key in PEM format; https needs it.", flag="--tls-key"
    )
    api_token: str | None = declare(None, "Bearer token that opens the API.", secret=True)
    auth_username: str | None = declare(
        None,
        "Basic auth: the user who may use the API and send logs, as the producer of that name.",
        kind="username",
    )
    auth_password: str | None = declare(
        None, "Basic auth: that user's password.", kind="password", secret=True
    )
    cors_allow_origin: tuple[str, ...] = declare(
        ("*",),
        "Origins whose pages may call the API, separated by commas; * stands for any.",
        kind="list",
    )

    max_concurrent_requests: int = declare(
        256, "Requests that are worked on at a time; more get 503 at once.", floor=1
    )
    query_timeout_ms: int = declare(
        30_000, "Milliseconds after which a query is stopped and gets 503.", floor=100
    )
    log_requests: bool = declare(False, "Log every request; failures here are always logged.")
    log_format: Literal["text", "ndjson"] = declare(
        "text",
        "How the server's own log is written, on stderr: text or ndjson.",
        kind="choice",
        choices=("text", "ndjson"),
    )

    ingest_producers: tuple[tuple[str, str], ...] = declare(
        (),
        "Who may send logs: token=producer pairs separated by commas "
        "(in the file also an object: tokens to producers).",
        group="Ingest and indexing",
        kind="producers",
        secret=True,
    )
    ingest_max_body_bytes: int = declare(
        1_048_576,
        "Bytes that an ingest body may have, counted after decompression.",
        floor=1024,
    )
    ingest_interval_ms: int = declare(
        2000,
        "Milliseconds between two looks for new lines; up to 16 times as many where nothing "
        "happens and the system tells of changes.",
        floor=250,
    )
    disable_auto_ingest: bool = declare(
        False, "Look for new lines once at the start, and not while running."
    )
    ingest_async_queue: bool = declare(
        False, "Answer ingest requests with 202 before their records are written."
    )
    ingest_queue_flush_ms: int = declare(
        25, "Milliseconds that records may gather in that queue before they are written.", floor=1
    )
    log_file_suffixes: tuple[str, ...] = declare(
        (".ndjson", ".ndjson.gz", ".jsonl", ".log"),
        "Which files are read, by the end of the name; a .log file only if its first line is JSON.",
        kind="suffixes",
    )

    db_retention_days: int = declare(
        30,
        "Days that normal entries stay in the index; 0 keeps them for good.",
        group="Retention and maintenance",
    )
    db_audit_retention_days: int = declare(
        365, "Days that audit entries stay in the index; 0 keeps them for good."
    )
    log_retention_days: int = declare(30, "Days that normal log files stay; 0 keeps them for good.")
    log_audit_retention_days: int = declare(
        365, "Days that audit log files stay; 0 keeps them for good."
    )
    audit_backup_directory: Path | None = declare(
        None,
        "Where audit files are copied to before they are deleted.",
        flag="--audit-backup-dir",
        env="MIKROSCOPE_AUDIT_BACKUP_DIR",
    )
    maintenance_interval_ms: int = declare(
        21_600_000, "Milliseconds between two clean-ups.", floor=1000
    )
    min_free_bytes: int = declare(
        268_435_456,
        "Bytes that must be free on the disks of index and logs, at the start and to take logs.",
    )

    alert_webhook_url: str | None = declare(
        None,
        "Where alerts are posted to; without it there are none.",
        group="Alerting",
        kind="url",
        secret=True,  # such URLs often hold a key
    )
    alert_interval_ms: int = declare(
        30_000, "Milliseconds between two evaluations of the alert rules.", floor=1000
    )
    alert_window_minutes: int = declare(
        5, "Minutes back from now in which errors are counted.", floor=1
    )
    alert_error_threshold: int = declare(
        20, "Errors within that window that raise an alert.", floor=1
    )
    alert_no_logs_threshold_minutes: int = declare(
        0, "Minutes without any log that raise an alert; 0 switches this rule off."
    )
    alert_cooldown_ms: int = declare(
        300_000,
        "Milliseconds that must lie between two notifications of one rule.",
        floor=1000,
    )
    alert_webhook_timeout_ms: int = declare(
        5000, "Milliseconds that one delivery to the webhook may take.", floor=250
    )
    alert_webhook_retry_attempts: int = declare(
        3, "Tries to deliver an alert before it is given up.", floor=1
    )
    alert_webhook_backoff_ms: int = declare(
        250, "Milliseconds before the second try; each further wait is twice as long.", floor=25
    )
    alert_config_path: Path | None = declare(
        None,
        "File that keeps the alert policy set over HTTP; unset, it lies beside the index.",
        default=f"<db dir>/{_ALERT_CONFIG_NAME}",
    )

    @property
    def alert_config_file(self) -> Path:
        """The file that keeps the alert policy: as configured, else beside the index."""
        return self.alert_config_path or self.db_path.parent / _ALERT_CONFIG_NAME


_CONFIG = Option(
    name="config_path",
    key=None,
    flag="--config",
    env="MIKROSCOPE_CONFIG_PATH",
    kind="path",
    default="./mikroscope.config.json",
    help="JSON file of options; the default one may be missing, one that is named may not.",
    group="Core and security",
)
_HTTPS = Option(
    name="https",
    key="https",
    flag="--https",
    env="MIKROSCOPE_HTTPS",
    kind="boolean",
    default="false",
    help="Another way to say protocol: true is https, false is http.",
    group="Core and security",
)
# The options that are no field of Settings stand behind the field named here.
_AFTER_FIELD = {"db_path": (_CONFIG,), "protocol": (_HTTPS,)}


@cache
def options() -> tuple[Option, ...]:
    """Every option in the order of the docs: the fields of Settings, `--config` and `--https`.

    `https` is an alias of `protocol`. `config_path` has no JSON key and is no override: its value
    is the first argument of `resolve_settings`.
    """
    found: list[Option] = []
    for stated in fields(Settings):
        found.append(_option(stated, found[-1].group if found else ""))
        found += _AFTER_FIELD.get(stated.name, ())
    return tuple(found)


def resolve_settings(
    config_file_path: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Merge defaults, config file, environment and overrides; the later layer wins.

    Overrides are flags or direct parameters: keys are field names or JSON keys, values are text or
    native ones, None is not set. Raises ConfigurationError for what is wrong in any layer, also
    where another layer wins, and warns of each value in force that is raised to its floor.
    """
    env = os.environ if env is None else env
    settable = {option.name: option for option in options() if option.key}
    given = read_file(*config_file(config_file_path, env), settable.values())
    given |= read_environment(env, settable.values())
    given |= read_overrides(overrides or {}, settable.values())
    values: dict[str, Any] = {name: _in_force(settable[name], given[name]) for name in given}
    settings = Settings(**values)
    _require(given, "auth_username", settable["auth_password"])
    _require(given, "auth_password", settable["auth_username"])
    if settings.protocol == "https":
        _require(given, "protocol", settable["tls_cert_path"], settable["tls_key_path"])
    return settings


def describe(settings: Settings) -> dict[str, object]:
    """The settings by JSON key, fit for JSON and for logs: a secret that is set is masked."""
    described = {
        option.key: _plain(getattr(settings, option.name), option.secret)
        for option in options()
        if option.key and option is not _HTTPS
    }
    return described | {"alertConfigPath": str(settings.alert_config_file)}


def _option(stated: Field[Any], group: str) -> Option:
    """The option that a field of Settings states; `group` is that of the field before."""
    words = stated.name.split("_")
    by_rule: dict[str, Any] = {
        "name": stated.name,
        "key": words[0] + "".join(word.capitalize() for word in words[1:]),
        "flag": "--" + "-".join(words),
        "env": "MIKROSCOPE_" + stated.name.upper(),
        "kind": _KIND_BY_TYPE.get(stated.type),
        "default": _default_text(stated.default),
        "maximum": _MAXIMUM_BY_UNIT.get(words[-1], LARGEST_INTEGER),
        "group": group,
    }
    return Option(**by_rule | dict(stated.metadata))


def _default_text(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    if isinstance(default, Path):
        return f"./{default}"
    return "none" if default is None else str(default).lower()


def config_file(argument: str | Path | None, env: Mapping[str, str]) -> tuple[str, str | None]:
    """The config file's path, and the flag or variable that names it (None: the default file)."""
    if argument is not None and str(argument).strip():
        return str(argument), _CONFIG.flag
    if env.get(_CONFIG.env, "").strip():
        return env[_CONFIG.env], _CONFIG.env
    return _CONFIG.default, None


def _in_force(option: Option, given: Given) -> object:
    if option.floor is None or given.value >= option.floor:
        return given.value
    logger.warning(
        "%s: %d is too low and is raised to %d", given.spelling, given.value, option.floor
    )
    return option.floor


def _require(given: Layer, name: str, *needed: Option) -> None:
    """Refuse an option that was given without those it cannot do without."""
    missing = [f"{other.flag} ({other.env})" for other in needed if other.name not in given]
    if name not in given or not missing:
        return
    secret = any(option.secret for option in options() if option.name == name)
    value = HIDDEN if secret else shown(given[name].value)
    raise ConfigurationError(
        f"{given[name].spelling}: expected together with {' and '.join(missing)}, got {value} alone"
    )


def _plain(value: object, secret: bool) -> object:
    if secret:
        return "[configured]" if value else None
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
