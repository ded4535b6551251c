"""The published results: one JSON file for each scenario, shape and size, below the docs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figure = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What one scenario has measured on one corpus."""

    data: dict[str, Any]

    @property
    def scenario(self) -> str:
        """Its name."""
        return str(self.data["scenario"])

    @property
    def shape(self) -> str:
        """That of the corpus."""
        return str(self.data["shape"])

    @property
    def records(self) -> int:
        """That the corpus had."""
        return int(self.data["records"])

    @property
    def title(self) -> str:
        """Corpus and rounds."""
        rounds = self.data["rounds"]
        return f"{self.shape}, {self.records:,} records, {rounds} round{'s' * (rounds != 1)}"

    @property
    def figures(self) -> dict[str, Figure]:
        """By name, in the order in which they were measured."""
        return {figure["name"]: figure for figure in self.data["figures"]}

    def median(self, name: str) -> float | None:
        """The median of a figure, if it is there."""
        figure = self.figures.get(name)
        return None if figure is None else float(figure["median"])


class Results:
    """All that is published."""

    def __init__(self, directory: Path) -> None:
        paths = sorted(directory.glob("*.json"))
        found = [Result(json.loads(path.read_text())) for path in paths]
        self._all = sorted(found, key=lambda one: (one.scenario, one.shape, one.records))

    def __iter__(self) -> Iterator[Result]:
        return iter(self._all)

    def of(self, scenario: str, shape: str = "plain") -> list[Result]:
        """Those of a scenario, by size."""
        return [one for one in self._all if (one.scenario, one.shape) == (scenario, shape)]

    def at(self, scenario: str, records: int, shape: str = "plain") -> Result | None:
        """That of a size."""
        return next((one for one in self.of(scenario, shape) if one.records == records), None)

    def nearest(self, scenario: str, records: int) -> Result | None:
        """That of a size, or of the largest below or above it."""
        return self.at(scenario, records) or next(reversed(self.of(scenario)), None)


def publish(results: Path, directory: Path) -> None:
    """Take over the newest result of each scenario, shape and size.

    What else lies there, such as what `benches.backup` has kept, is left alone.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.glob("*.json"), key=lambda path: path.stat().st_mtime):
        text = path.read_text()
        result = json.loads(text)
        if "scenario" in result:
            name = "{scenario}-{shape}-{records}.json".format_map(result)
            (directory / name).write_text(text)
