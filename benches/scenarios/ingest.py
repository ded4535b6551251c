"""Ingest over HTTP."""

import time
from contextlib import AbstractContextManager
from typing import Any

from benches.cache import Cache, Corpus
from benches.figures import Recorder
from benches.load import Load, load
from benches.program import Server, serve
from benches.trivial import trivial_server

CLIENTS = (1, 4, 16, 64)
BATCHES = {1: 4000, 100: 400}  # records per request: requests
MODES = {"sync": False, "queued": True}


def http_ingest(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`POST /api/ingest` with 1 and 100 records, sync and queued, by 1 to 64 clients."""
    for _ in record.rounds():
        for mode, queued in MODES.items():
            with cache.scratch() as scratch:
                (scratch / "logs").mkdir()
                with serve(
                    scratch / "logs", scratch / "index.db", ingest_async_queue=queued
                ) as server:
                    _all_cases(server, corpus, record, mode)
        _ceilings(corpus, record)
    sizes = [f"{record.samples(requests):,}" for requests in BATCHES.values()]
    record.notes.append(f"{' or '.join(sizes)} requests per round")


def _all_cases(server: Server, corpus: Corpus, record: Recorder, mode: str) -> None:
    """Continue each case in the corpus where the previous one ended, so that times ascend."""
    sent = 0
    for batch, usual in BATCHES.items():
        requests = record.samples(usual)
        for clients in CLIENTS:
            name = case(batch, mode, clients)
            before = server.count()
            with _load(server.url, corpus, clients, batch, requests, sent) as sending:
                began = time.perf_counter()
                seen = sending.finish()
                server.wait(_queue_is_empty)
                drained = time.perf_counter() - began
            sent = (sent + requests * batch) % corpus.records
            taken = server.count() - before
            assert taken == seen.succeeded * batch, f"{name}: {taken} records arrived"
            seconds = drained if MODES[mode] else seen.seconds
            record.add(name, "requests/s", seen.succeeded / seen.seconds)
            record.add(f"{name}, findable", "records/s", taken / seconds)
            record.add_latencies(f"{name}, latency", seen.milliseconds)
            record.add(f"{name}, refused", "requests", requests - seen.succeeded)


def _queue_is_empty(health: dict[str, Any]) -> bool:
    queue = health["ingestEndpoint"]["queue"]
    return not (queue["pendingRecords"] or queue["draining"])


def _ceilings(corpus: Corpus, record: Recorder) -> None:
    """Measure the load generator against a server that does nothing."""
    with trivial_server() as url:
        for batch, usual in BATCHES.items():
            requests = record.samples(usual)
            with _load(url, corpus, 16, batch, requests) as sending:
                seen = sending.finish()
            name = f"ceiling of the load generator, {batch} per request"
            record.add(name, "requests/s", seen.succeeded / seen.seconds)


def case(batch: int, mode: str, clients: int) -> str:
    """Return the name of one case's figure."""
    return f"{batch} per request, {mode}, {clients} clients"


def _load(
    url: str, corpus: Corpus, clients: int, batch: int, requests: int, skip: int = 0
) -> AbstractContextManager[Load]:
    size = ("--batch", batch, "--requests", requests, "--skip", skip)
    return load(url, "--post", corpus.path, "--clients", clients, *size)
