"""The errors MikroScope raises on purpose: each text is written for the user to read.

The CLI prints the text on one line and exits with the class's `exit_code`. HTTP returns it as
`{"error": text}` with the status given below, and with 503 for every class that names none.
"""


class MikroScopeError(Exception):
    """An operation failed in a way the user can act on; exit code 1."""

    exit_code = 1


class ConfigurationError(MikroScopeError):
    """An option, a config file or an environment variable is invalid; exit code 2.

    `fix` says what to change, and where, if the text does not say so itself.
    """

    exit_code = 2

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


class QueryError(MikroScopeError):
    """A query parameter is invalid; HTTP 400, exit code 2."""

    exit_code = 2


class AlertPolicyError(MikroScopeError):
    """A change to the alert policy, or a test of its webhook, was refused; HTTP 400."""

    exit_code = 2


class StoreError(MikroScopeError):
    """The index cannot be opened, read or written; HTTP 503, exit code 1."""


class StorageFullError(StoreError):
    """The disk is full; clients may resend whatever was not acknowledged."""


class DamagedIndexError(StoreError):
    """The index file is damaged and has to be rebuilt from the log files."""


class NotAnIndexError(DamagedIndexError):
    """The file that should be the index is not an SQLite file at all."""


class IndexFormatError(StoreError):
    """Another version wrote the index in a different format; it has to be rebuilt."""


class IndexZoneError(IndexFormatError):
    """The times of the index were read in another default zone; it has to be rebuilt."""


class QueryTimeoutError(StoreError):
    """A query ran past its deadline and was stopped; HTTP 503."""


class ConflictError(MikroScopeError):
    """The state of the files forbids an operation; HTTP 409, exit code 1."""


class IngestError(MikroScopeError):
    """An ingest request was refused; HTTP answers with `status`."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StaleBatchError(StoreError):
    """Another process wrote to the index after the batch was begun; scan again and retry."""
