"""Single records at a steady rate for a long time, and the index that they leave."""

import time
from pathlib import Path

from benches import questions
from benches.cache import Cache, Corpus, index_bytes
from benches.figures import Recorder
from benches.load import Seen, asking, load
from benches.program import Server, peak_memory, serve

CLIENTS, RATE = 64, 4000  # requests per second
PAGES_RATE = 20  # pages per second meanwhile
SECONDS = 60.0
QUIET_S = 10.0  # without work, until the index counts as settled
QUESTIONS = 20  # of each kind of page


def steady_ingest(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """64 clients send 4,000 single records a second: pages meanwhile, and size once settled."""
    targets = questions.live_pages(questions.sample(corpus, record.samples(QUESTIONS)))
    for _ in record.rounds():
        with cache.scratch() as scratch:
            logs, index = scratch / "logs", scratch / "index.db"
            logs.mkdir()
            with serve(logs, index) as server:
                server.wait_until_rested()
                taken = _send_and_ask(server, targets, record)
                assert server.count() == taken, f"{taken} records were accepted"
                _settle(server, record)
                _add_size("index, settled", logs, index, taken, record)
            _add_size("index, settled, after a stop", logs, index, taken, record)
    record.notes.append(
        f"{SECONDS * record.effort:g} s of ingest, with {PAGES_RATE} pages a second meanwhile"
    )


def _send_and_ask(server: Server, targets: list[str], record: Recorder) -> int:
    """Send records and request pages at the same time; return how many records were accepted."""
    sizes = ("--clients", CLIENTS, "--rate", RATE)
    with (
        peak_memory(server.process) as peak,
        load(server.url, "--live", *sizes) as sending,
        asking(server.url, targets, "--endless", "--rate", PAGES_RATE) as asked,
    ):
        time.sleep(SECONDS * record.effort)
        pages, sent = asked.finish(), sending.finish()
    assert pages.succeeded == len(pages.milliseconds), f"answers: {dict(pages.statuses)}"
    record.add("ingest", "requests/s", sent.succeeded / sent.seconds)
    record.add("ingest, refused", "requests", len(sent.milliseconds) - sent.succeeded)
    _add_latencies("ingest, latency", sent, record)
    _add_latencies("pages meanwhile", pages, record)
    record.add("peak memory", "MiB", peak.megabytes)
    return sent.succeeded


def _add_latencies(name: str, seen: Seen, record: Recorder) -> None:
    record.add_latencies(name, seen.milliseconds)
    record.add(f"{name}, slowest", "ms", max(seen.milliseconds))


def _settle(server: Server, record: Recorder) -> None:
    """Wait until the server has no more work, and add how long that took."""
    began, quiet_s = time.perf_counter(), QUIET_S * record.effort
    server.wait_until_quiet(quiet_s)
    record.add("until the index has settled", "s", time.perf_counter() - began - quiet_s)


def _add_size(name: str, logs: Path, index: Path, records: int, record: Recorder) -> None:
    raw = sum(file.stat().st_size for file in logs.rglob("*") if file.is_file())
    record.add(name, "bytes per record", index_bytes(index) / records)
    record.add(f"{name}, relative to raw bytes", "×", index_bytes(index) / raw)
