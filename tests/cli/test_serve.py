"""`mikroscope serve` as a real process: its output, its log, signals and failures."""

import json
import re
import signal
import socket
import threading

import httpx
import pytest

from tests.helpers.program import SERVE, Processes, Terminal, refused, stop, url_of
from tests.helpers.waiting import DEADLINE_S, wait_until

BACKEND = {"authorization": "Bearer backend-token"}
PRODUCERS = ("--ingest-producers", "backend-token=backend-api")
SECRET = "s3cret-value"


def test_line_of_a_start(processes: Processes) -> None:
    """`serve` prints one line on stdout: the URL, the logs and the index."""
    process = processes.start(*SERVE, "--logs", "./my logs", "--db", "some/where.db")
    assert process.stdout is not None
    line = process.stdout.readline()
    port = r"\d+"
    assert re.fullmatch(
        rf"MikroScope listens on http://127\.0\.0\.1:{port} "
        r"\(logs: my logs, db: some/where\.db\)\n",
        line,
    )
    assert stop(process) == (0, "")


def test_url_answers(processes: Processes) -> None:
    """The server answers at that URL as soon as the line is printed."""
    url = url_of(processes.start(*SERVE))
    assert httpx.get(f"{url}/health", trust_env=False).json()["ok"] is True


def test_files_that_are_not_read(processes: Processes) -> None:
    """The log of a start names files that are not indexed, and the option that includes them."""
    (processes.write("java/app.log", {"n": 1}).parent / "plain.log").write_text("no JSON\n")
    (processes.directory / "logs" / "notes.txt").write_text("x")
    process = processes.start(*SERVE)
    url_of(process)
    wait_until(lambda: "not indexed" in processes.stderr)
    assert "2 files are not indexed: java/plain.log (plain text), notes.txt (.txt): to index" in (
        processes.stderr
    )
    assert stop(process) == (0, "")


def test_on_a_terminal(processes: Processes) -> None:
    """On a terminal the start ends with the address to open, below everything that it logs."""
    processes.write("app.ndjson", {"n": 1})
    (processes.directory / "logs" / "notes.txt").write_text("x")
    with Terminal(processes.directory, *SERVE) as terminal:
        shown = terminal.read_until("  open   ")
        url = re.search(r"  open   (http://127\.0\.0\.1:\d+/)\r\n", shown)
        assert url is not None
        assert shown.endswith(url[0])
        assert "1 file is not indexed: notes.txt (.txt)" in shown
        assert httpx.get(f"{url[1]}health", trust_env=False).json()["ok"] is True
        assert terminal.interrupt() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_by_a_signal(processes: Processes, number: int) -> None:
    """SIGTERM and SIGINT stop the server; the queue is drained, and the exit code is 0."""
    queue = ("--ingest-async-queue", "--ingest-queue-flush-ms", "3600000")
    process = processes.start(*SERVE, *PRODUCERS, *queue)
    url = url_of(process)
    answer = httpx.post(f"{url}/api/ingest", json=[{"n": 1}], headers=BACKEND, trust_env=False)
    assert answer.status_code == 202
    assert stop(process, number) == (0, "")
    assert [entry["data"]["n"] for entry in processes.ask("query")["entries"]] == [1]


def test_second_signal(processes: Processes) -> None:
    """A second signal ends the process at once, even while a request is running."""
    process = processes.start(*SERVE, *PRODUCERS)
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


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_signals_that_do_not_stop(processes: Processes, number: int) -> None:
    """Other signals neither end the server nor lose what is queued."""
    queue = ("--ingest-async-queue", "--ingest-queue-flush-ms", "3600000")
    process = processes.start(*SERVE, *PRODUCERS, *queue)
    url = url_of(process)
    httpx.post(f"{url}/api/ingest", json=[{"n": 1}], headers=BACKEND, trust_env=False)
    for _ in range(5):
        process.send_signal(number)
    assert httpx.get(f"{url}/health", trust_env=False).json()["ok"] is True
    assert stop(process) == (0, "")
    assert [entry["data"]["n"] for entry in processes.ask("query")["entries"]] == [1]


def test_reload(processes: Processes) -> None:
    """SIGHUP takes over tokens and the alert policy; a mistake in the file changes nothing."""
    config = processes.directory / "config.json"

    def write(**content: object) -> None:
        config.write_text(json.dumps(content))
        process.send_signal(signal.SIGHUP)

    def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{url}/api/logs", headers=headers, trust_env=False).status_code

    config.write_text('{"apiToken": "old"}')
    process = processes.start(*SERVE, "--config", str(config))
    url = url_of(process)
    assert (status("old"), status("new")) == (200, 401)
    write(apiToken="new", alertWebhookUrl="http://127.0.0.1:1/hook", port=1)
    wait_until(lambda: (status("old"), status("new")) == (401, 200))
    health = httpx.get(f"{url}/health", trust_env=False).json()
    assert health["alertPolicy"]["webhookUrl"] == "[configured]"
    write(apiToken="newest", prot=1)
    write(apiToken="new")
    wait_until(lambda: status("new") == 200)
    assert status("newest") == 401
    assert stop(process) == (0, "")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
    except OSError:
        return True
    return False


def test_kill(processes: Processes) -> None:
    """Records that were answered with 200 are there after a kill."""
    process = processes.start(*SERVE, *PRODUCERS)
    url = url_of(process)
    with httpx.Client(base_url=url, headers=BACKEND, trust_env=False) as client:
        for number in range(20):
            assert client.post("/api/ingest", json=[{"n": number}]).status_code == 200
        process.kill()
    process.wait()
    entries = processes.ask("query")["entries"]
    assert [entry["data"]["n"] for entry in entries] == list(range(19, -1, -1))
    assert processes.ask("index")["report"]["recordsInserted"] == 0


def test_log_of_a_server(processes: Processes) -> None:
    """A server that starts, sees files change and stops logs nothing but where to find it."""
    (processes.directory / "logs").mkdir()
    process = processes.start(*SERVE, "--cors-allow-origin", "*")
    url = url_of(process)
    processes.write("app.ndjson", {"n": 1})
    wait_until(lambda: httpx.get(f"{url}/api/logs", trust_env=False).json()["entries"])
    stop(process)
    assert [
        line for line in processes.stderr.splitlines() if not line.startswith("try: curl ")
    ] == [f"open: {url}/"]


def test_log_names_bad_lines(processes: Processes) -> None:
    """The log names the file and line of a bad record."""
    processes.write("app.ndjson", {"n": 1}, ["no", "object"])
    process = processes.start(*SERVE)
    url_of(process)
    wait_until(lambda: "app.ndjson:2: " in processes.stderr)


def test_port_that_is_taken(processes: Processes) -> None:
    """A port that is taken is a failure of one line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        text = refused(1, processes.complete("serve", "--port", port, "--min-free-bytes", "0"))
    assert text.startswith(f"cannot listen on 127.0.0.1:{port}: Address already in use; stop ")


def test_second_server(processes: Processes) -> None:
    """A second server on the same index is a failure of one line that names the first one."""
    process = processes.start(*SERVE)
    url_of(process)
    text = refused(1, processes.complete(*SERVE))
    assert text.startswith(f"another MikroScope server (process {process.pid}) uses ")


def test_too_little_room(processes: Processes) -> None:
    """Too little free space is a failure of one line."""
    done = processes.complete("serve", "--port", "0", "--min-free-bytes", "9007199254740991")
    text = refused(1, done)
    assert "bytes free, expected at least 9007199254740991" in text


def test_value_below_its_floor(processes: Processes) -> None:
    """A value below its floor is raised, with a warning, and the server starts."""
    process = processes.start(*SERVE, "--ingest-interval-ms", "1")
    url = url_of(process)
    policy = httpx.get(f"{url}/health", trust_env=False).json()["ingestPolicy"]
    assert policy["intervalMs"] == 250
    assert "WARNING --ingest-interval-ms: 1 is too low and is raised to 250" in processes.stderr


def test_web_concurrency(processes: Processes) -> None:
    """The server ignores variables that other servers read."""
    url = url_of(processes.start(*SERVE, WEB_CONCURRENCY="many"))
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200


def test_certificate_that_is_missing(processes: Processes) -> None:
    """A certificate that cannot be read is wrong usage, on one line."""
    done = processes.complete(*SERVE, "--https", "--tls-cert", "no.pem", "--tls-key", "no.pem")
    assert refused(2, done).startswith("--tls-cert: no.pem cannot")


def test_secrets_of_a_server(processes: Processes) -> None:
    """A running server prints no secret, whatever is asked of it."""
    flags = (
        *("--api-token", f"{SECRET}-1", "--auth-username", "ops", "--auth-password", f"{SECRET}-2"),
        *("--ingest-producers", f"{SECRET}-3=app"),
        *("--alert-webhook-url", f"https://h.example/{SECRET}"),
    )
    process = processes.start(*SERVE, *flags)
    url = url_of(process)
    for token in (f"{SECRET}-1", f"{SECRET}-3", f"{SECRET}-wrong"):
        headers = {"authorization": f"Bearer {token}"}
        httpx.get(f"{url}/api/logs?limit=0", headers=headers, trust_env=False)
        httpx.post(f"{url}/api/ingest", headers=headers, content="{", trust_env=False)
    _, rest = stop(process)
    assert SECRET not in rest + processes.stderr


def test_beside_a_writing_server(processes: Processes) -> None:
    """`query`, `aggregate` and `index` work while a server is writing."""
    url = url_of(processes.start(*SERVE, *PRODUCERS))
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
        processes.write("app.ndjson", {"n": "from a file"})
        for _ in range(2):
            assert "report" in processes.ask("index")
            assert "entries" in processes.ask("query")
            assert "buckets" in processes.ask("aggregate", "--group-by", "level")
    finally:
        enough.set()
        sender.join()
    flags = ("aggregate", "--group-by", "field", "--group-field", "n", "--limit", "1000")
    wait_until(lambda: processes.ask(*flags, "--field", "n", "--value", "from a file")["buckets"])
    (bucket,) = processes.ask("aggregate", "--group-by", "level")["buckets"]
    assert bucket["count"] == sent + 1
    assert processes.ask(*flags)["buckets"][0]["count"] == 1
