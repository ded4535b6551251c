"""The contract of all stores, for entries that are fresh, sealed, merged and rewritten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope.stores.base import Batch, Store
from mikroscope.stores.sqlite import SqliteStore, sealing
from mikroscope.stores.sqlite.write import encoding, merging, resealing
from tests.stores.contract.aggregates import AggregateContract
from tests.stores.contract.collecting import CollectContract
from tests.stores.contract.entries import EntryContract
from tests.stores.contract.expiry import ExpiryContract
from tests.stores.contract.filters import FilterContract
from tests.stores.contract.idempotence import IdempotenceContract
from tests.stores.contract.paging import PagingContract
from tests.stores.contract.parts import PartContract
from tests.stores.contract.questions import QuestionContract
from tests.stores.contract.rebuilding import RebuildContract
from tests.stores.contract.replacing import ReplacingContract
from tests.stores.contract.shrinking import ShrinkContract
from tests.stores.contract.threads import ThreadContract
from tests.stores.contract.times import TimeContract
from tests.stores.contract.writing import WritingContract


class Fresh:
    """Makes stores whose entries are not sealed: the batches of the tests are small."""

    @classmethod
    def make_store(cls, path: Path) -> Store:
        """A store in one file."""
        return SqliteStore(path)


class Sealed(Fresh):
    """Makes stores in which every batch is a segment at once."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _seal(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoding, "LEAST_ENTRIES", 1)
            patch.setattr(merging, "LEAST_ENTRIES", 1)
            patch.setattr(resealing, "LEAST_ENTRIES", 1)
            yield


class Posted(Sealed):
    """Makes stores in which every value is a token of the inverted index."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _post(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sealing, "MAX_COLUMN_VALUES", 0)
            yield


class Rewritten(Sealed):
    """Makes stores in which every segment with a deleted entry is written again."""

    @classmethod
    def make_store(cls, path: Path) -> Store:
        """A store that compacts whatever it can after each commit."""
        return _Compacting(path)

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _rewrite(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merging, "_REWRITE_SHARE", 0.0)
            patch.setattr(merging, "_WASTED_SHARE", 0.0)
            patch.setattr(merging, "_WASTED_ORDINALS", 0)
            yield


class Loose(Fresh):
    """Makes stores that seal each batch after it was committed, without documents."""

    @classmethod
    def make_store(cls, path: Path) -> Store:
        """A store that compacts whatever it can after each commit."""
        return _Compacting(path)

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _seal(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mikroscope.stores.sqlite.write.sealer.SEAL_ENTRIES", 1)
            patch.setattr(merging, "_MANY_LOOSE", 2)
            yield


class _Compacting(SqliteStore):
    def commit(self, batch: Batch, wait: bool = True) -> None:
        super().commit(batch, wait)
        for _ in self.compact():
            pass


class TestPartsFresh(Fresh, PartContract):
    """Part of fresh entries."""


class TestWritingFresh(Fresh, WritingContract):
    """Writing of fresh entries."""


class TestReplacingFresh(Fresh, ReplacingContract):
    """Replacing of fresh entries."""


class TestIdempotenceFresh(Fresh, IdempotenceContract):
    """Idempotence of fresh entries."""


class TestEntriesFresh(Fresh, EntryContract):
    """Entry of fresh entries."""


class TestPagingFresh(Fresh, PagingContract):
    """Paging of fresh entries."""


class TestFiltersFresh(Fresh, FilterContract):
    """Filter of fresh entries."""


class TestTimesFresh(Fresh, TimeContract):
    """Time of fresh entries."""


class TestAggregatesFresh(Fresh, AggregateContract):
    """Aggregate of fresh entries."""


class TestQuestionsFresh(Fresh, QuestionContract):
    """Question of fresh entries."""


class TestCollectingFresh(Fresh, CollectContract):
    """Collect of fresh entries."""


class TestExpiryFresh(Fresh, ExpiryContract):
    """Expiry of fresh entries."""


class TestShrinkingFresh(Fresh, ShrinkContract):
    """Shrinking of fresh entries."""


class TestRebuildingFresh(Fresh, RebuildContract):
    """Rebuild of fresh entries."""


class TestThreadsFresh(Fresh, ThreadContract):
    """Thread of fresh entries."""


class TestPartsSealed(Sealed, PartContract):
    """Part of sealed entries."""


class TestWritingSealed(Sealed, WritingContract):
    """Writing of sealed entries."""


class TestReplacingSealed(Sealed, ReplacingContract):
    """Replacing of sealed entries."""


class TestIdempotenceSealed(Sealed, IdempotenceContract):
    """Idempotence of sealed entries."""


class TestEntriesSealed(Sealed, EntryContract):
    """Entry of sealed entries."""


class TestPagingSealed(Sealed, PagingContract):
    """Paging of sealed entries."""


class TestFiltersSealed(Sealed, FilterContract):
    """Filter of sealed entries."""


class TestTimesSealed(Sealed, TimeContract):
    """Time of sealed entries."""


class TestAggregatesSealed(Sealed, AggregateContract):
    """Aggregate of sealed entries."""


class TestQuestionsSealed(Sealed, QuestionContract):
    """Question of sealed entries."""


class TestCollectingSealed(Sealed, CollectContract):
    """Collect of sealed entries."""


class TestExpirySealed(Sealed, ExpiryContract):
    """Expiry of sealed entries."""


class TestShrinkingSealed(Sealed, ShrinkContract):
    """Shrinking of sealed entries."""


class TestRebuildingSealed(Sealed, RebuildContract):
    """Rebuild of sealed entries."""


class TestThreadsSealed(Sealed, ThreadContract):
    """Thread of sealed entries."""


class TestReplacingLoose(Loose, ReplacingContract):
    """Replacing of loose entries."""


class TestIdempotenceLoose(Loose, IdempotenceContract):
    """Idempotence of loose entries."""


class TestPagingLoose(Loose, PagingContract):
    """Paging of loose entries."""


class TestFiltersLoose(Loose, FilterContract):
    """Filter of loose entries."""


class TestAggregatesLoose(Loose, AggregateContract):
    """Aggregate of loose entries."""


class TestQuestionsLoose(Loose, QuestionContract):
    """Question of loose entries."""


class TestCollectingLoose(Loose, CollectContract):
    """Collect of loose entries."""


class TestExpiryLoose(Loose, ExpiryContract):
    """Expiry of loose entries."""


class TestShrinkingLoose(Loose, ShrinkContract):
    """Shrinking of loose entries."""


class TestPartsPosted(Posted, PartContract):
    """Part of posted entries."""


class TestWritingPosted(Posted, WritingContract):
    """Writing of posted entries."""


class TestReplacingPosted(Posted, ReplacingContract):
    """Replacing of posted entries."""


class TestIdempotencePosted(Posted, IdempotenceContract):
    """Idempotence of posted entries."""


class TestEntriesPosted(Posted, EntryContract):
    """Entry of posted entries."""


class TestPagingPosted(Posted, PagingContract):
    """Paging of posted entries."""


class TestFiltersPosted(Posted, FilterContract):
    """Filter of posted entries."""


class TestTimesPosted(Posted, TimeContract):
    """Time of posted entries."""


class TestAggregatesPosted(Posted, AggregateContract):
    """Aggregate of posted entries."""


class TestQuestionsPosted(Posted, QuestionContract):
    """Question of posted entries."""


class TestCollectingPosted(Posted, CollectContract):
    """Collect of posted entries."""


class TestExpiryPosted(Posted, ExpiryContract):
    """Expiry of posted entries."""


class TestShrinkingPosted(Posted, ShrinkContract):
    """Shrinking of posted entries."""


class TestRebuildingPosted(Posted, RebuildContract):
    """Rebuild of posted entries."""


class TestThreadsPosted(Posted, ThreadContract):
    """Thread of posted entries."""


class TestReplacingRewritten(Rewritten, ReplacingContract):
    """Replacing of rewritten entries."""


class TestIdempotenceRewritten(Rewritten, IdempotenceContract):
    """Idempotence of rewritten entries."""


class TestPagingRewritten(Rewritten, PagingContract):
    """Paging of rewritten entries."""


class TestFiltersRewritten(Rewritten, FilterContract):
    """Filter of rewritten entries."""


class TestAggregatesRewritten(Rewritten, AggregateContract):
    """Aggregate of rewritten entries."""


class TestQuestionsRewritten(Rewritten, QuestionContract):
    """Question of rewritten entries."""


class TestCollectingRewritten(Rewritten, CollectContract):
    """Collect of rewritten entries."""


class TestExpiryRewritten(Rewritten, ExpiryContract):
    """Expiry of rewritten entries."""


class TestShrinkingRewritten(Rewritten, ShrinkContract):
    """Shrinking of rewritten entries."""
