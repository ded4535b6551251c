"""Waits for conditions, never for seconds."""

import time
from collections.abc import Callable

DEADLINE_S = 30.0  # far above the time of any test, even on a busy machine


def wait_until(
    condition: Callable[[], object], what: str = "the condition", deadline_s: float = DEADLINE_S
) -> None:
    """Return as soon as the condition holds; fail if it does not within the deadline."""
    end = time.monotonic() + deadline_s
    pause_s = 0.005
    while not condition():
        assert time.monotonic() < end, f"{what} did not come to hold within {deadline_s} s"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 0.05)  # asking takes time from what is waited for
