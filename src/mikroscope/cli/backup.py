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
_NICENESS = 10  # of at most 19, so that a server goes first


_only = click.option(
    "--only",
    type=click.Choice(["logs", "index"]),
    help="Only this part: the log files or the index.  [default: everything]",
)


@click.command(short_help="Back up everything while a server runs.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@setting_options(_BACKUP_OPTIONS)
@_only
@version_option
def backup(directory: Path, only: Any, **given: Any) -> None:
    """Back up index, log files and alert policy into a new directory below DIR.

    A server may keep running and receiving logs. The backup is verified before it gets its name,
    which is the time. It does not contain the config file, certificates or keys.
    """
    from mikroscope.backup.create import back_up

    settings = settings_of(given)
    os.nice(_NICENESS)
    print_json(back_up(settings, directory, __version__, only))


@click.command(short_help="Restore a backup.")
@click.argument("backup_path", metavar="BACKUP", type=click.Path(path_type=Path))
@setting_options(_PLACES)
@_only
@click.option("--force", is_flag=True, help="Rename existing files instead of refusing.")
@click.option("--check", is_flag=True, help="Read and verify the backup; restore nothing.")
@version_option
def restore(backup_path: Path, only: Any, force: bool, check: bool, **given: Any) -> None:
    """Restore BACKUP, a directory that 'mikroscope backup' made, to --logs and --db.

    Stop the server first. Nothing is overwritten: if files exist already, the command refuses, or
    renames them with --force.
    """
    settings = settings_of(given)
    if check:
        from mikroscope.backup.create import summary, verified

        print_json(summary(backup_path, verified(settings, backup_path, only)))
        return
    from mikroscope.backup.restore import restore as put_back

    print_json(put_back(settings, backup_path, force=force, only=only))
