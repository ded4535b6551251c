"""Every response has a request id; the log reports requests if enabled, and never a secret."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from mikroscope.cli.log_format import NdjsonFormatter
from mikroscope.server.middleware.access_log import FIELDS
from tests.helpers.server import Connect, Serve
from tests.helpers.waiting import DEADLINE_S, wait_until

SECRETS = ("secret-api-token", "secret-producer-token", "secret-password", "secret-hook")


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the requests that were logged."""
    return [
        getattr(record, FIELDS) for record in caplog.records if record.name == "mikroscope.requests"
    ]


def test_every_answer_has_an_id(serve: Serve, connect: Connect) -> None:
    """Every response has an id of its own, errors too."""
    client = connect(serve())
    ids = [client.get(path).headers["x-request-id"] for path in ("/health", "/nowhere") * 2]
    assert len(set(ids)) == 4


def test_the_clients_id(serve: Serve, connect: Connect) -> None:
    """A valid id of the client is returned, any other one is replaced."""
    client = connect(serve())
    for given, kept in (("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)):
        answer = client.get("/health", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept


def test_no_log_of_requests_by_default(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """By default neither successful requests nor errors of clients are logged."""
    caplog.set_level(logging.INFO)
    client = connect(serve())
    client.get("/health")
    client.get("/nowhere")
    assert lines_of(caplog) == []


def test_log_of_requests(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """With `--log-requests` a line has the client, the request and the result."""
    caplog.set_level(logging.INFO)
    client = connect(serve(log_requests=True, ingest_producers="t=backend"))
    headers = {"authorization": "Bearer t", "x-request-id": "mine"}
    answer = client.post("/api/ingest?_x=y", json=[{}], headers=headers)
    wait_until(lambda: lines_of(caplog))  # it is written after the answer
    (line,) = lines_of(caplog)
    assert line.pop("durationMs") >= 0
    assert line == {
        "requestId": "mine",
        "method": "POST",
        "path": "/api/ingest",
        "status": 200,
        "bytesIn": 4,
        "bytesOut": len(answer.content),
        "client": "127.0.0.1",
        "producer": "backend",
    }


def test_failures_are_always_logged(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A request that failed is logged with the id that the client has seen."""
    client = connect(serve(ingest_producers="t=p", disable_auto_ingest=True))
    (tmp_path / "logs" / "ingest").write_text("a file where a directory should be")
    answer = client.post("/api/ingest", json=[{}], headers={"authorization": "Bearer t"})
    assert answer.status_code == 503
    wait_until(lambda: lines_of(caplog))  # it is written after the answer
    (line,) = lines_of(caplog)
    assert line["requestId"] == answer.headers["x-request-id"]


def test_ndjson(tmp_path: Path) -> None:
    """With --log-format ndjson each line on stderr is a JSON object, and none holds a secret."""
    command = [sys.executable, "-m", "mikroscope", "serve", "--port=0", "--min-free-bytes=0"]
    command += ["--log-format=ndjson", "--log-requests", "--api-token=secret-api-token"]
    command += ["--ingest-producers=secret-producer-token=p"]
    command += ["--auth-username=user", "--auth-password=secret-password"]
    command += ["--alert-webhook-url=http://127.0.0.1:9/secret-hook", "--alert-interval-ms=1000"]
    command += ["--alert-error-threshold=1", "--alert-webhook-retry-attempts=1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" listens on ")[1].split()[0]
        with httpx.Client(base_url=url, timeout=DEADLINE_S, trust_env=False) as client:
            for token in ("secret-api-token", "secret-producer-token", "wrong"):
                headers = {"authorization": f"Bearer {token}"}
                client.get(f"/api/logs?value={token}&field=a", headers=headers)
                client.post("/api/ingest", json=[{"level": "ERROR"}], headers=headers)
            client.get("/api/logs", auth=("user", "secret-password"))
            client.post("/api/alerts/test-webhook", json={}, auth=("user", "secret-password"))
        process.terminate()
        _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in lines)
    assert sum(line["logger"] == "mikroscope.requests" for line in lines) == 8
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", lines[0]["timestamp"])
    assert not [secret for secret in SECRETS if secret in told]


def test_an_error_with_its_place() -> None:
    """An exception is part of its log line."""
    try:
        raise ValueError("no value")
    except ValueError:
        record = logging.LogRecord("a.b", 40, __file__, 1, "went %s", ("wrong",), sys.exc_info())
    line = json.loads(NdjsonFormatter().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "a.b", "went wrong")
    assert "ValueError: no value" in line["error"]
