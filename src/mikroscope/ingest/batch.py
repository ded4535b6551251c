"""The records of a request, on their way from its body to the store."""

from typing import NamedTuple

from mikroscope.records.parsing import Fields


class IngestBatch(NamedTuple):
    """Records of one request, or of several that go to one file, ready to be appended."""

    path: str
    """The file, relative to the logs root."""
    lines: bytes
    """Whole lines, one a record, each with its line feed."""
    accepted: int
    rejected: int
    records: list[Fields] | None = None
    """The fields of each line, to be read only; None if they were not kept."""

    def without_records(self) -> "IngestBatch":
        """Return the batch without the parsed records, which take several times the space."""
        return self._replace(records=None)

    @staticmethod
    def joined(batches: "list[IngestBatch]") -> "IngestBatch":
        """Return one batch with the lines of several that go to the same file, in their order."""
        if len(batches) == 1:
            return batches[0]
        parts = [batch.records for batch in batches]
        records = [record for part in parts if part is not None for record in part]
        return IngestBatch(
            path=batches[0].path,
            lines=b"".join([batch.lines for batch in batches]),
            accepted=sum(batch.accepted for batch in batches),
            rejected=sum(batch.rejected for batch in batches),
            records=None if None in parts else records,
        )
