"""MikroScope: a log sidecar that indexes NDJSON into SQLite, queried over HTTP and the CLI."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mikroscope._version import __version__

if TYPE_CHECKING:
    from mikroscope.errors import MikroScopeError
    from mikroscope.index import open_index
    from mikroscope.query.model import Query
    from mikroscope.server.run import RunningServer, start_server
    from mikroscope.settings.options import Settings, resolve_settings

__all__ = [
    "MikroScopeError",
    "Query",
    "RunningServer",
    "Settings",
    "__version__",
    "open_index",
    "resolve_settings",
    "start_server",
]

_MODULES = {
    "MikroScopeError": "mikroscope.errors",
    "Query": "mikroscope.query.model",
    "RunningServer": "mikroscope.server.run",
    "Settings": "mikroscope.settings.options",
    "open_index": "mikroscope.index",
    "resolve_settings": "mikroscope.settings.options",
    "start_server": "mikroscope.server.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    So `mikroscope query` does not load the server, and an application that only imports
    `mikroscope.logging` loads neither the server nor the settings.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
