"""`mikroscope doctor`: prints findings as a table, as lines or as JSON."""

from typing import Any

import click

from mikroscope._version import __version__
from mikroscope.cli.options import setting_options, version_option
from mikroscope.cli.output import print_json


@click.command(short_help="Check everything the server depends on.")
@setting_options()
@click.option("--online", is_flag=True, help="Also try to connect to the webhook.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@version_option
def doctor(online: bool, as_json: bool, **given: Any) -> int:
    """Check config, permissions, disks, clock, port, index and log files; say how to fix problems.

    Run it with the server's flags and environment, as the server's user. It changes nothing. The
    exit code is 1 if there is a problem; warnings do not count.
    """
    from mikroscope.doctor.examine import examine

    config_path = given.pop("config_path", None)
    found = examine(__version__, config_path or None, given, online=online)
    if as_json:
        print_json(found)
    else:
        from mikroscope.cli.findings_table import print_findings

        print_findings(found)
    return 0 if found.ok else 1
