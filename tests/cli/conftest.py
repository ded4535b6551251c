"""The program in a separate directory, shared by the tests of commands."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.program import Processes, Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program, called in this process."""
    return Program(tmp_path)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The program, also as processes, which are killed after the test."""
    with closing(Processes(tmp_path)) as found:
        yield found
