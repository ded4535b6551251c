"""The contract of all stores, for the questions to an index of format 5."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mikroscope.query.model import Aggregate, Entry, Grouping, Page, PageRequest, Query
from mikroscope.stores.base import FIRST_PAGE, Batch, Deleted, Facet, HistogramBucket, Store
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.previous import snapshot
from mikroscope.stores.sqlite.schema import connect
from tests.helpers.previous import downgrade
from tests.helpers.stores import StoreWrapper
from tests.stores.contract.aggregates import AggregateContract
from tests.stores.contract.entries import EntryContract
from tests.stores.contract.filters import FilterContract
from tests.stores.contract.paging import PagingContract
from tests.stores.contract.parts import PartContract
from tests.stores.contract.questions import QuestionContract
from tests.stores.contract.times import TimeContract


class _Downgraded(StoreWrapper):
    """Answers every question from a copy of the index in format 5."""

    def __init__(self, path: Path) -> None:
        super().__init__(SqliteStore(path))
        self._path = path
        self._copy = path.with_suffix(".old.db")
        self._opened: SqliteStore | None = None

    def commit(self, batch: Batch, wait: bool = True) -> None:
        """Commit; the next question makes a new copy."""
        super().commit(batch, wait)
        self._forget()

    def collect(self) -> Iterator[Deleted]:
        """Collect; the next question makes a new copy."""
        yield from super().collect()
        self._forget()

    def search(self, query: Query, page: PageRequest = FIRST_PAGE) -> Page:
        """Ask the copy."""
        return self._old().search(query, page)

    def get(self, entry_id: int) -> Entry | None:
        """Ask the copy."""
        return self._old().get(entry_id)

    def count(self, query: Query) -> int:
        """Ask the copy."""
        return self._old().count(query)

    def aggregate(self, query: Query, grouping: Grouping, limit: int = 100) -> Aggregate:
        """Ask the copy."""
        return self._old().aggregate(query, grouping, limit)

    def histogram(
        self, query: Query, interval_ms: int, split: Grouping | None = None
    ) -> list[HistogramBucket]:
        """Ask the copy."""
        return self._old().histogram(query, interval_ms, split)

    def facets(self, query: Query, fields: Sequence[str], limit: int = 10) -> list[Facet]:
        """Ask the copy."""
        return self._old().facets(query, fields, limit)

    def fields(self) -> list[str]:
        """Ask the copy."""
        return self._old().fields()

    def scan(self, query: Query) -> Iterator[Entry]:
        """Ask the copy."""
        return iter(list(self._old().scan(query)))

    def close(self) -> None:
        """Close both."""
        self._forget()
        super().close()

    def _old(self) -> SqliteStore:
        if self._opened is None:
            self.inner.refresh()
            with closing(connect(self._path)) as connection:
                connection.execute("VACUUM INTO ?", (str(self._copy),))
            downgrade(self._copy)
            self._opened = SqliteStore(self._copy, write=False)
        return self._opened

    def _forget(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
            self._copy.unlink()


class Previous:
    """Makes stores that answer from format 5."""

    @classmethod
    def make_store(cls, path: Path) -> Store:
        """A store whose questions are those to an old index."""
        return _Downgraded(path)


class Divided(Previous):
    """The same, with few entries in memory at a time."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _divide(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshot, "CHUNK", 50)
            patch.setattr(snapshot, "KEPT", 1)
            yield


class TestParts(Previous, PartContract):
    """Part of old entries."""


class TestEntries(Previous, EntryContract):
    """Entry of an old index."""


class TestPaging(Divided, PagingContract):
    """Paging of old entries."""

    # An old index takes no entries.
    test_walking_while_entries_arrive = None  # type: ignore[assignment]


class TestFilters(Divided, FilterContract):
    """Filter of old entries."""


class TestTimes(Divided, TimeContract):
    """Time of old entries."""


class TestAggregates(Previous, AggregateContract):
    """Aggregate of old entries."""


class TestQuestions(Divided, QuestionContract):
    """Question of old entries."""
