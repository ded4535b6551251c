"""grep, jq and other shell tools, directly on the NDJSON file."""

import shlex
import shutil
from pathlib import Path
from typing import Self

from benches.cache import Corpus
from benches.peers.base import DAY, PAGE, TOP, Groups, Question
from benches.program import run

PROGRAMS = ("grep", "jq", "tac", "sort", "uniq")


class GrepAndJq:
    """One pipeline per question.

    It relies on two facts about the corpus: lines are in the order of their times, and
    `"name":"value"` occurs only as this field.
    """

    def __init__(self, corpus: Corpus, directory: Path) -> None:
        self._file = shlex.quote(str(corpus.path))

    @staticmethod
    def missing() -> str | None:
        """Require the programs."""
        absent = [name for name in PROGRAMS if not shutil.which(name)]
        return f"{', '.join(absent)} not installed (Debian: apt-get install jq)" if absent else None

    def insert(self) -> None:
        """Do nothing: the tools read the file directly."""

    def size(self) -> int:
        """Return 0: nothing is stored."""
        return 0

    def __enter__(self) -> Self:
        """Do nothing: there is no server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is no server."""

    def page(self, question: Question) -> list[str]:
        """Read from the end of the file until there are enough records."""
        lines = f"tac {self._file} | {_narrow(question)} head -n {PAGE}"
        return _shell(f"{lines} | jq -r .timestamp").split()

    def count(self, question: Question) -> int:
        """Count the lines that match."""
        return int(_shell(f"cat {self._file} | {_narrow(question)} wc -l"))

    def groups(self, question: Question) -> Groups:
        """Sort and count the values."""
        values = f"cat {self._file} | {_narrow(question)} jq -r .{question.group_by}"
        counted = _shell(f"{values} | sort | uniq -c | sort -k1,1nr -k2 | head -n {TOP}")
        rows = (line.split(maxsplit=1) for line in counted.splitlines())
        return [(key, int(count)) for count, key in rows]


def _narrow(question: Question) -> str:
    """Return the steps of a pipeline that select the matching records."""
    steps = [f'grep -F \'"{name}":"{value}"\' |' for name, value in question.filters]
    if question.one_day:
        test = f'select(.timestamp >= "{DAY[0]}" and .timestamp <= "{DAY[1]}")'
        steps.append(f"jq -c '{test}' |")
    return " ".join(steps)


def _shell(pipeline: str) -> str:
    """Run a pipeline in the C locale, which compares bytes, and return its output."""
    return run("sh", "-c", f"export LC_ALL=C; {pipeline}").output
