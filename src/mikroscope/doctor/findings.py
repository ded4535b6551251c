"""What the doctor says: a check, how it went, and what to do about it."""

from pathlib import Path
from typing import Literal

import msgspec

Status = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check; `fix` says how to put it right, and is None where all is well."""

    check: str
    status: Status
    text: str
    fix: str | None = None


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings; `ok` unless one of them is a problem."""

    ok: bool
    findings: list[Finding]


def diagnosis(findings: list[Finding]) -> Diagnosis:
    """The findings together."""
    return Diagnosis(all(one.status != "problem" for one in findings), findings)


def ok(check: str, text: str) -> Finding:
    """Nothing to be done."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, fix: str) -> Finding:
    """It works, and may not do so for long, or not as it is meant."""
    return Finding(check, "warning", text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, "problem", text, fix)


def left_of_restore(check: str, remains: Path) -> Finding:
    """A copy that is in nobody's way, unless it is in the logs, where it is read."""
    return warning(
        check,
        f"{remains} is left of a restore that was killed, if none goes on now",
        "restore again, or delete it",
    )
