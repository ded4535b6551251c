"""What is read of a request's body: records, and the lines that are appended to a file."""

from typing import NamedTuple

from mikroscope.records.parsing import Fields


class Lines(NamedTuple):
    """Records of one request, ready to be appended."""

    path: str
    """The file, relative to the logs root."""
    content: bytes
    """Whole lines."""
    accepted: int
    rejected: int
    records: list[Fields] | None = None
    """What each line says, as `parse_line` would tell; None where that was not kept."""
