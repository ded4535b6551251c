"""The real program, as a user's shell runs it: output, exit codes, signals, errors on one line."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mikroscope import cli
from tests.helpers.waiting import DEADLINE_S, wait_until

COMMANDS = ["serve", "index", "query", "aggregate", "mock-data"]
SERVE = ("serve", "--port", "0", "--min-free-bytes", "0")
BACKEND = {"authorization": "Bearer backend-token"}
PRODUCERS = ("--ingest-producers", "backend-token=backend-api")
# Of the environment of the tests; Python's own output is buffered as it is for a user.
NOT_PASSED_ON = ("MIKROSCOPE_", "MOCK_LOG_", "PYTHONUNBUFFERED")

Process = subprocess.Popen[str]


class Program:
    """Runs `mikroscope` in one directory, and ends what is still running at last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[Process] = []

    def start(self, *arguments: str, **variables: str) -> Process:
        """Start it; what it says on stderr goes to the file `stderr`."""
        with (self.directory / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "mikroscope", *arguments],
                cwd=self.directory,
                env=self._environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.running.append(process)
        return process

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "mikroscope", *arguments],
            check=False,
            cwd=self.directory,
            env=self._environment(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
        )

    def ask(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run it, expect that it is content, and read the JSON it prints."""
        done = self.run(*arguments, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    def refuse(self, code: int, *arguments: str, **variables: str) -> str:
        """Run it, expect that it fails with a code and one line on stderr; returns that line."""
        done = self.run(*arguments, **variables)
        assert (done.returncode, done.stdout) == (code, "")
        assert re.fullmatch(r"mikroscope: .+\n", done.stderr), done.stderr
        return done.stderr.removeprefix("mikroscope: ").rstrip("\n")

    def write(self, name: str, *records: object) -> Path:
        """A log file."""
        path = self.directory / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
        return path

    @property
    def stderr(self) -> str:
        """What the process that was started last has said."""
        return (self.directory / "stderr").read_text()

    @staticmethod
    def _environment(variables: dict[str, str]) -> dict[str, str]:
        kept = {name: v for name, v in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        return kept | variables


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    found = Program(tmp_path)
    yield found
    for process in found.running:
        with process:  # closes its pipe and waits
            process.kill()


def url_of(process: Process) -> str:
    """Wait for the line that a server prints at its start; returns its URL."""
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"MikroScope listens on (http://127\.0\.0\.1:\d+) \(.*\)\n", line)
    assert match is not None, line
    return match[1]


def stop(process: Process, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal; returns the exit code and what was left on stdout."""
    process.send_signal(number)
    rest, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, rest


# --- serve ------------------------------------------------------------------------------------


def test_line_of_a_start(program: Program) -> None:
    """`serve` prints one line on stdout: the URL, the logs and the index."""
    process = program.start(*SERVE, "--logs", "./my logs", "--db", "some/where.db")
    assert process.stdout is not None
    line = process.stdout.readline()
    port = r"\d+"
    assert re.fullmatch(
        rf"MikroScope listens on http://127\.0\.0\.1:{port} "
        r"\(logs: my logs, db: some/where\.db\)\n",
        line,
    )
    assert stop(process) == (0, "")


def test_url_answers(program: Program) -> None:
    """The URL in that line answers at once."""
    url = url_of(program.start(*SERVE))
    assert httpx.get(f"{url}/health", trust_env=False).json()["ok"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_by_a_signal(program: Program, number: int) -> None:
    """SIGTERM and SIGINT stop the server; the queue is drained, and the exit code is 0."""
    queue = ("--ingest-async-queue", "--ingest-queue-flush-ms", "3600000")
    process = program.start(*SERVE, *PRODUCERS, *queue)
    url = url_of(process)
    answer = httpx.post(f"{url}/api/ingest", json=[{"n": 1}], headers=BACKEND, trust_env=False)
    assert answer.status_code == 202
    assert stop(process, number) == (0, "")
    assert [entry["data"]["n"] for entry in program.ask("query")["entries"]] == [1]


def test_second_signal(program: Program) -> None:
    """A second signal ends the process at once, whatever still runs."""
    process = program.start(*SERVE, *PRODUCERS)
    port = int(url_of(process).rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(
            b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer backend-token\r\n"
            b"content-length: 100\r\nexpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        process.terminate()
        wait_until(lambda: refuses(port))
        assert stop(process)[0] == 128 + signal.SIGTERM


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
    except OSError:
        return True
    return False


def test_kill(program: Program) -> None:
    """What was answered with 200 is there after a kill."""
    process = program.start(*SERVE, *PRODUCERS)
    url = url_of(process)
    with httpx.Client(base_url=url, headers=BACKEND, trust_env=False) as client:
        for number in range(20):
            assert client.post("/api/ingest", json=[{"n": number}]).status_code == 200
        process.kill()
    process.wait()
    entries = program.ask("query")["entries"]
    assert [entry["data"]["n"] for entry in entries] == list(range(19, -1, -1))
    assert program.ask("index")["report"]["recordsInserted"] == 0


def test_log_of_a_server(program: Program) -> None:
    """A server that starts, sees files change and stops has nothing to tell but how to ask it."""
    process = program.start(*SERVE)
    url = url_of(process)
    program.write("app.ndjson", {"n": 1})
    wait_until(lambda: httpx.get(f"{url}/api/logs", trust_env=False).json()["entries"])
    stop(process)
    assert [line for line in program.stderr.splitlines() if not line.startswith("try: curl ")] == []


def test_log_names_bad_lines(program: Program) -> None:
    """The log names file and line of what is no record."""
    program.write("app.ndjson", {"n": 1}, ["no", "object"])
    process = program.start(*SERVE)
    url_of(process)
    wait_until(lambda: "app.ndjson:2: " in program.stderr)


def test_port_that_is_taken(program: Program) -> None:
    """A port that is taken is a failure of one line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        text = program.refuse(1, "serve", "--port", port, "--min-free-bytes", "0")
    assert text == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_second_server(program: Program) -> None:
    """A second server on the same index is a failure of one line that names the first one."""
    process = program.start(*SERVE)
    url_of(process)
    text = program.refuse(1, *SERVE)
    assert text.startswith(f"another MikroScope server (process {process.pid}) uses ")


def test_too_little_room(program: Program) -> None:
    """Too little room is a failure of one line."""
    text = program.refuse(1, "serve", "--port", "0", "--min-free-bytes", "9007199254740991")
    assert "bytes free, expected at least 9007199254740991" in text


def test_value_below_its_floor(program: Program) -> None:
    """A value below its floor is raised, with a warning, and the server starts."""
    process = program.start(*SERVE, "--ingest-interval-ms", "1")
    url = url_of(process)
    policy = httpx.get(f"{url}/health", trust_env=False).json()["ingestPolicy"]
    assert policy["intervalMs"] == 250
    assert "WARNING --ingest-interval-ms: 1 is too low and is raised to 250" in program.stderr


# --- index, query, aggregate --------------------------------------------------------------------


def test_index(program: Program) -> None:
    """`index` prints a report of what it did."""
    program.write("app.ndjson", {"n": 1}, {"n": 2})
    program.write("audit/people.ndjson", {"n": 3})
    content = program.ask("index")
    report = content["report"]
    assert list(content) == ["report"]
    assert report == {
        "filesScanned": 2,
        "linesScanned": 3,
        "recordsInserted": 3,
        "recordsSkipped": 0,
        "parseErrors": 0,
        "startedAt": report["startedAt"],
        "finishedAt": report["finishedAt"],
        "mode": "full",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["startedAt"])
    assert report["startedAt"] <= report["finishedAt"]


def test_index_takes_a_last_line_without_its_end(program: Program) -> None:
    """A last line without its line end is taken, if it is a record."""
    for name, text in (("a", '{"n":1}\n{"n":2}'), ("b", '{"n":3}\n{"n":')):
        program.write(f"{name}.ndjson").write_text(text)
    assert program.ask("index")["report"]["recordsInserted"] == 3


def test_index_with_bad_lines(program: Program) -> None:
    """Lines that are no records are counted, named on stderr, and cost nothing else."""
    program.write("app.ndjson", {"n": 1}, 2, {"n": 3})
    done = program.run("index")
    assert done.returncode == 0
    assert json.loads(done.stdout)["report"]["parseErrors"] == 1
    assert "app.ndjson:2: " in done.stderr


def test_missing_logs(program: Program) -> None:
    """A logs directory that is missing is a failure that names it and the flag."""
    text = program.refuse(1, "index", "--logs", "nowhere")
    assert text == "log directory nowhere does not exist: set --logs"


def test_query(program: Program) -> None:
    """`query` prints a page as the API gives it."""
    record = {"timestamp": "2026-02-18T10:00:00Z", "level": "warn", "message": "Paper is low"}
    program.write("app.ndjson", record)
    program.ask("index")
    content = program.ask("query", "--level", "WARN")
    (entry,) = content["entries"]
    assert content == {"entries": [entry], "hasMore": False, "limit": 100}
    assert entry == {
        "id": entry["id"],
        "timestamp": record["timestamp"],
        "level": "WARN",
        "event": "Paper is low",
        "message": "Paper is low",
        "data": record,
        "sourceFile": "app.ndjson",
        "lineNumber": 1,
    }


RECORDS = [
    {"n": 1, "timestamp": "2026-02-18T10:00:00Z", "level": "INFO", "tenant": "north"},
    {"n": 2, "timestamp": "2026-02-18T11:00:00Z", "level": "WARN", "message": "low ink"},
    {"n": 3, "timestamp": "2026-02-18T12:00:00Z", "level": "INFO", "audit": True},
]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A place where RECORDS are indexed."""
    program = Program(tmp_path_factory.mktemp("indexed"))
    program.write("app.ndjson", *RECORDS)
    program.ask("index")
    return program


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", [3, 2, 1]),
        ("--from 2026-02-18T11:00:00Z", [3, 2]),
        ("--to=2026-02-18T11:00:00Z", [2, 1]),
        ("--level info", [3, 1]),
        ("--audit", [3]),
        ("--audit false", [2, 1]),
        ("--audit=true --limit 5", [3]),
        ("--audit --limit 5", [3]),
        ("--field tenant --value north", [1]),
        ("--text INK", [2]),
        ("--limit 2", [3, 2]),
        ("--level=", [3, 2, 1]),
    ],
)
def test_flags_of_a_query(indexed: Program, flags: str, expected: list[int]) -> None:
    """The flags choose entries; `--flag value` and `--flag=value` mean the same."""
    entries = indexed.ask("query", *flags.split())["entries"]
    assert [entry["data"]["n"] for entry in entries] == expected


def test_pages(indexed: Program) -> None:
    """`--cursor` goes on behind the page that gave it."""
    page = indexed.ask("query", "--limit", "2")
    assert page["hasMore"] is True
    rest = indexed.ask("query", "--limit", "2", "--cursor", page["nextCursor"])
    assert [entry["data"]["n"] for entry in rest["entries"]] == [1]


def test_aggregate(indexed: Program) -> None:
    """`aggregate` prints buckets as the API gives them."""
    assert indexed.ask("aggregate", "--group-by", "level") == {
        "buckets": [{"key": "INFO", "count": 2}, {"key": "WARN", "count": 1}],
        "groupBy": "level",
    }
    flags = ("--group-by=field", "--group-field=tenant", "--level=INFO", "--limit=1")
    assert indexed.ask("aggregate", *flags) == {
        "buckets": [{"key": "(missing)", "count": 1}],
        "groupBy": "field",
        "groupField": "tenant",
    }


def test_default_limit_of_an_aggregate(program: Program) -> None:
    """`aggregate` prints 25 buckets unless `--limit` says otherwise."""
    program.write("app.ndjson", *({"n": number} for number in range(30)))
    program.ask("index")
    flags = ("aggregate", "--group-by", "field", "--group-field", "n")
    assert len(program.ask(*flags)["buckets"]) == 25
    assert len(program.ask(*flags, "--limit", "27")["buckets"]) == 27


@pytest.mark.parametrize("command", ["query", "aggregate --group-by level"])
def test_missing_index(program: Program, command: str) -> None:
    """An index that is missing is a failure that names it and how to make one; none is made."""
    text = program.refuse(1, *command.split(), "--db", "nowhere/index.db")
    assert text.startswith("there is no index at nowhere/index.db; set --db, or create one with ")
    assert not (program.directory / "nowhere").exists()


@pytest.mark.parametrize("command", ["query", "index"])
def test_file_that_is_no_index(program: Program, command: str) -> None:
    """A file that is no index is a failure of one line, and stays as it is."""
    path = program.write("notes.txt", "my notes")
    content = path.read_bytes()
    program.refuse(1, command, "--db", "logs/notes.txt")
    assert path.read_bytes() == content


def test_beside_a_writing_server(program: Program) -> None:
    """`query`, `aggregate` and `index` work beside a server that is writing."""
    url = url_of(program.start(*SERVE, *PRODUCERS))
    sent = 0
    enough = threading.Event()

    def send() -> None:
        nonlocal sent
        with httpx.Client(base_url=url, headers=BACKEND, trust_env=False, timeout=30) as client:
            while not enough.is_set():
                answer = client.post("/api/ingest", json=[{"n": sent}, {"n": sent + 1}])
                assert answer.status_code == 200, answer.text
                sent += 2

    sender = threading.Thread(target=send)
    sender.start()
    try:
        program.write("app.ndjson", {"n": "from a file"})
        for _ in range(2):
            assert "report" in program.ask("index")
            assert "entries" in program.ask("query")
            assert "buckets" in program.ask("aggregate", "--group-by", "level")
    finally:
        enough.set()
        sender.join()
    flags = ("aggregate", "--group-by", "field", "--group-field", "n", "--limit", "1000")
    wait_until(lambda: program.ask(*flags, "--field", "n", "--value", "from a file")["buckets"])
    (bucket,) = program.ask("aggregate", "--group-by", "level")["buckets"]
    assert bucket["count"] == sent + 1
    assert program.ask(*flags)["buckets"][0]["count"] == 1


# --- made-up logs, and a lot of them --------------------------------------------------------------


def test_mock_data_and_index(program: Program) -> None:
    """28,350 records by default; `index` takes them all, and a second one reads nothing."""
    written = program.ask("mock-data")
    assert list(written) == ["files", "records", "auditRecords", "bytes"]
    assert (written["files"], written["records"], written["auditRecords"]) == (42, 28_350, 3_150)
    names = ("filesScanned", "linesScanned", "recordsInserted", "recordsSkipped", "parseErrors")
    reports = [program.ask("index")["report"] for _ in range(2)]
    assert [reports[0][name] for name in names] == [42, 28_350, 28_350, 0, 0]
    assert [reports[1][name] for name in names] == [0, 0, 0, 0, 0]
    assert total(program) == 28_350


def total(program: Program) -> int:
    content = program.ask("aggregate", "--group-by", "level")
    return sum(bucket["count"] for bucket in content["buckets"])


def test_options_of_mock_data(program: Program) -> None:
    """The amount follows flags and environment; the flags win."""
    flags = ("--days", "2", "--logs-per-day=10", "--out-dir", "made")
    variables = {"MOCK_LOG_DAYS": "9", "MOCK_AUDIT_LOGS_PER_DAY": "5"}
    assert program.ask("mock-data", *flags, **variables)["records"] == 30
    assert len(list((program.directory / "made" / "generated").iterdir())) == 2


def test_two_indexes_at_once(program: Program) -> None:
    """Two `index` processes at the same time lose nothing and double nothing."""
    program.ask("mock-data", "--days", "8")
    both = [program.start("index") for _ in range(2)]
    inserted = 0
    for process in both:
        out, _ = process.communicate(timeout=2 * DEADLINE_S)
        assert process.returncode == 0, program.stderr
        inserted += json.loads(out)["report"]["recordsInserted"]
    assert inserted == total(program) == 8 * 1350
    places = all_places(program)
    assert len(set(places)) == len(places) == 8 * 1350


def all_places(program: Program) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    cursor = ""
    while True:
        page = program.ask("query", "--limit", "1000", "--cursor", cursor)
        found += [(entry["sourceFile"], entry["lineNumber"]) for entry in page["entries"]]
        if not page["hasMore"]:
            return found
        cursor = page["nextCursor"]


def test_index_that_is_killed(program: Program) -> None:
    """An `index` that is killed loses nothing and doubles nothing: the next one goes on."""
    program.ask("mock-data", "--days", "8")
    process = program.start("index")
    path = program.directory / "data" / "mikroscope.db-wal"
    wait_until(lambda: process.poll() is not None or (path.exists() and path.stat().st_size > 1e5))
    process.kill()
    process.wait()
    program.ask("index")
    assert total(program) == 8 * 1350


# --- where settings come from ---------------------------------------------------------------------


def test_layers(program: Program) -> None:
    """The config file, then the environment, then the flags decide; the later one wins."""

    def index_in_force(*arguments: str, **variables: str) -> str:
        text = program.refuse(1, "query", *arguments, **variables)
        return text.removeprefix("there is no index at ").partition(";")[0]

    variables = {"MIKROSCOPE_DB_PATH": "from-environment.db"}
    assert index_in_force() == "data/mikroscope.db"
    (program.directory / "mikroscope.config.json").write_text('{"dbPath": "from-file.db"}')
    (program.directory / "other.json").write_text('{"dbPath": "from-other-file.db"}')
    assert index_in_force() == "from-file.db"
    assert index_in_force("--config", "other.json") == "from-other-file.db"
    assert index_in_force(MIKROSCOPE_CONFIG_PATH="other.json") == "from-other-file.db"
    assert index_in_force(**variables) == "from-environment.db"
    assert index_in_force("--db", "from-flag.db", **variables) == "from-flag.db"


@pytest.mark.parametrize(
    ("arguments", "variables", "config", "expected"),
    [
        ("serve --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --port=70000", {}, "{}", "--port: expected a whole number"),
        ("serve", {"MIKROSCOPE_PORT": "abc"}, "{}", "MIKROSCOPE_PORT: expected a whole number"),
        ("serve", {}, '{"port": "abc"}', "port in ./mikroscope.config.json: expected a whole"),
        ("serve", {}, '{"prot": 1}', "'prot' in ./mikroscope.config.json: unknown option"),
        ("serve", {}, "{", "./mikroscope.config.json: expected JSON, but line 1"),
        ("serve --config none.json", {}, "{}", "--config: expected an existing file"),
        ("query", {"MIKROSCOPE_CONFIG_PATH": "no"}, "{}", "MIKROSCOPE_CONFIG_PATH: expected a"),
        ("serve --https", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https true", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https=on", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https false --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --https --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --disable-auto-ingest maybe", {}, "{}", "--disable-auto-ingest: expected true or"),
        ("serve --https --tls-cert no.pem --tls-key no.pem", {}, "{}", "--tls-cert: no.pem cannot"),
        ("serve --nonsense", {}, "{}", "No such option '--nonsense'"),
        ("serve extra", {}, "{}", "Got unexpected extra argument (extra)"),
        ("serve --port", {}, "{}", "Option '--port' requires an argument"),
        ("nonsense", {}, "{}", "No such command 'nonsense'"),
        ("", {}, "{}", "Missing command"),
        ("query --limit 0", {}, "{}", "'limit' is '0', expected a whole number from 1 to 1000"),
        ("query --from yesterday", {}, "{}", "'from' is 'yesterday', expected an ISO 8601 time"),
        ("query --audit maybe", {}, "{}", "'audit' is 'maybe', expected true or false"),
        ("query --field a", {}, "{}", "'field' is given without 'value'"),
        ("aggregate", {}, "{}", "Missing option '--group-by'"),
        ("aggregate --group-by day", {}, "{}", "'groupBy' is 'day', expected one of level, "),
        ("aggregate --group-by field", {}, "{}", "'groupField' is missing"),
        ("mock-data --days 0", {}, "{}", "--days is '0': expected a whole number"),
        ("mock-data", {"MOCK_LOG_DAYS": "x"}, "{}", "MOCK_LOG_DAYS is 'x': expected a whole"),
    ],
)
def test_usage(
    program: Program, arguments: str, variables: dict[str, str], config: str, expected: str
) -> None:
    """What is wrong in any layer is exit code 2 and one line: where it is and what is wanted."""
    (program.directory / "mikroscope.config.json").write_text(config)
    text = program.refuse(2, *arguments.split(), **variables)
    assert text.startswith(expected)


SECRET = "s3cret-value"


@pytest.mark.parametrize(
    ("flags", "variables", "config"),
    [
        ((f"--ingest-producers={SECRET}",), {}, {}),
        ((f"--ingest-producers={SECRET}=a b",), {}, {}),
        ((f"--ingest-producers={SECRET}=a,{SECRET}=b",), {}, {}),
        ((f"--auth-password={SECRET}",), {}, {}),
        ((f"--api-token={SECRET}\n",), {"MIKROSCOPE_API_TOKEN": f"{SECRET}\x07{SECRET}"}, {}),
        ((), {"MIKROSCOPE_INGEST_PRODUCERS": SECRET}, {}),
        ((), {"MIKROSCOPE_ALERT_WEBHOOK_URL": f"ftp://{SECRET}"}, {}),
        ((), {}, {"apiToken": [SECRET]}),
        ((), {}, {"ingestProducers": {SECRET: "no producer!"}}),
        ((), {}, {"alertWebhookUrl": f"https://{SECRET}:port"}),
    ],
)
def test_secrets_in_errors(
    program: Program, flags: tuple[str, ...], variables: dict[str, str], config: object
) -> None:
    """An error about a secret does not show it."""
    (program.directory / "mikroscope.config.json").write_text(json.dumps(config))
    assert SECRET not in program.refuse(2, *SERVE, *flags, **variables)


def test_secrets_of_a_server(program: Program) -> None:
    """A running server prints no secret, whatever is asked of it."""
    flags = (
        *("--api-token", f"{SECRET}-1", "--auth-username", "ops", "--auth-password", f"{SECRET}-2"),
        *("--ingest-producers", f"{SECRET}-3=app"),
        *("--alert-webhook-url", f"https://h.example/{SECRET}"),
    )
    process = program.start(*SERVE, *flags)
    url = url_of(process)
    for token in (f"{SECRET}-1", f"{SECRET}-3", f"{SECRET}-wrong"):
        headers = {"authorization": f"Bearer {token}"}
        httpx.get(f"{url}/api/logs?limit=0", headers=headers, trust_env=False)
        httpx.post(f"{url}/api/ingest", headers=headers, content="{", trust_env=False)
    _, rest = stop(process)
    assert SECRET not in rest + program.stderr


# --- help and output ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help(program: Program, command: str) -> None:
    """Every command explains itself and its flags."""
    done = program.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: mikroscope {command} [OPTIONS]\n")
    flags = {flag for option in cli.cli.commands[command].params for flag in option.opts}
    assert all(flag in done.stdout for flag in flags)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_the_program(program: Program, flag: str) -> None:
    """`--help` lists the commands."""
    done = program.run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", ["--version", "serve --version", "query --version"])
def test_version(program: Program, arguments: str) -> None:
    """`--version` tells the version, of the program and of every command."""
    done = program.run(*arguments.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"mikroscope, version \d+\.\d+\.\d+\S*\n", done.stdout)


def on_terminal(program: Program, stream: str, *arguments: str) -> tuple[str, str]:
    """Run a command with one stream on a terminal; returns what it showed there, and the rest."""
    terminal, its_end = os.openpty()
    other = "stdout" if stream == "stderr" else "stderr"
    streams: dict[str, Any] = {stream: its_end, other: subprocess.PIPE}
    command = [sys.executable, "-m", "mikroscope", *arguments]
    with subprocess.Popen(command, cwd=program.directory, text=True, **streams) as process:
        os.close(its_end)
        shown = b"".join(iter(lambda: read_terminal(terminal), b""))
        out, err = process.communicate(timeout=DEADLINE_S)
    os.close(terminal)
    assert process.returncode == 0
    return shown.decode(), out if other == "stdout" else err


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_progress(program: Program) -> None:
    """`index` shows its progress on a terminal, on stderr; stdout is JSON all the same."""
    program.write("app.ndjson", *RECORDS)
    shown, out = on_terminal(program, "stderr", "index")
    assert "indexing" in shown
    assert json.loads(out)["report"]["recordsInserted"] == 3


def test_json_on_a_terminal(indexed: Program) -> None:
    """On a terminal JSON is indented for people."""
    shown, _ = on_terminal(indexed, "stdout", "query")
    assert '\n      "level": "INFO",' in shown.replace("\r\n", "\n")
    assert len(json.loads(shown)["entries"]) == 3


def test_web_concurrency(program: Program) -> None:
    """Variables that other servers read have no say here."""
    url = url_of(program.start(*SERVE, WEB_CONCURRENCY="many"))
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_broken_pipe(program: Program, variables: dict[str, str]) -> None:
    """A reader that goes away (`mikroscope query | head`) is no reason to complain."""
    program.write("app.ndjson", *({"n": n, "pad": "x" * 1000} for n in range(500)))
    program.ask("index")
    process = program.start("query", "--limit", "1000", **variables)
    assert process.stdout is not None
    assert process.stdout.read(1) == "{"
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 1
    assert program.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["--help", "query", "query --limit 1"])
def test_full_disk(program: Program, arguments: str) -> None:
    """Output that finds no room is a failure of one line."""
    program.write("app.ndjson", *({"n": n, "pad": "x" * 1000} for n in range(100)))
    program.ask("index")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mikroscope", *arguments.split()],
            check=False,
            cwd=program.directory,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "mikroscope: No space left on device\n")


@pytest.mark.parametrize("flags", [["--value", os.fsdecode(b"\xff")], ["--value", "ü"]])
def test_arguments_of_any_bytes(program: Program, flags: list[str]) -> None:
    """Arguments that are no UTF-8 break nothing."""
    program.write("app.ndjson", {"n": 1})
    program.ask("index")
    assert program.ask("query", "--field", os.fsdecode(b"\xfe"), *flags)["entries"] == []
    field = program.ask("aggregate", "--group-by", "field", "--group-field", os.fsdecode(b"\xff"))
    assert field["groupField"] == "?"


def test_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error that nobody foresaw is one line, too: what and where, without a traceback."""

    def fail(**_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("mikroscope.cli.options.resolve_settings", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main(["query"])
    text = capsys.readouterr().err
    assert caught.value.code == 1
    assert re.fullmatch(
        r"mikroscope: internal error, please report it: KeyError: .* \(test_main\.py:\d+\)\n", text
    )
