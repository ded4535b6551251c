"""Checks everything a server depends on, and changes nothing."""

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mikroscope.alerts.storage import load_policy
from mikroscope.doctor.directories import (
    check_clock,
    check_directory,
    check_free_space,
    check_secret_file,
    check_watches,
    check_written,
)
from mikroscope.doctor.findings import Diagnosis, Finding, diagnosis, ok, problem, warning
from mikroscope.doctor.index import (
    check_index,
    check_owner,
    check_size,
    check_versions,
    index_files,
)
from mikroscope.doctor.logs import check_logs
from mikroscope.doctor.network import (
    Address,
    check_access,
    check_expiry,
    check_port,
    check_webhook,
)
from mikroscope.errors import MikroScopeError
from mikroscope.settings.options import Settings, config_file, options, resolve_settings
from mikroscope.settings.sources import read_file
from mikroscope.sidecar import alert_policy, open_tree, policy_limits
from mikroscope.stores import administer

_INGEST = "ingest"  # the directory below the logs for records that were sent over HTTP
_OTHERS = stat.S_IRWXO
_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def examine(
    version: str, config_path: str | None, overrides: Mapping[str, object], *, online: bool = False
) -> Diagnosis:
    """Check a server with these settings, running or not; return every finding."""
    try:
        with _warnings_noted() as noted:
            settings = resolve_settings(config_file_path=config_path, overrides=overrides)
        index = administer(settings.db_path.resolve())
    except MikroScopeError as error:
        fix = getattr(error, "fix", None) or "correct the option named here"
        wrong = problem("config", str(error), fix)
        return diagnosis([check_versions(version), wrong])
    findings = [check_versions(version, index)]
    findings += noted
    findings.append(ok("config", "every option is valid"))
    for check in _checks(settings, index, config_path, online):
        findings += _safely(check)
    return diagnosis(findings)


Check = Callable[[], Iterator[Finding]]


def _checks(
    settings: Settings, index: object, config_path: str | None, online: bool
) -> list[Check]:
    now = datetime.now(UTC)
    address = str(settings.db_path.resolve())
    return [
        lambda: _check_directories(settings, index),
        lambda: _check_secrets(settings, config_path),
        lambda: iter([check_clock(time.time(), _written(settings))]),
        lambda: check_index(index, address, int(now.timestamp() * 1000)),
        lambda: _check_size(settings),
        lambda: check_logs(
            open_tree(settings), settings.log_file_suffixes, now.timestamp(), settings.own_files
        ),
        lambda: _check_watches(settings),
        lambda: _check_server(settings, index),
        lambda: _check_tls(settings, now),
        lambda: _check_webhook(settings, online),
    ]


def _safely(check: Check) -> list[Finding]:
    """Run a check; an error that ends it is a finding as well."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except (OSError, MikroScopeError) as error:
        found.append(problem("doctor", str(error), "run this as the server's user, or as root"))
    return found


def _check_directories(settings: Settings, index: object) -> Iterator[Finding]:
    directories = (("database", settings.db_path.resolve().parent), ("logs", settings.logs_path))
    for what, directory in directories:
        yield check_directory(what, directory)
        yield check_free_space(what, directory, settings.min_free_bytes)
    yield check_written("index files", index_files(index))
    yield check_written("ingest files", _ingest_files(settings.logs_path))
    if settings.audit_backup_directory is not None:
        yield check_directory("audit backup", settings.audit_backup_directory)


def _check_size(settings: Settings) -> Iterator[Finding]:
    path = settings.db_path
    if settings.db_max_bytes and path.exists():
        yield check_size(path.stat().st_size, settings.db_max_bytes, settings.db_retention_days)


def _ingest_files(logs: Path) -> Iterator[Path]:
    """The files and directories that ingest requests are written to."""
    for directory, _, names in os.walk(logs / _INGEST):
        yield Path(directory)
        yield from (Path(directory, name) for name in names)


def _check_secrets(settings: Settings, config_path: str | None) -> Iterator[Finding]:
    config = _config_with_secrets(config_path)
    files = (
        ("config", config, _OTHERS),
        ("alert policy", settings.alert_config_file, _GROUP_AND_OTHERS),
        ("TLS key", settings.tls_key_path, _OTHERS),
    )
    for what, path, forbidden in files:
        finding = None if path is None else check_secret_file(what, path, forbidden)
        if finding is not None:
            yield finding


def _config_with_secrets(config_path: str | None) -> Path | None:
    """The config file; None if it contains no secret."""
    path, named_by = config_file(config_path, os.environ)
    layer = read_file(path, named_by, [option for option in options() if option.key])
    secrets = {option.name for option in options() if option.secret}
    return Path(path) if secrets & layer.keys() else None


def _written(settings: Settings) -> list[Path]:
    """Files that a server writes."""
    return [settings.db_path, settings.alert_config_file]


def _check_watches(settings: Settings) -> Iterator[Finding]:
    finding = None if settings.disable_auto_ingest else check_watches(settings.logs_path)
    if finding is not None:
        yield finding


def _check_server(settings: Settings, index: object) -> Iterator[Finding]:
    owner, finding = check_owner(index)
    yield finding
    address = Address(settings.protocol, settings.host, settings.port)
    yield check_port(address, owner, may_be_ours=owner is not None or finding.status != "ok")
    yield from check_access(settings)


def _check_tls(settings: Settings, now: datetime) -> Iterator[Finding]:
    certificate, key = settings.tls_cert_path, settings.tls_key_path
    if settings.protocol != "https" or certificate is None or key is None:
        return
    from mikroscope.server.run import check_tls  # only HTTPS pays for this import

    try:
        check_tls(settings)
    except MikroScopeError as error:
        fix = "set --tls-cert and --tls-key to a certificate and its own key"
        yield problem("certificate", str(error), fix)
    else:
        yield check_expiry(certificate, key, now)


def _check_webhook(settings: Settings, online: bool) -> Iterator[Finding]:
    path = settings.alert_config_file
    try:
        policy = load_policy(path, alert_policy(settings), policy_limits())
    except MikroScopeError as error:
        yield problem(
            "webhook", str(error), f"correct {path}, or delete it and set the policy again"
        )
        return
    yield from check_webhook(policy.webhook_url, policy.enabled, online)


@contextmanager
def _warnings_noted() -> Iterator[list[Finding]]:
    """Collect what is logged about the settings as findings, and keep it off stderr."""
    found: list[Finding] = []

    def note(record: logging.LogRecord) -> None:
        fix = getattr(record, "fix", "correct the option named here")
        found.append(warning("config", record.getMessage(), fix))

    handler = logging.Handler()
    handler.emit = note  # type: ignore[method-assign]
    logger = logging.getLogger("mikroscope.settings")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
