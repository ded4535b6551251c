"""The type of a scenario: a function that records what it measures on a corpus."""

from collections.abc import Callable
from dataclasses import dataclass

from benches.cache import Cache, Corpus
from benches.corpus import Shape
from benches.figures import Recorder


@dataclass(frozen=True)
class Scenario:
    """A named measurement; the docstring of its function says what it measures."""

    name: str
    measure: Callable[[Cache, Corpus, Recorder], None]
    shapes: tuple[Shape, ...] = ("plain",)
    every_size: bool = True  # whether a run over several sizes repeats it for each
    most_rounds: int = 100

    @property
    def purpose(self) -> str:
        """One line for the list of scenarios."""
        return (self.measure.__doc__ or "").partition("\n")[0]
