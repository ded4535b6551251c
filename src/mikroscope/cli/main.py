"""The group of all commands, and how every error becomes one line on stderr."""

import os
import sys
import traceback

import click

from mikroscope.cli.backup import backup, restore
from mikroscope.cli.demo import demo, mock_data
from mikroscope.cli.doctor import doctor
from mikroscope.cli.index import index
from mikroscope.cli.log_format import log_to_stderr
from mikroscope.cli.options import version_option
from mikroscope.cli.query import aggregate, query
from mikroscope.cli.serve import serve
from mikroscope.errors import MikroScopeError


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
        _fail(_internal_error(error), 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@version_option
def cli() -> None:
    """A log sidecar: NDJSON files and HTTP in, one SQLite index, answers in milliseconds."""
    log_to_stderr()


for _command in (serve, index, query, aggregate, mock_data, demo, backup, restore, doctor):
    cli.add_command(_command)


def _one_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "mikroscope"
    text = " ".join(error.format_message().split())
    return f"{text} ('{command} --help' lists what there is)"


def _drop_output() -> None:
    """Forget what could not be printed: Python would try again at the end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal_error(error: Exception) -> str:
    """An error that nobody foresaw, with the place, on one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return f"a defect, please report it: {type(error).__name__}: {error} ({place})"


def _fail(text: str, code: int) -> None:
    click.echo(f"mikroscope: {' '.join(text.split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
