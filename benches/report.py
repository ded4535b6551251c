"""Writes the tables and pictures of docs/benchmarks.md and README.md from the published results.

The prose of these pages is written by hand. The blocks between `<!-- begin: NAME -->` and
`<!-- end: NAME -->` are generated here, so that no figure is typed by hand.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import unescape
from pathlib import Path

from benches.corpus import SHAPES
from benches.goals import GOALS
from benches.pictures import PICTURES, fastest_and_slowest, how_many
from benches.published import Figure, Result, Results
from benches.scenarios.ingest import BATCHES, CLIENTS, MODES, case
from benches.scenarios.peers import figure as peer_figure
from benches.scenarios.peers import measured as measured_peers
from benches.svg import duration, number, rounded

BLOCK = re.compile(r"(<!-- begin: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)
EVERY_SIZE = ("cold-index", "size")  # they have few figures, which depend on the size


def write_report(docs: Path) -> None:
    """Update both pages and their pictures from the results in `docs/benchmarks`."""
    directory = docs / "benchmarks"
    results = Results(directory)
    drawn = {name: picture for name, draw in PICTURES.items() if (picture := draw(results))}
    for name, picture in drawn.items():
        (directory / f"{name}.svg").write_text(picture)
    _fill(docs / "benchmarks.md", "", results, drawn)
    _fill(docs.parent / "README.md", f"{docs.name}/", results, drawn)


def _fill(page: Path, place: str, results: Results, drawn: Mapping[str, str]) -> None:
    """Replace the blocks of a page; `place` is the path from it to the pictures."""
    pictures = {
        name: f"![{_title(picture)}]({place}benchmarks/{name}.svg)"
        for name, picture in drawn.items()
    }
    page.write_text(BLOCK.sub(lambda found: _block(found, results, pictures), page.read_text()))


def _title(picture: str) -> str:
    """Return the alternative text of a picture."""
    return unescape(picture.partition("<title>")[2].partition("</title>")[0])


def _block(found: "re.Match[str]", results: Results, pictures: Mapping[str, str]) -> str:
    begin, name, end = found.groups()
    parts = [pictures[name]] if name in pictures else []
    make = BLOCKS.get(name)
    parts += make(results) if make else _tables(results, name)
    text = "\n".join(parts).strip() or "Not measured."
    return f"{begin}\n{text}\n\n{end}"


def _tables(results: Results, scenario: str) -> list[str]:
    """Return the tables of a scenario: for EVERY_SIZE of every corpus, else of the largest ones."""
    parts: list[str] = []
    for shape in SHAPES:
        found = results.of(scenario, shape)
        for result in found if scenario in EVERY_SIZE else found[-1:]:
            parts += ["", f"{result.title}:", "", *_table(result), *_notes(result)]
    return parts


def _table(result: Result) -> list[str]:
    with_tail = any("p99" in figure for figure in result.figures.values())
    head = ["what", "median", "lowest to highest", *(["p99"] if with_tail else []), "json"]
    return table(head, (_row(figure, with_tail) for figure in result.figures.values()))


def _row(figure: Figure, with_tail: bool) -> list[str]:
    tail = [number(figure["p99"]) if "p99" in figure else ""] if with_tail else []
    ratio = number(figure["jsonRecords"]) if "jsonRecords" in figure else ""
    spread = f"{number(figure['low'])} – {number(figure['high'])}"
    return [figure["name"], f"{number(figure['median'])} {figure['unit']}", spread, *tail, ratio]


def _notes(result: Result) -> list[str]:
    notes = [f"{note[0].upper()}{note[1:]}." for note in result.data["notes"]]
    return ["", *notes] if notes else []


def _goals(results: Results) -> list[str]:
    head = ["what", "goal", "measured", "json", "verdict"]
    return table(head, (goal.row(results) for goal in GOALS))


def _machines(results: Results) -> list[str]:
    """Return a table of machines and commits, with the scenarios that were measured there."""
    head = [
        "scenarios",
        "date",
        "commit",
        "processor",
        "cores",
        "Python",
        "SQLite",
        "json records/s",
    ]
    rows: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        machine = result.data["machine"]
        names = ("commit", "processor", "cores", "python", "sqlite")
        key = (result.data["date"][:10], *(str(machine[name]) for name in names))
        rows.setdefault(key, []).append(result)
    return table(head, ([_scenarios(found), *key, _loop(found)] for key, found in rows.items()))


def _scenarios(results: list[Result]) -> str:
    return ", ".join(dict.fromkeys(result.scenario for result in results))


def _loop(results: list[Result]) -> str:
    rates = [
        result.data["jsonRecordsPerSecond"]["median"]
        for result in results
        if result.shape == "plain"
    ]
    return f"{number(min(rates))} – {number(max(rates))}" if rates else "–"


def _ingest(results: Results) -> list[str]:
    parts: list[str] = []
    head = ["records per request, mode, clients", "requests/s", "records/s until findable",
            "median ms", "p99 ms", "refused", "json"]  # fmt: skip
    for result in results.of("http-ingest")[-1:]:
        cases = [case(batch, mode, n) for batch in BATCHES for mode in MODES for n in CLIENTS]
        rows = [_ingest_row(result, name) for name in cases if name in result.figures]
        ceilings = [
            f"{name}: {number(figure['median'])} requests/s"
            for name, figure in result.figures.items()
            if name.startswith("ceiling")
        ]
        parts += ["", f"{result.title}:", "", *table(head, rows), *_notes(result)]
        parts += ["", f"Against a server that does nothing, by 16 clients: {'; '.join(ceilings)}."]
    return parts


def _ingest_row(result: Result, name: str) -> list[str]:
    figures = result.figures
    latency = figures[f"{name}, latency"]
    cells = [figures[name]["median"], figures[f"{name}, findable"]["median"]]
    cells += [latency["median"], latency["p99"], figures[f"{name}, refused"]["median"]]
    return [name, *(number(cell) for cell in (*cells, figures[name]["jsonRecords"]))]


def _peers(results: Results) -> list[str]:
    parts: list[str] = []
    for result in results.of("peers")[-1:]:
        names = dict.fromkeys(name.partition(" | ")[2] for name in result.figures)
        peers = measured_peers(result.figures)
        rows = ([what, *_peers_cells(result, peers, what)] for what in names)
        parts += ["", f"{result.title}:", "", *table(["what", *peers], rows), *_notes(result)]
    return parts


def _peers_cells(result: Result, peers: Iterable[str], what: str) -> Iterable[str]:
    for peer in peers:
        figure = result.figures.get(peer_figure(peer, what))
        yield f"{number(figure['median'])} {figure['unit']}" if figure else "–"


FRONT_PAGE_ROWS = {
    "a page of 100": ("page",),
    "a count": ("count",),
    "a group by a field": ("group",),
}


def _front_page(results: Results) -> list[str]:
    """Return a short table of the peers, and where they were measured."""
    result = next(reversed(results.of("peers")), None)
    if result is None:
        return []
    present = measured_peers(result.figures)
    rows = [
        [f"load {result.records:,} records", *(_load_time(result, peer) for peer in present)],
        ["disk space relative to the files", *(_kept(result, peer) for peer in present)],
    ]
    for what, kinds in FRONT_PAGE_ROWS.items():
        cells = [_between(result, peer, kinds) for peer in present]
        rows.append([f"{what}: {how_many(result, kinds)} questions", *cells])
    machine = result.data["machine"]
    measured = (
        f"Medians of {result.title.partition(', ')[2]}, fastest and slowest question; "
        f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}, "
        f"{result.data['date'][:10]}, commit {machine['commit']}."
    )
    return ["", *table(["", *present], rows), "", measured]


def _load_time(result: Result, peer: str) -> str:
    seconds = result.median(peer_figure(peer, "load"))
    return "nothing to do" if seconds is None else f"{rounded(seconds)} s"


def _kept(result: Result, peer: str) -> str:
    share = result.median(peer_figure(peer, "size relative to raw bytes"))
    return "none" if share is None else f"{rounded(share)} ×"


def _between(result: Result, peer: str, kinds: Sequence[str]) -> str:
    found = fastest_and_slowest(result, peer, kinds)
    return " – ".join(dict.fromkeys(duration(one) for one in found)) if found else "–"


FRONT_FIGURES = {
    "index log files from nothing": ("cold-index", "all cores"),
    "size of the index relative to the log files": ("size", "index relative to raw bytes"),
    "ingest over HTTP, 100 records per request, until they can be found": (
        "http-ingest",
        case(100, "sync", 16) + ", findable",
    ),
    "the newest page of 100 entries": ("pages", "page: newest"),
    "a page of one tenant": ("pages", "page: tenantId"),
    "a page of one order": ("pages", "page: orderId"),
    "counts by level": ("aggregates", "group: level, all"),
    "counts by 320 tenants": ("aggregates", "group: tenantId, all"),
    "counts by order (one for every four records)": ("aggregates", "group: orderId, all"),
    "ready after a start": ("restart", "until all files are scanned"),
    "resident memory, idle": ("memory", "idle, all indexed"),
}


def _front_figures(results: Results) -> list[str]:
    """Return the results of MikroScope itself, each at the largest size that was measured."""
    rows = []
    for what, (scenario, name) in FRONT_FIGURES.items():
        result = next(reversed(results.of(scenario)), None)
        figure = result.figures.get(name) if result else None
        if result and figure:
            value = f"{rounded(figure['median'])} {figure['unit']}"
            rows.append([what, value, f"{result.records:,}"])
    return ["", *table(["what", "median", "records"], rows)] if rows else []


BY_SIZE: dict[str, tuple[str, str]] = {
    "cold index, all cores": ("cold-index", "all cores"),
    "peak memory of that": ("cold-index", "peak memory, all cores"),
    "size of the index": ("size", "index"),
    "append 1,000 lines": ("incremental-index", "append 1,000 lines"),
    "append 1%": ("incremental-index", "append 1%, rate"),
    "restart": ("restart", "until all files are scanned"),
    "newest page": ("pages", "page: newest"),
    "page of a tenant": ("pages", "page: tenantId"),
    "page of an order": ("pages", "page: orderId"),
    "page of two words": ("pages", "page: two words"),
    "count of a level": ("counts", "count: level, all"),
    "group by level": ("aggregates", "group: level, all"),
    "group by tenantId": ("aggregates", "group: tenantId, all"),
    "group by tenantId, one day": ("aggregates", "group: tenantId, one day"),
    "group by correlation": ("aggregates", "group: correlation, all"),
    "`mikroscope query`": ("command", "query"),
    "idle memory, all indexed": ("memory", "idle, all indexed"),
}


def _by_size(results: Results) -> list[str]:
    sizes = sorted({result.records for result in results.of("cold-index")})
    rows = (
        [what, *(_median_at(results, scenario, name, size) for size in sizes)]
        for what, (scenario, name) in BY_SIZE.items()
    )
    return ["", *table(["records", *(f"{size:,}" for size in sizes)], rows)]


def _median_at(results: Results, scenario: str, name: str, size: int) -> str:
    result = results.at(scenario, size)
    figure = result.figures.get(name) if result else None
    return f"{number(figure['median'])} {figure['unit']}" if figure else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; a slash replaces a bar, which would end a cell."""
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells]


BLOCKS: dict[str, Callable[[Results], list[str]]] = {
    "goals": _goals,
    "machines": _machines,
    "http-ingest": _ingest,
    "peers": _peers,
    "front-page": _front_page,
    "front-figures": _front_figures,
    "by-size": _by_size,
}
