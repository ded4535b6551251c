"""The documents match the product: their links work, tables are current and names exist."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mikroscope import __version__, resolve_settings
from mikroscope.cli.main import cli
from mikroscope.records.conventions import (
    CORRELATION_FIELDS,
    LEVEL_KEYS,
    MESSAGE_KEYS,
    TEXT_FIELDS,
    TIME_FIELDS,
)
from mikroscope.server.app import OPERATIONS
from mikroscope.settings.options import options
from tests.helpers.documents import DOCUMENTS, blocks, name_of
from tests.helpers.paths import ROOT
from tests.helpers.server import Serve, routes_of

README = (ROOT / "README.md").read_text()
PARITY = (ROOT / "docs" / "parity.md").read_text()


def test_parity_names_tests_that_exist() -> None:
    """Each test that the parity table names exists."""
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?`", PARITY)
    assert len(named) > 80
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in text, f"{file}::{name}"


def test_parity_names_every_option_of_the_original() -> None:
    """The parity table has every option of the original."""
    new = {"--log-file-suffixes", "--log-format", "--log-requests"}
    new |= {"--max-concurrent-requests", "--query-timeout-ms", "--ingest-fsync"}
    new |= {"--alert-webhook-format", "--redact-fields", "--default-timezone", "--db-max-bytes"}
    flags = {option.flag for option in options()} - new
    assert not {flag for flag in flags if f"`{flag}`" not in PARITY}


def test_generated_reference_is_current() -> None:
    """docs/reference/ is current with settings, commands and routes: `make reference`."""
    command = [sys.executable, str(ROOT / "scripts" / "update_reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reference_of_the_configuration() -> None:
    """The reference has one row of five columns for every option, with all its spellings."""
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `--")]
    assert {row.count("|") for row in rows} == {6}
    for option, row in zip(options(), rows, strict=True):
        spellings = (option.flag, option.env, option.key or "–", option.help)
        assert all(text in row for text in spellings)


def test_stale_reference_is_named(tmp_path: Path) -> None:
    """The script names an outdated page of the reference and rewrites it."""
    for part in ("scripts", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    page = tmp_path / "docs" / "reference" / "configuration.md"
    page.write_text(page.read_text().replace("`--port`", "`--harbour`"))
    command = [sys.executable, str(tmp_path / "scripts" / "update_reference.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr.split(" in ")[0]) == (
        1,
        "out of date: configuration.md",
    )
    subprocess.run(command, check=True)
    assert page.read_text() == (ROOT / "docs" / "reference" / "configuration.md").read_text()


def test_example_config_is_valid() -> None:
    """The settings accept the example config file unchanged."""
    path = ROOT / "examples" / "mikroscope.config.json"
    assert resolve_settings(config_file_path=path, env={}).port == 4310


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_json_examples_parse(document: Path) -> None:
    """Every JSON example that is not the output of a command is JSON."""
    for block in blocks(document):
        if block.language == "json":
            assert isinstance(json.loads(block.content), dict | list), block.place


def test_every_route_is_documented(serve: Serve) -> None:
    """The reference of the HTTP API names exactly the server's routes."""
    routes = routes_of(serve())
    served = {(method, route.path) for route in routes for method in route.methods or ()}
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    table = re.findall(r"^\| `(GET|POST|PUT)` \| \[`([^`]+)`\]", page, re.MULTILINE)
    assert set(table) == {(method, path) for method, path in served if method != "HEAD"}


def test_front_page_names_every_route_and_command() -> None:
    """The README names each route that answers JSON and each command, and links to the rest."""
    routes = {path for _, path in _routes_of_the_api()}
    assert {path for path in routes if f"{path}`" not in README} == set()
    assert {name for name in cli.commands if f"`mikroscope {name}" not in README} == set()


def _routes_of_the_api() -> set[tuple[str, str]]:
    shown = ("Logs", "Alerts", "Server")
    return {(one.method, one.path) for one in OPERATIONS if one.tag in shown}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names an existing file and an existing heading in it."""
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
    """The changelog has a section for the package's version."""
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_module_is_on_the_map() -> None:
    """The map in docs/design.md names every module of every package except the handler's."""
    design = (ROOT / "docs" / "design.md").read_text()
    package = ROOT / "src" / "mikroscope"
    modules = {path for path in package.rglob("*.py") if not path.name.startswith("__")}
    modules -= set((package / "logging").iterdir())
    assert not {str(path) for path in modules if path.name not in design}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets(document: Path) -> None:
    """Each make target that a document uses exists in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"`make ([a-z]+)", document.read_text()):
        assert f"\n{name}:" in makefile, name


def test_dependencies_are_the_decided_ones() -> None:
    """The dependencies are exactly the chosen ones: adding another is a decision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=;\[ ]", one)[0] for one in project["dependencies"]}
    assert names == {
        "anyio",
        "apsw",
        "certifi",
        "click",
        "httptools",
        "httpx",
        "idna",
        "msgspec",
        "prometheus-client",
        "rich",
        "starlette",
        "tzdata",
        "uvicorn",
        "uvloop",
        "watchfiles",
        "zstandard",
    }


def test_the_reference_names_every_key_of_a_logger() -> None:
    """docs/reference.md has each key that decides an attribute, and each field of an error."""
    text = (ROOT / "docs" / "reference.md").read_text()
    keys = (*TIME_FIELDS, *(key.name for key in (*LEVEL_KEYS, *MESSAGE_KEYS)))
    keys = (*keys, *CORRELATION_FIELDS, *TEXT_FIELDS)
    assert not [name for name in keys if f"`{name}`" not in text]
