"""The command line: each command reads its options, calls one part, and prints JSON."""

import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mikroscope.cli_operations import backup, doctor, restore
from mikroscope.cli_parts import Command as _Command
from mikroscope.cli_parts import print_json as _print
from mikroscope.cli_parts import setting_options
from mikroscope.cli_parts import settings_of as _settings
from mikroscope.cli_parts import version_option as _version
from mikroscope.errors import MikroScopeError
from mikroscope.logformat import log_to_stderr, use_ndjson
from mikroscope.settings import Settings

# While a thread reads a backlog, a query waits so long each time it needs Python: a page of a
# hundred entries does so some hundred times.
_SWITCH_S = 0.0005

_INDEX_OPTIONS = ("logs_path", "db_path", "config_path", "log_file_suffixes")
_QUERY_OPTIONS = ("db_path", "config_path")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; every error is one line on stderr: exit code 2 for usage, 1 for failure."""
    try:
        code = cli.main(arguments, prog_name="mikroscope", standalone_mode=False)
    except click.ClickException as error:
        _fail(_one_line(error), error.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except MikroScopeError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # `mikroscope query | head`
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _drop_output()
        place = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{place}{error.strerror or error}", 1)
    except Exception as error:
        _fail(_defect(error), 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@_version
def cli() -> None:
    """A log sidecar: NDJSON files and HTTP in, one SQLite index, answers in milliseconds."""
    log_to_stderr()


# --- commands -------------------------------------------------------------------------------


@cli.command()
@setting_options()
@_version
def serve(**given: Any) -> int:
    """Start the server: index the log files, take logs over HTTP, answer queries."""
    from mikroscope.allocator import return_large_blocks
    from mikroscope.server.notify import Supervisor
    from mikroscope.server.run import start_server

    settings = _settings(given)
    if settings.log_format == "ndjson":
        use_ndjson()
    sys.setswitchinterval(_SWITCH_S)
    return_large_blocks()
    _raise_descriptor_limit()
    stop = _Stop()
    supervisor = Supervisor(os.environ, os.getpid(), time.monotonic)
    step_s = min(1.0, supervisor.beat_s or 1.0)
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
            supervisor.beat(lambda: server.is_responsive(step_s))
        supervisor.stopping()
    if server.lost_records:
        raise MikroScopeError(f"{server.lost_records} queued records could not be written")
    return 0


@cli.command()
@setting_options(_INDEX_OPTIONS)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Make the index anew from the log files, beside the old one, and put it in its place.",
)
@_version
def index(rebuild: bool, **given: Any) -> None:
    """Index what is new in the log files, once, and print a report.

    This, and a rebuild too, may be done while a server runs on the same index.
    """
    from mikroscope.indexing import index_anew, index_once
    from mikroscope.rebuild import index_report

    settings = _settings(given)
    started = datetime.now(UTC)
    tally = (index_anew if rebuild else index_once)(settings, sys.stderr.isatty())
    _print({"report": index_report(tally, started, datetime.now(UTC))})


def _filters(command: _Command) -> _Command:
    """The flags that choose entries; they have the names of the HTTP parameters."""
    flags = [
        ("--from", "from", "TIME", "Entries of this time and later (ISO 8601)."),
        ("--to", "to", "TIME", "Entries of this time and earlier (ISO 8601)."),
        ("--level", "level", "LEVEL", "Entries of this level."),
        ("--audit", "audit", "[BOOL]", "Audit entries only; with false, all others."),
        ("--field", "field", "NAME", "With --value: entries with this value in this field."),
        ("--value", "value", "VALUE", "The value of --field."),
        ("--text", "text", "WORDS", "Entries with all these words in message or error."),
    ]
    for flag, name, metavar, text in reversed(flags):
        attributes: dict[str, Any] = {"metavar": metavar, "help": text}
        if name == "audit":
            attributes |= {"is_flag": False, "flag_value": "true"}
        command = click.option(flag, f"_{name}", **attributes)(command)
    return command


@cli.command()
@setting_options(_QUERY_OPTIONS)
@_filters
@click.option("--limit", "_limit", metavar="N", help="Entries at the most.  [default: 100]")
@click.option("--cursor", "_cursor", metavar="CURSOR", help="nextCursor of the page before.")
@_version
def query(**given: Any) -> None:
    """Print entries, newest first."""
    from mikroscope.query import parse_query

    parameters = _take_parameters(given)
    _ask(given, lambda store: store.page(parse_query(parameters)))


@cli.command()
@setting_options(_QUERY_OPTIONS)
@click.option(
    "--group-by",
    "_groupBy",
    metavar="WHAT",
    required=True,
    help="level, event, field or correlation.",
)
@click.option("--group-field", "_groupField", metavar="NAME", help="The field of --group-by field.")
@_filters
@click.option("--limit", "_limit", metavar="N", help="Buckets at the most.  [default: 25]")
@_version
def aggregate(**given: Any) -> None:
    """Print how many entries there are of each value, most first."""
    from mikroscope.query import parse_grouping, parse_query

    parameters = _take_parameters(given)
    grouping = parse_grouping(parameters)
    _ask(given, lambda store: store.aggregate(parse_query(parameters, 25), grouping))


@cli.command("mock-data")
@click.option("--days", metavar="N", help="Days of logs, yesterday last.  [default: 21]")
@click.option("--logs-per-day", metavar="N", help="Normal records a day.  [default: 1200]")
@click.option("--audit-logs-per-day", metavar="N", help="Audit records a day.  [default: 150]")
@click.option("--tenants", metavar="N", help="How many tenants there are.  [default: 320]")
@click.option("--seed", metavar="N", help="The same seed, the same logs.  [default: 2602]")
@click.option("--out-dir", metavar="DIR", help="The logs root.  [default: ./logs]")
@_version
def mock_data(**given: Any) -> None:
    """Write made-up logs to look at: generated/ and audit/generated/ below the logs root."""
    from mikroscope.mockdata import mock_data_options, write_mock_data

    summary = write_mock_data(mock_data_options(os.environ, given))
    _print(
        {
            "files": summary.files,
            "records": summary.records,
            "auditRecords": summary.audit_records,
            "bytes": summary.bytes,
        }
    )


@cli.group()
@_version
def demo() -> None:
    """Try things by hand."""


@demo.group("alerts")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path(".mikroscope-demo"),
    metavar="DIR",
    help="Where it keeps its files.  [default: ./.mikroscope-demo]",
)
@_version
@click.pass_context
def demo_alerts(context: click.Context, directory: Path) -> None:
    """A server and a webhook in the background, to see an alert."""
    from mikroscope.demo import AlertDemo

    context.obj = AlertDemo(directory)


@demo_alerts.command()
@click.argument("mode", type=click.Choice(["error", "nologs"]), default="error")
@click.pass_obj
def up(alert_demo: Any, mode: Any) -> None:
    """Start it: for error spikes (error), or for a minute without logs (nologs)."""
    state = alert_demo.up(mode)
    _print({"url": state.url, "mode": mode})
    what = "'mikroscope demo alerts trigger-error'" if mode == "error" else "to wait a minute"
    click.echo(f"next: {what}, then 'mikroscope demo alerts logs'; 'down' ends it", err=True)


@demo_alerts.command("trigger-error")
@click.pass_obj
def trigger_error(alert_demo: Any) -> None:
    """Send errors, and show the webhook that comes of it."""
    _print(alert_demo.trigger_error())


@demo_alerts.command()
@click.pass_obj
def status(alert_demo: Any) -> None:
    """Show what /health tells of alerts."""
    _print(alert_demo.status())


@demo_alerts.command()
@click.pass_obj
def logs(alert_demo: Any) -> None:
    """Show the last webhooks, and the server's log."""
    _print(alert_demo.logs())


@demo_alerts.command()
@click.pass_obj
def down(alert_demo: Any) -> None:
    """End it; its files stay."""
    alert_demo.down()
    click.echo("the demo has ended", err=True)


cli.add_command(backup)
cli.add_command(restore)
cli.add_command(doctor)


# --- helpers of the commands ----------------------------------------------------------------


def _take_parameters(given: dict[str, Any]) -> dict[str, str]:
    """Move the parameters of a query out of the options; a flag that is empty is not given."""
    names = [name for name in given if name.startswith("_")]
    taken = {name[1:]: given.pop(name) for name in names}
    # What the shell gave may be no UTF-8; HTTP replaces such bytes, too.
    return {
        name: value.encode("utf-8", "replace").decode()
        for name, value in taken.items()
        if value is not None
    }


def _ask(given: dict[str, Any], question: Callable[[Any], object]) -> None:
    from mikroscope.stores.sqlite import SqliteStore

    settings = _settings(given)
    store = SqliteStore(settings.db_path, write=False)
    try:
        _print(question(store))
    finally:
        store.close()


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


class _Stop:
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


def _one_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "mikroscope"
    text = " ".join(error.format_message().split())
    return f"{text} ('{command} --help' lists what there is)"


def _drop_output() -> None:
    """Forget what could not be printed: Python would try again at the end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _defect(error: Exception) -> str:
    """An error that nobody foresaw, with the place, on one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"a defect, please report it: {type(error).__name__}: {error} ({place})"


def _fail(text: str, code: int) -> None:
    click.echo(f"mikroscope: {' '.join(text.split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
