"""The doctor: what it finds, that it says how to fix it, and that it changes nothing."""

import gzip
import http.server
import json
import os
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mikroscope import start_server
from mikroscope.cli.findings_table import print_findings
from mikroscope.doctor.directories import check_watches
from mikroscope.doctor.examine import examine
from mikroscope.doctor.findings import Finding, diagnosis, ok, problem
from mikroscope.doctor.index import check_size
from mikroscope.stores.sqlite import SqliteStore, files
from tests.helpers.server import index_logs, settings_in
from tests.helpers.stores import line, lines, run_python

Ask = Callable[..., dict[str, Finding]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask the doctor about a directory with logs and an index; findings by check, worst last."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_bytes(lines(1, 2, 3))
    index_logs(settings_in(tmp_path))

    def examined(
        config: str | None = None, online: bool = False, **flags: object
    ) -> dict[str, Finding]:
        given: dict[str, object] = {"port": 0, "min_free_bytes": 0}
        found = examine("1.2.3", config, given | flags, online=online)
        assert found.ok == all(one.status != "problem" for one in found.findings)
        return {one.check: one for one in found.findings}

    return examined


def logs(directory: Path) -> Path:
    return directory / "logs" / "app.ndjson"


def index(directory: Path) -> Path:
    return directory / "data" / "mikroscope.db"


def expect(finding: Finding, status: str, text: str, fix: str = "") -> None:
    """Check a finding's status and text, and that every problem and warning has a fix."""
    assert (finding.status, text in finding.text) == (status, True), finding
    assert (finding.fix is None) == (status == "ok")
    assert fix in (finding.fix or "")


def test_all_is_well(ask: Ask) -> None:
    """On a healthy machine every finding is ok, and the versions are named."""
    found = ask(cors_allow_origin="https://ops.example")
    assert {one.status for one in found.values()} == {"ok"}
    assert "MikroScope 1.2.3, Python 3." in found["versions"].text
    assert "3 entries" in found["index"].text


def test_it_changes_nothing(ask: Ask, tmp_path: Path) -> None:
    """The doctor creates, deletes and changes no file."""

    def state() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")
        }

    before = state()
    ask()
    assert {path: one for path, one in state().items() if path.is_file()} == {
        path: one for path, one in before.items() if path.is_file()
    }


def test_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first start there is no problem, and nothing is created."""
    monkeypatch.chdir(tmp_path)
    assert examine("1", None, {"port": 0, "min_free_bytes": 0}).ok
    assert not list(tmp_path.iterdir())


# --- config and secrets -----------------------------------------------------------------------


def test_config_that_is_wrong(ask: Ask, tmp_path: Path) -> None:
    """The error names the source, and nothing else is checked."""
    (tmp_path / "c.json").write_text('{"port": "many"}')
    found = ask("c.json")
    expect(found["config"], "problem", "c.json", "correct port in c.json")
    assert set(found) == {"versions", "config"}


def test_config_below_a_floor(ask: Ask) -> None:
    """A value that is raised is a warning, and not printed on stderr."""
    findings = examine("1", None, {"port": 0, "ingest_interval_ms": 5}).findings
    noted = [one for one in findings if one.check == "config" and one.status == "warning"]
    expect(noted[0], "warning", "--ingest-interval-ms: 5 is too low")


def test_secrets_in_a_config_that_others_read(ask: Ask, tmp_path: Path) -> None:
    """A config file with secrets must be private; one without may be public."""
    config = tmp_path / "c.json"
    config.write_text('{"apiToken": "s3cret"}')
    config.chmod(0o644)
    finding = ask("c.json")["config file"]
    expect(finding, "warning", "has mode 0644", "chmod 0640")
    assert "s3cret" not in str(finding)
    config.chmod(0o640)
    expect(ask("c.json")["config file"], "ok", "0640")
    config.write_text('{"logRequests": true}')
    assert "config file" not in ask("c.json")


def test_an_alert_policy_that_others_read(ask: Ask, tmp_path: Path) -> None:
    """An alert policy that others can read is reported, since the webhook's URL often has a key."""
    policy = tmp_path / "data" / "mikroscope.alert-config.json"
    policy.write_text('{"enabled": true, "webhookUrl": "https://h.example/key"}')
    policy.chmod(0o640)
    found = ask()
    expect(found["alert policy file"], "warning", "has mode 0640", "chmod 0600")
    expect(found["webhook"], "ok", "alerts go to h.example:443")
    assert "key" not in found["webhook"].text


def test_an_alert_policy_that_is_damaged(ask: Ask, tmp_path: Path) -> None:
    """The finding names the damaged policy file, with which a server does not start."""
    (tmp_path / "data" / "mikroscope.alert-config.json").write_text("{")
    expect(ask()["webhook"], "problem", "alert-config.json", "delete it")


# --- places -----------------------------------------------------------------------------------

AS_NOBODY = """
import json, tempfile
from pathlib import Path
from mikroscope.doctor.examine import examine
import pwd
become_nobody()
with tempfile.TemporaryDirectory() as directory:
    logs, data = Path(directory, "logs"), Path(directory, "data")
    for place in (logs, data, logs / "shut"):
        place.mkdir()
    (logs / "app.ndjson").touch(0)
    (logs / "shut").chmod(0)
    (logs / "ingest" / "p").mkdir(parents=True)
    (logs / "ingest" / "p" / "2026-02-18.ndjson").touch(0o444)
    (data / "i.db-wal").touch(0o400)
    (data / "i.db.lock").touch(0o400)
    data.chmod(0o500)
    flags = {"logs_path": logs, "db_path": data / "i.db", "port": 0, "min_free_bytes": 0}
    flags["audit_backup_directory"] = data / "audit"
    found = examine("1", None, flags)
    print(json.dumps({one.check: [one.status, one.text] for one in found.findings}))
    (logs / "shut").chmod(0o700)
"""


def test_without_rights() -> None:
    """The findings name directories that are not writable and files that are not readable."""
    found = json.loads(run_python(AS_NOBODY))
    status, text = found["database directory"]
    assert (status, "is not writable by" in text) == ("problem", True)
    assert found["logs directory"][0] == "ok"
    assert found["log files"] == ["problem", "2 paths cannot be read: app.ndjson, shut/"]
    for check, words in (
        ("index files", "i.db-wal and 1 more cannot be read and written by"),
        ("ingest files", "2026-02-18.ndjson cannot be read and written by"),
        ("audit backup directory", "data is not writable by"),
    ):
        assert found[check][0] == "problem"
        assert words in found[check][1]


def test_a_directory_that_is_a_file(ask: Ask, tmp_path: Path) -> None:
    """The finding names the option to change."""
    found = ask(logs_path=index(tmp_path))
    expect(found["logs directory"], "problem", "is a file", "--logs")


def test_the_size_of_the_index(ask: Ask) -> None:
    """Where the index has a limit, the doctor says how much of it is used."""
    assert "index size" not in ask()
    expect(ask(db_max_bytes=10 << 20)["index size"], "ok", "MiB of the 10.0 MiB")


def test_an_index_that_is_full(ask: Ask) -> None:
    """A full index is worth a warning where entries should stay for so many days."""
    found = check_size(95 << 20, 100 << 20, 30)
    expect(found, "warning", "deleted before they are 30 days old", "--db-retention-days")
    assert check_size(85 << 20, 100 << 20, 30).status == "ok"
    assert check_size(95 << 20, 100 << 20, 0).status == "ok"


def test_a_full_disk(ask: Ask) -> None:
    """Free space below the reserve is a problem, and below twice the reserve a warning."""
    expect(
        ask(min_free_bytes=1 << 52)["logs disk"],
        "problem",
        "must stay free",
        "lower --min-free-bytes",
    )
    free = os.statvfs(".")
    reserve = int(free.f_bavail * free.f_frsize / 1.5)
    expect(ask(min_free_bytes=reserve)["database disk"], "warning", "MiB free", "free some space")


@pytest.mark.parametrize(("limit", "status"), [(1, "problem"), (2, "warning"), (100, "ok")])
def test_watches(tmp_path: Path, limit: int, status: str) -> None:
    """More log directories than the system can watch are a problem."""
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "limit").write_text(str(limit))
    finding = check_watches(tmp_path / "logs", tmp_path / "limit")
    assert finding is not None
    expect(finding, status, f"2 log directories; up to {limit} can be watched")
    assert check_watches(tmp_path, tmp_path / "nowhere") is None


def test_files_from_the_future(ask: Ask, tmp_path: Path) -> None:
    """A file from the future means that the clock was set back."""
    ahead = datetime.now().timestamp() + 7200
    os.utime(index(tmp_path), (ahead, ahead))
    expect(ask()["clock"], "warning", "the clock was set back", "NTP")


# --- the index --------------------------------------------------------------------------------


def test_an_entry_from_the_future(ask: Ask, tmp_path: Path) -> None:
    """An entry from the future is named: it comes first in every query."""
    ahead = datetime.now(UTC) + timedelta(hours=3)
    record = {"timestamp": ahead.isoformat(), "n": 1}
    logs(tmp_path).write_text(json.dumps(record) + "\n")
    index_logs(settings_in(tmp_path))
    expect(ask()["newest entry"], "warning", "in app.ndjson, 1", "set the clock")


def test_an_index_that_is_none(ask: Ask, tmp_path: Path) -> None:
    """A file that is not an index is named as such; what follows depends on its name."""
    index(tmp_path).write_bytes(b"something else" * 1000)
    expect(ask()["index"], "problem", "is not an SQLite file", "the next start moves this one")
    (tmp_path / "data" / "notes.txt").write_text("something else")
    found = ask(db_path=tmp_path / "data" / "notes.txt")
    expect(found["index"], "problem", "is not an index", "set --db to another file")


def test_an_empty_file(ask: Ask, tmp_path: Path) -> None:
    """The first start turns an empty file into an index."""
    (tmp_path / "data" / "empty.db").touch()
    expect(ask(db_path=tmp_path / "data" / "empty.db")["index"], "ok", "the first start creates it")


def test_an_index_that_was_found_damaged(ask: Ask, tmp_path: Path) -> None:
    """The doctor reports the mark next to an index that an earlier run found damaged."""
    files.sibling(index(tmp_path), ".damaged").touch()
    expect(ask()["index"], "problem", "damage was found in", "restart the server")


def test_an_index_of_another_format(ask: Ask, tmp_path: Path) -> None:
    """An index in another format is a warning: the next start rebuilds it."""
    with closing(sqlite3.connect(index(tmp_path))) as connection:
        connection.execute("PRAGMA user_version = 1")
    expect(ask()["index"], "warning", "has index format 1", "start the server")


def test_a_foreign_database(ask: Ask, tmp_path: Path) -> None:
    """A database of another program is a problem, and --db is named."""
    index(tmp_path).unlink()
    with closing(sqlite3.connect(index(tmp_path))) as connection:
        connection.execute("CREATE TABLE x(y)")
    expect(ask()["index"], "problem", "not an index of MikroScope", "--db")


def test_a_directory_instead_of_an_index(ask: Ask, tmp_path: Path) -> None:
    """The finding names the directory and the option to change."""
    expect(ask(db_path=tmp_path / "logs")["index"], "problem", "logs is not a file", "set --db")


def test_a_store_that_cannot_be_inspected(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may offer no inspection: that is a warning, and everything else is checked."""
    monkeypatch.setattr("mikroscope.doctor.examine.administer", lambda _address: object())
    found = ask()
    expect(found["index"], "warning", "mikroscope.db cannot be inspected", "that store's own tools")
    expect(found["server"], "warning", "which server uses the index", "that store's own tools")
    assert found["index files"].text == "none yet"
    assert found["log files"].status == "ok"
    assert "SQLite" not in found["versions"].text


def test_remains_of_a_rebuild(ask: Ask, tmp_path: Path) -> None:
    """Files of a killed rebuild are a warning; those of a running rebuild are not."""
    with closing(SqliteStore(index(tmp_path))) as store:
        rebuild = store.rebuild()
        expect(ask()["rebuild"], "ok", f"process {os.getpid()} is rebuilding the index")
        rebuild.close()
    files.sibling(index(tmp_path), ".rebuild").touch()
    expect(ask()["rebuild"], "warning", "a rebuild that was killed", "start the server")


def test_remains_of_a_restore(ask: Ask, tmp_path: Path) -> None:
    """Files of a killed restore take space until the next restore."""
    files.sibling(index(tmp_path), ".restoring").touch()
    (tmp_path / ".logs.restoring").mkdir()
    found = ask()
    expect(found["restore"], "warning", "mikroscope.db.restoring was left", "restore again")
    expect(found["restore of logs"], "warning", ".logs.restoring was left", "delete it")


def test_old_indexes(ask: Ask, tmp_path: Path) -> None:
    """Indexes that were set aside take space."""
    files.sibling(index(tmp_path), ".damaged-20260218T102000000000Z").write_bytes(b"x" * (3 << 20))
    expect(ask()["old indexes"], "warning", "3 MiB are kept in mikroscope.db.damaged-", "delete")


def test_a_long_write_ahead_log(ask: Ask, tmp_path: Path) -> None:
    """A program that keeps the index open prevents SQLite from merging it."""
    log = files.sibling(index(tmp_path), "-wal")
    with log.open("wb") as file:
        file.truncate(300 << 20)
    expect(ask()["write-ahead log"], "warning", "300 MiB", "lsof")


# --- log files --------------------------------------------------------------------------------


def test_lines_that_do_not_parse(ask: Ask, tmp_path: Path) -> None:
    """The finding names the file and the first reason; half a line at the end is not one."""
    logs(tmp_path).write_bytes(lines(*range(5000)) + b"[1]\n" + line(1) + b'{"half')
    expect(ask()["log lines"], "warning", "app.ndjson (a JSON array", "one JSON object per line")


def test_packed_files_that_are_damaged(ask: Ask, tmp_path: Path) -> None:
    """Truncated files, and files that are not gzip, are found unless still being written."""
    packed = gzip.compress(lines(*range(1000)))
    for name, content in (("cut", packed[:500]), ("none", b"none"), ("whole", packed)):
        (tmp_path / "logs" / f"{name}.ndjson.gz").write_bytes(content)
    assert "packed files" not in ask()
    for path in (tmp_path / "logs").glob("*.gz"):
        os.utime(path, (10**9, 10**9))
    finding = ask()["packed files"]
    expect(finding, "warning", "2 files cannot be unpacked to the end: cut.ndjson.gz (", "backup")
    assert "none.ndjson.gz (Not a gzipped file" in finding.text


def test_a_name_that_is_not_utf8(
    ask: Ask, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file whose name is not UTF-8 is a warning, and not printed on stderr."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/logs/\xff.ndjson")).write_bytes(lines(1))
    expect(ask()["names"], "warning", "1 file not indexed because the name", "rename")
    assert capfd.readouterr().err == ""


def test_log_files_from_the_future(ask: Ask, tmp_path: Path) -> None:
    """Log files from the future are a warning, since retention would keep them too long."""
    os.utime(logs(tmp_path), (4 * 10**9, 4 * 10**9))
    expect(ask()["file times"], "warning", "app.ndjson", "touch")


def test_old_logs(ask: Ask, tmp_path: Path) -> None:
    """Log files that a restore has set aside take space as well."""
    (tmp_path / "logs.before-restore-20260218T102000000000Z").mkdir()
    expect(ask()["old logs"], "warning", "logs.before-restore-20260218T", "delete")


def test_files_left_out(ask: Ask, tmp_path: Path) -> None:
    """A name without a known suffix, and a .log file without JSON, are warnings."""
    (tmp_path / "logs" / "access.txt").write_text("x")
    (tmp_path / "logs" / "plain.log").write_text("x")
    (tmp_path / "logs" / ".hidden").write_text("x")
    text = "2 files are not indexed: access.txt (.txt), plain.log (plain text)"
    expect(ask()["files left out"], "warning", text, "--log-file-suffixes")


# --- server, port, TLS, webhook ---------------------------------------------------------------


def test_a_running_server(ask: Ask, tmp_path: Path) -> None:
    """The doctor finds the running server and that it owns the index."""
    with start_server(settings_in(tmp_path)) as server:
        found = ask(port=server.port)
        expect(found["server"], "ok", f"process {os.getpid()} uses the index")
        expect(found["port"], "ok", "a server answers")
        assert found["index"].status == "ok"


def test_the_port_of_another_server(ask: Ask, tmp_path: Path) -> None:
    """A MikroScope server with another index on the port is a problem."""
    with start_server(settings_in(tmp_path / "other")) as server:
        expect(ask(port=server.port)["port"], "problem", "with another index answers", "--port")


def test_a_server_that_does_not_answer(ask: Ask, tmp_path: Path) -> None:
    """A server that uses the index but does not answer at this address is a warning."""
    with start_server(settings_in(tmp_path)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        expect(ask(port=port)["port"], "warning", "nothing answers at", "restart it")


def test_a_server_with_a_problem(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problems that the server reports are shown."""
    with start_server(settings_in(tmp_path, min_free_bytes=1)) as server:
        monkeypatch.setattr("mikroscope.sidecar.free_bytes", lambda _directory: 0)
        expect(
            ask(port=server.port)["port"],
            "problem",
            "nearly full",
            "check the server's log",
        )


class Stranger(http.server.BaseHTTPRequestHandler):
    """A service that is not MikroScope."""

    def do_GET(self) -> None:
        """Answer any request."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"service": "other"}')

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a service that is not MikroScope."""
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_port_that_is_taken(ask: Ask, stranger: int) -> None:
    """A port that another service uses is a problem."""
    expect(ask(port=stranger)["port"], "problem", "a program other than MikroScope", "--port")


def test_a_host_that_is_not_here(ask: Ask) -> None:
    """An address of another machine is a problem."""
    found = ask(port=4310, host="192.0.2.1")
    expect(found["port"], "problem", "cannot listen on 192.0.2.1:4310: Cannot assign", "--host")


def test_open_to_all(ask: Ask) -> None:
    """An API without credentials on a public address is a warning."""
    found = ask(host="0.0.0.0")  # noqa: S104
    expect(found["access"], "warning", "can connect to 0.0.0.0 can read all logs", "--api-token")
    expect(found["cors"], "warning", "any web page", "--cors-allow-origin")
    assert "cors" not in ask(cors_allow_origin="*")
    expect(ask(host="0.0.0.0", api_token="t")["access"], "ok", "credentials")  # noqa: S104


def certificate(directory: Path, name: str, days: int) -> dict[str, object]:
    """Flags of HTTPS with a certificate that is valid for some days."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-days", str(days)]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    pair = directory / f"{name}.crt", directory / f"{name}.key"
    return {"protocol": "https", "tls_cert_path": pair[0], "tls_key_path": pair[1]}


@pytest.mark.parametrize(("days", "status"), [(5, "warning"), (100, "ok")])
def test_certificates_that_expire(ask: Ask, tmp_path: Path, days: int, status: str) -> None:
    """A certificate that expires soon is a warning, in time to renew it."""
    until = datetime.now(UTC) + timedelta(days=days)
    found = ask(**certificate(tmp_path, "c", days))["certificate"]
    expect(found, status, f"valid until {until:%Y-%m-}", "renew it" if status != "ok" else "")


def test_a_certificate_that_has_expired(ask: Ask, tmp_path: Path) -> None:
    """An expired certificate is a problem."""
    flags = certificate(tmp_path, "c", 100)
    command = ["openssl", "x509", "-in", "c.crt", "-key", "c.key", "-out", "c.crt", "-days", "-1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this openssl makes no certificates of the past")
    expect(ask(**flags)["certificate"], "problem", "expired", "renew it")


def test_a_key_of_another_certificate(ask: Ask, tmp_path: Path) -> None:
    """A key that does not belong to the certificate is a problem."""
    flags = certificate(tmp_path, "c", 9) | {
        "tls_key_path": certificate(tmp_path, "d", 9)["tls_key_path"]
    }
    expect(ask(**flags)["certificate"], "problem", "does not belong", "its own key")


def test_the_webhook(ask: Ask, stranger: int) -> None:
    """Only --online connects to the webhook."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    url = f"http://127.0.0.1:{closed}/key"
    expect(ask(alert_webhook_url=url)["webhook"], "ok", "--online")
    expect(ask(online=True, alert_webhook_url=url)["webhook"], "problem", "cannot be reached")
    url = f"http://127.0.0.1:{stranger}/key"
    expect(ask(online=True, alert_webhook_url=url)["webhook"], "ok", "can be reached")


def test_table_in_a_file_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal each finding is one line, however long, with how to fix it."""
    place = "/" + "very-long/" * 30
    print_findings(diagnosis([ok("index", place), problem("port", place, "take another")]))
    index, port, verdict = capsys.readouterr().out.splitlines()
    assert index == f"ok: index: {place}"
    assert port == f"problem: port: {place} -- fix: take another"
    assert verdict == "problems: 1, warnings: 0, ok: 1"
