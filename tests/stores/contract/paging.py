"""The contract of every store for order, limits and cursors."""

import pytest

from mikroscope.query.model import PageRequest, Query
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    EDGE_TIMES,
    MANY,
    START_MS,
    Contract,
    OpenStore,
    at,
    collect_all,
    discard,
    numbers_of,
    pages,
    put,
    record_of,
)


class PagingContract(Contract):
    """Order, limits and cursors."""

    def test_newest_first(self, store: Store) -> None:
        """Entries come by their time, however they arrived."""
        put(store, [at(ms, n=ms) for ms in (5, 1, 9)], "a")
        put(store, [at(ms, n=ms) for ms in (3, 7, 0)], "b")
        assert numbers_of(store) == [9, 7, 5, 3, 1, 0]

    def test_ties(self, store: Store) -> None:
        """Of entries in the same millisecond, the newest arrival comes first."""
        put(store, [at(0, n=0), at(0, n=1)], "b")
        put(store, [at(0, n=2), at(1, n=9), at(0, n=3)], "a")
        put(store, [at(0, n=4)], "c")
        assert numbers_of(store) == [9, 4, 3, 2, 1, 0]

    def test_times_of_all_centuries(self, store: Store) -> None:
        """From the year 2 to 9999, newer and later-arrived entries come first."""
        put(store, [{"time": text, "n": n} for n, text in enumerate(EDGE_TIMES)])
        assert numbers_of(store) == list(range(len(EDGE_TIMES) - 1, -1, -1))

    def test_limit(self, store: Store) -> None:
        """A page has at most `limit` entries and reports how many it has."""
        put(store, [at(n, n=n) for n in range(10)])
        page = store.search(Query(), PageRequest(limit=3))
        assert ([record_of(one)["n"] for one in page.entries], page.limit) == ([9, 8, 7], 3)

    @pytest.mark.parametrize(("limit", "more"), [(9, True), (10, False), (11, False)])
    def test_has_more(self, store: Store, limit: int, more: bool) -> None:
        """A page has a cursor and `has_more` only if an entry is left after it."""
        put(store, [at(n) for n in range(10)])
        page = store.search(Query(), PageRequest(limit=limit))
        assert (page.has_more, page.next_cursor is not None) == (more, more)

    def test_an_empty_page(self, store: Store) -> None:
        """A page without matches has no entries, no cursor and no `has_more`."""
        put(store, [at(0)])
        page = store.search(Query(level="NONE"))
        assert (page.entries, page.has_more, page.next_cursor) == ([], False, None)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 49, 50])
    def test_walking(self, store: Store, limit: int) -> None:
        """Cursors lead through all entries, each once and in order, even within a millisecond."""
        put(store, [at(n // 20, n=n) for n in range(50)])
        assert numbers_of(store, Query(), PageRequest(limit=limit)) == list(range(49, -1, -1))

    def test_walking_with_filters(self, store: Store) -> None:
        """A cursor continues with the same filters and range."""
        put(store, [at(n // 3, n=n, even=n % 2 == 0) for n in range(60)])
        query = Query(field="even", value="true", from_ms=START_MS + 5, to_ms=START_MS + 15)
        found = numbers_of(store, query, PageRequest(limit=4))
        assert found == [n for n in range(47, 14, -1) if n % 2 == 0]

    @pytest.mark.parametrize("filters", [{}, {"level": "INFO"}, {"field": "all", "value": "true"}])
    def test_walking_while_entries_arrive(self, store: Store, filters: dict[str, str]) -> None:
        """Entries that exist at the first page are returned once, whatever arrives meanwhile."""
        there = set(range(60))
        put(store, [at(n // 6, n=n, all=True) for n in there], "first")
        seen: list[int] = []
        for turn, page in enumerate(pages(store, Query(**filters), PageRequest(limit=7))):  # type: ignore[arg-type]
            seen += [record_of(entry)["n"] for entry in page]
            late = [at(ms, n=1000 + turn * 20 + ms, all=True) for ms in range(-1, 12)]
            put(store, late, f"late-{turn}")
            if turn > 30:
                break
        assert len(set(seen)) == len(seen)
        assert there <= set(seen)

    def test_newer_entries_do_not_come_behind_a_cursor(self, store: Store) -> None:
        """Entries that arrive above a cursor, even in its millisecond, are not on the next page."""
        put(store, [at(0, n=n) for n in range(10)], "first")
        cursor = store.search(Query(), PageRequest(limit=5)).next_cursor
        put(store, [at(0, n=n) for n in range(10, 20)], "second")
        assert numbers_of(store, Query(), PageRequest(cursor=cursor)) == [4, 3, 2, 1, 0]

    def test_walking_while_entries_leave(self, store: Store) -> None:
        """A purge between pages does not make a cursor skip or repeat remaining entries."""
        put(store, [at(n, n=n) for n in range(0, 40, 2)], "stays")
        leaving = put(store, [at(n, n=n) for n in range(1, 40, 2)], "leaves")
        page = store.search(Query(), PageRequest(limit=10))
        discard(store, leaving)
        collect_all(store)
        rest = numbers_of(store, Query(), PageRequest(limit=10, cursor=page.next_cursor))
        assert rest == list(range(28, -1, -2))

    def test_a_cursor_survives_reopening(self, open_store: OpenStore) -> None:
        """A cursor works later in another store on the same index."""
        store = open_store()
        put(store, [at(0, n=n) for n in range(10)])
        cursor = store.search(Query(), PageRequest(limit=5)).next_cursor
        store.close()
        assert numbers_of(open_store(), Query(), PageRequest(cursor=cursor)) == [4, 3, 2, 1, 0]

    def test_thousands_of_one_millisecond(self, store: Store) -> None:
        """Of thousands of entries in a millisecond, each is returned once, newest arrival first."""
        put(store, [at(shift, n=-1) for shift in (-1, 1, 2, 3)], "around")
        for part in range(3):
            first = part * MANY // 3
            put(store, [at(0, n=first + n) for n in range(MANY // 3)], f"{part}")
        walked = numbers_of(store)
        assert len(walked) == MANY + 4
        assert [n for n in walked if n >= 0] == list(range(MANY - 1, -1, -1))

    @pytest.mark.parametrize(
        "cursor",
        ["", " ", "x", "0", "-1", "null", "====", "AAAA", "é", "\x00", "../..", "a" * 5000, "%00"],
    )
    def test_malformed_cursors(self, store: Store, cursor: str) -> None:
        """A malformed cursor starts at the first page."""
        put(store, [at(n, n=n) for n in range(3)])
        assert numbers_of(store, Query(), PageRequest(cursor=cursor)) == [2, 1, 0]
