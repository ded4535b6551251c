"""The benchmarks' command line: list, run, report.

    python -m benches list
    python -m benches run cold-index pages --records 1000000 --rounds 5
    python -m benches report --publish

Corpora and indexes are kept in BENCH_DIR; BENCH_RECORDS and BENCH_ROUNDS are the defaults of
--records and --rounds.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches.cache import Cache, Corpus
from benches.corpus import SHAPES, Shape
from benches.figures import Recorder
from benches.published import publish
from benches.report import write_report
from benches.scenarios import SCENARIOS
from benches.scenarios.base import Scenario

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benches" / "results"
DOCS = ROOT / "docs"
TYPICAL_RECORDS = 1_000_000

Job = tuple[Scenario, Shape, int]


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the command line names."""
    given = _parser().parse_args(arguments)
    try:
        given.act(given)
    except _UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


class _UsageError(Exception):
    """The command line names something that does not exist."""


def _parser() -> argparse.ArgumentParser:
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list the scenarios")
    listing.set_defaults(act=_list)
    running = commands.add_parser("run", help="measure, and write the results to benches/results")
    running.set_defaults(act=_run)
    add = running.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="the scenarios to run; default: all")
    sizes = os.environ.get("BENCH_RECORDS", "1000000")
    add(
        "--records",
        type=_sizes,
        default=sizes,
        help=f"one size or several: 100000,1000000; default: {sizes}",
    )
    rounds = os.environ.get("BENCH_ROUNDS", "5")
    add("--rounds", type=_positive, default=rounds, help=f"number of rounds; default: {rounds}")
    add(
        "--shape",
        choices=SHAPES,
        help="default: every shape that a scenario has",
    )
    add(
        "--effort",
        type=float,
        default=1.0,
        help="share of the usual samples, such as 0.1 for a trial",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help=argparse.SUPPRESS)
    reporting = commands.add_parser(
        "report", help="update docs/benchmarks.md, README.md and their pictures"
    )
    reporting.set_defaults(act=_report)
    add = reporting.add_argument
    add(
        "--publish",
        action="store_true",
        help="first publish the newest results from benches/results",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help=argparse.SUPPRESS)
    add("--docs", type=Path, default=DOCS, metavar="DIR", help=argparse.SUPPRESS)
    return parser


def _sizes(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _list(given: argparse.Namespace) -> None:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:20} {scenario.purpose}")


def _report(given: argparse.Namespace) -> None:
    if given.publish:
        publish(given.results, given.docs / "benchmarks")
    write_report(given.docs)


def _run(given: argparse.Namespace) -> None:
    jobs = _jobs(given.scenarios, given.records, given.shape)
    given.results.mkdir(parents=True, exist_ok=True)
    failed = []
    with _directory() as directory:
        cache = Cache(directory)
        for scenario, shape, records in jobs:
            try:
                _measure(given, cache, scenario, cache.corpus(shape, records))
            except (
                Exception
            ):  # keep the results of the other scenarios, which may have taken an hour
                traceback.print_exc()
                failed.append(scenario.name)
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed")


def _measure(given: argparse.Namespace, cache: Cache, scenario: Scenario, corpus: Corpus) -> None:
    """Run one scenario, save its result, and print it."""
    rounds = min(given.rounds, scenario.most_rounds)
    recorder = Recorder(corpus, rounds, given.effort)
    scenario.measure(cache, corpus, recorder)
    result = recorder.result(scenario.name)
    _keep(result, given.results)
    _print(result)


def _jobs(names: list[str], sizes: list[int], shape: Shape | None) -> list[Job]:
    """Return the scenarios to run, in order, each with its corpus."""
    if unknown := set(names) - {*SCENARIOS, "all"}:
        raise _UsageError(f"unknown scenario {', '.join(unknown)}; expected {', '.join(SCENARIOS)}")
    everything = not names or "all" in names
    chosen = list(SCENARIOS.values()) if everything else [SCENARIOS[name] for name in names]
    if shape and not everything and (wrong := [one for one in chosen if shape not in one.shapes]):
        raise _UsageError(f"{wrong[0].name} has no {shape} corpus, only {wrong[0].shapes[0]}")
    once = min(sizes, key=lambda size: abs(math.log(size / TYPICAL_RECORDS)))
    return [
        (scenario, one, records)
        for records in sizes
        for scenario in chosen
        for one in scenario.shapes
        if shape in (None, one)
        # Scenarios that depend on the size run at each; others, and the ragged corpus, once.
        if records == once or (scenario.every_size and one == "plain")
    ]


@contextmanager
def _directory() -> Iterator[Path]:
    """The directory of corpora and indexes: BENCH_DIR, or a temporary one for this run."""
    if kept := os.environ.get("BENCH_DIR"):
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="mikroscope-bench-") as directory:
        yield Path(directory)


def _keep(result: dict[str, Any], directory: Path) -> None:
    name = "{scenario}-{shape}-{records}".format_map(result)
    path = directory / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def _print(result: dict[str, Any]) -> None:
    print("{scenario}: {shape}, {records:,} records, {rounds} rounds".format_map(result))
    for figure in result["figures"]:
        more = f"{figure['low']:g} to {figure['high']:g}"
        if "p99" in figure:
            more += f", p99 {figure['p99']:g}"
        if "jsonRecords" in figure:
            more += f", json x {figure['jsonRecords']:g}"
        print(f"  {figure['name']:50} {figure['median']:>12g} {figure['unit']} ({more})")
    for note in result["notes"]:
        print(f"  {note}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
