"""The command line, one process per question."""

import sys

from benches.cache import Cache, Corpus
from benches.figures import Recorder
from benches.program import MIKROSCOPE, run

RUNS = 5  # of each command in a round


def command(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """`mikroscope query` and `aggregate` as processes, and Python itself with nothing to do."""
    database = ("--db", str(cache.index(corpus)))
    commands = {
        "query": (*MIKROSCOPE, "query", *database, "--level", "ERROR", "--limit", "50"),
        "aggregate": (*MIKROSCOPE, "aggregate", *database, "--group-by", "level"),
        "--version": (*MIKROSCOPE, "--version"),
        "python -c pass": (sys.executable, "-c", "pass"),
    }
    runs = record.samples(RUNS)
    for _ in record.rounds():
        for name, words in commands.items():
            record.add_latencies(name, [run(*words).seconds * 1000 for _ in range(runs)])
