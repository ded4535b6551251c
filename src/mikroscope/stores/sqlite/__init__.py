"""The store that keeps the index in one SQLite file."""

from mikroscope.stores.sqlite.store import SqliteStore, begin_rebuild

__all__ = ["SqliteStore", "begin_rebuild"]
