"""The status of a repeated job, as `/health` reports it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class JobStatus:
    """Counts a job's runs and keeps the times and the outcome of the last one.

    Times are in epoch milliseconds. One thread runs the job, any thread may read.
    """

    def __init__(self) -> None:
        self.running = False
        self.runs = 0
        self.last_run_ms: int | None = None
        self.last_success_ms: int | None = None
        self.last_duration_ms: int | None = None
        self.last_error: str | None = None

    @contextmanager
    def run(self, clock_ms: Callable[[], int]) -> Iterator[int]:
        """Record one run; yields when it began.

        A run that ends without an exception is a success and clears the last error. An exception
        is recorded and raised again: log or handle it around this context.
        """
        self.running = True
        self.last_run_ms = began_ms = clock_ms()
        try:
            yield began_ms
            self.last_success_ms = clock_ms()
            self.last_error = None
        except Exception as error:
            self.last_error = error_text(error)
            raise
        finally:
            self.last_duration_ms = max(0, clock_ms() - began_ms)
            self.runs += 1
            self.running = False


def error_text(error: Exception) -> str:
    """Return the text of an error, or its type's name if it has none."""
    return str(error) or type(error).__name__
