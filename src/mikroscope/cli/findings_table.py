"""Prints the doctor's findings for people."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mikroscope.doctor.findings import Diagnosis, Finding
from mikroscope.records.printable import printable

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def print_findings(diagnosis: Diagnosis) -> None:
    """Print findings on stdout, problems last, where they are noticed.

    On a terminal they are a table of its width; elsewhere (cron's mail, grep) each is one line.
    """
    findings = sorted(diagnosis.findings, key=lambda one: list(_STYLES).index(one.status))
    console = Console(highlight=False, soft_wrap=True)
    if console.is_terminal:
        console.print(_table(findings), soft_wrap=False)
    else:
        for finding in findings:
            console.print(_line(finding))
    console.print(_verdict(diagnosis))


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(*_row(finding))
    return table


def _line(finding: Finding) -> Text:
    fix = f" -- fix: {finding.fix}" if finding.fix is not None else ""
    return Text(printable(f"{finding.status}: {finding.check}: {finding.text}{fix}"))


def _row(finding: Finding) -> tuple[Text, Text, Text]:
    text = Text(printable(finding.text))
    if finding.fix is not None:
        text.append(f"\nfix: {printable(finding.fix)}", style="italic")
    return Text(finding.status, style=_STYLES[finding.status]), Text(finding.check), text


def _verdict(diagnosis: Diagnosis) -> str:
    counts = Counter(finding.status for finding in diagnosis.findings)
    return f"problems: {counts['problem']}, warnings: {counts['warning']}, ok: {counts['ok']}"
