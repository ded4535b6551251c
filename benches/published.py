"""The published results: one JSON file for each scenario, shape and size, below docs/."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figure = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The measurements of one scenario on one corpus."""

    data: dict[str, Any]

    @property
    def scenario(self) -> str:
        """The name of the scenario."""
        return str(self.data["scenario"])

    @property
    def shape(self) -> str:
        """The shape of the corpus."""
        return str(self.data["shape"])

    @property
    def records(self) -> int:
        """The number of records in the corpus."""
        return int(self.data["records"])

    @property
    def title(self) -> str:
        """The shape, the size and the rounds."""
        rounds = self.data["rounds"]
        return f"{self.shape}, {self.records:,} records, {rounds} round{'s' * (rounds != 1)}"

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures by name, in the order in which they were measured."""
        return {figure["name"]: figure for figure in self.data["figures"]}

    def median(self, name: str) -> float | None:
        """Return the median of a figure, or None if it was not measured."""
        figure = self.figures.get(name)
        return None if figure is None else float(figure["median"])


class Results:
    """All published results."""

    def __init__(self, directory: Path) -> None:
        paths = sorted(directory.glob("*.json"))
        found = [Result(json.loads(path.read_text())) for path in paths]
        self._all = sorted(found, key=lambda one: (one.scenario, one.shape, one.records))

    def __iter__(self) -> Iterator[Result]:
        return iter(self._all)

    def of(self, scenario: str, shape: str = "plain") -> list[Result]:
        """Return the results of a scenario, ordered by size."""
        return [one for one in self._all if (one.scenario, one.shape) == (scenario, shape)]

    def at(self, scenario: str, records: int, shape: str = "plain") -> Result | None:
        """Return the result of a scenario at a size."""
        return next((one for one in self.of(scenario, shape) if one.records == records), None)

    def nearest(self, scenario: str, records: int, shape: str = "plain") -> Result | None:
        """Return the result at a size, or else the one at the largest size."""
        return self.at(scenario, records, shape) or next(reversed(self.of(scenario, shape)), None)


def publish(results: Path, directory: Path) -> None:
    """Copy the newest result of each scenario, shape and size.

    Other files there, such as the results of `benches.backup`, are ignored.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.glob("*.json"), key=lambda path: path.stat().st_mtime):
        text = path.read_text()
        result = json.loads(text)
        if "scenario" in result:
            name = "{scenario}-{shape}-{records}.json".format_map(result)
            (directory / name).write_text(text)
