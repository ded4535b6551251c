"""Prints the results of commands on stdout."""

import sys

import msgspec


def print_json(content: object) -> None:
    """Print JSON on stdout: on one line for programs, indented on a terminal."""
    text = msgspec.json.encode(content)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    left = memoryview(text + b"\n")
    while left:  # an unbuffered stream (PYTHONUNBUFFERED) may write only a part
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()
