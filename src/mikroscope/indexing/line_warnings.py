"""Warnings about lines of log files that are not indexed, a bounded number of each file."""

import logging

logger = logging.getLogger(__name__)

MAX_WARNINGS = 10  # about the lines of one file


class LineWarnings:
    """Logs the first problems of each file; the others are only counted, in the statistics."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, path: str, line: int | None, problem: str) -> None:
        """Log a problem of a file or of one of its lines, unless there were many before."""
        count = self._counts[path] = self._counts.get(path, 0) + 1
        if count <= MAX_WARNINGS:
            place = path if line is None else f"{path}:{line}"
            more = "; further ones of this file are only counted" if count == MAX_WARNINGS else ""
            logger.warning("%s: %s%s", place, problem, more)
