"""Pages during a rebuild and during a clean-up."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benches.cache import Cache, Corpus, place_with
from benches.corpus import DAYS, START
from benches.figures import Recorder
from benches.load import asking
from benches.program import Server, serve
from benches.questions import Parameters, target

IDLE_S = 2.0
PAGE = 100
HALF = START + timedelta(days=DAYS / 2)
FILTERS: tuple[Parameters, ...] = (
    {},
    {"level": "ERROR"},
    {"field": "tenantId", "value": "tenant-199"},
    {"to": "2026-01-25T12:00:00Z"},
)


def upkeep(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Pages while nothing happens, during a rebuild, and while half the index is deleted."""
    for _ in record.rounds():
        with cache.scratch() as scratch:
            logs, index = place_with(corpus, cache.index(corpus), scratch)
            with serve(logs, index) as server:
                server.wait_until_indexed()
                targets = _full_pages(server)
                _ask_during(
                    server, targets, record, "nothing", lambda: time.sleep(IDLE_S * record.effort)
                )
                _ask_during(
                    server, targets, record, "a rebuild", lambda: server.post("/api/reindex")
                )
            before = index.stat().st_size
            days = (datetime.now(UTC) - HALF).days
            options = {"db_retention_days": days, "db_audit_retention_days": days}
            with serve(logs, index, **options) as server:
                _ask_during(
                    server, targets, record, "a clean-up", lambda: _wait_for_clean_up(server)
                )
                gone = server.get("/health")["maintenance"]["entriesDeletedTotal"]
            record.add("entries that the clean-up deletes", "entries", gone)
            record.add(
                "index after the clean-up relative to before", "×", index.stat().st_size / before
            )


def _full_pages(server: Server) -> list[str]:
    """Return targets of pages that stay full when the first half of the entries is deleted."""
    start = HALF + timedelta(days=1)
    return [
        target("/api/logs", limit=str(PAGE), **filters)
        for filters in FILTERS
        if server.count(**{"from": start.isoformat(), **filters}) >= PAGE
    ]


def _ask_during(
    server: Server, targets: list[str], record: Recorder, name: str, act: Callable[[], object]
) -> None:
    """Request pages without a pause while `act` runs."""
    began = time.perf_counter()
    with asking(server.url, targets, "--endless") as asked:
        act()
        record.add(name, "s", time.perf_counter() - began)
        seen = asked.finish()
    wrong = sum(seen.statuses.values()) - seen.entries[PAGE]
    record.add_latencies(f"pages during {name}", seen.milliseconds)
    record.add(f"pages during {name}, slowest", "ms", max(seen.milliseconds))
    record.add(f"pages during {name}, failed or partial", "answers", wrong)


def _wait_for_clean_up(server: Server) -> None:
    server.wait(lambda health: health["maintenance"]["runs"] > 0, every_s=0.25)
