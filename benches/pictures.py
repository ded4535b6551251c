"""The pictures of the published results."""

from collections.abc import Callable, Sequence

from benches.peers import PEERS
from benches.published import Result, Results
from benches.scenarios.ingest import BATCHES, CLIENTS, MODES, case
from benches.scenarios.peers import figure as peer_figure
from benches.scenarios.peers import measured as measured_peers
from benches.svg import Row, Span, bars, lines, spans


def _largest(results: Results, scenario: str) -> Result | None:
    return next(reversed(results.of(scenario)), None)


def _cold_index(results: Results) -> str | None:
    rows = [
        Row(f"{result.shape}, {result.records:,}", [result.median(name) for name in CORES])
        for shape in ("plain", "ragged")
        for result in results.of("cold-index", shape)
    ]
    return bars("Cold index", "records/s", CORES, rows) if rows else None


CORES = ("all cores", "one core")


def _ingest(results: Results) -> str | None:
    result = _largest(results, "http-ingest")
    if result is None:
        return None
    series = {
        f"{batch} per request, {mode}": [
            result.median(f"{case(batch, mode, clients)}, findable") for clients in CLIENTS
        ]
        for batch in BATCHES
        for mode in MODES
    }
    axes = ("clients", "records/s until findable")
    return lines("Ingest over HTTP", axes, CLIENTS, series, log=True)


def _pages(results: Results) -> str | None:
    alone, busy = _largest(results, "pages"), _largest(results, "pages-under-ingest")
    if alone is None:
        return None
    both = [alone] if busy is None else [alone, busy]
    rows = [
        Row(
            name.removeprefix("page: "),
            [one.median(name) for one in both],
            [one.figures[name]["p99"] for one in both],
        )
        for name in alone.figures
        if ": " in name
    ]
    series = ["alone", "under full ingest"][: len(both)]
    title = f"Pages of 100 over HTTP, {alone.records:,} records"
    return bars(
        title,
        "ms: bar and first number are the median, stroke and second the 99th percentile",
        series,
        rows,
        log=True,
    )


def _in_scopes(scenario: str, title: str) -> Callable[[Results], str | None]:
    """Return a function that draws questions about everything and about one day."""

    def draw(results: Results) -> str | None:
        result = _largest(results, scenario)
        if result is None:
            return None
        parts = [name.rpartition(", ") for name in result.figures]
        names = dict.fromkeys(name for name, _, scope in parts if scope in SCOPES)
        rows = [
            Row(name.partition(": ")[2], [result.median(f"{name}, {scope}") for scope in SCOPES])
            for name in names
        ]
        series = ("everything", "one day of thirty")
        full_title = f"{title}, {result.records:,} records"
        return bars(full_title, "ms, median", series, rows, log=True)

    return draw


SCOPES = ("all", "one day")


def _memory(results: Results) -> str | None:
    result = _largest(results, "memory")
    if result is None:
        return None
    rows = [Row(name, [figure["median"]]) for name, figure in result.figures.items()]
    return bars(f"Resident memory, {result.records:,} records", "MiB", ["memory"], rows)


def _by_size(results: Results) -> str | None:
    sizes = [result.records for result in results.of("pages")]
    if len(sizes) < 2:
        return None
    series = {
        label: [one.median(name) if (one := results.at(scenario, size)) else None for size in sizes]
        for label, (scenario, name) in BY_SIZE.items()
    }
    return lines("Cost by size", ("records", "ms, median"), sizes, series, log=True)


BY_SIZE = {
    "newest page": ("pages", "page: newest"),
    "page of a tenant": ("pages", "page: tenantId"),
    "by tenant, one day": ("aggregates", "group: tenantId, one day"),
    "by tenant": ("aggregates", "group: tenantId, all"),
    "by correlation": ("aggregates", "group: correlation, all"),
}


def _peers(results: Results) -> str | None:
    result = _largest(results, "peers")
    if result is None:
        return None
    names = dict.fromkeys(name.partition(" | ")[2] for name in result.figures)
    peers = measured_peers(result.figures)
    rows = [
        Row(what, [result.median(peer_figure(peer, what)) for peer in peers])
        for what in names
        if ": " in what
    ]
    title = f"The same questions to other programs, {result.records:,} records"
    return bars(title, "ms, median", peers, rows, log=True)


def _front_page(results: Results) -> str | None:
    result = _largest(results, "peers")
    if result is None:
        return None
    groups = {
        f"{heading}: {how_many(result, kinds)} questions": [
            Span(peer, *between, stands_out=peer == "MikroScope")
            for peer in PEERS
            if (between := fastest_and_slowest(result, peer, kinds))
        ]
        for heading, kinds in FRONT_PAGE.items()
    }
    title = f"{result.records:,} log records: from the fastest answer to the slowest"
    axis = "Medians. Each line is ten times the one before; less is better."
    return spans(title, axis, groups)


FRONT_PAGE = {
    "A page of 100 entries": ("page",),
    "Counts, and groups by a field": ("count", "group"),
}


def fastest_and_slowest(
    result: Result, peer: str, kinds: Sequence[str]
) -> tuple[float, float] | None:
    """Return the least and the greatest median of a peer's answers of some kinds, or none."""
    medians = [
        float(figure["median"])
        for name, figure in result.figures.items()
        if name.startswith(tuple(peer_figure(peer, f"{kind}: ") for kind in kinds))
    ]
    return (min(medians), max(medians)) if medians else None


def how_many(result: Result, kinds: Sequence[str]) -> int:
    """Return how many questions of some kinds the peers were asked."""
    asked = {name.partition(" | ")[2] for name in result.figures}
    return sum(what.startswith(tuple(f"{kind}: " for kind in kinds)) for what in asked)


PICTURES: dict[str, Callable[[Results], str | None]] = {
    "cold-index": _cold_index,
    "http-ingest": _ingest,
    "pages": _pages,
    "counts": _in_scopes("counts", "Counts over HTTP"),
    "aggregates": _in_scopes("aggregates", "Groups over HTTP"),
    "filtered-groups": _in_scopes("filtered-groups", "Groups under a filter over HTTP"),
    "memory": _memory,
    "by-size": _by_size,
    "peers": _peers,
    "front-page": _front_page,
}
