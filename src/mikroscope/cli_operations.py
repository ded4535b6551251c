"""The commands of whoever looks after a server: backup, restore, doctor."""

import os
from pathlib import Path
from typing import Any

import click

from mikroscope import __version__
from mikroscope.cli_parts import print_json, setting_options, settings_of, version_option

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
    from mikroscope.backup import back_up

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
        from mikroscope.backup import summary, verified

        print_json(summary(backup_path, verified(backup_path, only)))
        return
    from mikroscope.restore import restore as put_back

    print_json(put_back(settings, backup_path, force=force, only=only))


@click.command()
@setting_options()
@click.option("--online", is_flag=True, help="Also try to reach the webhook.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@version_option
def doctor(online: bool, as_json: bool, **given: Any) -> int:
    """Look at config, rights, disks, clock, port, index and log files; say how to mend each.

    Give it what the server is given, and ask as the user that the server runs as. It changes
    nothing. The exit code is 1 if there is a problem; warnings do not count.
    """
    from mikroscope.doctor import examine

    config_path = given.pop("config_path", None)
    found = examine(__version__, config_path or None, given, online=online)
    if as_json:
        print_json(found)
    else:
        from mikroscope.doctor.table import print_findings

        print_findings(found)
    return 0 if found.ok else 1
