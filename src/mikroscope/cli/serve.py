"""The command `mikroscope serve`: runs the server, with its signals and process limits."""

import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

import click

from mikroscope.cli.log_format import use_ndjson
from mikroscope.cli.options import setting_options, settings_of, version_option
from mikroscope.errors import MikroScopeError
from mikroscope.settings.options import Settings

# How long a query waits for the interpreter lock while another thread reads a backlog. A page of a
# hundred entries needs the lock some hundred times, so Python's default of 5 ms is too long.
_SWITCH_S = 0.0005


@click.command()
@setting_options()
@version_option
def serve(**given: Any) -> int:
    """Start the server: index log files, accept logs over HTTP, answer queries."""
    from mikroscope.cli.allocator import return_large_blocks
    from mikroscope.cli.systemd import SystemdNotifier
    from mikroscope.server.run import start_server

    settings = settings_of(given)
    if settings.log_format == "ndjson":
        use_ndjson()
    sys.setswitchinterval(_SWITCH_S)
    return_large_blocks()
    _raise_descriptor_limit()
    stop = StopSignal()
    notifier = SystemdNotifier(os.environ, os.getpid(), time.monotonic)
    step_s = min(1.0, notifier.watchdog_interval_s or 1.0)
    with start_server(settings) as server:
        click.echo(
            f"MikroScope listens on {server.url} (logs: {settings.logs_path}, "
            f"db: {settings.db_path})"
        )
        click.echo(f"try: {_first_query(server.url, settings)}", err=True)
        notifier.ready(f"listens on {server.url}")
        while not stop.wait(step_s):
            if not server.is_alive():
                raise MikroScopeError("the HTTP server stopped unexpectedly; see the log above")
            notifier.ping_watchdog(lambda: server.is_responsive(step_s))
        notifier.stopping()
    if server.lost_records:
        raise MikroScopeError(f"{server.lost_records} queued records could not be written")
    return 0


def _raise_descriptor_limit() -> None:
    """Raise the limit of open files and connections to what the system allows this process."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # some systems report "unlimited" but refuse to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _first_query(url: str, settings: Settings) -> str:
    """Return a command to try; secrets in it are only referred to by name."""
    credentials = ""
    if settings.api_token is not None:
        credentials = ' -H "Authorization: Bearer $MIKROSCOPE_API_TOKEN"'
    elif settings.auth_username is not None:
        credentials = f" -u {settings.auth_username}"  # curl prompts for the password
    insecure = " -k" if settings.protocol == "https" else ""
    return f"curl -sS{insecure}{credentials} '{url}/api/logs?limit=3'"


class StopSignal:
    """Waits for SIGTERM or SIGINT; a second signal ends the process at once.

    The handler only writes to a pipe, because the code it interrupts may hold any lock.
    """

    def __init__(self) -> None:
        self._asked = False
        self._read, self._write = os.pipe()
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a signal arrives; return False if the time is over before that."""
        ready, _, _ = select.select([self._read], [], [], timeout_s)
        return bool(ready)

    def _handle(self, number: int, _frame: object) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        os.write(self._write, b"\0")
