"""The command `mikroscope serve`: runs the server, with its signals and process limits."""

import logging
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mikroscope.cli.log_format import use_ndjson
from mikroscope.cli.options import setting_options, settings_of, version_option
from mikroscope.errors import MikroScopeError
from mikroscope.errors.wording import in_words
from mikroscope.records.printable import printable
from mikroscope.settings.options import Settings

if TYPE_CHECKING:
    from mikroscope.server.run import RunningServer

# How long a query waits for the interpreter lock while another thread reads a backlog. A page of a
# hundred entries needs the lock some hundred times, so Python's default of 5 ms is too long.
_SWITCH_S = 0.0005
_STOP, _RELOAD = b"s", b"r"
_NOTES_S = 1.0  # how long the address waits for what the log has to say first
logger = logging.getLogger(__name__)


@click.command(short_help="Start the server.")
@setting_options()
@version_option
def serve(**given: Any) -> int:
    """Start the server: index log files, accept logs over HTTP, answer queries."""
    from mikroscope.cli.allocator import return_large_blocks
    from mikroscope.cli.systemd import SystemdNotifier
    from mikroscope.server.run import start_server

    settings_given = dict(given)
    settings = settings_of(given)
    if settings.log_format == "ndjson":
        use_ndjson()
    sys.setswitchinterval(_SWITCH_S)
    return_large_blocks()
    _raise_descriptor_limit()
    signals = Signals()
    notifier = SystemdNotifier(os.environ, os.getpid(), time.monotonic)
    step_s = min(1.0, notifier.watchdog_interval_s or 1.0)
    with start_server(settings) as server:
        reload = partial(_reload, server, settings_given)
        places = f"logs: {settings.logs_path}, db: {settings.db_path}"
        click.echo(printable(f"MikroScope listens on {server.url} ({places})"))
        _greet(server, settings)
        notifier.ready(f"listens on {server.url}")
        while not signals.wait(step_s, reload):
            if not server.is_alive():
                raise MikroScopeError("the HTTP server stopped unexpectedly; see the log above")
            notifier.ping_watchdog(lambda: server.is_responsive(step_s))
        notifier.stopping()
    if server.lost_records:
        raise MikroScopeError(
            f"{in_words(server.lost_records, 'queued record')} could not be written"
        )
    return 0


def _greet(server: "RunningServer", settings: Settings) -> None:
    """Print on stderr what to do next; the last line is the address to open."""
    query = _first_query(server.url, settings)
    if not sys.stderr.isatty():
        click.echo(f"try: {query}\nopen: {server.url}/", err=True)
        return
    server.wait_for_first_notes(_NOTES_S)
    for what, text in (("query", query), ("stop", "Ctrl-C"), ("open", f"{server.url}/")):
        click.echo(f"  {what:6} {text}", err=True)


def _reload(server: "RunningServer", given: dict[str, Any]) -> None:
    """Read the configuration again; a mistake in it is logged and changes nothing."""
    try:
        server.reload(settings_of(dict(given)))
    except (MikroScopeError, click.ClickException) as error:
        logger.error("the configuration is not reloaded: %s", error)
    else:
        logger.info("credentials, certificate and alert policy are reloaded")


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


class Signals:
    """Waits for SIGTERM or SIGINT; a second one ends the process at once.

    SIGHUP asks for a reload; SIGUSR1 and SIGUSR2, whose default would end the process, do nothing.
    A handler only writes to a pipe, because the code it interrupts may hold any lock.
    """

    def __init__(self) -> None:
        self._asked = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    def wait(self, timeout_s: float, reload: Callable[[], None]) -> bool:
        """Return True when the process should stop, or False after the time; reload if asked to."""
        ready, _, _ = select.select([self._read], [], [], timeout_s)
        asked = os.read(self._read, 4096) if ready else b""
        if _RELOAD in asked:
            reload()
        return self._asked

    def _stop(self, number: int, _frame: object) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        self._tell(_STOP)

    def _hang_up(self, _number: int, _frame: object) -> None:
        self._tell(_RELOAD)

    def _tell(self, what: bytes) -> None:
        with suppress(BlockingIOError):  # thousands of signals are waiting already
            os.write(self._write, what)
