"""Alerts of a running server: policy and tests over HTTP, notifications, start and stop."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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


def test_a_message_has_the_newest_errors_of_the_index(serve: Serve, connect: Connect) -> None:
    """The newest five errors under all names of their severities, newest first, without secrets."""
    levels = ["ERROR", "err", "CRITICAL", "Severe", "panic", "error", "fatal"]
    logs = [
        {"level": level, "message": f"failure {n} password=hunter2"}
        for n, level in enumerate(levels)
    ]
    with catching() as catcher:
        client = connect(
            serve(
                alert_webhook_url=catcher.url,
                alert_webhook_format="slack",
                alert_error_threshold=len(logs),
                alert_interval_ms=1000,
                ingest_producers="t=app",
            )
        )
        logs.append({"level": "info", "message": "no failure"})
        client.post("/api/ingest", json=logs, headers={"authorization": "Bearer t"})
        wait_until(lambda: catcher.payloads)
    text = catcher.payloads[0]["text"]
    assert re.findall(r"(no )?failure (\d)?", text) == [("", n) for n in "65432"]
    assert "hunter2" not in text


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


def test_answer_of_a_webhook_that_refuses(serve: Serve, connect: Connect) -> None:
    """A refused test is a 400 with the status, the first line of the answer, and what to do."""
    with catching(400) as catcher:
        catcher.refusal = b"no_text\nmore"
        client = connect(serve())
        answer = client.post("/api/alerts/test-webhook", json={"webhookUrl": catcher.url})
    assert answer.status_code == 400
    text = answer.json()["error"]
    assert text.startswith("the webhook answered with status 400: no_text. Slack expects")
    assert "see Alerts into Slack" in text


def test_test_in_a_format(serve: Serve, connect: Connect) -> None:
    """A test may name a format; without one it is sent in the policy's."""
    with catching() as catcher:
        client = connect(serve(alert_webhook_url=catcher.url, alert_webhook_format="slack"))
        client.post("/api/alerts/test-webhook", json={"webhookFormat": "mikroscope"})
        client.post("/api/alerts/test-webhook", json={"webhookUrl": ""})
    own, slack = catcher.payloads
    assert own["details"]["message"].startswith("Manual webhook test")
    assert slack.keys() == {"text"}
    assert "Manual webhook test" in slack["text"]


def test_format_over_http(serve: Serve, connect: Connect) -> None:
    """The format is a field of the policy: shown with its default, changed alone, and stored."""
    server = serve(alert_webhook_url="http://127.0.0.1:9/hook")
    client = connect(server)
    assert client.get("/api/alerts/config").json()["policy"]["webhookFormat"] == "auto"
    changed = client.put("/api/alerts/config", json={"webhookFormat": "teams"}).json()
    assert changed["policy"]["webhookFormat"] == "teams"
    assert changed["policy"]["webhookUrl"] == "http://127.0.0.1:9/hook"
    assert client.get("/health").json()["alertPolicy"]["webhookFormat"] == "teams"
    server.close()
    assert connect(serve()).get("/api/alerts/config").json() == changed


def test_empty_url_over_http(serve: Serve, connect: Connect) -> None:
    """An empty URL clears the webhook and switches alerts off, like null."""
    client = connect(serve(alert_webhook_url="http://127.0.0.1:9/hook"))
    after = client.put("/api/alerts/config", json={"webhookUrl": ""}).json()["policy"]
    assert (after["enabled"], "webhookUrl" in after) == (False, False)


def test_config_path_is_absolute(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of the policy's file is absolute, however it was configured."""
    monkeypatch.chdir(tmp_path)
    settings = settings_in(tmp_path, db_path="x/../data/i.db", alert_config_path="./a.json")
    with start_server(settings) as server:
        path = connect(server).get("/api/alerts/config").json()["configPath"]
    assert path == str(tmp_path / "a.json")


LINES: dict[str, object] = {
    "alert_webhook_format": "slack",
    "alert_error_threshold": 3,
    "alert_interval_ms": 3_600_000,
}


def write(directory: Path, *records: dict[str, Any]) -> None:
    """Write a log file of records, a second apart, the last one of now."""
    (directory / "logs").mkdir(exist_ok=True)
    now = datetime.now(UTC)
    lines = []
    for age, record in zip(range(len(records) - 1, -1, -1), records, strict=True):
        time = (now - timedelta(seconds=age)).isoformat()
        lines.append(json.dumps({"timestamp": time} | record) + "\n")
    (directory / "logs" / "app.ndjson").write_text("".join(lines))


def test_message_about_errors(serve: Serve, tmp_path: Path) -> None:
    """A message has the newest five errors, of every name, newest first and without secrets."""
    levels = ["error", "FATAL", "err", "error", "Critical", "error"]
    errors = [{"level": level, "message": f"e{n}"} for n, level in enumerate(levels)]
    last = {"level": "error", "message": "for hunter2", "req": {"password": "hunter2"}}
    write(tmp_path, *errors, {"level": "warn", "message": "w"}, last, {"message": "i"})
    with catching() as catcher:
        serve(**LINES, alert_webhook_url=catcher.url)
        wait_until(lambda: catcher.payloads)
    text = catcher.payloads[0]["text"]
    assert "7 errors in the last 5 minutes; the threshold is 3. The newest 5:" in text
    shown = [line.split(" ", 1)[1] for line in text.split("```")[1].strip().splitlines()]
    assert shown == ["ERROR for ***", "ERROR e5", "CRITICAL e4", "ERROR e3", "ERR e2"]


def test_message_about_silence(serve: Serve, tmp_path: Path) -> None:
    """A message about silence has the last entries, from before the window too."""
    log(tmp_path, minutes_ago=20)
    log(tmp_path, minutes_ago=10)
    with catching() as catcher:
        settings = LINES | {"alert_no_logs_threshold_minutes": 7}
        serve(**settings, alert_webhook_url=catcher.url)
        wait_until(lambda: catcher.payloads)
    text = catcher.payloads[0]["text"]
    assert (
        "no new log entry for 10 minutes; the threshold is 7 minutes. The last 2 entries:" in text
    )


def test_fields_to_redact(serve: Serve, tmp_path: Path) -> None:
    """The names of fields to mask can be configured."""
    error = {"level": "error", "message": "ssn=123 token=abc", "customer": {"SSN": 123}}
    write(tmp_path, error, error, error)
    with catching() as catcher:
        serve(**LINES, alert_webhook_url=catcher.url, redact_fields="ssn")
        wait_until(lambda: catcher.payloads)
    assert catcher.payloads[0]["text"].count("ssn=*** token=abc") == 3


def test_refused_alert_in_health(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A refused notification makes `/health` not ok until one is delivered, and says why."""
    write(tmp_path, {"level": "error", "message": "boom"})
    with catching() as catcher:
        catcher.refused_rules.add("error_threshold")
        catcher.refusal = b"channel_is_archived\nmore"
        client = connect(serve(alert_webhook_url=catcher.url, alert_error_threshold=1))
        wait_until(lambda: not client.get("/health").json()["ok"])
        problem = "alerts: error_threshold: answered with status 404: channel_is_archived"
        assert client.get("/health").json()["problems"] == [problem]
        assert client.get("/ready").status_code == 503
        client.post("/api/alerts/test-webhook", json={})
        assert client.get("/health").json()["ok"] is True


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


def test_silence_without_any_entry(serve: Serve) -> None:
    """While the index has never had an entry, the first evaluation notifies of silence."""
    with catching() as catcher:
        settings = SILENCE | {"alert_interval_ms": 3_600_000}
        serve(**settings, alert_webhook_url=catcher.url)
        wait_until(lambda: catcher.payloads)
    assert catcher.rules() == ["no_logs"]
    assert catcher.payloads[0]["details"] == {"thresholdMinutes": 5}


def test_no_silence_with_entries_of_the_future_only(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    """An index whose entries are all of the future had entries: silence counts from the start."""
    log(tmp_path, minutes_ago=-60)
    with catching() as catcher:
        server = serve(**SILENCE, alert_webhook_url=catcher.url)
        wait_until(lambda: evaluations(connect(server)) > 1)
        server.close()
    assert catcher.payloads == []


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
