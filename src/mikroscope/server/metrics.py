"""Counts requests and ingested records for `/metrics`."""

import threading
from bisect import bisect_left
from typing import NamedTuple

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Series(NamedTuple):
    """Durations of requests with the same labels: a count for each bound and above, and the sum."""

    counts: list[int]
    sum_s: float


class Snapshot(NamedTuple):
    """All counts at one moment; `started` in seconds since 1970.

    The keys of `durations` are method, route and class of status.
    """

    version: str
    started: float
    durations: dict[tuple[str, str, str], Series]
    ingested: dict[str, int]


class Metrics:
    """Counts requests as they are answered; any thread may call it."""

    def __init__(self, version: str, started: float) -> None:
        """`started` is in seconds since 1970."""
        self._version = version
        self._started = started
        self._lock = threading.Lock()
        self._durations: dict[tuple[str, str, str], Series] = {}
        self._ingested = {"accepted": 0, "rejected": 0, "bytes": 0}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = method, route, f"{status // 100}xx"
        with self._lock:
            counts, sum_s = self._durations.get(key) or Series([0] * (len(BOUNDS_S) + 1), 0.0)
            counts[bisect_left(BOUNDS_S, seconds)] += 1
            self._durations[key] = Series(counts, sum_s + seconds)

    def ingested(self, accepted: int, rejected: int, size: int) -> None:
        """Count the records of a request; `size` is that of its body, in bytes."""
        with self._lock:
            self._ingested["accepted"] += accepted
            self._ingested["rejected"] += rejected
            self._ingested["bytes"] += size

    def snapshot(self) -> Snapshot:
        """Everything counted so far."""
        with self._lock:
            durations = {
                key: Series(list(counts), sum_s) for key, (counts, sum_s) in self._durations.items()
            }
            return Snapshot(self._version, self._started, durations, dict(self._ingested))
