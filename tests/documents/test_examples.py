"""The examples run unchanged, and the server finds what they send."""

import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mikroscope import RunningServer
from mikroscope.logging import MikroScopeHandler
from tests.helpers.ingest import DROP, Reply, stub
from tests.helpers.paths import ROOT
from tests.helpers.server import Connect, Serve
from tests.helpers.waiting import wait_until

EXAMPLES = ROOT / "examples"
TOKEN = "backend-token"

Entries = Callable[[], list[dict[str, Any]]]


class Sidecar:
    """A server for the examples, and the entries that it has received."""

    def __init__(self, server: RunningServer, logs: Path, entries: Entries) -> None:
        self.entries = entries
        self.environment = os.environ | {
            "MIKROSCOPE_URL": server.url,
            "MIKROSCOPE_TOKEN": TOKEN,
            "MIKROSCOPE_LOGS_PATH": str(logs),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, *command: object, stdin: str = "", cwd: Path | None = None) -> str:
        """Run a program to its end; return its output."""
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Wait for a number of entries; return them, oldest first."""
        wait_until(lambda: len(self.entries()) >= count)
        return sorted(self.entries(), key=lambda entry: int(entry["id"]))


@pytest.fixture
def sidecar(serve: Serve, connect: Connect, tmp_path: Path) -> Sidecar:
    """A server with the token that the examples use."""
    server = serve(ingest_producers=f"{TOKEN}=shop")
    client = connect(server)

    def entries() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/api/logs").json()["entries"]
        return found

    return Sidecar(server, tmp_path / "logs", entries)


def _told(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["level"], entry["event"]) for entry in entries]


def test_python_logging(sidecar: Sidecar) -> None:
    """Python's logging sends an order and an error with its stack through the handler."""
    sidecar.run(sys.executable, EXAMPLES / "python_logging.py")
    order, failure = sidecar.wait_for(2)
    assert _told([order, failure]) == [("INFO", "order.created"), ("ERROR", "Payment failed")]
    assert order["message"] == "Order ORD-123 created"
    assert order["data"]["service"] == "shop"
    assert failure["data"]["error"]["type"] == "TimeoutError"


def test_python_in_the_document(sidecar: Sidecar) -> None:
    """The code in docs/sending-logs.md runs unchanged except for the address."""
    text = (EXAMPLES.parent / "docs" / "sending-logs.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    url = sidecar.environment["MIKROSCOPE_URL"]
    sidecar.run(sys.executable, "-c", code.replace("http://127.0.0.1:4310", url))
    assert _told(sidecar.wait_for(1)) == [("INFO", "order.created")]


def test_options_in_the_document() -> None:
    """docs/sending-logs.md names every argument of the handler, with its default."""
    text = (EXAMPLES.parent / "docs" / "sending-logs.md").read_text()
    table = text[text.index("### Options") : text.index("### Performance")]
    rows = re.findall(r"^\| (`[^|]*`) \| (.*?) \|", table, re.MULTILINE)
    named = {name: row[1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    parameters = inspect.signature(MikroScopeHandler).parameters
    assert set(named) == set(parameters)
    for name in ("linger_s", "timeout_s", "flush_timeout_s", "url"):
        assert named[name].strip("`") == f"{parameters[name].default}".removesuffix(".0")


def test_python_dict_config(sidecar: Sidecar) -> None:
    """A dict configures Python's logging with the handler."""
    sidecar.run(sys.executable, EXAMPLES / "python_dict_config.py")
    assert _told(sidecar.wait_for(1)) == [("WARN", "stock.low")]


def test_structlog_to_files(sidecar: Sidecar) -> None:
    """structlog writes to a file below the logs root."""
    sidecar.run(sys.executable, EXAMPLES / "structlog_files.py")
    order, failure = sidecar.wait_for(2)
    assert _told([order, failure]) == [("INFO", "order.created"), ("ERROR", "payment.failed")]
    assert order["sourceFile"] == "shop/app.ndjson"
    assert order["data"]["correlationId"] == "req-1"
    assert "TimeoutError: the bank" in failure["data"]["exception"]


def test_structlog_by_handler(sidecar: Sidecar) -> None:
    """structlog sends through the handler."""
    sidecar.run(sys.executable, EXAMPLES / "structlog_handler.py")
    order, failure = sidecar.wait_for(2)
    assert _told([order, failure]) == [("INFO", "order.created"), ("ERROR", "payment.failed")]
    assert order["data"]["correlationId"] == "req-1"
    assert order["data"]["logger"] == "shop.orders"
    assert failure["data"]["error"]["message"] == "the bank did not answer"


def test_shell(sidecar: Sidecar) -> None:
    """The shell script sends lines of NDJSON with curl, in several requests if necessary."""
    lines = [json.dumps({"n": number, "message": 'a \\ b "c" d\'e %s'}) for number in range(501)]
    printed = sidecar.run(
        EXAMPLES / "shell" / "send-logs.sh", stdin="\n".join([*lines, "", lines[0], ""])
    )
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [answer["accepted"] for answer in answers] == [500, 2]
    assert sidecar.entries()[0]["message"] == 'a \\ b "c" d\'e %s'


def test_shell_with_odd_lines(sidecar: Sidecar) -> None:
    """The script sends lines with Windows line ends, and more than one request can hold."""
    small = [json.dumps({"n": number}) for number in range(3)]
    large = [json.dumps({"n": number, "pad": "x" * 200_000}) for number in range(3, 12)]
    sidecar.run(
        EXAMPLES / "shell" / "send-logs.sh", stdin="\r\n".join([*small, "", *large, "", ""])
    )
    assert sorted(entry["data"]["n"] for entry in sidecar.entries()) == [*range(12)]


def test_shell_that_is_refused(sidecar: Sidecar) -> None:
    """If the server refuses its request, the script fails and shows the server's error."""
    sidecar.environment["MIKROSCOPE_TOKEN"] = "wrong"
    with pytest.raises(AssertionError, match="401"):
        sidecar.run(EXAMPLES / "shell" / "send-logs.sh", stdin='{"n":1}\n')


# --- Node.js ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """pino from the npm registry, installed once for each package.json and kept between runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = (EXAMPLES / "node" / "package.json").read_bytes()
    name = f"mikroscope-tests-{os.getuid()}-{hashlib.sha256(wanted).hexdigest()[:16]}"
    place = Path(tempfile.gettempdir()) / name
    if not (place / "complete").exists():
        place.mkdir(mode=0o700, exist_ok=True)
        (place / "package.json").write_bytes(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install pino: {done.stderr.strip()[-300:]}")
        (place / "complete").touch()
    return place / "node_modules"


@pytest.fixture
def node_directory(node_modules: Path, tmp_path: Path) -> Path:
    """A directory with the examples for Node.js and their dependencies."""
    directory = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", directory)
    (directory / "node_modules").symlink_to(node_modules)
    return directory


@pytest.mark.parametrize(
    ("script", "source"), [("pino-file.js", "shop-node/app.ndjson"), ("pino-http.js", "ingest/")]
)
def test_pino(script: str, source: str, sidecar: Sidecar, node_directory: Path) -> None:
    """pino sends an order and an error with its stack, to a file and over HTTP."""
    sidecar.run("node", script, cwd=node_directory)
    order, failure = sidecar.wait_for(2)
    assert _told([order, failure]) == [("INFO", "order.created"), ("ERROR", "Payment failed")]
    assert order["sourceFile"].startswith(source)
    assert failure["data"]["err"]["message"] == "the bank did not answer"


def test_pino_and_a_server_that_is_busy(node_directory: Path) -> None:
    """The transport retries what a busy server refused, and splits what was too large."""
    with stub(Reply(503), DROP, Reply(413)) as server:
        environment = os.environ | {"MIKROSCOPE_URL": server.url}
        command = ["node", "pino-http.js"]
        subprocess.run(command, cwd=node_directory, env=environment, timeout=60, check=True)
        assert [one["msg"] for one in server.taken] == ["Order created", "Payment failed"]
        assert [len(batch) for batch in server.batches] == [2, 2, 2, 1, 1]


def test_pino_while_the_server_is_away(node_directory: Path) -> None:
    """Without a server the transport ends in time and reports how many records are lost."""
    script = node_directory / "many.js"
    options = 'url: "http://127.0.0.1:1", token: "t", maxRecords: 10, closeMs: 300'
    script.write_text(
        "import pino from 'pino'\n"
        "const target = new URL('./mikroscope-transport.js', import.meta.url).pathname\n"
        f"const logger = pino(pino.transport({{ target, options: {{ {options} }} }}))\n"
        "for (let n = 0; n < 100; n++) logger.info({ n }, 'hello')\n"
    )
    done = subprocess.run(
        ["node", script], cwd=node_directory, capture_output=True, text=True, timeout=60, check=True
    )
    assert "mikroscope-transport: 100 log records are lost" in done.stderr


# --- programs that are not available here -------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "sink"), [("vector/vector.yaml", "sinks"), ("fluent-bit/fluent-bit.yaml", "pipeline")]
)
def test_configurations_are_yaml(file: str, sink: str) -> None:
    """The configurations that are not run here are YAML and name the ingest endpoint."""
    text = (EXAMPLES / file).read_text()
    assert sink in yaml.safe_load(text)
    assert "/api/ingest" in text
    assert "not run by this project's tests" in text
