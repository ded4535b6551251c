"""A server that all tests of a module share."""

from collections.abc import Iterator

import httpx
import pytest

from mikroscope import start_server
from tests.helpers.server import PRODUCERS, settings_in


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that accepts logs, for tests that change nothing."""
    directory = tmp_path_factory.mktemp("shared")
    with (
        start_server(settings_in(directory, **PRODUCERS)) as server,
        httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client,
    ):
        yield client
