"""`/health` reports the state of every part of the server."""

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from tests.helpers.server import TOKEN, Connect, Serve, health
from tests.helpers.waiting import wait_until
from tests.helpers.webhooks import catching

COUNTERS = [
    *("filesScanned", "linesScanned", "recordsInserted", "recordsSkipped", "parseErrors"),
    "unreadableTimestamps",
]


DELETED = [
    "files",
    "normalFiles",
    "auditFiles",
    "entries",
    "normalEntries",
    "auditEntries",
    "oversizeEntries",
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
            "skippedFiles",
        },
        "auth": {"apiTokenEnabled", "basicEnabled"},
        "ingestPolicy": {"enabled", "intervalMs"},
        "ingestEndpoint": {"enabled", "maxBodyBytes", "producerCount"},
        "alerting": {
            *("running", "runs", "sent", "suppressed", "lastRunAt", "lastSuccessAt"),
            *("lastDurationMs", "lastError", "lastTriggerAtByRule"),
        },
        "alertPolicy": {
            *(
                "enabled",
                "webhookUrl",
                "webhookFormat",
                "intervalMs",
                "windowMinutes",
                "errorThreshold",
            ),
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
            *("dbMaxBytes", "dbUpgrading", "minFreeBytes"),
        },
    }
    assert set(queue) == {
        *("enabled", "flushMs", "draining", "pendingBatches", "pendingRecords"),
        *("recordsFlushed", "recordsQueued", "lastError", "lastFlushAt"),
    }


def test_health_of_the_service(serve: Serve, connect: Connect) -> None:
    """/health names the service, and reports that it is healthy, and its uptime."""
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
        db_max_bytes=5_000_000,
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
    assert content["storage"]["dbMaxBytes"] == 5_000_000
    assert content["backup"] == {"auditDirectory": str(tmp_path / "backup")}
    policy = content["alertPolicy"]
    assert (policy["enabled"], policy["webhookUrl"]) == (True, "[configured]")
    assert policy["errorThreshold"] == 7


def test_health_of_a_bare_server(serve: Serve, connect: Connect) -> None:
    """/health shows which features are off."""
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
    """/health reports the size of the index and the free space."""
    storage = health(connect(serve(min_free_bytes=1)))["storage"]
    assert storage["dbApproximateSizeBytes"] > 0
    assert storage["dbDirectoryFreeBytes"] > 0
    assert storage["logsDirectoryFreeBytes"] > 0
    assert storage["minFreeBytes"] == 1


def test_health_counts_what_is_indexed(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """/health counts files, lines, records and lines that are not records."""
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


# --- what an idle server notices ----------------------------------------------------------------


def with_records(serve: Serve, connect: Connect, tmp_path: Path, **options: object) -> httpx.Client:
    """A client of a server that has indexed ten records."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_text('{"n":1}\n' * 10)
    client = connect(serve(**options))
    wait_until(lambda: entries(client) == 10)
    return client


def entries(client: httpx.Client) -> int:
    answer = client.get("/api/logs")
    return len(answer.json()["entries"]) if answer.is_success else -1


def problems(client: httpx.Client) -> str:
    found: dict[str, Any] = client.get("/health").json()
    assert found["ok"] is not bool(found["problems"])
    assert client.get("/ready").json()["ok"] in (True, False)
    return "; ".join(found["problems"])


def test_index_that_is_deleted(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """An idle server notices that its index is gone, says so, and builds it again."""
    client = with_records(serve, connect, tmp_path)
    for file in (tmp_path / "data").glob("mikroscope.db*"):
        file.unlink()
    wait_until(lambda: "is gone: it is built again" in problems(client))
    wait_until(lambda: entries(client) == 10)
    wait_until(lambda: problems(client) == "")


def test_index_that_cannot_be_read(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every query fails, `ok` is false, and true again when queries are answered."""
    client = with_records(serve, connect, tmp_path)

    def fail(*_: object) -> None:
        raise apsw.IOError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("mikroscope.stores.sqlite.read.connections.Connection.snapshot", fail)
        assert client.get("/api/logs").status_code == 503
        wait_until(lambda: "disk I/O error" in problems(client))
        assert client.get("/ready").status_code == 503
    wait_until(lambda: problems(client) == "")
    assert client.get("/ready").status_code == 200


def test_lock_of_another_process(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that keeps the server from indexing is a problem only until it is released."""
    monkeypatch.setattr("mikroscope.stores.sqlite.schema.BUSY_MS", 10)
    client = with_records(serve, connect, tmp_path, ingest_producers="t=p")
    with closing(apsw.Connection(str(tmp_path / "data" / "mikroscope.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/api/ingest", json=[{}], headers={"authorization": "Bearer t"})
        assert answer.status_code == 503
        assert "locked" in problems(client)
        other.execute("ROLLBACK")
    wait_until(lambda: problems(client) == "")


def test_logs_directory_that_is_gone(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A logs directory that vanishes is a problem; a rebuild is refused and empties nothing."""
    client = with_records(serve, connect, tmp_path)
    (tmp_path / "logs").rename(tmp_path / "unmounted")
    assert "is gone" in problems(client)
    refused = client.post("/api/reindex")
    assert refused.status_code == 409
    assert "empty" in refused.json()["error"]
    assert entries(client) == 10
    (tmp_path / "unmounted").rename(tmp_path / "logs")
    assert problems(client) == ""
    assert client.post("/api/reindex").status_code == 200
    assert entries(client) == 10


def test_alert_that_is_refused(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A refused alert is a problem, with the status and the first line of the answer."""
    with catching(400) as catcher:
        catcher.refusal = b"no_service\x1b[31m\nsecond line"
        client = with_records(
            serve,
            connect,
            tmp_path,
            alert_webhook_url=catcher.url,
            alert_no_logs_threshold_minutes=0,
            alert_error_threshold=1,
            alert_cooldown_ms=1000,
            alert_interval_ms=1000,
            ingest_producers="t=p",
        )
        error = [{"level": "ERROR"}]
        client.post("/api/ingest", json=error, headers={"authorization": "Bearer t"})
        expected = "alerts: error_threshold: answered with status 400: no_service\\x1b[31m"
        wait_until(lambda: problems(client) == expected)
        wait_until(lambda: problems(client) == "")


def test_files_that_are_not_indexed(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """`/health` names files that are left out, and the option that would include them."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "plain.log").write_text("no JSON here\n")
    (tmp_path / "logs" / "app.json").write_text("{}\n")
    client = connect(serve())
    wait_until(lambda: health(client)["ingest"]["skippedFiles"])
    skipped = health(client)["ingest"]["skippedFiles"]
    assert skipped["count"] == 2
    assert "plain.log (plain text)" in skipped["text"]
    assert "--log-file-suffixes" in skipped["fix"]
    assert health(client)["ok"]
    for name in ("plain.log", "app.json"):
        (tmp_path / "logs" / name).unlink()
    wait_until(lambda: health(client)["ingest"]["skippedFiles"] is None)
