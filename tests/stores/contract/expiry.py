"""The contract of every store for expiring entries and compacting."""

import msgspec

from mikroscope.query.model import Grouping
from mikroscope.stores.base import Cutoffs, Deleted, Store
from tests.stores.contract.base import (
    SOME,
    START_MS,
    Contract,
    at,
    buckets_of,
    commit,
    count,
    found,
    numbers_of,
    put,
    put_some,
)


def expire_all(store: Store, **cutoffs: int | None) -> Deleted:
    """Expire to the end, with times counted from START_MS; return the totals."""
    deleted = Deleted()
    for some in store.expire(cutoffs_of(**cutoffs)):
        deleted.add(some)
    return deleted


def cutoffs_of(**cutoffs: int | None) -> Cutoffs:
    """Return cutoffs, counted from START_MS."""
    given = {name: None if ms is None else START_MS + ms for name, ms in cutoffs.items()}
    return Cutoffs(normal_ms=given.get("normal"), audit_ms=given.get("audit"))


class ExpiryContract(Contract):
    """`expire` deletes old entries, and `compact` releases their space."""

    def test_what_is_too_old_leaves(self, store: Store) -> None:
        """An entry exactly at its cutoff stays; normal and audit entries have separate cutoffs."""
        put(store, [at(n, n=n, audit=bool(n % 2)) for n in range(10)])
        deleted = expire_all(store, normal=6, audit=3)
        assert (deleted.normal_entries, deleted.audit_entries) == (3, 1)
        assert deleted.field_values in (None, 4 * 3)
        assert sorted(numbers_of(store)) == [3, 5, 6, 7, 8, 9]
        assert count(store) == 6

    def test_stopped_halfway_and_begun_again(self, store: Store) -> None:
        """If an iterator is dropped after a step, the next one deletes the rest."""
        put_some(store, lambda n: at(n, n=n))
        first = next(iter(store.expire(cutoffs_of(normal=SOME - 1))))
        assert 0 < first.entries < SOME - 1
        assert count(store) == SOME - first.entries
        assert expire_all(store, normal=SOME - 1).entries == SOME - 1 - first.entries
        assert numbers_of(store) == [SOME - 1]

    def test_writing_between_steps(self, store: Store) -> None:
        """Entries may be added during an expiry; old ones among them may expire too."""
        put_some(store, lambda n: at(n, n=n), "old")
        added = 0
        for _ in store.expire(cutoffs_of(normal=SOME)):
            put(store, [at(SOME + added, n=-1)], f"new-{added}")
            added += 1
        assert added > 1
        assert numbers_of(store) == [-1] * added

    def test_expires_exactly(self, store: Store) -> None:
        """Exactly the expired entries are deleted, normal and audit by their own cutoff."""
        put(store, [at(n % 7, n=n, audit=not n % 3) for n in range(50)])
        expire_all(store, normal=4, audit=2)
        kept = [n for n in range(50) if n % 7 >= (4 if n % 3 else 2)]
        assert sorted(numbers_of(store)) == kept

    def test_no_cutoff(self, store: Store) -> None:
        """Without a cutoff, no entry of that kind is deleted."""
        put(store, [at(0, n=0), at(0, n=1, audit=True)])
        assert expire_all(store, normal=None, audit=None).entries == 0
        assert expire_all(store, normal=None, audit=5).entries == 1
        assert numbers_of(store) == [0]

    def test_aggregates_forget(self, store: Store) -> None:
        """Aggregates do not count expired entries."""
        put(store, [at(n, n=n, kind=f"k{n % 3}") for n in range(300)])
        expire_all(store, normal=200)
        assert sum(count for _, count in buckets_of(store, Grouping("field", "kind"))) == 100
        assert buckets_of(store, Grouping("level")) == [("INFO", 100)]

    def test_sources_that_are_gone_and_empty(self, store: Store) -> None:
        """A source is forgotten if it is gone and empty, and kept otherwise."""
        sources = [put(store, [at(n * 10)], f"{n}.ndjson") for n in range(3)]
        batch = store.begin()
        for source in sources[:2]:
            batch.update_source(msgspec.structs.replace(source, gone=True))
        commit(store, batch)
        expire_all(store, normal=5, audit=5)
        assert {source.path for source in store.sources()} == {"1.ndjson", "2.ndjson"}

    def test_sources_know_of_audit(self, store: Store) -> None:
        """A source remembers that it had audit entries after they were deleted."""
        put(store, [at(0), at(0, audit=True)], "a")
        put(store, [at(0)], "b")
        expire_all(store, audit=1)
        assert {source.path: source.holds_audit for source in store.sources()} == {
            "a": True,
            "b": False,
        }

    def test_compacting_comes_to_an_end(self, store: Store) -> None:
        """Compacting ends, and no answer changes."""
        put_some(store, lambda n: at(n, n=n, note=f"words of number {n}"))
        expire_all(store, normal=2_000)
        for _ in store.compact():
            pass
        assert list(store.compact()) == []
        assert numbers_of(store) == list(range(SOME - 1, 1_999, -1))
        assert found(store, text="2400") == {2_400}

    def test_compacting_stopped_halfway(self, store: Store) -> None:
        """Compacting may stop after any step and start again, with entries added in between."""
        for part in range(6):
            put(store, [at(part * 100 + n, n=part * 100 + n) for n in range(100)], f"{part}")
        for part in range(3):
            next(iter(store.compact()), None)
            put(store, [at(600 + part, n=600 + part)], f"more-{part}")
        for _ in store.compact():
            pass
        assert numbers_of(store) == list(range(602, -1, -1))
