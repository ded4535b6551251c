# ruff: noqa: RUF009 -- declare() is dataclasses.field() with metadata: it makes nothing mutable.
"""The options of MikroScope: each is declared once, here, and resolved into frozen Settings."""

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from mikroscope.errors import ConfigurationError
from mikroscope.settings.floors import effective, warn_of_blanks
from mikroscope.settings.sources import (
    Blanks,
    Layer,
    read_environment,
    read_file,
    read_overrides,
)
from mikroscope.settings.values import (
    HIDDEN,
    LARGEST_INTEGER,
    WEBHOOK_FORMATS,
    Kind,
    Option,
    WebhookFormat,
    default_text,
    shown,
)

__all__ = [
    "Option",
    "Settings",
    "config_file",
    "options",
    "resolve_settings",
]

_KIND_BY_TYPE: dict[object, Kind] = {
    bool: "boolean",
    int: "integer",
    str: "text",
    str | None: "text",
    Path: "path",
    Path | None: "path",
}
# By the last word of an option's name: far above any real use, low enough that no timer overflows.
_MAXIMUM_BY_UNIT = {
    "ms": 100 * 365 * 86_400_000,
    "minutes": 100 * 365 * 1440,
    "days": 1_000_000,
    "attempts": 100,
    "port": 65_535,
}
_ALERT_CONFIG_NAME = "mikroscope.alert-config.json"
_CONFIG_PATH = "./mikroscope.config.json"

_T = TypeVar("_T")


def declare(default: _T, help_text: str, /, *, secret: bool = False, **deviations: object) -> _T:
    """Declare an option; `deviations` override attributes of Option that otherwise follow by rule.

    The help text is a sentence: it appears in --help and in docs/reference/configuration.md.
    """
    metadata = {"help": help_text, "secret": secret, **deviations}
    declared: _T = field(default=default, repr=not secret, metadata=metadata)
    return declared


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective value of every option; build one with `resolve_settings`.

    Each field but `given` declares one option. The rest follows by rule: the JSON key, the
    environment variable and the flag from the field's name, the maximum from its last word, the
    kind from its type. The docs list options in this order; a field without `group` belongs to the
    group before it.
    """

    logs_path: Path = declare(
        Path("./logs"),
        "Root directory of the log files, both those to index and those written by ingest.",
        group="Core and security",
        flag="--logs",
    )
    db_path: Path = declare(
        Path("./data/mikroscope.db"), "Index file (an SQLite database).", flag="--db"
    )
    host: str = declare("127.0.0.1", "Address to listen on.")
    port: int = declare(4310, "Port to listen on; 0 picks a free one.")
    protocol: Literal["http", "https"] = declare(
        "http", "Protocol to serve: http or https.", kind="choice", choices=("http", "https")
    )
    tls_cert_path: Path | None = declare(
        None, "Certificate chain in PEM format; required for https.", flag="--tls-cert"
    )
    tls_key_path: Path | None = declare(
        None, "Private key in PEM format; required for https.", flag="--tls-key"
    )
    api_token: str | None = declare(None, "Bearer token required by the API.", secret=True)
    auth_username: str | None = declare(
        None,
        "Basic auth user, who may query the API and send logs (this is also the producer's name).",
        kind="username",
    )
    auth_password: str | None = declare(
        None, "Password of the Basic auth user.", kind="password", secret=True
    )
    cors_allow_origin: tuple[str, ...] = declare(
        ("*",),
        "Origins (scheme://host[:port]) whose pages may call the API, with commas; * allows any.",
        kind="origins",
    )

    max_concurrent_requests: int = declare(
        256,
        "Maximum number of requests handled at the same time; further ones get 503 at once.",
        floor=1,
    )
    query_timeout_ms: int = declare(
        30_000, "Milliseconds after which a query is stopped and answered with 503.", floor=100
    )
    log_requests: bool = declare(
        False, "Log every request; those answered with 5xx are always logged."
    )
    log_format: Literal["text", "ndjson"] = declare(
        "text",
        "Format of the server's own log on stderr: text or ndjson.",
        kind="choice",
        choices=("text", "ndjson"),
    )

    ingest_producers: tuple[tuple[str, str], ...] = declare(
        (),
        "Clients that may send logs: token=producer pairs separated by commas "
        "(in the config file also an object from token to producer).",
        group="Ingest and indexing",
        kind="producers",
        secret=True,
    )
    ingest_max_body_bytes: int = declare(
        1_048_576,
        "Maximum size of an ingest request body in bytes, after decompression.",
        floor=1024,
    )
    ingest_interval_ms: int = declare(
        2000,
        "Scan interval in milliseconds. While idle, and if file-system events work, "
        "up to 16 times longer.",
        floor=250,
    )
    disable_auto_ingest: bool = declare(
        False, "Scan the log files once at startup, and not while running."
    )
    ingest_async_queue: bool = declare(
        False, "Queue ingested records and answer 202 before they are written."
    )
    ingest_queue_flush_ms: int = declare(
        25, "Milliseconds that queued records may wait before they are written.", floor=1
    )
    ingest_fsync: bool = declare(
        False,
        "Wait until ingested records are on the disk (fsync), so that those that are answered "
        "with 200 survive a crash of the machine.",
    )
    log_file_suffixes: tuple[str, ...] = declare(
        (".ndjson", ".ndjson.gz", ".jsonl", ".log"),
        "Suffixes of the files to index, also of rotated and packed ones (.gz, .zst); a .log file "
        "is indexed only if its first line is JSON.",
        kind="suffixes",
    )
    default_timezone: str = declare(
        "UTC",
        "Time zone of times in logs that name none: Europe/Berlin, +02:00. If you change "
        "it, the next start rebuilds the index.",
        kind="timezone",
    )

    db_retention_days: int = declare(
        30,
        "Days to keep normal entries in the index; 0 keeps them forever.",
        group="Retention and maintenance",
    )
    db_audit_retention_days: int = declare(
        365, "Days to keep audit entries in the index; 0 keeps them forever."
    )
    log_retention_days: int = declare(
        30,
        "Days to keep normal log files; 0 keeps them forever. "
        "Files that MikroScope did not write are deleted only if this is set.",
    )
    log_audit_retention_days: int = declare(
        365,
        "Days to keep audit log files; 0 keeps them forever. "
        "Files that MikroScope did not write are deleted only if this is set.",
    )
    audit_backup_directory: Path | None = declare(
        None,
        "Directory to copy audit log files to before they are deleted; unset, no copy is made.",
        flag="--audit-backup-dir",
        env="MIKROSCOPE_AUDIT_BACKUP_DIR",
    )
    db_max_bytes: int = declare(
        0,
        "Maximum size of the index in bytes: its oldest entries leave first; 0 sets no limit.",
        floor=4_194_304,
        zero_is_off=True,
    )
    maintenance_interval_ms: int = declare(
        21_600_000, "Milliseconds between two maintenance runs, which apply retention.", floor=1000
    )
    min_free_bytes: int = declare(
        268_435_456,
        "Bytes that must stay free on the disks of the index and the logs; "
        "with less, the server does not start and refuses ingest.",
    )

    alert_webhook_url: str | None = declare(
        None,
        "URL to post alerts to; unset, no alerts are sent.",
        group="Alerting",
        kind="url",
        secret=True,  # such URLs often hold a key
    )
    alert_webhook_format: WebhookFormat = declare(
        "auto",
        "What is posted: mikroscope (the JSON of the reference), or a message for slack, discord "
        "or teams; auto recognises these three by the URL.",
        kind="choice",
        choices=WEBHOOK_FORMATS,
    )
    alert_interval_ms: int = declare(
        30_000, "Milliseconds between two evaluations of the alert rules.", floor=1000
    )
    alert_window_minutes: int = declare(
        5, "Length in minutes of the window, ending now, in which errors are counted.", floor=1
    )
    alert_error_threshold: int = declare(
        20, "Number of errors within the window that triggers an alert.", floor=1
    )
    alert_no_logs_threshold_minutes: int = declare(
        0, "Minutes without a new entry that trigger an alert; 0 disables this rule."
    )
    alert_cooldown_ms: int = declare(
        300_000,
        "Minimum time in milliseconds between two notifications of the same rule.",
        floor=1000,
    )
    alert_webhook_timeout_ms: int = declare(
        5000, "Milliseconds after which one attempt to reach the webhook fails.", floor=250
    )
    alert_webhook_retry_attempts: int = declare(
        3, "Maximum number of attempts to deliver a notification, the first one included.", floor=1
    )
    alert_webhook_backoff_ms: int = declare(
        250,
        "Milliseconds to wait before the second attempt; each further wait is twice as long.",
        floor=25,
    )
    alert_config_path: Path | None = declare(
        None,
        "File that stores the alert policy set over HTTP; unset, it is next to the index.",
        default=f"<db dir>/{_ALERT_CONFIG_NAME}",
    )
    redact_fields: tuple[str, ...] = declare(
        (
            *("password", "passwd", "pwd", "passphrase", "secret", "token", "authorization"),
            *("cookie", "cookies", "apiKey", "accessKey", "privateKey", "secretKey"),
        ),
        "Fields whose values notifications show as ***; apiKey also means api_key, x-api-key and "
        "stripeApiKey.",
        kind="fields",
    )

    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The names of the options that a file, a variable or a flag has set; not an option itself."""

    @property
    def alert_config_file(self) -> Path:
        """The file that stores the alert policy: as configured, else next to the index."""
        return self.alert_config_path or self.db_path.parent / _ALERT_CONFIG_NAME

    @property
    def own_files(self) -> tuple[Path, ...]:
        """What the names of the program's own files begin with, beside those of logs."""
        return self.db_path, self.alert_config_file.with_suffix(""), Path(_CONFIG_PATH)


_CONFIG = Option(
    name="config_path",
    key=None,
    flag="--config",
    env="MIKROSCOPE_CONFIG_PATH",
    kind="path",
    default=_CONFIG_PATH,
    help="Config file in JSON. Only the default file may be missing.",
    group="Core and security",
)
_HTTPS = Option(
    name="https",
    key="https",
    flag="--https",
    env="MIKROSCOPE_HTTPS",
    kind="boolean",
    default="false",
    help="Alias of protocol: true means https, false means http.",
    group="Core and security",
)
# Options that are not fields of Settings; the docs list them after the field named here.
_AFTER_FIELD = {"db_path": (_CONFIG,), "protocol": (_HTTPS,)}


@cache
def options() -> tuple[Option, ...]:
    """Return every option in the order of the docs: Settings' fields, `--config` and `--https`.

    `https` is an alias of `protocol`. `config_path` has no JSON key and is not an override: its
    value is the first argument of `resolve_settings`.
    """
    found: list[Option] = []
    for declared in fields(Settings):
        if "help" not in declared.metadata:
            continue
        found.append(_option(declared, found[-1].group if found else ""))
        found += _AFTER_FIELD.get(declared.name, ())
    return tuple(found)


def resolve_settings(
    config_file_path: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Merge defaults, config file, environment and overrides; the later layer wins.

    Overrides are flags or direct parameters. Their keys are field names or JSON keys, their values
    text or native values; None means "not set". Raises ConfigurationError for an invalid value in
    any layer, even one that a later layer overrides. Logs a warning for each effective value that
    is raised to its floor, and for credentials that are empty.
    """
    env = os.environ if env is None else env
    settable = {option.name: option for option in options() if option.key}
    # Each layer is parsed as a whole before it is merged: errors in overridden values are found.
    blanks: Blanks = {}
    given = read_file(*config_file(config_file_path, env), settable.values(), blanks)
    given |= read_environment(env, settable.values(), blanks)
    given |= read_overrides(overrides or {}, settable.values(), blanks)
    warn_of_blanks(blanks, given)
    values: dict[str, Any] = {name: effective(settable[name], given[name]) for name in given}
    settings = Settings(**values, given=frozenset(given))
    _require(given, "auth_username", settable["auth_password"])
    _require(given, "auth_password", settable["auth_username"])
    if settings.protocol == "https":
        _require(given, "protocol", settable["tls_cert_path"], settable["tls_key_path"])
    return settings


def _option(declared: Field[Any], group: str) -> Option:
    """Return the option that a field of Settings declares; `group` is the previous field's."""
    words = declared.name.split("_")
    by_rule: dict[str, Any] = {
        "name": declared.name,
        "key": words[0] + "".join(word.capitalize() for word in words[1:]),
        "flag": "--" + "-".join(words),
        "env": "MIKROSCOPE_" + declared.name.upper(),
        "kind": _KIND_BY_TYPE.get(declared.type),
        "default": default_text(declared.default),
        "maximum": _MAXIMUM_BY_UNIT.get(words[-1], LARGEST_INTEGER),
        "group": group,
    }
    return Option(**by_rule | dict(declared.metadata))


def config_file(argument: str | Path | None, env: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the config file's path and the flag or variable that named it.

    The second is None for the default file. An empty argument or variable counts as not set.
    """
    if argument is not None and str(argument).strip():
        return str(argument), _CONFIG.flag
    if env.get(_CONFIG.env, "").strip():
        return env[_CONFIG.env], _CONFIG.env
    return _CONFIG.default, None


def _require(given: Layer, name: str, *needed: Option) -> None:
    """Raise ConfigurationError if `name` was given without all options it depends on."""
    missing = [f"{other.flag} ({other.env})" for other in needed if other.name not in given]
    if name not in given or not missing:
        return
    secret = any(option.secret for option in options() if option.name == name)
    value = HIDDEN if secret else shown(given[name].value)
    raise ConfigurationError(
        f"{given[name].spelling}: expected together with {' and '.join(missing)}, got {value} alone"
    )
