"""Indexing of files: from nothing, of appended lines, and a start with nothing to do."""

import os
import shutil
import time
from pathlib import Path

from benches.cache import Cache, Corpus, copy_index, newer_lines
from benches.figures import Recorder
from benches.program import index, serve

ONE_CORE_RECORDS = 1_000_000  # at most


def cold_index(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`mikroscope index` from nothing, with all cores and with one."""
    variants: dict[str, set[int] | None] = {"all cores": None}
    if hasattr(os, "sched_setaffinity") and corpus.records <= ONE_CORE_RECORDS:
        variants["one core"] = {min(os.sched_getaffinity(0))}
    for _ in record.rounds():
        for name, cpus in variants.items():
            with cache.scratch() as scratch:
                run, report = index(corpus.logs, scratch / "index.db", cpus)
            assert report["recordsInserted"] == corpus.records, report
            record.add(name, "records/s", corpus.records / run.seconds)
            record.add(
                f"processor time per record, {name}",
                "µs",
                run.processor_seconds / corpus.records * 1e6,
            )
            record.add(f"peak memory, {name}", "MiB", run.peak_mb)


def size(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Bytes on disk of a finished index."""
    taken = sum(file.stat().st_size for file in cache.index(corpus).parent.iterdir())
    for _ in record.rounds():
        record.add("index", "bytes per record", taken / corpus.records)
        record.add("index relative to raw bytes", "×", taken / corpus.size)


def incremental_index(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`mikroscope index` after lines were appended to an indexed file: 1% of it, and 1,000."""
    with cache.scratch() as scratch:
        logs, finished = _own_place(cache, corpus, scratch)
        appended = {"1%": max(1, corpus.records // 100), "1,000 lines": 1000}
        for _ in record.rounds():
            for name, count in appended.items():
                lines = newer_lines(corpus, count)
                work = copy_index(finished, scratch / "work.db")
                seconds = _append_and_index(logs, work, lines)
                record.add(f"append {name}", "s", seconds)
                record.add(f"append {name}, rate", "records/s", count / seconds)


def _own_place(cache: Cache, corpus: Corpus, scratch: Path) -> tuple[Path, Path]:
    """Return a copy of the corpus that may be changed, and an index that contains it."""
    logs = scratch / "logs"
    shutil.copytree(corpus.logs, logs)
    finished = copy_index(cache.index(corpus), scratch / "finished.db")
    index(logs, finished)
    return logs, finished


def _append_and_index(logs: Path, work: Path, lines: bytes) -> float:
    """Append lines, index them, remove them again; return the seconds that indexing took."""
    [file] = logs.iterdir()
    before = file.stat().st_size
    with file.open("ab") as opened:
        opened.write(lines)
    try:
        run, report = index(logs, work)
    finally:
        os.truncate(file, before)
    assert report["recordsInserted"] == lines.count(b"\n"), report
    return run.seconds


def restart(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Start the server on a finished index, until `/health` answers and reports all files."""
    finished = cache.index(corpus)
    for _ in record.rounds():
        with serve(corpus.logs, finished) as server:
            server.get("/health")
            record.add("until /health answers", "s", time.perf_counter() - server.began)
            server.wait_until_indexed()
            record.add("until all files are scanned", "s", time.perf_counter() - server.began)
            inserted = server.get("/health")["ingest"]["recordsInsertedTotal"]
            record.add("records read again", "records", inserted)
            record.add("files read", "files", server.get("/health")["ingest"]["filesScannedTotal"])
            assert server.count() == corpus.records
