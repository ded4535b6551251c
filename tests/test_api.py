"""The Python API: what `import mikroscope` offers to a program that runs a server itself."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import mikroscope
from mikroscope import RunningServer, Settings, resolve_settings, start_server
from mikroscope.errors import ConfigurationError, MikroScopeError
from tests.helpers.server import settings_in


def answers(server: RunningServer) -> bool:
    try:
        return httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_settings_of_a_program(tmp_path: Path) -> None:
    """`resolve_settings` takes a config file, an environment and parameters; the later one wins."""
    path = tmp_path / "config.json"
    path.write_text('{"port": 1, "host": "::1", "dbPath": "from-file.db"}')
    settings = resolve_settings(path, {"MIKROSCOPE_PORT": "2", "MIKROSCOPE_HOST": ""}, {"port": 3})
    assert (settings.port, settings.host, settings.db_path) == (3, "::1", Path("from-file.db"))


def test_names_of_parameters() -> None:
    """Parameters have the names of the config file, or those of Python."""
    for name in ("ingestIntervalMs", "ingest_interval_ms"):
        assert resolve_settings(env={}, overrides={name: 700}).ingest_interval_ms == 700


def test_wrong_settings() -> None:
    """A wrong setting raises ConfigurationError, which is a MikroScopeError."""
    with pytest.raises(MikroScopeError) as caught:
        resolve_settings(env={}, overrides={"port": "abc"})
    assert isinstance(caught.value, ConfigurationError)


def test_running_server(tmp_path: Path) -> None:
    """`start_server` returns when requests are answered; `url` and `port` say where."""
    server = start_server(settings_in(tmp_path))
    try:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert answers(server)
    finally:
        server.close()
    assert not answers(server)


def test_with_statement(tmp_path: Path) -> None:
    """A `with` statement closes the server at its end, after an error, too."""
    with start_server(settings_in(tmp_path)) as server:
        assert answers(server)
    assert not answers(server)
    with pytest.raises(ZeroDivisionError), start_server(settings_in(tmp_path)) as server:
        _ = 1 / 0
    assert not answers(server)


def test_two_servers(tmp_path: Path) -> None:
    """A program may run several servers, each with its own index."""
    with (
        start_server(settings_in(tmp_path / "a")) as one,
        start_server(settings_in(tmp_path / "b")) as other,
    ):
        assert answers(one)
        assert answers(other)


def test_server_that_cannot_start(tmp_path: Path) -> None:
    """A server that cannot start is a MikroScopeError."""
    with start_server(settings_in(tmp_path)), pytest.raises(MikroScopeError):
        start_server(settings_in(tmp_path))


def test_names() -> None:
    """The package offers what `__all__` lists, and says so where a name is wrong."""
    assert mikroscope.__all__ == sorted(mikroscope.__all__)
    assert all(hasattr(mikroscope, name) for name in mikroscope.__all__)
    assert (mikroscope.Settings, mikroscope.start_server) == (Settings, start_server)
    with pytest.raises(AttributeError, match=r"module 'mikroscope' has no attribute 'nonsense'"):
        _ = mikroscope.nonsense


@pytest.mark.parametrize(
    "statement",
    [
        "import mikroscope; mikroscope.resolve_settings(env={})",
        "import mikroscope.cli",
    ],
)
def test_light_import(tmp_path: Path, statement: str) -> None:
    """Importing the package, or asking for settings, loads no server and no database."""
    heavy = "{'starlette', 'uvicorn', 'apsw', 'watchfiles', 'zstandard', 'rich', 'asyncio'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
