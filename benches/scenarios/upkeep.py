"""Queries during a rebuild and during a clean-up."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benches.cache import Cache, Corpus, copy_index, index_bytes, place_with
from benches.figures import Recorder
from benches.lines.moments import DAYS, START
from benches.load import asking
from benches.program import Server, serve
from benches.questions import PAGE, Parameters, aggregate, page

IDLE_S = 2.0
QUIET_S = 3.0  # without work, until the clean-up counts as finished
GROUPS_RATE = 10  # groups per second, beside pages without a pause
HALF = START + timedelta(days=DAYS / 2)
FILTERS: tuple[Parameters, ...] = (
    {},
    {"level": "ERROR"},
    {"field": "tenantId", "value": "tenant-199"},
    {"to": "2026-01-25T12:00:00Z"},
)
KEPT_DAY = {"from": "2026-01-24T00:00:00Z", "to": "2026-01-24T23:59:59.999Z"}
GROUPS: tuple[Parameters, ...] = (
    {"groupBy": "level"},
    {"groupBy": "event", "level": "ERROR"},
    {"groupBy": "level", "field": "tenantId", "value": "tenant-199"},
)


def upkeep(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Pages while nothing happens, and during a rebuild."""
    for _ in record.rounds():
        with cache.scratch() as scratch:
            logs, index = place_with(corpus, cache.index(corpus), scratch)
            with serve(logs, index) as server:
                server.wait_until_indexed()
                targets = _full_pages(server)
                _ask_during(server, targets, record, "nothing", _idling(record))
                _ask_during(
                    server, targets, record, "a rebuild", lambda: server.post("/api/reindex")
                )


def clean_up(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Retention deletes the older half: how long it takes, and queries at rest and meanwhile."""
    days = (datetime.now(UTC) - HALF).days
    options = {"db_retention_days": days, "db_audit_retention_days": days}
    for _ in record.rounds():
        with cache.scratch() as scratch:
            logs, index = place_with(corpus, cache.index(corpus), scratch)
            with serve(logs, index, **options) as server:
                _wait_for_clean_up(server)
                record.add("a clean-up without queries", "s", time.perf_counter() - server.began)
            copy_index(cache.index(corpus), index)
            with serve(logs, index) as server:
                server.wait_until_rested()
                targets = _full_pages(server)
                _ask_both(server, targets, record, "nothing", _idling(record))
            before = index_bytes(index)
            with serve(logs, index, **options) as server:
                _ask_both(server, targets, record, "a clean-up", lambda: _wait_for_clean_up(server))
                _wait_for_the_rest(server, record)
                health = server.get("/health")["maintenance"]
                assert server.count(to=HALF.isoformat()) == 0
            record.add("entries deleted", "entries", health["entriesDeletedTotal"])
            record.add("index before", "MiB", before / (1 << 20))
            record.add("index after", "MiB", index_bytes(index) / (1 << 20))
            record.add("index after relative to before", "×", index_bytes(index) / before)


def _idling(record: Recorder) -> Callable[[], None]:
    return lambda: time.sleep(IDLE_S * record.effort)


def _full_pages(server: Server) -> list[str]:
    """Return targets of pages that stay full when the first half of the entries is deleted."""
    start = HALF + timedelta(days=1)
    return [
        page(**filters)
        for filters in FILTERS
        if server.count(**{"from": start.isoformat(), **filters}) >= PAGE
    ]


def _ask_both(
    server: Server, targets: list[str], record: Recorder, name: str, act: Callable[[], object]
) -> None:
    """Request pages without a pause, and groups now and then, while `act` runs."""
    groups = [aggregate(**parameters, **KEPT_DAY) for parameters in GROUPS]
    with asking(server.url, groups, "--endless", "--rate", GROUPS_RATE) as asked:
        _ask_during(server, targets, record, name, act)
        seen = asked.finish()
    assert seen.succeeded == len(seen.milliseconds), f"answers: {dict(seen.statuses)}"
    record.add_latencies(f"groups of one day during {name}", seen.milliseconds)
    record.add(f"groups of one day during {name}, slowest", "ms", max(seen.milliseconds))


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
    """Wait for the clean-up that the server runs when it has started."""
    server.wait(lambda health: health["maintenance"]["runs"] > 0, every_s=0.05)


def _wait_for_the_rest(server: Server, record: Recorder) -> None:
    """Wait until the server has no more work, and add how long that took."""
    began, quiet_s = time.perf_counter(), QUIET_S * record.effort
    server.wait_until_quiet(quiet_s)
    record.add("work after a clean-up", "s", time.perf_counter() - began - quiet_s)
