"""Queries over HTTP, one after the other from one client."""

import random
import time
from collections.abc import Collection

from benches import questions
from benches.cache import Cache, Corpus, place_with
from benches.figures import Recorder
from benches.load import Seen, get, load
from benches.program import Server, serve

SAMPLES = 100  # requests of each kind per round
HEAVY_SAMPLES = 5
DEPTH = 20  # large pages, from whose ends the deep pages continue
DEEP = {
    "newest": {},
    "level": {"level": "INFO"},
    "service": {"field": "service", "value": "search"},
    "a word": {"text": "order"},
}


def pages(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`GET /api/logs`, 100 entries: newest, by time, by each field, by words, by two, far back."""
    with serve(corpus.logs, cache.index(corpus)) as server:
        server.wait_until_rested()
        _ask_pages(server, corpus, record)


def pages_under_ingest(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """The same pages while 16 clients send 100 records per request as fast as they can."""
    with cache.scratch() as scratch:
        logs, index = place_with(corpus, cache.index(corpus), scratch)
        with serve(logs, index) as server:
            server.wait_until_rested()
            arguments = ("--clients", 16, "--batch", 100, "--requests", record.samples(500))
            with load(server.url, "--post", corpus.path, "--endless", *arguments) as sending:
                _ask_pages(server, corpus, record)
                sent = sending.finish()
    rate = sent.succeeded * 100 / sent.seconds
    record.notes.append(f"meanwhile the server accepted {rate:,.0f} records/s")


def _ask_pages(server: Server, corpus: Corpus, record: Recorder) -> None:
    for number in record.rounds():
        count = record.samples(SAMPLES) + 1
        targets = questions.pages(questions.sample(corpus, count, seed=number))
        ask(server, record, targets | _deep_pages(server, corpus, count, random.Random(number)))


def _deep_pages(
    server: Server, corpus: Corpus, count: int, chance: random.Random
) -> dict[str, list[str]]:
    """Return targets of pages that continue up to DEPTH large pages behind the newest."""
    large = str(max(1, min(1000, corpus.records // 100)))
    targets = {}
    for kind, filters in DEEP.items():
        cursors: list[str] = []
        page = server.get("/api/logs", limit=large, **filters)
        while (cursor := page.get("nextCursor")) and len(cursors) < DEPTH:
            cursors.append(cursor)
            page = server.get("/api/logs", limit=large, cursor=cursor, **filters)
        targets[f"page: {kind}, far back"] = [
            questions.page(cursor=chance.choice(cursors), **filters) for _ in range(count)
        ]
    return targets


def first_page(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """The first page after a start, asked for as soon as the server listens, by kind of page."""
    kinds = ("newest", "level", "tenantId", "orderId", "a word", "tenantId of one day")
    for number in record.rounds():
        targets = questions.pages(questions.sample(corpus, 1, seed=number))
        for kind in kinds:
            with serve(corpus.logs, cache.index(corpus)) as server:
                began = time.perf_counter()
                server.get(targets[f"page: {kind}"][0])
                record.add(f"first page: {kind}", "ms", (time.perf_counter() - began) * 1000)


def counts(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """How many entries match a filter, of everything and of one day of thirty."""
    with serve(corpus.logs, cache.index(corpus)) as server:
        server.wait_until_rested()
        for number in record.rounds():
            samples = questions.sample(corpus, record.samples(HEAVY_SAMPLES) + 1, seed=number)
            ask(server, record, questions.counts(samples))


def aggregates(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`GET /api/logs/aggregate` by fields of few and many values, with and without a filter."""
    for _ in record.rounds():
        # A freshly started server: it has no cached counts of days.
        with serve(corpus.logs, cache.index(corpus)) as server:
            server.wait_until_rested()
            targets = {
                kind: [one] * (record.samples(HEAVY_SAMPLES) + 1)
                for kind, one in questions.groups().items()
            }
            first = ask(server, record, targets)
        for kind, taken in first.items():
            if kind in questions.unfiltered():
                record.add_latencies(f"{kind}, the first time", [taken])


def filtered_groups(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Groups under a filter, and by ids of one day: the first time, then with other values."""
    for number in record.rounds():
        count = record.samples(HEAVY_SAMPLES) + 1
        samples = questions.sample_of_days(corpus, count, seed=number)
        with serve(corpus.logs, cache.index(corpus)) as server:
            server.wait_until_rested()
            first = ask(server, record, questions.filtered_groups(samples))
        for kind, taken in first.items():
            record.add_latencies(f"{kind}, the first time", [taken])


def ask(server: Server, record: Recorder, targets: dict[str, list[str]]) -> dict[str, float]:
    """Ask every kind in turn; the first request of each kind is not counted.

    Return by kind how many milliseconds that first request took. Every request must succeed.
    """
    seen = get(server.url, flatten(targets))
    assert seen.succeeded == len(seen.milliseconds), f"answers: {dict(seen.statuses)}"
    return add_by_kind(record, targets, seen)


def flatten(targets: dict[str, list[str]]) -> list[str]:
    """Return the targets of all kinds, one kind after the other."""
    return [target for kind in targets.values() for target in kind]


def add_by_kind(
    record: Recorder, targets: dict[str, list[str]], seen: Seen, leave_out: Collection[str] = ()
) -> dict[str, float]:
    """Add the latencies of each kind but its first, except of some kinds; return the first ones."""
    latencies = iter(seen.milliseconds)
    counted, first = [], {}
    for kind, asked in targets.items():
        first[kind] = next(latencies)
        taken = [next(latencies) for _ in asked[1:]]
        if kind in leave_out:
            continue
        record.add_latencies(kind, taken)
        counted += taken
    record.add_latencies("all of these", counted)
    return first
