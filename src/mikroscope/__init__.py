"""MikroScope: a log sidecar that indexes NDJSON into SQLite and answers over HTTP and CLI."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mikroscope.server.run import RunningServer, start_server
    from mikroscope.settings import Settings, resolve_settings

__version__ = "0.1.0"
__all__ = ["RunningServer", "Settings", "__version__", "resolve_settings", "start_server"]


def __getattr__(name: str) -> Any:
    """Import only what is asked for: a command that asks a question needs no server, and an
    application that only logs (`mikroscope.logging`) neither."""
    if name in ("RunningServer", "start_server"):
        from mikroscope.server import run

        return getattr(run, name)
    if name in ("Settings", "resolve_settings"):
        from mikroscope import settings

        return getattr(settings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
