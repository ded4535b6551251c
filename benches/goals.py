"""The goals, and whether the published results meet them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from benches.corpus import Shape
from benches.published import Figure, Result, Results
from benches.svg import number

TYPICAL, LARGE = 1_000_000, 10_000_000
FEW_VALUES = r"group: (level|event|service|route|host|statusCode|tenantId|durationMs)"
MANY_VALUES = r"group: (correlation|orderId)"


@dataclass(frozen=True)
class Measured:
    """The value to compare with a goal."""

    value: float
    json_records: float | None
    figure: str
    records: int


@dataclass(frozen=True)
class Goal:
    """A limit for a value measured at a certain size."""

    text: str
    limit: float
    unit: str
    records: int
    find: Callable[[Results, int], Measured | None]
    at_least: bool = False

    def row(self, results: Results) -> tuple[str, ...]:
        """Return goal, limit, measured value, its equivalent in json, and verdict."""
        bound = "at least" if self.at_least else "at most"
        limit = f"{bound} {number(self.limit)} {self.unit}"
        found = self.find(results, self.records)
        if found is None:
            return (self.text, limit, "–", "–", "not measured")
        measured = f"{number(found.value)} {self.unit}: {found.figure}"
        ratio = "–" if found.json_records is None else number(found.json_records)
        verdict = self.verdict(found.value)
        if found.records != self.records:
            verdict += f" at {found.records:,} records"
        return (self.text, limit, measured, ratio, verdict)

    def verdict(self, value: float) -> str:
        """Return whether the goal is met, or by how much it is missed."""
        if self.at_least:
            met, share = value >= self.limit, f"{value / self.limit:.0%} of it"
        else:
            met, share = value <= self.limit, f"{value / self.limit:.3g} times that"
        return "met" if met else f"**missed**: {share}"


def worst(
    scenario: str,
    pattern: str,
    what: str = "median",
    at_least: bool = False,
    shape: Shape = "plain",
) -> Callable[[Results, int], Measured | None]:
    """Return a function that finds the worst of the figures whose names match."""

    def find(results: Results, records: int) -> Measured | None:
        result = results.nearest(scenario, records, shape)
        figures = _matching(result, pattern) if result else []
        if result is None or not figures:
            return None
        pick = min if at_least else max
        figure = pick(figures, key=lambda one: float(one[what]))
        ratio = figure.get("jsonRecords") if what == "median" else None
        return Measured(figure[what], ratio, figure["name"], result.records)

    return find


def _matching(result: Result, pattern: str) -> list[Figure]:
    return [one for name, one in result.figures.items() if re.fullmatch(pattern, name)]


def _kept_speed(results: Results, records: int) -> Measured | None:
    """Return the speed of the cold index at a size, in percent of that at the typical size."""
    large, typical = (results.at("cold-index", size) for size in (records, TYPICAL))
    if large is None or typical is None:
        return None
    (rate, base) = (one.figures["all cores"]["median"] for one in (large, typical))
    return Measured(rate / base * 100, None, "all cores", records)


INGEST = worst("http-ingest", "1 per request, sync, 16 clients", at_least=True)
INGEST_MANY = worst("http-ingest", "100 per request, sync, 16 clients, findable", at_least=True)
COLD = worst("cold-index", "all cores", "jsonRecords")
SIZE = worst("size", "index relative to raw bytes")
GOALS = (
    Goal("cold index, in json loops over the same records", 1.8, "×", TYPICAL, COLD),
    Goal("the aim for that", 1.3, "×", TYPICAL, COLD),
    Goal(
        "cold index of ragged records, in json loops over them",
        4.61,
        "×",
        100_000,
        worst("cold-index", "all cores", "jsonRecords", shape="ragged"),
    ),
    Goal(
        "cold index at 10 million, relative to 1 million",
        90,
        "%",
        LARGE,
        _kept_speed,
        at_least=True,
    ),
    Goal("size of the index relative to raw bytes", 0.28, "×", TYPICAL, SIZE),
    Goal("size of the index at 10 million, relative to raw bytes", 0.27, "×", LARGE, SIZE),
    Goal("the aim for that", 0.25, "×", LARGE, SIZE),
    Goal(
        "size of the index of ragged records, relative to raw bytes",
        0.426,
        "×",
        TYPICAL,
        worst("size", "index relative to raw bytes", shape="ragged"),
    ),
    Goal("ingest, 1 per request, 16 clients", 4000, "requests/s", TYPICAL, INGEST, at_least=True),
    Goal(
        "ingest, 100 per request, 16 clients",
        40_000,
        "records/s",
        TYPICAL,
        INGEST_MANY,
        at_least=True,
    ),
    Goal("the aim for that", 50_000, "records/s", TYPICAL, INGEST_MANY, at_least=True),
    Goal(
        "size of the index after steady ingest, 1 per request, relative to raw bytes",
        0.28,
        "×",
        TYPICAL,
        worst("steady-ingest", "index, settled, after a stop, relative to raw bytes"),
    ),
    Goal(
        "any page during that, p99",
        50,
        "ms",
        TYPICAL,
        worst("steady-ingest", "pages meanwhile", "p99"),
    ),
    Goal("any page of 100, median", 3, "ms", LARGE, worst("pages", "page: .*")),
    Goal("any page of 100, p99", 10, "ms", LARGE, worst("pages", "page: .*", "p99")),
    Goal(
        "the same under full ingest, p99",
        50,
        "ms",
        LARGE,
        worst("pages-under-ingest", "page: .*", "p99"),
    ),
    Goal("the first page after a start", 50, "ms", LARGE, worst("first-page", ".*", "high")),
    Goal(
        "group by up to 1,900 values, one day of thirty",
        1,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, one day"),
    ),
    Goal(
        "group by up to 1,900 values, everything",
        10,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, all"),
    ),
    Goal(
        "the same for the first time after a start",
        100,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, all, the first time"),
    ),
    Goal(
        "group by 2.5 million values, one day of thirty",
        60,
        "ms",
        LARGE,
        worst("aggregates", f"{MANY_VALUES}, one day"),
    ),
    Goal(
        "group by an id, another day each time",
        60,
        "ms",
        LARGE,
        worst("filtered-groups", "ids: .*, one day"),
    ),
    Goal(
        "group by 2.5 million values, everything",
        1000,
        "ms",
        LARGE,
        worst("aggregates", f"{MANY_VALUES}, all"),
    ),
    Goal(
        "group by a million values, everything (4 million records)",
        1000,
        "ms",
        4_000_000,
        worst("aggregates", f"{MANY_VALUES}, all"),
    ),
    Goal(
        "group under a filter, one day of thirty",
        15,
        "ms",
        LARGE,
        worst("filtered-groups", "group: .*, one day"),
    ),
    Goal(
        "group under a filter, everything",
        400,
        "ms",
        LARGE,
        worst("filtered-groups", "group: .*, all"),
    ),
    Goal(
        "clean-up of half of the entries",
        10,
        "s",
        LARGE,
        worst("clean-up", "a clean-up without queries"),
    ),
    Goal(
        "the slowest query during that",
        50,
        "ms",
        LARGE,
        worst("clean-up", ".* during a clean-up, slowest"),
    ),
    Goal(
        "size of the index after that, relative to before",
        0.55,
        "×",
        LARGE,
        worst("clean-up", "index after relative to before"),
    ),
    Goal("`mikroscope query` as a process", 150, "ms", TYPICAL, worst("command", "query")),
    Goal("ready after a start", 0.5, "s", LARGE, worst("restart", "until all files are scanned")),
    Goal("resident memory, idle", 64, "MiB", LARGE, worst("memory", "idle, .* indexed")),
    Goal("resident memory, full load", 256, "MiB", LARGE, worst("memory", ".*, peak")),
    Goal(
        "longest wait of an honest client under siege",
        1000,
        "ms",
        TYPICAL,
        worst("siege", ".*: longest wait"),
    ),
    Goal("a line in a file until it is findable", 1_000, "ms", TYPICAL, worst("fresh-lines", ".*")),
    Goal("memory under siege", 512, "MiB", TYPICAL, worst("siege", ".*: peak memory")),
)
