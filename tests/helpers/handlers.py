"""Loggers with their own handler, and programs that log and end."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mikroscope.logging import MikroScopeHandler

TOKEN = "shop-token"
QUICK: dict[str, Any] = {"linger_s": 0.01, "backoff_s": 0.01, "max_backoff_s": 0.05}


@contextmanager
def logging_to(url: str, **options: Any) -> Iterator[tuple[logging.Logger, MikroScopeHandler]]:
    """Return a logger with a handler that is closed at the end."""
    handler = MikroScopeHandler(url, **(QUICK | {"token": TOKEN} | options))
    logger = logging.Logger("shop")  # separate from all other loggers
    logger.addHandler(handler)
    try:
        yield logger, handler
    finally:
        handler.close()


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a separate process to its end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
