"""The store that keeps the index in one SQLite file."""

from mikroscope.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
