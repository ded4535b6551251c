"""`mikroscope serve`: the server as a process of its own, with its signals and limits."""

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

# While a thread reads a backlog, a query waits so long each time it needs Python: a page of a
# hundred entries does so some hundred times.
_SWITCH_S = 0.0005


@click.command()
@setting_options()
@version_option
def serve(**given: Any) -> int:
    """Start the server: index the log files, take logs over HTTP, answer queries."""
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
    supervisor = SystemdNotifier(os.environ, os.getpid(), time.monotonic)
    step_s = min(1.0, supervisor.watchdog_interval_s or 1.0)
    with start_server(settings) as server:
        click.echo(
            f"MikroScope listens on {server.url} (logs: {settings.logs_path}, "
            f"db: {settings.db_path})"
        )
        click.echo(f"try: {_first_query(server.url, settings)}", err=True)
        supervisor.ready(f"listens on {server.url}")
        while not stop.wait(step_s):
            if not server.is_alive():
                raise MikroScopeError("the HTTP server has ended by itself; the log says why")
            supervisor.ping_watchdog(lambda: server.is_responsive(step_s))
        supervisor.stopping()
    if server.lost_records:
        raise MikroScopeError(f"{server.lost_records} queued records could not be written")
    return 0


def _raise_descriptor_limit() -> None:
    """To what the system lets this process have, for connections and files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # some systems call infinite what they do not give
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _first_query(url: str, settings: Settings) -> str:
    """A command that shows something; credentials are named, not shown."""
    way = ""
    if settings.api_token is not None:
        way = ' -H "Authorization: Bearer $MIKROSCOPE_API_TOKEN"'
    elif settings.auth_username is not None:
        way = f" -u {settings.auth_username}"
    insecure = " -k" if settings.protocol == "https" else ""
    return f"curl -sS{insecure}{way} '{url}/api/logs?limit=3'"


class StopSignal:
    """Asked for by the first SIGTERM or SIGINT; a second one ends the process at once.

    The handler only writes to a pipe: a lock could be held by what it interrupts.
    """

    def __init__(self) -> None:
        self._asked = False
        self._read, self._write = os.pipe()
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it is asked for, or the time is over; whether it was."""
        ready, _, _ = select.select([self._read], [], [], timeout_s)
        return bool(ready)

    def _handle(self, number: int, _frame: object) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        os.write(self._write, b"\0")
