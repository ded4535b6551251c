"""Corpora that are hard to index: late lines, thousands of days, of shapes, of names, of values."""

from collections import Counter
from pathlib import Path

from benches import questions
from benches.cache import Cache, Corpus, index_bytes
from benches.figures import Recorder
from benches.load import get
from benches.program import Server, index, serve
from benches.scenarios.queries import add_by_kind, flatten

SAMPLES = 20  # pages of each kind per round
HEAVY_SAMPLES = 3  # groups


def odd_corpora(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Load, size, pages and groups of corpora that are each hard to index in one way."""
    for number in record.rounds():
        with cache.scratch() as scratch:
            path = scratch / "index.db"
            run, report = index(corpus.logs, path)
            assert report["recordsInserted"] == corpus.records, report
            record.add("load", "records/s", corpus.records / run.seconds)
            record.add("load, peak memory", "MiB", run.peak_mb)
            _add_size("index", path, corpus, record)
            with serve(corpus.logs, path) as server:
                server.wait_until_rested()
                assert server.count() == corpus.records
                pages = questions.sample(corpus, record.samples(SAMPLES) + 1, seed=number)
                groups = questions.sample(corpus, record.samples(HEAVY_SAMPLES) + 1, seed=number)
                _ask(server, record, questions.odd_pages(pages) | questions.odd_groups(groups))
            _add_size("index at rest", path, corpus, record)


def _add_size(name: str, index: Path, corpus: Corpus, record: Recorder) -> None:
    record.add(name, "bytes per record", index_bytes(index) / corpus.records)
    record.add(f"{name}, relative to raw bytes", "×", index_bytes(index) / corpus.size)


def _ask(server: Server, record: Recorder, targets: dict[str, list[str]]) -> None:
    """Ask every kind in turn; count failed answers, and leave out the times of their kinds."""
    seen = get(server.url, flatten(targets))
    kinds = [kind for kind, asked in targets.items() for _ in asked]
    failed = Counter(kinds[number] for number in seen.failed)
    add_by_kind(record, targets, seen, leave_out=failed)
    record.add("failed answers", "answers", failed.total())
    notes = (f"{kind}: {count} answers failed" for kind, count in failed.items())
    record.notes += [note for note in notes if note not in record.notes]
