"""The scenarios by name, in the order in which all of them run."""

from benches.corpus import ODD_SHAPES
from benches.scenarios import (
    command,
    fresh_lines,
    indexing,
    ingest,
    memory,
    odd_corpora,
    peers,
    queries,
    siege,
    steady_ingest,
    upkeep,
)
from benches.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("cold-index", indexing.cold_index, ("plain", "ragged")),
        Scenario("size", indexing.size, ("plain", "ragged")),
        Scenario("incremental-index", indexing.incremental_index),
        Scenario("restart", indexing.restart),
        Scenario("fresh-lines", fresh_lines.fresh_lines, every_size=False),
        Scenario("http-ingest", ingest.http_ingest, every_size=False),
        Scenario("steady-ingest", steady_ingest.steady_ingest, every_size=False, most_rounds=3),
        Scenario("pages", queries.pages),
        Scenario("pages-under-ingest", queries.pages_under_ingest),
        Scenario("first-page", queries.first_page),
        Scenario("counts", queries.counts),
        Scenario("aggregates", queries.aggregates),
        Scenario("filtered-groups", queries.filtered_groups),
        Scenario("command", command.command),
        Scenario("memory", memory.memory),
        Scenario("siege", siege.siege, every_size=False, most_rounds=3),
        Scenario("upkeep", upkeep.upkeep, every_size=False, most_rounds=3),
        Scenario("clean-up", upkeep.clean_up, most_rounds=3),
        Scenario(
            "odd-corpora", odd_corpora.odd_corpora, ODD_SHAPES, every_size=False, most_rounds=3
        ),
        Scenario("peers", peers.peers, every_size=False),
    )
}
