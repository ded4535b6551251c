"""Queries over HTTP, one after the other from one client."""

from benches import questions
from benches.cache import Cache, Corpus, place_with
from benches.figures import Recorder
from benches.load import get, load
from benches.program import Server, serve

SAMPLES = 100  # requests of each kind per round
HEAVY_SAMPLES = 5


def pages(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`GET /api/logs`, 100 entries: newest, from a time, by each field, by two, by words."""
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
        samples = questions.sample(corpus, record.samples(SAMPLES), seed=number)
        _ask(server, record, questions.pages(samples))


def counts(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """How many entries match a filter, of everything and of one day of thirty."""
    with serve(corpus.logs, cache.index(corpus)) as server:
        server.wait_until_rested()
        for number in record.rounds():
            samples = questions.sample(corpus, record.samples(HEAVY_SAMPLES), seed=number)
            _ask(server, record, questions.counts(samples))


def aggregates(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`GET /api/logs/aggregate` by fields of few and many values, with and without a filter."""
    for _ in record.rounds():
        # A freshly started server: it has no cached counts of days.
        with serve(corpus.logs, cache.index(corpus)) as server:
            server.wait_until_rested()
            targets = {
                kind: [one] * record.samples(HEAVY_SAMPLES)
                for kind, one in questions.groups().items()
            }
            first = _ask(server, record, targets)
        for kind, taken in first.items():
            if kind in questions.unfiltered():
                record.add_latencies(f"{kind}, the first time", [taken])


def _ask(server: Server, record: Recorder, targets: dict[str, list[str]]) -> dict[str, float]:
    """Ask every kind in turn, after one request of that kind which is not counted.

    Return by kind how many milliseconds the uncounted request took.
    """
    flat = [target for kind in targets.values() for target in (kind[0], *kind)]
    seen = get(server.url, flat)
    assert seen.succeeded == len(flat), f"answers: {dict(seen.statuses)}"
    latencies = iter(seen.milliseconds)
    counted, first = [], {}
    for kind, asked in targets.items():
        first[kind] = next(latencies)
        taken = [next(latencies) for _ in asked]
        record.add_latencies(kind, taken)
        counted += taken
    record.add_latencies("all of these", counted)
    return first
