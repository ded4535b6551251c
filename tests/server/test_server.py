"""The server around the routes: auth, CORS, errors, /health, start, TLS, stop."""

import base64
import dataclasses
import errno
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from mikroscope import RunningServer, start_server
from mikroscope.errors import ConfigurationError, MikroScopeError
from mikroscope.indexing.indexer import Indexer
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.server import Connect, Serve, has_ipv6, settings_in
from tests.helpers.waiting import wait_until

API_ROUTES = ["/api/logs", "/api/logs/aggregate?groupBy=level", "/api/alerts/config"]
ROUTES = ["/health", "/api/ingest", "/api/logs", "/api/logs/aggregate", "/api/alerts/config"]
HOUR_MS = 3_600_000
TOKEN = {"api_token": "api-token-123"}
BASIC = {"auth_username": "ops", "auth_password": "pass:word"}
PRODUCERS = {"ingest_producers": "backend-token=backend-api"}


def basic(text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    return f"Basic {base64.b64encode(content).decode()}"


def logs(client: httpx.Client, **parameters: str) -> list[dict[str, Any]]:
    answer = client.get("/api/logs", params=parameters)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


def health(client: httpx.Client) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/health").json()
    return content


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that takes logs, for the tests that change nothing."""
    directory = tmp_path_factory.mktemp("shared")
    with (
        start_server(settings_in(directory, **PRODUCERS)) as server,
        httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client,
    ):
        yield client


# --- who may do what --------------------------------------------------------------------------


@pytest.mark.parametrize("route", API_ROUTES)
def test_open_api(shared: httpx.Client, route: str) -> None:
    """Where no credentials are set, everybody may query; producers' tokens do not change that."""
    assert shared.get(route).status_code == 200
    assert shared.get(route, headers={"authorization": "Bearer anything"}).status_code == 200


CREDENTIALS = {
    "none": None,
    "token": "Bearer api-token-123",
    "token, other case of the scheme": "bearer api-token-123",
    "another token": "Bearer api-token-124",
    "part of the token": "Bearer api-token-12",
    "producer's token": "Bearer backend-token",
    "user": basic("ops:pass:word"),
    "wrong password": basic("ops:password"),
    "wrong user": basic("Ops:pass:word"),
    "no colon": basic("ops"),
    "no UTF-8": basic(b"\xff:\xff"),
    "no base64": "Basic !!!",
    "no scheme": "api-token-123",
    "nothing but a scheme": "Basic",
}
OPENED_BY = {
    "token": (TOKEN, {"token", "token, other case of the scheme"}),
    "user": (BASIC, {"user"}),
    "token or user": (TOKEN | BASIC, {"token", "token, other case of the scheme", "user"}),
}


@pytest.mark.parametrize("case", OPENED_BY)
def test_credentials_of_the_api(serve: Serve, connect: Connect, case: str) -> None:
    """The API token, the Basic user, or either of them opens the query routes, and nothing else."""
    options, good = OPENED_BY[case]
    client = connect(serve(**options, **PRODUCERS))
    for route in API_ROUTES:
        statuses = {
            name: client.get(route, headers={"authorization": value} if value else {}).status_code
            for name, value in CREDENTIALS.items()
        }
        assert {name for name, status in statuses.items() if status == 200} == good
        assert set(statuses.values()) == {200, 401}


@pytest.mark.parametrize(
    ("options", "good"),
    [
        (PRODUCERS, {"producer's token"}),
        (PRODUCERS | TOKEN, {"producer's token"}),
        (BASIC, {"user"}),
        (PRODUCERS | TOKEN | BASIC, {"producer's token", "user"}),
    ],
)
def test_credentials_of_ingest(
    serve: Serve, connect: Connect, options: dict[str, object], good: set[str]
) -> None:
    """Producers' tokens and the Basic user may send logs; the API token may not."""
    client = connect(serve(**options))
    statuses = {
        name: client.post(
            "/api/ingest", json=[], headers={"authorization": value} if value else {}
        ).status_code
        for name, value in CREDENTIALS.items()
    }
    assert {name for name, status in statuses.items() if status == 200} == good
    assert set(statuses.values()) == {200, 401}


@pytest.mark.parametrize(
    ("options", "challenge"),
    [
        (TOKEN, 'Bearer realm="mikroscope"'),
        (BASIC, 'Basic realm="mikroscope"'),
        (TOKEN | BASIC, 'Bearer realm="mikroscope", Basic realm="mikroscope"'),
    ],
)
def test_challenge(
    serve: Serve, connect: Connect, options: dict[str, object], challenge: str
) -> None:
    """A 401 names in `www-authenticate` every way in that there is."""
    answer = connect(serve(**options)).get("/api/logs")
    assert answer.headers["www-authenticate"] == challenge


def test_health_needs_no_credentials(serve: Serve, connect: Connect) -> None:
    """/health is open to all and shows no secret."""
    webhook = "https://hooks.example/key-in-url"
    answer = connect(serve(**TOKEN, **BASIC, **PRODUCERS, alert_webhook_url=webhook)).get("/health")
    assert answer.status_code == 200
    for secret in ("api-token-123", "pass:word", "backend-token", "key-in-url"):
        assert secret not in answer.text


# --- CORS -------------------------------------------------------------------------------------

PAGE = {"origin": "http://127.0.0.1:4320"}


@pytest.fixture
def strict(serve: Serve, connect: Connect) -> httpx.Client:
    """A client of a server that lets pages of two origins call."""
    origins = "http://127.0.0.1:4320, https://console.example"
    return connect(serve(**TOKEN, cors_allow_origin=origins))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/api/logs?limit=x", 400),
        ("POST", "/api/ingest", 401),
        ("DELETE", "/api/logs", 405),
        ("OPTIONS", "/api/logs", 204),
    ],
)
def test_cors_for_any_origin(shared: httpx.Client, method: str, path: str, status: int) -> None:
    """Every answer, errors too, has the CORS headers; by default any origin may call."""
    answer = shared.request(method, path, headers=PAGE)
    assert answer.status_code == status
    cors = {name: value for name, value in answer.headers.items() if name.startswith("access-")}
    assert cors == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET,POST,PUT,OPTIONS",
        "access-control-allow-headers": "authorization,content-type",
        "access-control-max-age": "600",
    }


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4320", "https://console.example"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_listed_origin(strict: httpx.Client, method: str, origin: str) -> None:
    """With an allow list an origin on it is named in the answer, which varies with it."""
    answer = strict.request(method, "/api/logs", headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("headers", [{}, {"origin": "http://127.0.0.1"}, {"origin": "null"}])
def test_other_origin(strict: httpx.Client, headers: dict[str, str]) -> None:
    """With an allow list other origins are not named, and the answer varies all the same."""
    answer = strict.get("/health", headers=headers)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_preflight(serve: Serve, connect: Connect) -> None:
    """OPTIONS on any route is a 204 without content, and needs no credentials."""
    client = connect(serve(**TOKEN))
    for path in ROUTES:
        answer = client.options(path, headers=PAGE)
        assert (answer.status_code, answer.content) == (204, b"")


def test_preflight_of_no_route(shared: httpx.Client) -> None:
    """OPTIONS on what is no route is a 404."""
    assert shared.options("/nowhere", headers=PAGE).status_code == 404


# --- errors -----------------------------------------------------------------------------------


def assert_error(answer: httpx.Response, status: int) -> str:
    """That an answer is an error as the contract says; returns its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert list(answer.json()) == ["error"]
    text: str = answer.json()["error"]
    assert isinstance(text, str)
    assert text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/api/logs/", 404),
        ("GET", "/API/LOGS", 404),
        ("GET", "//health", 404),
        ("GET", "/%00%ff%0a", 404),
        ("GET", "/api/logs?limit=x", 400),
        ("GET", "/api/logs/aggregate", 400),
        ("POST", "/api/ingest", 401),
        ("PUT", "/api/logs", 405),
    ],
)
def test_errors(shared: httpx.Client, method: str, path: str, status: int) -> None:
    """Every error is JSON: `{"error": "<text>"}`."""
    assert_error(shared.request(method, path), status)


def test_unknown_route_is_named(shared: httpx.Client) -> None:
    """A 404 names the path."""
    text = assert_error(shared.get("/api/log?x=1"), 404)
    assert text == "not found: /api/log"


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/health", "POST", "GET, HEAD"),
        ("/api/logs", "DELETE", "GET, HEAD"),
        ("/api/logs/aggregate", "PATCH", "GET, HEAD"),
        ("/api/ingest", "GET", "POST"),
        ("/api/ingest", "HEAD", "POST"),
    ],
)
def test_wrong_method(shared: httpx.Client, path: str, method: str, allow: str) -> None:
    """A wrong method is a 405 that names the right ones in `Allow`."""
    answer = shared.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        assert assert_error(answer, 405) == f"{path} does not support {method}, only {allow}"


def test_head(shared: httpx.Client) -> None:
    """HEAD is answered like GET, without the content."""
    answer = shared.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_json_content_type(shared: httpx.Client) -> None:
    """What is found is JSON, too, and says so."""
    for path in ("/health", *API_ROUTES):
        assert shared.get(path).headers["content-type"] == "application/json; charset=utf-8"


def test_defect(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error that nobody foresaw is a 500 without details; the log has them."""

    def fail(*_: object) -> None:
        raise RuntimeError("the defect")

    client = connect(serve())
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "search", fail)
        answer = client.get("/api/logs", headers=PAGE)
    assert "the defect" not in assert_error(answer, 500)
    assert answer.headers["access-control-allow-origin"] == "*"
    wait_until(lambda: "RuntimeError: the defect" in caplog.text)
    assert client.get("/api/logs").status_code == 200


def test_index_that_cannot_be_read(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A broken index is a 503 that says so."""
    client = connect(serve())
    connection = apsw.Connection(str(tmp_path / "data" / "mikroscope.db"))
    connection.set_busy_timeout(30_000)  # the server may be writing
    connection.execute("ALTER TABLE entries RENAME TO gone")
    answer = client.get("/api/logs")
    assert "index cannot be read" in assert_error(answer, 503)
    assert answer.headers["retry-after"] == "1"


def test_query_that_takes_too_long(connect: Connect, tmp_path: Path) -> None:
    """A query that takes too long is stopped: a 503 that says what to do."""
    (tmp_path / "logs").mkdir()
    lines = (f'{{"n":{number},"timestamp":{1.7e9 + number}}}' for number in range(8_000))
    (tmp_path / "logs" / "app.ndjson").write_text("\n".join([*lines, ""]))
    settings = dataclasses.replace(settings_in(tmp_path), query_timeout_ms=0)  # below its floor
    with start_server(settings) as server:
        client = connect(server)
        wait_until(lambda: health(client)["ingest"]["runs"])
        parameters = {"groupBy": "field", "groupField": "timestamp"}
        text = assert_error(client.get("/api/logs/aggregate", params=parameters), 503)
    assert text == "the query was stopped after 0 s: narrow it by time or by a filter"


@pytest.mark.parametrize("host", [b"[", b"a b", b"\xff", b""])
def test_strange_host(shared: httpx.Client, host: bytes) -> None:
    """An error does not depend on the Host header being sensible."""
    address = ("127.0.0.1", shared.base_url.port)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % host)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b'{"error":"not found: /nowhere"}')


# --- /health ----------------------------------------------------------------------------------

COUNTERS = ["filesScanned", "linesScanned", "recordsInserted", "recordsSkipped", "parseErrors"]
DELETED = [
    "files",
    "normalFiles",
    "auditFiles",
    "entries",
    "normalEntries",
    "auditEntries",
    "fields",
]


def test_keys_of_health(serve: Serve, connect: Connect) -> None:
    """/health has the keys of the original, and `problems`."""
    content = health(connect(serve()))
    queue = content["ingestEndpoint"].pop("queue")
    assert {name: set(v) if isinstance(v, dict) else None for name, v in content.items()} == {
        "ok": None,
        "problems": None,
        "service": None,
        "uptimeSec": None,
        "ingest": {
            *("running", "runs", "lastRunAt", "lastSuccessAt", "lastDurationMs", "lastError"),
            *(f"{name}{suffix}" for name in COUNTERS for suffix in ("LastRun", "Total")),
            "lastMode",
        },
        "auth": {"apiTokenEnabled", "basicEnabled"},
        "ingestPolicy": {"enabled", "intervalMs"},
        "ingestEndpoint": {"enabled", "maxBodyBytes", "producerCount"},
        "alerting": {
            *("running", "runs", "sent", "suppressed", "lastRunAt", "lastSuccessAt"),
            *("lastDurationMs", "lastError", "lastTriggerAtByRule"),
        },
        "alertPolicy": {
            *("enabled", "webhookUrl", "intervalMs", "windowMinutes", "errorThreshold"),
            *("noLogsThresholdMinutes", "cooldownMs", "webhookTimeoutMs"),
            *("webhookRetryAttempts", "webhookBackoffMs"),
        },
        "maintenance": {
            *("running", "runs", "lastRunAt", "lastSuccessAt", "lastDurationMs", "lastError"),
            *(f"{name}Deleted{suffix}" for name in DELETED for suffix in ("LastRun", "Total")),
            "vacuumRuns",
        },
        "retentionDays": {"db", "dbAudit", "logs", "logsAudit"},
        "backup": {"auditDirectory"},
        "storage": {
            *("dbApproximateSizeBytes", "dbDirectoryFreeBytes", "logsDirectoryFreeBytes"),
            "minFreeBytes",
        },
    }
    assert set(queue) == {
        *("enabled", "flushMs", "draining", "pendingBatches", "pendingRecords"),
        *("recordsFlushed", "recordsQueued", "lastError", "lastFlushAt"),
    }


def test_health_of_the_service(serve: Serve, connect: Connect) -> None:
    """/health says that it is MikroScope, that all is well, and since when."""
    client = connect(serve())
    content = health(client)
    assert (content["ok"], content["problems"]) == (True, [])
    assert content["service"] == "mikroscope"
    wait_until(lambda: health(client)["uptimeSec"] > content["uptimeSec"] >= 0)


def test_health_shows_settings(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """/health shows the settings in force."""
    producers = {"ingest_producers": "t1=a,t2=a,t3=b"}
    server = serve(
        **TOKEN,
        **producers,
        ingest_max_body_bytes=5000,
        ingest_interval_ms=700,
        db_retention_days=1,
        db_audit_retention_days=2,
        log_retention_days=3,
        log_audit_retention_days=4,
        audit_backup_directory=tmp_path / "backup",
        alert_webhook_url="https://hooks.example/x",
        alert_error_threshold=7,
    )
    content = health(connect(server))
    assert content["auth"] == {"apiTokenEnabled": True, "basicEnabled": False}
    assert content["ingestPolicy"] == {"enabled": True, "intervalMs": 700}
    endpoint = content["ingestEndpoint"]
    assert (endpoint["enabled"], endpoint["maxBodyBytes"], endpoint["producerCount"]) == (
        True,
        5000,
        2,
    )
    assert content["retentionDays"] == {"db": 1, "dbAudit": 2, "logs": 3, "logsAudit": 4}
    assert content["backup"] == {"auditDirectory": str(tmp_path / "backup")}
    policy = content["alertPolicy"]
    assert (policy["enabled"], policy["webhookUrl"]) == (True, "[configured]")
    assert policy["errorThreshold"] == 7


def test_health_of_a_bare_server(serve: Serve, connect: Connect) -> None:
    """/health says what is off."""
    content = health(connect(serve(disable_auto_ingest=True)))
    assert content["auth"] == {"apiTokenEnabled": False, "basicEnabled": False}
    assert content["ingestPolicy"]["enabled"] is False
    assert content["ingestEndpoint"]["enabled"] is False
    assert content["backup"] == {"auditDirectory": None}
    assert (content["alertPolicy"]["enabled"], content["alertPolicy"]["webhookUrl"]) == (
        False,
        None,
    )


def test_health_of_storage(serve: Serve, connect: Connect) -> None:
    """/health tells the size of the index and the room that is left."""
    storage = health(connect(serve(min_free_bytes=1)))["storage"]
    assert storage["dbApproximateSizeBytes"] > 0
    assert storage["dbDirectoryFreeBytes"] > 0
    assert storage["logsDirectoryFreeBytes"] > 0
    assert storage["minFreeBytes"] == 1


def test_health_counts_what_is_indexed(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """/health counts files, lines, records and lines that are none."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.ndjson").write_text('{"a":1}\n\nno json\n{"a":2}\n')
    (tmp_path / "logs" / "b.ndjson").write_text('{"b":1}\n')
    client = connect(serve(disable_auto_ingest=True))
    wait_until(lambda: health(client)["ingest"]["runs"])
    content = health(client)["ingest"]
    counted = {"filesScanned": 2, "linesScanned": 4, "recordsInserted": 3, "parseErrors": 1}
    for suffix in ("LastRun", "Total"):
        assert {name: content[f"{name}{suffix}"] for name in counted} == counted
    assert (content["running"], content["lastError"], content["lastMode"]) == (
        False,
        None,
        "incremental",
    )
    assert content["lastSuccessAt"] >= content["lastRunAt"]
    assert content["lastDurationMs"] >= 0


# --- what is indexed while it runs --------------------------------------------------------------


@pytest.mark.parametrize("disabled", [False, True])
def test_catch_up(serve: Serve, connect: Connect, tmp_path: Path, disabled: bool) -> None:
    """What stands in the files at the start is indexed, also with `--disable-auto-ingest`."""
    (tmp_path / "logs" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "logs" / "deep" / "er" / "a.ndjson").write_text('{"a":1}\n')
    client = connect(serve(disable_auto_ingest=disabled))
    wait_until(lambda: len(logs(client)) == 1)


def test_watcher(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A line that a program appends is found long before the next look at the interval."""
    client = connect(serve(ingest_interval_ms=HOUR_MS))
    wait_until(lambda: health(client)["ingest"]["runs"])
    path = tmp_path / "logs" / "new" / "app.ndjson"
    path.parent.mkdir()
    for number in range(1, 4):
        with path.open("a") as file:
            file.write(f'{{"n":{number}}}\n')
        wait_until(lambda: len(logs(client)) == number)  # noqa: B023 -- called here and now


def test_interval(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """Without news from the file system a line is found at the next look."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(directory)  # what lies behind a link is not watched
    client = connect(serve(ingest_interval_ms=250))
    (directory / "app.ndjson").write_text('{"n":1}\n')
    wait_until(lambda: len(logs(client)) == 1)


def test_unfinished_line(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A line is indexed when its end is there, and then once."""
    client = connect(serve())
    with (tmp_path / "logs" / "app.ndjson").open("w") as file:
        print('{"n":1}\n{"n":', end="", file=file, flush=True)
        wait_until(lambda: len(logs(client)) == 1)
        print("2}", file=file, flush=True)
        wait_until(lambda: len(logs(client)) == 2)
    assert health(client)["ingest"]["parseErrorsTotal"] == 0


def test_no_auto_ingest(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """With `--disable-auto-ingest` lines that come later wait for the next start."""
    client = connect(serve(**PRODUCERS, disable_auto_ingest=True))
    wait_until(lambda: health(client)["ingest"]["runs"])
    (tmp_path / "logs" / "app.ndjson").write_text('{"n":1}\n')
    headers = {"authorization": "Bearer backend-token"}
    client.post("/api/ingest", json=[{"n": 2}], headers=headers)
    assert [entry["data"]["n"] for entry in logs(client)] == [2]


def test_files_while_clients_send(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A file is indexed though clients send without pause."""
    server = serve(**PRODUCERS)
    enough = threading.Event()

    def send() -> None:
        client = connect(server, headers={"authorization": "Bearer backend-token"})
        while not enough.is_set():
            assert client.post("/api/ingest", json=[{}] * 200).status_code == 200

    with ThreadPoolExecutor(12) as pool:
        try:
            senders = [pool.submit(send) for _ in range(12)]
            client = connect(server)
            wait_until(lambda: logs(client))
            (tmp_path / "logs" / "app.ndjson").write_text('{"from":"a file"}\n')
            wait_until(lambda: logs(client, field="from", value="a file"))
        finally:
            enough.set()
    assert all(sender.exception() is None for sender in senders)


def test_restart_reads_only_what_is_new(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """After a restart nothing is read again."""
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "app.ndjson"
    path.write_text('{"n":1}\n' * 3)
    with serve() as server:
        client = connect(server)
        wait_until(lambda: len(logs(client)) == 3)
    with path.open("a") as file:
        file.write('{"n":2}\n')
    again = connect(serve())
    wait_until(lambda: len(logs(again)) == 4)
    assert health(again)["ingest"]["linesScannedTotal"] == 1


# --- start ------------------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


counts_files = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="this system does not tell what is open"
)


def refusal(directory: Path, **overrides: object) -> str:
    """The text of the error that a start ends with; it is one line."""
    with pytest.raises(MikroScopeError) as caught:
        start_server(settings_in(directory, **overrides)).close()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_second_server_on_an_index(serve: Serve, tmp_path: Path) -> None:
    """A second server on the same index is refused; the error names the index and the process."""
    serve()
    text = refusal(tmp_path)
    assert str(tmp_path / "data" / "mikroscope.db") in text
    assert f"process {os.getpid()}" in text


def test_index_is_free_after_a_stop(serve: Serve) -> None:
    """After a stop another server may use the index."""
    serve().close()
    assert serve().is_alive()


def test_port_that_is_taken(serve: Serve, tmp_path: Path) -> None:
    """A port that is taken is refused in words that say so once."""
    port = serve().port
    text = refusal(tmp_path / "other", port=port)
    assert text == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_address_of_another_machine(tmp_path: Path) -> None:
    """An address that is not this machine's is refused."""
    text = refusal(tmp_path, host="192.0.2.1")
    assert text == f"cannot listen on 192.0.2.1:0: {os.strerror(errno.EADDRNOTAVAIL)}"


@pytest.mark.parametrize("host", ["a..b", "." * 70, "x" * 70])
def test_host_that_cannot_be(tmp_path: Path, host: str) -> None:
    """A name that no host can have is refused."""
    assert refusal(tmp_path, host=host).startswith(f"cannot listen on {host}:0: ")


def test_free_port(serve: Serve, tmp_path: Path) -> None:
    """Port 0 takes a free one, which `port` and `url` tell."""
    server = serve()
    other = serve(db_path=tmp_path / "other.db")
    assert server.port != other.port
    assert server.url == f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("option", "path", "purpose"),
    [("logs_path", "file/logs", "logs"), ("db_path", "file/data/index.db", "database")],
)
def test_directory_that_cannot_be(tmp_path: Path, option: str, path: str, purpose: str) -> None:
    """A directory that cannot be written is refused: the error names it, its use and the reason."""
    (tmp_path / "file").write_text("a file where a directory should be")
    text = refusal(tmp_path, **{option: tmp_path / path})
    assert text.startswith(f"the {purpose} directory {tmp_path}/file/")
    assert text.endswith(" cannot be written: Not a directory")


@pytest.mark.parametrize(("option", "name"), [("logs_path", "file"), ("db_path", "file/index.db")])
def test_file_in_place_of_a_directory(tmp_path: Path, option: str, name: str) -> None:
    """A file where the directory should be is refused in words that say so."""
    (tmp_path / "file").write_text("a file where a directory should be")
    text = refusal(tmp_path, **{option: tmp_path / name})
    assert text.endswith(f" directory {tmp_path}/file is a file, expected a directory")


def test_too_little_room(tmp_path: Path) -> None:
    """Less than `--min-free-bytes` is refused: the error tells what there is and what to do."""
    text = refusal(tmp_path, min_free_bytes=2**53 - 1)
    assert str(tmp_path / "data") in text
    assert "bytes free" in text
    assert "--min-free-bytes" in text


@counts_files
def test_refused_start_leaves_nothing(tmp_path: Path) -> None:
    """After a refused start no file and no socket is open, and the index is free."""
    (tmp_path / "file").write_text("a file where a directory should be")
    counts = []
    for _ in range(3):
        refusal(tmp_path, min_free_bytes=2**53 - 1)
        refusal(tmp_path, db_path=tmp_path / "file")
        refusal(tmp_path, logs_path=tmp_path / "file" / "logs")
        counts.append(open_files())
    assert counts[2] <= counts[1]
    start_server(settings_in(tmp_path)).close()


def test_file_that_is_no_index(tmp_path: Path) -> None:
    """A file that is no index is refused, and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 1000)
    text = refusal(tmp_path, db_path=path)
    assert str(path) in text
    assert path.read_text() == "these are my notes\n" * 1000


def test_probe_is_removed(serve: Serve, tmp_path: Path) -> None:
    """The trial of writing leaves no file behind."""
    serve()
    assert list((tmp_path / "logs").iterdir()) == []


# --- addresses and TLS ------------------------------------------------------------------------


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(serve: Serve, connect: Connect) -> None:
    """An IPv6 address stands in brackets in the URL, and answers."""
    server = serve(host="::1")
    assert server.url == f"http://[::1]:{server.port}"
    assert health(connect(server))["ok"] is True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with cert.pem and key.pem for 127.0.0.1, and the key with a password."""
    directory = tmp_path_factory.mktemp("tls")
    openssl(
        directory,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    )
    openssl(
        directory, "ec", "-in", "key.pem", "-aes128", "-passout", "pass:x", "-out", "locked.pem"
    )
    openssl(directory, "ecparam", "-name", "prime256v1", "-genkey", "-out", "other.pem")
    return directory


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def tls(directory: Path, key: str = "key.pem", cert: str = "cert.pem") -> dict[str, object]:
    files = {"tls_cert_path": directory / cert, "tls_key_path": directory / key}
    return {"protocol": "https", **files}


def test_https(serve: Serve, connect: Connect, certificate: Path) -> None:
    """With a certificate and its key the server speaks https."""
    server = serve(**tls(certificate), **PRODUCERS)
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    client = connect(server, verify=context, headers={"authorization": "Bearer backend-token"})
    assert server.url == f"https://127.0.0.1:{server.port}"
    assert client.post("/api/ingest", json=[{"over": "TLS"}]).status_code == 200
    assert [entry["data"]["over"] for entry in logs(client)] == ["TLS"]


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_tls_versions(
    serve: Serve, certificate: Path, version: ssl.TLSVersion, is_taken: bool
) -> None:
    """TLS 1.2 and up."""
    server = serve(**tls(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            context.wrap_socket(connection).close()
            was_taken = True
        except OSError:
            was_taken = False
    assert was_taken is is_taken


def test_key_of_another_certificate(tmp_path: Path, certificate: Path) -> None:
    """The refusal says what is wrong."""
    text = refusal(tmp_path, **tls(certificate, key="other.pem"))
    assert text.endswith("the key does not belong to the certificate")


def test_plain_http_to_an_https_port(serve: Serve, connect: Connect, certificate: Path) -> None:
    """Who speaks plain http to an https port is cut off; the others are served."""
    server = serve(**tls(certificate))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.port}/health", trust_env=False)
    assert health(connect(server))["ok"] is True


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cert": "none.pem"}, "--tls-cert: "),
        ({"key": "none.pem"}, "--tls-key: "),
        ({"cert": "."}, "--tls-cert: "),  # there, and not to be read
        ({"key": "other.pem"}, "--tls-cert, --tls-key: "),
        ({"key": "locked.pem"}, "--tls-cert, --tls-key: "),
        ({"cert": "key.pem"}, "--tls-cert, --tls-key: "),
    ],
)
def test_wrong_certificate(
    tmp_path: Path, certificate: Path, files: dict[str, str], expected: str
) -> None:
    """Files that are missing, do not fit or need a password are refused by name, at the start."""
    text = refusal(tmp_path, **tls(certificate, **files))
    assert text.startswith(expected)
    assert all(str(certificate / name) in text for name in files.values())
    with pytest.raises(ConfigurationError):
        start_server(settings_in(tmp_path, **tls(certificate, **files)))


# --- stop -------------------------------------------------------------------------------------


def test_nothing_is_left_after_a_stop(serve: Serve) -> None:
    """After `close` nobody listens, and no thread is left."""
    before = set(threading.enumerate())
    server = serve()
    httpx.get(f"{server.url}/api/logs", trust_env=False)
    server.close()
    assert not server.is_alive()
    assert refuses(server)
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_close_twice(serve: Serve) -> None:
    """A second `close` does nothing."""
    server = serve()
    server.close()
    server.close()


@counts_files
def test_files_are_closed(tmp_path: Path) -> None:
    """A server that was closed leaves no open file behind."""
    counts = []
    for _ in range(3):
        with start_server(settings_in(tmp_path, **PRODUCERS)) as server:
            headers = {"authorization": "Bearer backend-token"}
            httpx.post(f"{server.url}/api/ingest", json=[{}], headers=headers, trust_env=False)
            httpx.get(f"{server.url}/api/logs", trust_env=False)
        counts.append(open_files())
    wait_until(lambda: open_files() <= counts[0])  # the watcher's library takes a moment


def test_idle_connections(serve: Serve) -> None:
    """Connections on which nothing is asked do not hold up the stop; they are closed."""
    server = serve()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as half,
        httpx.Client(base_url=server.url, trust_env=False) as kept,
    ):
        half.sendall(b"GET /health HTTP/1.1\r\nho")
        assert kept.get("/health").status_code == 200
        server.close()
        assert silent.recv(1) == b""
        assert half.recv(1) == b""


def begin_upload(server: RunningServer, size: int) -> socket.socket:
    """A connection on which the server waits for a body of `size` bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(
        b"POST /api/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer backend-token\r\n"
        b"content-length: %d\r\nexpect: 100-continue\r\n\r\n" % size
    )
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    return connection


def refuses(server: RunningServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=30).close()
    except OSError:
        return True
    return False


def test_running_request(serve: Serve, connect: Connect) -> None:
    """A request that is running when the stop begins is finished, and its records are kept."""
    server = serve(**PRODUCERS)
    body = b'[{"at":"the end"}]'
    with begin_upload(server, len(body)) as connection:
        closing = threading.Thread(target=server.close)
        closing.start()
        wait_until(lambda: refuses(server))
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        closing.join()
    assert len(logs(connect(serve()), field="at", value="the end")) == 1


def test_request_without_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that never ends holds up the stop for a while, and is told about it then."""
    monkeypatch.setattr("mikroscope.server.run._GRACE_S", 1)
    server = serve(**PRODUCERS)
    with begin_upload(server, 100) as connection:
        server.close()
        head, _, content = connection.recv(65_536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert content == b'{"error":"the server is stopping, and the body is incomplete"}'
    assert "Traceback" not in caplog.text


def test_stop_amid_a_catch_up(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a backlog; the next start goes on, nothing is lost or doubled."""
    (tmp_path / "logs").mkdir()
    for name in "abcd":
        (tmp_path / "logs" / f"{name}.ndjson").write_text(f'{{"file":"{name}"}}\n' * 5000)
    with monkeypatch.context() as patch:
        patch.setattr("mikroscope.sidecar.Indexer", partial(Indexer, batch_bytes=1000))
        with serve() as server:
            client = connect(server)
            wait_until(lambda: health(client)["ingest"]["recordsInsertedTotal"])
    again = connect(serve())
    parameters = {"groupBy": "field", "groupField": "file"}
    expected = [{"key": name, "count": 5000} for name in "abcd"]

    def buckets() -> object:
        return again.get("/api/logs/aggregate", params=parameters).json()["buckets"]

    wait_until(lambda: buckets() == expected)
    assert health(again)["ingest"]["linesScannedTotal"] < 20_000


def test_logs_directory_that_vanishes(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A logs directory that is removed and made anew while the server runs is read again."""
    client = connect(serve(ingest_interval_ms=250))
    shutil.rmtree(tmp_path / "logs")
    assert client.get("/api/logs").status_code == 200
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_text('{"n":1}\n')
    wait_until(lambda: len(logs(client)) == 1)


def test_log_of_a_quiet_life(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that starts, answers and stops has nothing to warn of."""
    with serve(**PRODUCERS) as server:
        headers = {"authorization": "Bearer backend-token"}
        connect(server).post("/api/ingest", json=[{"a": 1}], headers=headers)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
