"""The command line: `mikroscope` and `python -m mikroscope`."""

from mikroscope.cli.main import cli, main

__all__ = ["cli", "main"]
