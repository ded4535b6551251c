"""What the commands print on stdout."""

import sys

import msgspec


def print_json(content: object) -> None:
    """JSON on stdout: one line for programs, indented on a terminal."""
    text = msgspec.json.encode(content)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    left = memoryview(text + b"\n")
    while left:  # without buffering (PYTHONUNBUFFERED) a write may take a part
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()
