"""The findings of the doctor: a check, its outcome, and how to fix what is wrong."""

from pathlib import Path
from typing import Literal

import msgspec

Status = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check; `fix` explains what to do, and is None if the check passed."""

    check: str
    status: Status
    text: str
    fix: str | None = None


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings; `ok` is False if one of them is a problem."""

    ok: bool
    findings: list[Finding]


def diagnosis(findings: list[Finding]) -> Diagnosis:
    """Put findings together."""
    return Diagnosis(all(one.status != "problem" for one in findings), findings)


def ok(check: str, text: str) -> Finding:
    """A check that passed."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, fix: str) -> Finding:
    """A server works, but perhaps not for long, or not as intended."""
    return Finding(check, "warning", text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    """A server does not start, or does not work."""
    return Finding(check, "problem", text, fix)


def left_of_restore(check: str, remains: Path) -> Finding:
    """Warn of the copies that a killed restore left."""
    return warning(
        check,
        f"{remains} was left by a restore that was killed, unless one is running now",
        "restore again, or delete it",
    )
