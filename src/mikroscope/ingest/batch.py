"""Holds the records of one ingest request and the lines to append to a log file."""

from typing import NamedTuple

from mikroscope.records.parsing import Fields


class Lines(NamedTuple):
    """The records of one request, ready to be appended to a file."""

    path: str
    """The file, relative to the logs root."""
    content: bytes
    """Whole lines of NDJSON, each with its line feed."""
    accepted: int
    """The number of lines."""
    rejected: int
    """The number of items that were not objects."""
    records: list[Fields] | None = None
    """The fields of each line, as `parse_line` would return them; None if they were not kept."""
