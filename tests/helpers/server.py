"""Settings and clients for tests of a running server."""

import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from starlette.routing import Route

from mikroscope import RunningServer, Settings, resolve_settings, start_server
from mikroscope.errors import MikroScopeError
from mikroscope.indexing.once import index_once
from mikroscope.indexing.stats import IndexStats
from mikroscope.server.app import AREAS
from mikroscope.server.auth import Auth
from mikroscope.server.metrics import Metrics
from mikroscope.server.middleware.concurrency import ConcurrencyLimit
from mikroscope.server.routes.endpoint import Context, make_routes
from mikroscope.sidecar import open_tree
from mikroscope.stores.sqlite import SqliteStore

TOKEN = {"api_token": "api-token-123"}
BASIC = {"auth_username": "ops", "auth_password": "pass:word"}
PRODUCERS = {"ingest_producers": "backend-token=backend-api"}


class Serve(Protocol):
    """Start a server in the test's directory, with other settings if given."""

    def __call__(self, **overrides: object) -> RunningServer: ...


class Connect(Protocol):
    """Open a client of a server; `options` are those of httpx.Client."""

    def __call__(self, server: RunningServer, **options: Any) -> httpx.Client: ...


def has_ipv6() -> bool:
    """Return whether this machine can listen on an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def settings_in(directory: Path, **overrides: object) -> Settings:
    """Return settings of a server with all files in a directory and a free port."""
    given: dict[str, object] = {
        "logs_path": directory / "logs",
        "db_path": directory / "data" / "mikroscope.db",
        "port": 0,
        "min_free_bytes": 0,
        "db_retention_days": 0,  # test records may have any time
        "db_audit_retention_days": 0,
    }
    return resolve_settings(env={}, overrides=given | overrides)


def routes_of(server: RunningServer) -> list[Route]:
    """Return the routes of a server's app."""
    sidecar, slots = server._sidecar, ConcurrencyLimit(1)
    context = Context(sidecar, Auth(sidecar.settings), Metrics("0", 0), slots)
    return make_routes([area(context) for area in AREAS], slots)


def index_logs(settings: Settings) -> IndexStats:
    """Index the log files once, as `mikroscope index` does."""
    with closing(SqliteStore(settings.db_path)) as store:
        return index_once(store, open_tree(settings))


def logs(client: httpx.Client, **parameters: str) -> list[dict[str, Any]]:
    """Return the entries that match a query."""
    answer = client.get("/api/logs", params=parameters)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


def health(client: httpx.Client) -> dict[str, Any]:
    """Return the content of `/health`."""
    content: dict[str, Any] = client.get("/health").json()
    return content


def open_files() -> int:
    """Return the number of files that this process has open."""
    return len(os.listdir("/proc/self/fd"))


counts_files = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="this system does not list open files"
)


def refusal(directory: Path, **overrides: object) -> str:
    """Return the one-line error of a start that fails."""
    with pytest.raises(MikroScopeError) as caught:
        start_server(settings_in(directory, **overrides)).close()
    text = str(caught.value)
    assert "\n" not in text
    return text
