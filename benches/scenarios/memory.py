"""Resident memory of the server and its child processes."""

import time
from collections.abc import Callable

from benches import questions
from benches.cache import Cache, Corpus, link_logs, place_with
from benches.figures import Recorder
from benches.load import get, load
from benches.program import Server, peak_memory, resident_mb, serve

SETTLE_S = 1.0
CLIENTS, BATCH, REQUESTS = 16, 100, 500
QUESTIONS = 3  # of each kind of page


def memory(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Resident memory: idle, under ingest and queries, and with a backlog in addition."""
    for _ in record.rounds():
        _with_nothing(cache, record)
        _with_index(cache, corpus, record)
        _with_backlog(cache, corpus, record)


def _with_nothing(cache: Cache, record: Recorder) -> None:
    """Measure a server without any logs."""
    with cache.scratch() as scratch, serve(scratch / "logs", scratch / "index.db") as server:
        server.wait_until_indexed()
        time.sleep(SETTLE_S * record.effort)
        record.add("idle, nothing indexed", "MiB", resident_mb(server.process))


def _with_index(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Measure a server that has indexed everything."""
    with cache.scratch() as scratch:
        logs, index = place_with(corpus, cache.index(corpus), scratch)
        with serve(logs, index) as server:
            server.wait_until_indexed()
            time.sleep(SETTLE_S * record.effort)
            record.add("idle, all indexed", "MiB", resident_mb(server.process))
            with peak_memory(server.process) as peak:
                _ask_and_send(server, corpus, record, lambda: True)
            record.add("ingest and queries, peak", "MiB", peak.megabytes)
            time.sleep(SETTLE_S * record.effort)
            record.add("idle after that", "MiB", resident_mb(server.process))


def _with_backlog(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Measure a server that indexes the whole corpus during ingest and queries."""
    with cache.scratch() as scratch:
        logs = link_logs(corpus, scratch)
        with serve(logs, scratch / "index.db") as server:
            with peak_memory(server.process) as peak:
                _ask_and_send(server, corpus, record, lambda: _caught_up(server))
            record.add("backlog, ingest and queries, peak", "MiB", peak.megabytes)


def _caught_up(server: Server) -> bool:
    return int(server.get("/health")["ingest"]["runs"]) > 0


def _ask_and_send(
    server: Server, corpus: Corpus, record: Recorder, done: Callable[[], bool]
) -> None:
    """Send queries and logs at the same time, until `done`."""
    sizes = ("--clients", CLIENTS, "--batch", BATCH, "--requests", record.samples(REQUESTS))
    targets = _questions(corpus)
    with load(server.url, "--post", corpus.path, "--endless", *sizes) as sending:
        while True:
            get(server.url, targets)
            if done():
                break
        sending.finish()


def _questions(corpus: Corpus) -> list[str]:
    asked = questions.pages(questions.sample(corpus, QUESTIONS))
    return [target for kind in asked.values() for target in kind] + list(
        questions.groups().values()
    )
