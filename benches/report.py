"""stub."""

from pathlib import Path


def publish(results: Path, docs: Path) -> None: ...


def write_report(docs: Path) -> None: ...
