"""What honest clients notice of floods, kills, ugly files and a full disk, and what they cost."""

import random
import time
from itertools import count

from benches.cache import Cache, Corpus
from benches.figures import Recorder
from benches.program import peak_memory, resident_mb
from benches.siege import ASSAULTS, HONEST, SHORT, Producer, Server

SETTLE_S = 10.0
_ENDING = ("kill -9", "start during a rebuild")  # the process that was measured is gone


def siege(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Longest wait of two honest clients and peak memory under each kind of assault."""
    for number in record.rounds():
        for name in ASSAULTS:
            with cache.scratch() as scratch:
                _measure(name, Server(scratch), random.Random(number), record)


def _measure(name: str, server: Server, chance: random.Random, record: Recorder) -> None:
    server.start()
    numbers = count()
    producers = [Producer(server, token, numbers) for token in HONEST]
    try:
        if name in _ENDING:
            ASSAULTS[name](server, SHORT, chance)
        else:
            _measure_memory(name, server, chance, record)
        time.sleep(2 * record.effort)
    finally:
        for producer in producers:
            producer.stop()
        server.kill()
    waits = [wait for producer in producers for wait in producer.waits_s]
    record.add(f"{name}: longest wait", "ms", max(waits, default=0.0) * 1000)


def _measure_memory(name: str, server: Server, chance: random.Random, record: Recorder) -> None:
    with peak_memory(server.pid) as peak:
        ASSAULTS[name](server, SHORT, chance)
    record.add(f"{name}: peak memory", "MiB", peak.megabytes)
    time.sleep(SETTLE_S * record.effort)
    record.add(f"{name}: memory {SETTLE_S:.0f} s later", "MiB", resident_mb(server.pid))
