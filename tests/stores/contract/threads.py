"""The contract of every store for many threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mikroscope.errors import StoreError
from mikroscope.query.model import Grouping, PageRequest, Query
from mikroscope.stores.base import Store
from tests.stores.contract.base import (
    DEADLINE_S,
    EVERYTHING,
    Contract,
    at,
    buckets_of,
    count,
    entries_of,
    numbers_of,
    put,
)


class ThreadContract(Contract):
    """Queries from many threads while one writes."""

    COMMITS, EACH = 20, 25

    def test_answers_are_whole_while_others_are_written(self, store: Store) -> None:
        """Every answer shows whole commits only, and never fewer than the one before."""
        questions: list[Callable[[], int]] = [
            lambda: count(store),
            lambda: len(store.search(EVERYTHING).entries),
            lambda: len(
                store.search(Query(field="all", value="true"), PageRequest(limit=1000)).entries
            ),
            lambda: sum(count for _, count in buckets_of(store, Grouping("field", "batch"))),
        ]
        done = threading.Event()
        answers: list[list[int]] = [[0] for _ in questions * 2]

        def ask(question: Callable[[], int], seen: list[int]) -> None:
            while not done.is_set():
                seen.append(question())

        with ThreadPoolExecutor(len(answers)) as pool:
            asking = [pool.submit(ask, *pair) for pair in zip(questions * 2, answers, strict=True)]
            for commit in range(self.COMMITS):
                records = [at(n, batch=commit, all=True) for n in range(self.EACH)]
                put(store, records, f"{commit}")
            done.set()
            for one in asking:
                one.result(DEADLINE_S)
        assert [seen for seen in answers if seen != sorted(seen)] == []
        assert [n for seen in answers for n in seen if n % self.EACH] == []

    def test_more_threads_than_the_store_has_connections(self, store: Store) -> None:
        """Every thread gets its answer, however many query at once."""
        put(store, [at(n, n=n) for n in range(100)])
        barrier = threading.Barrier(20)

        def ask(_: int) -> list[int]:
            barrier.wait(DEADLINE_S)
            return numbers_of(store, Query(), PageRequest(limit=10))

        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(ask, range(20))) == [list(range(99, -1, -1))] * 20

    def test_closing_ends_questions(self, store: Store) -> None:
        """A store closes while other threads query it; their later queries raise StoreError."""
        put(store, [at(n, n=n) for n in range(500)])
        asked = threading.Semaphore(0)

        def ask() -> None:
            while True:
                entries_of(store, Query(), PageRequest(limit=50))
                asked.release()

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            for _ in asking:
                assert asked.acquire(timeout=DEADLINE_S)
            store.close()
            errors = [one.exception(DEADLINE_S) for one in asking]
        assert [error for error in errors if not isinstance(error, StoreError)] == []
