"""MikroScope: a log sidecar that indexes NDJSON into SQLite and answers over HTTP and CLI."""

from typing import TYPE_CHECKING, Any

from mikroscope.settings import Settings, resolve_settings

if TYPE_CHECKING:
    from mikroscope.server.run import RunningServer, start_server

__version__ = "0.1.0"
__all__ = ["RunningServer", "Settings", "__version__", "resolve_settings", "start_server"]


def __getattr__(name: str) -> Any:
    """Import the server only where it is asked for: the commands that ask a question need none."""
    if name in ("RunningServer", "start_server"):
        from mikroscope.server import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
