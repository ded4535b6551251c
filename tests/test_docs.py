"""What the documents say is so: commands run, links lead somewhere, tables are current."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from starlette.routing import Route

from mikroscope import RunningServer, __version__, resolve_settings, start_server
from mikroscope.server.app import _Routes
from mikroscope.server.metrics import Metrics
from mikroscope.settings import options, reference_markdown

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "OPS_RUNBOOK.md")
]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS += [ROOT / "deploy" / "systemd" / "README.md"]
README = (ROOT / "README.md").read_text()
PARITY = (ROOT / "docs" / "parity.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _block_with(words: str) -> str:
    return next(block for block in _blocks(README, "sh") if words in block)


def _shell(script: str, directory: Path) -> str:
    """Run a block of a document as a user's shell would, and return what it prints."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _quick_start_server(directory: Path) -> RunningServer:
    """A server with the flags of the quick start, on a free port."""
    words = shlex.split(_block_with("mikroscope serve").replace("\\\n", " "))
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    by_flag = {option.flag: option.name for option in options()}
    overrides: dict[str, object] = {by_flag[flag]: value for flag, value in flags.items()}
    overrides |= {"port": 0, "min_free_bytes": 0}
    overrides |= {"logs_path": directory / "logs", "db_path": directory / "data" / "mikroscope.db"}
    return start_server(resolve_settings(env={}, overrides=overrides))


def test_quick_start(tmp_path: Path) -> None:
    """The README's quick start, word for word but for the port: a sent log is found."""
    with _quick_start_server(tmp_path) as server:

        def run(words: str) -> str:
            return _shell(_block_with(words).replace("4310", str(server.port)), tmp_path)

        sent = json.loads(run("/api/ingest"))
        assert (sent["accepted"], sent["queued"], sent["producerId"]) == (1, False, "backend-api")
        found = json.loads(run("field=producerId"))["entries"]
        assert [entry["data"]["orderId"] for entry in found] == ["ORD-123"]


def test_quick_start_with_a_file(tmp_path: Path) -> None:
    """A line that a service writes by itself is found, as the README shows."""
    with _quick_start_server(tmp_path) as server:
        block = _block_with("hello from pino").replace("4310", str(server.port))
        write, ask = block.split("\n", 1)
        _shell(write, tmp_path)
        for _ in range(200):
            entries = json.loads(_shell(ask, tmp_path))["entries"]
            if entries:
                break
        assert [(entry["level"], entry["message"]) for entry in entries] == [
            ("INFO", "hello from pino")
        ]


def test_command_line_examples(tmp_path: Path) -> None:
    """The README's examples of index, query and aggregate run one after the other."""
    block = _block_with("mikroscope index").split("\n")
    printed = [json.loads(_shell(line, tmp_path)) for line in block if line]
    assert printed[1]["report"]["recordsInserted"] == 28_350
    assert printed[2]["report"]["recordsInserted"] == 28_350
    assert printed[3]["entries"]
    assert printed[-1]["buckets"]


def test_alert_example(tmp_path: Path) -> None:
    """The README's commands show an alert."""
    printed = _shell(_block_with("demo alerts up"), tmp_path)
    assert '"rule":"error_threshold"' in printed
    assert not (tmp_path / ".mikroscope-demo" / "state.json").exists()


def test_parity_names_tests_that_exist() -> None:
    """Each test that the parity table names is there."""
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", PARITY)
    assert len(named) > 80
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in text, f"{file}::{name}"


def test_parity_names_every_option_of_the_original() -> None:
    """No option that the original has is missing from the table."""
    new = {"--log-file-suffixes", "--log-format", "--log-requests"}
    new |= {"--max-concurrent-requests", "--query-timeout-ms"}
    flags = {option.flag for option in options()} - new
    assert not {flag for flag in flags if f"`{flag}`" not in PARITY}


def test_python_example(tmp_path: Path) -> None:
    """The README's Python example prints the URL of a server."""
    code = next(block for block in _blocks(README, "python") if "start_server" in block)
    code = code.replace('"port": 0', '"port": 0, "min_free_bytes": 0')
    printed = _shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)
    assert printed.startswith("http://127.0.0.1:")


def test_configuration_reference_is_current() -> None:
    """The README's table of options is the one the settings table gives: `make reference`."""
    assert reference_markdown().strip() in README


def test_example_config_is_valid() -> None:
    """The example config file is accepted as it is."""
    path = ROOT / "examples" / "mikroscope.config.json"
    assert resolve_settings(config_file_path=path, env={}).port == 4310


@pytest.mark.parametrize("block", _blocks(REFERENCE, "json"))
def test_json_examples_parse(block: str) -> None:
    """Every JSON example of the reference is JSON."""
    assert json.loads(block)


def test_every_route_is_documented(tmp_path: Path) -> None:
    """The README's table of routes names each route of the server, and no other."""
    overrides = {"db_path": tmp_path / "i.db", "logs_path": tmp_path, "port": 0}
    settings = resolve_settings(env={}, overrides={**overrides, "min_free_bytes": 0})
    with start_server(settings) as server:
        routes: list[Route] = _Routes(server._service, Metrics("0", 0)).routes()
    served = {(method, route.path) for route in routes for method in route.methods or ()}
    table = re.findall(r"^\| `(GET|POST|PUT)` \| `([^`]+)` \|", README, re.MULTILINE)
    assert set(table) == {(method, path) for method, path in served if method != "HEAD"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        path = (document.parent / name) if name else document
        assert path.exists(), target
        if heading:
            anchors = {
                re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in path.read_text().splitlines()
                if line.startswith("#")
            }
            assert heading in anchors, target


def test_changelog_has_this_version() -> None:
    """The version of the package has its section in the changelog."""
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_is_on_the_map() -> None:
    """The map in docs/design.md names every module."""
    design = (ROOT / "docs" / "design.md").read_text()
    package = ROOT / "src" / "mikroscope"
    names = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert not {name for name in names if name not in design}


def test_make_targets_are_documented() -> None:
    """What the README and CONTRIBUTING tell to make is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    told = set(re.findall(r"`?make ([a-z]+)`? ", README + (ROOT / "CONTRIBUTING.md").read_text()))
    assert {name for name in told if f"\n{name}:" in makefile} >= {"serve", "test", "format"}


def test_dependencies_are_the_decided_ones() -> None:
    """A sidecar's dependencies are counted: a further one is a decision, not an accident."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=;\[ ]", one)[0] for one in project["dependencies"]}
    assert names == {
        "apsw",
        "certifi",
        "click",
        "httptools",
        "httpx",
        "msgspec",
        "rich",
        "starlette",
        "uvicorn",
        "uvloop",
        "watchfiles",
        "zstandard",
    }
