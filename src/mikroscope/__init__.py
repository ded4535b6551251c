"""MikroScope: a log sidecar that indexes NDJSON into SQLite and answers over HTTP and CLI."""

__version__ = "0.1.0"
