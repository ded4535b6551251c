"""Every command of the runbook runs, and its alert rules use existing metrics."""

import json
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

from mikroscope.demo.mock_data import mock_data_options, write_mock_data
from tests.helpers.paths import ROOT
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import catching

RUNBOOK = (ROOT / "OPS_RUNBOOK.md").read_text()
TOKEN = "api-token-123"
# A block in a list is indented; `stopped` after the language means that no server may run.
BLOCKS = re.findall(r"^( *)```sh( stopped)?\n(.*?)^\1```$", RUNBOOK, re.DOTALL | re.MULTILINE)
STOPPED = [script for _, stopped, script in BLOCKS if stopped]
RUNNING = [script for _, stopped, script in BLOCKS if not stopped]


def environment(**more: str) -> dict[str, str]:
    """Return the environment that a server and the shell share."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("MIKROSCOPE_")}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return kept | {"MIKROSCOPE_MIN_FREE_BYTES": "0", "MIKROSCOPE_API_TOKEN": TOKEN} | more


def run(script: str, directory: Path, **more: str) -> str:
    """Run a block as a user's shell would; return its output."""
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=directory,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def serving(directory: Path, webhook: str) -> Iterator[str]:
    """Run a server on the files of a directory; yield its port."""
    with subprocess.Popen(
        ["mikroscope", "serve", "--port=0", f"--alert-webhook-url={webhook}"],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[0]
        try:
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with logs, an index and two backups."""
    directory = tmp_path_factory.mktemp("runbook")
    options = {"days": "3", "logs_per_day": "100", "audit_logs_per_day": "10"}
    write_mock_data(mock_data_options({}, options | {"out_dir": str(directory / "logs")}))
    run("mikroscope index; mikroscope backup backups; mikroscope backup backups", directory)
    return directory


@pytest.fixture
def directory(machine: Path, tmp_path: Path) -> Path:
    """A copy of the machine's directory for one test."""
    copy = tmp_path / "machine"
    shutil.copytree(machine, copy)
    return copy


@pytest.fixture
def webhook() -> Iterator[str]:
    """The URL of a server that accepts webhooks."""
    with catching() as catcher:
        yield catcher.url


@pytest.mark.parametrize("script", RUNNING)
def test_commands_beside_a_server(directory: Path, webhook: str, script: str) -> None:
    """The commands for a running server work unchanged except for the port."""
    with serving(directory, webhook) as port:
        run(script.replace("4310", port), directory, MIKROSCOPE_PORT=port)


@pytest.mark.parametrize("script", STOPPED)
def test_commands_without_a_server(directory: Path, webhook: str, script: str) -> None:
    """The commands for a stopped server work, and the server then starts with every entry."""
    run(script, directory)
    with serving(directory, webhook) as port:
        auth = {"authorization": f"Bearer {TOKEN}"}

        def entries() -> int:
            url = f"http://127.0.0.1:{port}/api/logs/aggregate?groupBy=level"
            found = httpx.get(url, headers=auth, trust_env=False, timeout=DEADLINE_S).json()
            return sum(bucket["count"] for bucket in found["buckets"])

        wait_until(lambda: entries() == 330)


def test_there_are_blocks_of_both_kinds() -> None:
    """The runbook has blocks of both kinds, and blocks in other languages are not commands."""
    assert len(RUNNING) >= 10
    assert len(STOPPED) >= 4
    assert set(re.findall(r"^ *```(\w+)", RUNBOOK, re.MULTILINE)) == {"sh", "yaml"}


def test_old_backups_are_deleted(directory: Path) -> None:
    """The runbook's cleanup keeps the newest fourteen backups."""
    made = next((directory / "backups").iterdir())
    for day in range(10, 30):
        shutil.copytree(made, directory / "backups" / f"202602{day}T000000.000Z")
    script = next(one for one in RUNNING if "head -n -14" in one)
    run(script, directory)
    kept = sorted(path.name for path in (directory / "backups").iterdir())
    assert len(kept) == 14
    assert kept[0] == "20260219T000000.000Z"


def test_alert_rules(directory: Path, webhook: str) -> None:
    """The alert rules are YAML, and /metrics has every metric that they use."""
    (text,) = re.findall(r"```yaml\n(.*?)```", RUNBOOK, re.DOTALL)
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    named = set(re.findall(r"(?:mikroscope|process)_\w+", " ".join(r["expr"] for r in rules)))
    with serving(directory, webhook) as port:
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert len(rules) > 5
    assert {name for name in named if f"\n{name}" not in metrics} == set()


def test_fields_of_health(directory: Path, webhook: str) -> None:
    """/health has each field that the runbook says to watch."""
    with serving(directory, webhook) as port:
        health = json.loads(httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).text)
    rows = re.findall(r"^\| (`[a-z]\w+\.[^|]+`) \|", RUNBOOK, re.MULTILINE)
    for path in re.findall(r"`([\w.]+)`", " ".join(rows)):
        found = health
        for key in path.split("."):
            assert key in found, path
            found = found[key]
