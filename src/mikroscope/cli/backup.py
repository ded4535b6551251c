"""`mikroscope backup` and `mikroscope restore`."""

import os
from pathlib import Path
from typing import Any

import click

from mikroscope._version import __version__
from mikroscope.cli.options import setting_options, settings_of, version_option
from mikroscope.cli.output import print_json

_PLACES = ("logs_path", "db_path", "config_path", "alert_config_path")


_BACKUP_OPTIONS = (*_PLACES, "log_file_suffixes", "min_free_bytes")


_KINDLY = 10  # of the system's scale, which ends at 19: a server goes first


_only = click.option(
    "--only",
    type=click.Choice(["logs", "index"]),
    help="One part alone: the log files, or the index.  [default: everything]",
)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@setting_options(_BACKUP_OPTIONS)
@_only
@version_option
def backup(directory: Path, only: Any, **given: Any) -> None:
    """Back up index, log files and alert policy into a new directory below DIR.

    A server may run, and take logs. The backup is read back before it gets its name, the time.
    Config file, certificates and keys are not in it.
    """
    from mikroscope.backup.create import back_up

    settings = settings_of(given)
    os.nice(_KINDLY)
    print_json(back_up(settings, directory, __version__, only))


@click.command()
@click.argument("backup_path", metavar="BACKUP", type=click.Path(path_type=Path))
@setting_options(_PLACES)
@_only
@click.option("--force", is_flag=True, help="Give what is in the way another name.")
@click.option("--check", is_flag=True, help="Read the backup and examine it; restore nothing.")
@version_option
def restore(backup_path: Path, only: Any, force: bool, check: bool, **given: Any) -> None:
    """Restore BACKUP, one of the directories that backup made, to --logs and --db.

    The server must be stopped. Nothing is written over: what is there already is refused, or kept
    under another name with --force.
    """
    settings = settings_of(given)
    if check:
        from mikroscope.backup.create import summary, verified

        print_json(summary(backup_path, verified(backup_path, only)))
        return
    from mikroscope.backup.restore import restore as put_back

    print_json(put_back(settings, backup_path, force=force, only=only))
