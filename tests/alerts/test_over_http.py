"""Alerts of a running server: policy and tests over HTTP, notifications, start and stop."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mikroscope import start_server
from mikroscope.errors import ConfigurationError
from tests.helpers.server import Connect, Serve, settings_in
from tests.helpers.waiting import DEADLINE_S, wait_until
from tests.helpers.webhooks import HANG, catching


def test_policy_over_http(serve: Serve, connect: Connect) -> None:
    """The policy can be read and changed, and is kept over a restart."""
    with catching() as catcher:
        server = serve(alert_error_threshold=5)
        client = connect(server)
        before = client.get("/api/alerts/config").json()
        assert before["policy"]["errorThreshold"] == 5
        assert (before["policy"]["enabled"], "webhookUrl" in before["policy"]) == (False, False)
        change = {"webhookUrl": catcher.url, "windowMinutes": 7}
        after = client.put("/api/alerts/config", json=change).json()
        assert after["policy"]["windowMinutes"] == 7
        assert json.loads(Path(after["configPath"]).read_text()) == after["policy"]
        server.close()
        again = connect(serve()).get("/api/alerts/config").json()
        assert again == after


def test_errors_that_are_ingested_alert(serve: Serve, connect: Connect) -> None:
    """Errors sent over HTTP cause one notification, and `/health` reports it."""
    with catching() as catcher:
        server = serve(
            alert_webhook_url=catcher.url,
            alert_error_threshold=3,
            alert_interval_ms=1000,
            ingest_producers="t=app",
        )
        client = connect(server)
        logs = [{"level": "error", "message": "boom"}] * 3
        client.post("/api/ingest", json=logs, headers={"authorization": "Bearer t"})
        wait_until(lambda: catcher.payloads)
        assert catcher.rules() == ["error_threshold"]
        wait_until(lambda: client.get("/health").json()["alerting"]["sent"])
        health = client.get("/health").json()
        assert "error_threshold" in health["alerting"]["lastTriggerAtByRule"]
        assert health["alertPolicy"]["webhookUrl"] == "[configured]"


def test_test_webhook(serve: Serve, connect: Connect) -> None:
    """A manual test is posted to the given URL, or to the policy's."""
    with catching() as catcher:
        client = connect(serve(alert_webhook_url=catcher.url))
        sent = client.post("/api/alerts/test-webhook", json={}).json()
        assert (sent["ok"], sent["targetUrl"]) == (True, catcher.url)
        other = f"{catcher.url}/other"
        sent = client.post("/api/alerts/test-webhook", json={"webhookUrl": other}).json()
        assert sent["targetUrl"] == other
        assert catcher.rules() == ["manual_test", "manual_test"]


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", '{"url": 1}', '{"webhookUrl": "x"}', '{"webhookUrl": "http://a..b/"}', "{"],
)
def test_test_webhook_refused(serve: Serve, connect: Connect, body: str) -> None:
    """A test without a URL, or with a wrong body, is a 400 that says why."""
    answer = connect(serve()).post("/api/alerts/test-webhook", content=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_test_webhook_that_fails(serve: Serve, connect: Connect) -> None:
    """A test that cannot be delivered is a 400 with the reason."""
    with catching(404) as catcher:
        client = connect(serve())
        answer = client.post("/api/alerts/test-webhook", json={"webhookUrl": catcher.url})
        assert (answer.status_code, "404" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("change", [{}, {"intervalMs": 999}, {"nope": 1}, {"enabled": True}])
def test_wrong_policy_over_http(serve: Serve, connect: Connect, change: dict[str, object]) -> None:
    """A wrong change is a 400 and changes nothing."""
    client = connect(serve())
    before = client.get("/api/alerts/config").json()
    assert client.put("/api/alerts/config", json=change).status_code == 400
    assert client.get("/api/alerts/config").json() == before


def test_slow_webhook_delays_nothing(serve: Serve, connect: Connect) -> None:
    """A webhook that hangs delays neither ingest nor queries nor the stop."""
    with catching(HANG, HANG) as catcher:
        server = serve(
            alert_webhook_url=catcher.url,
            alert_error_threshold=1,
            alert_webhook_timeout_ms=60_000,
            alert_interval_ms=1000,
            ingest_producers="t=app",
        )
        client = connect(server)
        headers = {"authorization": "Bearer t"}
        client.post("/api/ingest", json=[{"level": "fatal"}], headers=headers)
        wait_until(lambda: catcher.requests)
        answer: httpx.Response = client.post("/api/ingest", json=[{"n": 1}], headers=headers)
        assert answer.status_code == 200
        assert len(client.get("/api/logs").json()["entries"]) == 2
        server.close()


def test_stop_gives_up_a_test(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop gives up a test whose webhook hangs; the answer says why."""
    monkeypatch.setattr("mikroscope.server.run._GRACE_S", 600)
    with catching(HANG) as catcher, ThreadPoolExecutor() as pool:
        server = serve(alert_webhook_url=catcher.url, alert_webhook_timeout_ms=600_000)
        client = connect(server)
        waiting = pool.submit(client.post, "/api/alerts/test-webhook", json={})
        wait_until(lambda: catcher.requests)
        pool.submit(server.close).result(DEADLINE_S)
        answer = waiting.result()
    assert answer.status_code == 400
    assert answer.json() == {"error": "the webhook was given up: the server stops"}


def test_wrong_policy_file_refuses_the_start(tmp_path: Path) -> None:
    """A server with a wrong policy file does not start, and releases the index."""
    path = tmp_path / "alerts.json"
    path.write_text('{"enabled": true}')
    with pytest.raises(ConfigurationError, match=r"alerts\.json: enabled"):
        start_server(settings_in(tmp_path, alert_config_path=path))
    path.write_text("{}")
    start_server(settings_in(tmp_path, alert_config_path=path)).close()


def log(directory: Path, minutes_ago: int) -> None:
    """Append a record of that age to a log file."""
    (directory / "logs").mkdir(exist_ok=True)
    time = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    with (directory / "logs" / "app.ndjson").open("a") as file:
        file.write(json.dumps({"timestamp": time.isoformat()}) + "\n")


def index_old_log(serve: Serve, connect: Connect, directory: Path) -> None:
    """Run a server until it has indexed a record of ten minutes ago, and stop it."""
    log(directory, minutes_ago=10)
    with serve() as server:
        client = connect(server)
        wait_until(lambda: client.get("/api/logs").json()["entries"])


SILENCE: dict[str, object] = {"alert_no_logs_threshold_minutes": 5, "alert_interval_ms": 1000}


def evaluations(client: httpx.Client) -> int:
    """Return how many evaluations there were."""
    return int(client.get("/health").json()["alerting"]["runs"])


@pytest.mark.parametrize("disable_auto_ingest", [False, True])
def test_no_false_silence_after_a_pause(
    serve: Serve, connect: Connect, tmp_path: Path, disable_auto_ingest: bool
) -> None:
    """Entries logged while the server was stopped do not count as silence."""
    index_old_log(serve, connect, tmp_path)
    log(tmp_path, minutes_ago=0)
    with catching() as catcher:
        server = serve(
            **SILENCE, alert_webhook_url=catcher.url, disable_auto_ingest=disable_auto_ingest
        )
        wait_until(lambda: evaluations(connect(server)) > 1)
        server.close()
    assert catcher.payloads == []


def test_silence_at_the_start(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """If nothing was logged while the server was stopped, the first evaluation notifies."""
    index_old_log(serve, connect, tmp_path)
    with catching() as catcher:
        settings = SILENCE | {"alert_interval_ms": 3_600_000}
        serve(**settings, alert_webhook_url=catcher.url)
        wait_until(lambda: catcher.payloads)
    assert catcher.rules() == ["no_logs"]


def test_no_false_silence_while_the_files_are_read(
    serve: Serve, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the files are read, silence counts from the start of the server."""
    index_old_log(serve, connect, tmp_path)
    monkeypatch.setattr("mikroscope.alerts.alerter._CATCH_UP_S", 0)
    monkeypatch.setattr("mikroscope.sidecar.WriterThread.start_scanning", lambda writer: None)
    with catching() as catcher:
        server = serve(**SILENCE, alert_webhook_url=catcher.url)
        wait_until(lambda: evaluations(connect(server)) > 1)
        server.close()
    assert catcher.payloads == []
