"""Settings and clients for tests of a running server."""

import socket
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import httpx

from mikroscope import RunningServer, Settings, resolve_settings
from mikroscope.indexing.once import index_once
from mikroscope.indexing.stats import IndexStats
from mikroscope.sidecar import open_tree
from mikroscope.stores.sqlite import SqliteStore


class Serve(Protocol):
    """Start a server in the test's directory, with other settings as wanted."""

    def __call__(self, **overrides: object) -> RunningServer: ...


class Connect(Protocol):
    """A client of a server; `options` are those of httpx.Client."""

    def __call__(self, server: RunningServer, **options: Any) -> httpx.Client: ...


def has_ipv6() -> bool:
    """Return whether this machine can listen on an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def settings_in(directory: Path, **overrides: object) -> Settings:
    """Settings of a server that keeps everything in a directory and listens on a free port."""
    given: dict[str, object] = {
        "logs_path": directory / "logs",
        "db_path": directory / "data" / "mikroscope.db",
        "port": 0,
        "min_free_bytes": 0,
        "db_retention_days": 0,  # records of tests are of any time
        "db_audit_retention_days": 0,
    }
    return resolve_settings(env={}, overrides=given | overrides)


def index_logs(settings: Settings) -> IndexStats:
    """Index the log files once, as `mikroscope index` does."""
    with closing(SqliteStore(settings.db_path)) as store:
        return index_once(store, open_tree(settings))
