"""The SQLite store keeps the contract of all stores, and what it promises beyond it."""

from pathlib import Path

from mikroscope.stores.base import Store
from mikroscope.stores.sqlite import SqliteStore
from tests.stores import store_contract as contract


class Sqlite:
    """Makes the stores of the suites below."""

    def make_store(self, path: Path) -> Store:
        """A store in one file."""
        return SqliteStore(path)


class TestWriting(Sqlite, contract.WritingContract):
    """Sources, batches, commits."""


class TestEntries(Sqlite, contract.EntryContract):
    """What an entry tells of its record."""


class TestPaging(Sqlite, contract.PagingContract):
    """Order, limits and cursors."""


class TestFilters(Sqlite, contract.FilterContract):
    """Every filter, alone and with others."""


class TestTimes(Sqlite, contract.TimeContract):
    """`from` and `to`."""


class TestAggregates(Sqlite, contract.AggregateContract):
    """Counts by value."""


class TestPurge(Sqlite, contract.PurgeContract):
    """How entries leave."""


class TestThreads(Sqlite, contract.ThreadContract):
    """Questions while one writes."""
