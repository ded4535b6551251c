"""Groups all commands, and turns every error into one line on stderr and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

from mikroscope.cli import hints
from mikroscope.cli.log_format import log_to_stderr
from mikroscope.cli.options import version_option
from mikroscope.errors import MikroScopeError
from mikroscope.records.printable import printable

_COMMANDS = {
    "serve": "serve.serve",
    "index": "index.index",
    "query": "query.query",
    "aggregate": "query.aggregate",
    "mock-data": "demo.mock_data",
    "demo": "demo.demo",
    "backup": "backup.backup",
    "restore": "backup.restore",
    "doctor": "doctor.doctor",
}
"""The module below `mikroscope.cli` and the attribute of each command, in the order of the docs."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 on success, 1 on failure, 2 on wrong usage, 130 on Ctrl-C.

    Every error is printed as one line on stderr. A command that only groups others prints its help
    and exits with 2.
    """
    try:
        code = cli.main(arguments, prog_name="mikroscope", standalone_mode=False)
    except hints.NoCommand as error:
        click.echo(error.help)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_one_line(error, sys.argv[1:] if arguments is None else arguments), error.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except MikroScopeError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # `mikroscope query | head`
        _drop_output()
        sys.exit(1)
    except OSError as error:  # such as a full disk below stdout
        _drop_output()
        place = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{place}{error.strerror or error}", 1)
    except Exception as error:
        _fail(_internal_error(error), 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=hints.Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with 'mikroscope serve': it indexes ./logs and prints the address to open.",
)
@version_option
def cli() -> None:
    """Log sidecar: index NDJSON files and logs sent over HTTP, and query them in milliseconds."""
    log_to_stderr()


class _LazyCommands(MutableMapping[str, click.Command]):
    """Imports the module of a command when it is used: the other commands cost no start-up time."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = _COMMANDS[name].partition(".")
        command: click.Command = getattr(import_module(f"mikroscope.cli.{module}"), attribute)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError("commands are listed in _COMMANDS")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are listed in _COMMANDS")


cli.commands = _LazyCommands()


def _one_line(error: click.ClickException, arguments: list[str]) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "mikroscope"
    if context is None and arguments and arguments[0] in _COMMANDS:
        command = f"mikroscope {arguments[0]}"
    text = " ".join(hints.message(error).split()).removesuffix(".")
    return f"{text} (see '{command} --help')"


def _drop_output() -> None:
    """Discard unprinted output: Python would try to flush it at exit, and report another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal_error(error: Exception) -> str:
    """Return one line for an unexpected error, with the place where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"internal error, please report it: {type(error).__name__}: {error} ({place})"


def _fail(text: str, code: int) -> None:
    click.echo(f"mikroscope: {printable(' '.join(text.split()))}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
