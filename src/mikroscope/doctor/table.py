"""The findings as a table for people."""

import sys
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mikroscope.doctor.findings import Diagnosis, Finding

_NOT_FOLDED = 100_000  # characters
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def print_findings(diagnosis: Diagnosis) -> None:
    """Print them on stdout: problems last, where they are seen."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in sorted(diagnosis.findings, key=lambda one: list(_STYLES).index(one.status)):
        table.add_row(*_row(finding))
    # Lines are folded for eyes; a path that is looked for in a file must be in one piece.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _NOT_FOLDED)
    console.print(table)
    console.print(_verdict(diagnosis))


def _row(finding: Finding) -> tuple[Text, Text, Text]:
    text = Text(finding.text)
    if finding.mend is not None:
        text.append(f"\nmend: {finding.mend}", style="italic")
    return Text(finding.status, style=_STYLES[finding.status]), Text(finding.check), text


def _verdict(diagnosis: Diagnosis) -> str:
    counts = Counter(finding.status for finding in diagnosis.findings)
    return f"problems: {counts['problem']}, warnings: {counts['warning']}, ok: {counts['ok']}"
