"""Corpora that are hard to index: late lines, thousands of days, of shapes, of names, of values."""

from benches import questions
from benches.cache import Cache, Corpus, index_bytes
from benches.figures import Recorder
from benches.program import index, serve
from benches.scenarios.queries import ask

SAMPLES = 20  # pages of each kind per round
HEAVY_SAMPLES = 5  # groups


def odd_corpora(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Load, size, pages and groups of corpora that are each hard to index in one way."""
    for number in record.rounds():
        with cache.scratch() as scratch:
            path = scratch / "index.db"
            run, report = index(corpus.logs, path)
            assert report["recordsInserted"] == corpus.records, report
            record.add("load", "records/s", corpus.records / run.seconds)
            record.add("load, peak memory", "MiB", run.peak_mb)
            record.add("index", "bytes per record", index_bytes(path) / corpus.records)
            record.add("index relative to raw bytes", "×", index_bytes(path) / corpus.size)
            with serve(corpus.logs, path) as server:
                server.wait_until_rested()
                assert server.count() == corpus.records
                pages = questions.sample(corpus, record.samples(SAMPLES) + 1, seed=number)
                groups = questions.sample(corpus, record.samples(HEAVY_SAMPLES) + 1, seed=number)
                ask(server, record, questions.odd_pages(pages) | questions.odd_groups(groups))
            record.add("index at rest", "bytes per record", index_bytes(path) / corpus.records)
