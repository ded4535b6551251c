"""The errors MikroScope raises on purpose: each one's text is fit for the user's eyes."""


class MikroScopeError(Exception):
    """Something failed that the user can act on; the CLI prints it on one line and exits with 1."""

    exit_code = 1


class ConfigurationError(MikroScopeError):
    """An option, a config file or an environment variable is wrong; the CLI exits with 2."""

    exit_code = 2


class QueryError(MikroScopeError):
    """A query parameter is wrong; HTTP answers 400, the CLI exits with 2."""

    exit_code = 2


class AlertPolicyError(MikroScopeError):
    """A change of the alert policy, or a test of its webhook, is refused; HTTP answers 400."""

    exit_code = 2


class StoreError(MikroScopeError):
    """The index cannot be opened, read or written."""


class StorageFullError(StoreError):
    """There is no room left to write; what was not acknowledged may be sent again."""


class DamagedIndexError(StoreError):
    """The index file is damaged: it is to be rebuilt from the log files."""


class IndexFormatError(StoreError):
    """The index was made by a version that keeps it in another format: it is to be rebuilt."""


class QueryTimeoutError(StoreError):
    """A query took longer than its deadline and was stopped."""


class IngestError(MikroScopeError):
    """An ingest payload is refused; carries the HTTP status that says why."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StaleBatchError(StoreError):
    """Another process has written to the index meanwhile: look again, and try again."""
