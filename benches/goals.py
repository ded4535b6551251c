"""The goals, and whether the published results meet them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

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
    scenario: str, pattern: str, what: str = "median", at_least: bool = False
) -> Callable[[Results, int], Measured | None]:
    """Return a function that finds the worst of the figures whose names match."""

    def find(results: Results, records: int) -> Measured | None:
        result = results.nearest(scenario, records)
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
COLD = worst("cold-index", "all cores", at_least=True)
GOALS = (
    Goal("cold index, all cores", 120_000, "records/s", TYPICAL, COLD, at_least=True),
    Goal("the best known of any system", 180_000, "records/s", TYPICAL, COLD, at_least=True),
    Goal(
        "cold index at 10 million, relative to 1 million",
        80,
        "%",
        LARGE,
        _kept_speed,
        at_least=True,
    ),
    Goal(
        "size of the index relative to raw bytes",
        0.5,
        "×",
        TYPICAL,
        worst("size", "index relative to raw bytes"),
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
    Goal("any page of 100, median", 3, "ms", LARGE, worst("pages", "page: .*")),
    Goal("any page of 100, p99", 10, "ms", LARGE, worst("pages", "page: .*", "p99")),
    Goal(
        "the same under full ingest, p99",
        50,
        "ms",
        LARGE,
        worst("pages-under-ingest", "page: .*", "p99"),
    ),
    Goal(
        "group by up to 1,900 values, one day of thirty",
        20,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, one day"),
    ),
    Goal(
        "group by up to 1,900 values, everything",
        200,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, all"),
    ),
    Goal(
        "the same for the first time after a start",
        200,
        "ms",
        LARGE,
        worst("aggregates", f"{FEW_VALUES}, all, the first time"),
    ),
    Goal(
        "group by 2.5 million values, one day of thirty",
        100,
        "ms",
        LARGE,
        worst("aggregates", f"{MANY_VALUES}, one day"),
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
    Goal("`mikroscope query` as a process", 150, "ms", TYPICAL, worst("command", "query")),
    Goal("ready after a start", 0.5, "s", LARGE, worst("restart", "until all files are scanned")),
    Goal("resident memory, idle", 64, "MiB", TYPICAL, worst("memory", "idle, .* indexed")),
    Goal("resident memory, full load", 256, "MiB", TYPICAL, worst("memory", ".*, peak")),
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
