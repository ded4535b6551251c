"""The first screen of the README: what it shows, and that each way to run MikroScope works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.helpers.documents import blocks
from tests.helpers.paths import ROOT
from tests.helpers.program import environment
from tests.helpers.release import copy_sources
from tests.helpers.waiting import DEADLINE_S, wait_until

README = (ROOT / "README.md").read_text()
SCREEN = README.splitlines()[:45]
INSTALLING_S = 300.0


def block_with(words: str) -> str:
    """Return the README's block of commands with these words."""
    (found,) = [one.content for one in blocks(ROOT / "README.md") if words in one.content]
    return found


@contextmanager
def started(script: str, directory: Path, **variables: str) -> Iterator[str]:
    """Type commands whose last one is a server; yield its URL, and stop it like Ctrl-C does."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment({"PATH": tools, "MIKROSCOPE_PORT": "0", "MIKROSCOPE_MIN_FREE_BYTES": "0"})
    shown = directory.parent / "shown"
    with shown.open("w") as out:
        shell = subprocess.Popen(
            ["sh", "-euc", script],
            cwd=directory,
            env=env | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    pattern = re.compile(r"^MikroScope listens on (http\S+) ", re.MULTILINE)
    try:
        wait_until(
            lambda: pattern.search(shown.read_text()) or shell.poll() is not None,
            "the start",
            INSTALLING_S,
        )
        url = pattern.search(shown.read_text())
        assert url is not None, shown.read_text()
        yield url[1]
    finally:
        os.killpg(shell.pid, 2)
        shell.wait(DEADLINE_S)


def entries(url: str) -> int:
    """Return how many entries a page has."""
    answer = httpx.get(f"{url}/api/logs", params={"limit": 5}, trust_env=False)
    return len(answer.json()["entries"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of this tree."""
    return copy_sources(tmp_path / "checkout")


@pytest.mark.long
def test_from_a_checkout(checkout: Path) -> None:
    """`make serve` in a fresh copy installs everything, and finds the samples it has written."""
    with started(block_with("make serve"), checkout) as url:
        wait_until(lambda: entries(url) == 5)


@pytest.mark.long
@pytest.mark.parametrize(("words", "tools"), [("uvx", ["uv", "uvx"]), ("pipx run", ["pipx"])])
def test_from_a_wheel(checkout: Path, tmp_path: Path, words: str, tools: list[str]) -> None:
    """The wheel is built as the README says, and runs without being installed."""
    for tool in tools:
        if not (Path(sys.executable).parent / tool).exists() and shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: pip install uv pipx")
    (script,) = [
        one.content
        for one in blocks(ROOT / "README.md")
        if words in one.content and "mikroscope serve" in one.content and "dist" in one.content
    ]
    (checkout / "logs").mkdir()
    (checkout / "logs" / "app.ndjson").write_text('{"n": 1}\n')
    home = {"HOME": str(tmp_path), "UV_PYTHON": sys.executable}
    with started(script, checkout, **home, PIPX_DEFAULT_PYTHON=sys.executable) as url:
        wait_until(lambda: entries(url) == 1)


def test_what_the_container_is_given() -> None:
    """The flags of `docker run` fit the image: its directories, its port, its name."""
    script = block_with("docker build")
    image = (ROOT / "Dockerfile").read_text()
    (volumes,) = re.findall(r"^VOLUME (.*)$", image, re.MULTILINE)
    (port,) = re.findall(r"^EXPOSE (\d+)$", image, re.MULTILINE)
    assert re.findall(r'--volume "\$PWD/\w+:(/\w+)"', script) == yaml.safe_load(volumes)
    assert f"--publish 127.0.0.1:{port}:{port}" in script
    assert "docker build --tag mikroscope ." in script
    assert script.rstrip().endswith(" mikroscope")
    # Directories on the host belong to the user who made them, not to the image's user.
    assert script.startswith("mkdir -p logs data\n")
    assert '--user "$(id -u):$(id -g)"' in script


@pytest.mark.long
def test_in_a_container(checkout: Path) -> None:
    """The image is built, reads ./logs and answers."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker daemon is running")
    (checkout / "logs").mkdir()
    (checkout / "logs" / "app.ndjson").write_text('{"n": 1}\n')
    with started(block_with("docker build"), checkout) as url:
        wait_until(lambda: entries(url) == 1)


def test_the_first_screen() -> None:
    """It says what MikroScope is, shows a picture, and has three ways to run it."""
    text = "\n".join(SCREEN)
    assert "](docs/pictures/terminal.svg)" in text
    assert text.index("terminal.svg") < text.index("## Three ways to run it")
    assert all(words in text for words in ("make serve", "uvx --from", "pipx run", "docker run"))


@pytest.mark.parametrize(
    "heading",
    [
        "Docker logs",
        "Rotation",
        "Troubleshooting",
        "FAQ",
        "Dashboard",
        "Live tail",
        "Alternatives",
        "Install",
    ],
)
def test_headings_that_people_search_for(heading: str) -> None:
    """A heading is the word that a reader searches for."""
    assert re.search(rf"^##+ {heading}$", README, re.MULTILINE)


def test_the_picture_is_a_run() -> None:
    """The commands in the picture print what it shows: scripts/draw_terminal.py."""
    if shutil.which("jq") is None:
        pytest.skip("jq is missing")
    script = ROOT / "scripts" / "draw_terminal.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)
