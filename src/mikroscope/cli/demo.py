"""The commands `mikroscope mock-data` and `mikroscope demo`."""

import os
from pathlib import Path
from typing import Any

import click

from mikroscope.cli.hints import Group
from mikroscope.cli.options import version_option
from mikroscope.cli.output import print_json


@click.command("mock-data", short_help="Write sample logs to explore.")
@click.option("--days", metavar="N", help="Days of logs, ending yesterday.  [default: 21]")
@click.option("--logs-per-day", metavar="N", help="Normal records per day.  [default: 1200]")
@click.option("--audit-logs-per-day", metavar="N", help="Audit records per day.  [default: 150]")
@click.option("--tenants", metavar="N", help="Number of tenants.  [default: 320]")
@click.option("--seed", metavar="N", help="Equal seeds give equal logs.  [default: 2602]")
@click.option("--out-dir", metavar="DIR", help="Root directory of the logs.  [default: ./logs]")
@version_option
def mock_data(**given: Any) -> None:
    """Write sample logs to explore, into generated/ and audit/generated/ below the logs root."""
    from mikroscope.demo.mock_data import mock_data_options, write_mock_data

    summary = write_mock_data(mock_data_options(os.environ, given))
    print_json(
        {
            "files": summary.files,
            "records": summary.records,
            "auditRecords": summary.audit_records,
            "bytes": summary.bytes,
        }
    )


@click.group(cls=Group)
@version_option
def demo() -> None:
    """Run a self-contained alert demo."""


@demo.group("alerts", cls=Group, short_help="See an alert arrive.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path(".mikroscope-demo"),
    metavar="DIR",
    help="Directory for the demo's files.  [default: ./.mikroscope-demo]",
)
@version_option
@click.pass_context
def demo_alerts(context: click.Context, directory: Path) -> None:
    """Run a server and a webhook receiver in the background, to see an alert."""
    from mikroscope.demo.alerts import AlertDemo

    context.obj = AlertDemo(directory)


@demo_alerts.command(short_help="Start the demo.")
@click.argument("mode", type=click.Choice(["error", "nologs"]), default="error")
@click.pass_obj
def up(alert_demo: Any, mode: Any) -> None:
    """Start the demo: alert on error spikes (error), or after a minute without logs (nologs)."""
    state = alert_demo.up(mode)
    print_json({"url": state.url, "mode": mode})
    what = "'mikroscope demo alerts trigger-error'" if mode == "error" else "to wait a minute"
    click.echo(f"next: {what}, then 'mikroscope demo alerts logs'; 'down' stops it", err=True)


@demo_alerts.command("trigger-error", short_help="Send errors; show the webhook request.")
@click.pass_obj
def trigger_error(alert_demo: Any) -> None:
    """Send errors, and show the webhook request that they trigger."""
    print_json(alert_demo.trigger_error())


@demo_alerts.command()
@click.pass_obj
def status(alert_demo: Any) -> None:
    """Show the state of the alerts, as in /health."""
    print_json(alert_demo.status())


@demo_alerts.command()
@click.pass_obj
def logs(alert_demo: Any) -> None:
    """Show the latest webhook requests, and the server's log."""
    print_json(alert_demo.logs())


@demo_alerts.command()
@click.pass_obj
def down(alert_demo: Any) -> None:
    """Stop the demo; its files stay."""
    alert_demo.down()
    click.echo("demo stopped", err=True)
