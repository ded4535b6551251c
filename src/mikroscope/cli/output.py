"""Prints the results of commands on stdout."""

import sys

import msgspec

from mikroscope.records.printable import printable_json


def print_json(content: object) -> None:
    """Print JSON on stdout: on one line for programs, indented on a terminal.

    Controls in it are escaped, so that a log line cannot act on a terminal.
    """
    text = msgspec.json.encode(content)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    left = memoryview(printable_json(text) + b"\n")
    while left:  # an unbuffered stream (PYTHONUNBUFFERED) may write only a part
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()
