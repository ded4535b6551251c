"""Fixtures of the tests of indexing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.workplace import Workplace


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """A place where retries come quickly."""
    monkeypatch.setattr("mikroscope.indexing.writer_thread.RETRY_S", 0.01)
    with Workplace(tmp_path) as workplace:
        yield workplace
        for worker in workplace.workers:
            worker.stop()
