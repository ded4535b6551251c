"""The doctor: what it finds, that it says how to mend it, and that it changes nothing."""

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
from mikroscope.stores.sqlite import SqliteStore, files
from tests.backup.test_backup import tear
from tests.helpers.server import index_logs, settings_in
from tests.helpers.stores import line, lines, run_python

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Ask the doctor about a directory with logs and an index; findings by check, worst last."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.ndjson").write_bytes(lines(1, 2, 3))
    index_logs(settings_in(tmp_path))

    def ask(config: str | None = None, online: bool = False, **flags: object) -> dict[str, Finding]:
        given: dict[str, object] = {"port": 0, "min_free_bytes": 0}
        found = examine("1.2.3", config, given | flags, online=online)
        assert found.ok == all(one.status != "problem" for one in found.findings)
        return {one.check: one for one in found.findings}

    return ask


def logs(directory: Path) -> Path:
    return directory / "logs" / "app.ndjson"


def index(directory: Path) -> Path:
    return directory / "data" / "mikroscope.db"


def expect(finding: Finding, status: str, text: str, fix: str = "") -> None:
    """A finding says this; whatever is not well says how to mend it."""
    assert (finding.status, text in finding.text) == (status, True), finding
    assert (finding.fix is None) == (status == "ok")
    assert fix in (finding.fix or "")


def test_all_is_well(look: Look) -> None:
    """Nothing but ok, and the versions of what runs."""
    found = look()
    assert {one.status for one in found.values()} == {"ok"}
    assert "MikroScope 1.2.3, Python 3." in found["versions"].text
    assert "3 entries" in found["index"].text


def test_it_changes_nothing(look: Look, tmp_path: Path) -> None:
    """No file appears, vanishes or is written."""

    def state() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*")
        }

    before = state()
    look()
    assert {path: one for path, one in state().items() if path.is_file()} == {
        path: one for path, one in before.items() if path.is_file()
    }


def test_a_new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first start there is nothing, and nothing is wrong; nothing is made."""
    monkeypatch.chdir(tmp_path)
    assert examine("1", None, {"port": 0, "min_free_bytes": 0}).ok
    assert not list(tmp_path.iterdir())


# --- config and secrets -----------------------------------------------------------------------


def test_config_that_is_wrong(look: Look, tmp_path: Path) -> None:
    """The error names the source, and nothing else is looked at."""
    (tmp_path / "c.json").write_text('{"port": "many"}')
    found = look("c.json")
    expect(found["config"], "problem", "c.json", "mend it where it stands")
    assert set(found) == {"versions", "config"}


def test_config_below_a_floor(look: Look) -> None:
    """It is told of, and not on stderr."""
    findings = examine("1", None, {"port": 0, "ingest_interval_ms": 5}).findings
    told = [one for one in findings if one.check == "config" and one.status == "warning"]
    expect(told[0], "warning", "--ingest-interval-ms: 5 is too low")


def test_secrets_in_a_config_that_others_read(look: Look, tmp_path: Path) -> None:
    """Its mode is to be changed; without secrets in it anybody may read it."""
    config = tmp_path / "c.json"
    config.write_text('{"apiToken": "s3cret"}')
    config.chmod(0o644)
    finding = look("c.json")["config file"]
    expect(finding, "warning", "has mode 0644", "chmod 0640")
    assert "s3cret" not in str(finding)
    config.chmod(0o640)
    expect(look("c.json")["config file"], "ok", "0640")
    config.write_text('{"logRequests": true}')
    assert "config file" not in look("c.json")


def test_an_alert_policy_that_others_read(look: Look, tmp_path: Path) -> None:
    """The webhook's URL often holds a key."""
    policy = tmp_path / "data" / "mikroscope.alert-config.json"
    policy.write_text('{"enabled": true, "webhookUrl": "https://h.example/key"}')
    policy.chmod(0o640)
    found = look()
    expect(found["alert policy file"], "warning", "has mode 0640", "chmod 0600")
    expect(found["webhook"], "ok", "alerts go to h.example:443")
    assert "key" not in found["webhook"].text


def test_an_alert_policy_that_is_damaged(look: Look, tmp_path: Path) -> None:
    """It is named: a server would not start on it."""
    (tmp_path / "data" / "mikroscope.alert-config.json").write_text("{")
    expect(look()["webhook"], "problem", "is not valid JSON", "delete it")


# --- places -----------------------------------------------------------------------------------

AS_NOBODY = """
import json, tempfile
from pathlib import Path
from mikroscope.doctor import examine
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
    """Directories that may not be written, files that may not be read: each is named."""
    found = json.loads(run_python(AS_NOBODY))
    status, text = found["database directory"]
    assert (status, "cannot be written by" in text) == ("problem", True)
    assert found["logs directory"][0] == "ok"
    assert found["log files"] == ["problem", "2 cannot be read: app.ndjson, shut/"]
    for check, told in (
        ("index files", "i.db-wal cannot be read and written by"),
        ("ingest files", "2026-02-18.ndjson cannot be read and written by"),
        ("audit backup directory", "data cannot be written by"),
    ):
        assert found[check][0] == "problem"
        assert told in found[check][1]
    assert found["index files"][1].endswith("nor can 1 more")


def test_a_directory_that_is_a_file(look: Look, tmp_path: Path) -> None:
    """It is said which option names it."""
    found = look(logs_path=index(tmp_path))
    expect(found["logs directory"], "problem", "is a file", "--logs")


def test_a_full_disk(look: Look) -> None:
    """Below the reserve it is a problem, and short of twice that a warning."""
    expect(look(min_free_bytes=1 << 52)["logs disk"], "problem", "must stay free", "make room")
    free = os.statvfs(".")
    reserve = int(free.f_bavail * free.f_frsize / 1.5)
    expect(look(min_free_bytes=reserve)["database disk"], "warning", "MiB free", "make room")


@pytest.mark.parametrize(("limit", "status"), [(1, "problem"), (2, "warning"), (100, "ok")])
def test_watches(tmp_path: Path, limit: int, status: str) -> None:
    """More directories than may be watched."""
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "limit").write_text(str(limit))
    finding = check_watches(tmp_path / "logs", tmp_path / "limit")
    assert finding is not None
    expect(finding, status, f"2 directories of logs, {limit} may be watched")
    assert check_watches(tmp_path, tmp_path / "nowhere") is None


def test_files_from_the_future(look: Look, tmp_path: Path) -> None:
    """The clock was set back."""
    ahead = datetime.now().timestamp() + 7200
    os.utime(index(tmp_path), (ahead, ahead))
    expect(look()["clock"], "warning", "the clock was set back", "NTP")


# --- the index --------------------------------------------------------------------------------


def test_an_entry_from_the_future(look: Look, tmp_path: Path) -> None:
    """It stands in front of all others in every answer."""
    ahead = datetime.now(UTC) + timedelta(hours=3)
    record = {"timestamp": ahead.isoformat(), "n": 1}
    logs(tmp_path).write_text(json.dumps(record) + "\n")
    index_logs(settings_in(tmp_path))
    expect(look()["newest entry"], "warning", "in app.ndjson, 1", "set the clock")


def test_a_torn_index(look: Look, tmp_path: Path) -> None:
    """Damage that no query would come across is found."""
    tear(index(tmp_path))
    expect(look()["index"], "problem", "damaged", "mikroscope index --rebuild")


def test_an_index_that_is_none(look: Look, tmp_path: Path) -> None:
    """Another file at its place, or under a name that no index has: that was named by mistake."""
    index(tmp_path).write_bytes(b"something else" * 1000)
    expect(look()["index"], "problem", "damaged")
    (tmp_path / "data" / "notes.txt").write_text("something else")
    found = look(db_path=tmp_path / "data" / "notes.txt")
    expect(found["index"], "problem", "is no index", "name another file")


def test_an_empty_file(look: Look, tmp_path: Path) -> None:
    """The first start makes an index of it."""
    (tmp_path / "data" / "empty.db").touch()
    expect(look(db_path=tmp_path / "data" / "empty.db")["index"], "ok", "the first start makes it")


@pytest.mark.parametrize("change", ["data = zeroblob(9)", "dictionary = 7", "key = key + 99"])
def test_an_entry_that_is_damaged(look: Look, tmp_path: Path, change: str) -> None:
    """SQLite finds nothing wrong in it: each line is read, and all are counted."""
    with closing(sqlite3.connect(index(tmp_path))) as connection, connection:
        if change.startswith("key"):
            connection.execute("DELETE FROM entries WHERE key = (SELECT min(key) FROM entries)")
        else:
            connection.execute(f"UPDATE entries SET {change}")  # noqa: S608
    expect(look()["index"], "problem", "entr", "mikroscope index --rebuild")


def test_an_index_that_was_found_damaged(look: Look, tmp_path: Path) -> None:
    """Somebody who came across damage has marked it."""
    files.sibling(index(tmp_path), ".damaged").touch()
    expect(look()["index"], "problem", "has come across damage", "restart the server")


def test_an_index_of_another_format(look: Look, tmp_path: Path) -> None:
    """The next start makes it anew."""
    with closing(sqlite3.connect(index(tmp_path))) as connection:
        connection.execute("PRAGMA user_version = 1")
    expect(look()["index"], "warning", "has index format 1", "start the server")


def test_a_database_of_somebody_else(look: Look, tmp_path: Path) -> None:
    """Nobody may touch it."""
    index(tmp_path).unlink()
    with closing(sqlite3.connect(index(tmp_path))) as connection:
        connection.execute("CREATE TABLE x(y)")
    expect(look()["index"], "problem", "not an index of MikroScope", "--db")


def test_remains_of_a_rebuild(look: Look, tmp_path: Path) -> None:
    """They are told of, but not while it goes on."""
    with closing(SqliteStore(index(tmp_path))) as store:
        rebuild = store.rebuild()
        expect(look()["rebuild"], "ok", f"process {os.getpid()} makes the index anew")
        rebuild.close()
    files.sibling(index(tmp_path), ".rebuild").touch()
    expect(look()["rebuild"], "warning", "a rebuild that was killed", "start the server")


def test_remains_of_a_restore(look: Look, tmp_path: Path) -> None:
    """What one that was killed has left takes room until the next one."""
    files.sibling(index(tmp_path), ".restoring").touch()
    (tmp_path / ".logs.restoring").mkdir()
    found = look()
    expect(found["restore"], "warning", "mikroscope.db.restoring is left", "restore again")
    expect(found["restore of logs"], "warning", ".logs.restoring is left", "delete it")


def test_old_indexes(look: Look, tmp_path: Path) -> None:
    """What was kept takes room."""
    files.sibling(index(tmp_path), ".damaged-20260218T102000000000Z").write_bytes(b"x" * (3 << 20))
    expect(look()["old indexes"], "warning", "3 MiB are kept in mikroscope.db.damaged-", "delete")


def test_a_long_write_ahead_log(look: Look, tmp_path: Path) -> None:
    """Somebody keeps SQLite from writing it into the file."""
    log = files.sibling(index(tmp_path), "-wal")
    with log.open("wb") as file:
        file.truncate(300 << 20)
    expect(look()["write-ahead log"], "warning", "300 MiB", "lsof")


# --- log files --------------------------------------------------------------------------------


def test_lines_that_do_not_parse(look: Look, tmp_path: Path) -> None:
    """The file and the first reason are told; half a line at the end is none."""
    logs(tmp_path).write_bytes(lines(*range(5000)) + b"[1]\n" + line(1) + b'{"half')
    expect(look()["log lines"], "warning", "app.ndjson (a JSON array", "one JSON object a line")


def test_packed_files_that_are_damaged(look: Look, tmp_path: Path) -> None:
    """Cut off, or no gzip at all; not one that is being written."""
    packed = gzip.compress(lines(*range(1000)))
    for name, content in (("cut", packed[:500]), ("none", b"none"), ("whole", packed)):
        (tmp_path / "logs" / f"{name}.ndjson.gz").write_bytes(content)
    assert "packed files" not in look()
    for path in (tmp_path / "logs").glob("*.gz"):
        os.utime(path, (10**9, 10**9))
    told = look()["packed files"]
    expect(told, "warning", "2 cannot be unpacked to their end: cut.ndjson.gz (", "backup")
    assert "none.ndjson.gz (Not a gzipped file" in told.text


def test_a_name_that_is_not_utf8(
    look: Look, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file is left out, which is a finding like any other, and not on stderr."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/logs/\xff.ndjson")).write_bytes(lines(1))
    expect(look()["names"], "warning", "1 are left out", "rename")
    assert capfd.readouterr().err == ""


def test_log_files_from_the_future(look: Look, tmp_path: Path) -> None:
    """Retention would keep them for longer than it is told to."""
    os.utime(logs(tmp_path), (4 * 10**9, 4 * 10**9))
    expect(look()["file times"], "warning", "app.ndjson", "touch")


def test_old_logs(look: Look, tmp_path: Path) -> None:
    """What a restore has set aside takes room as well."""
    (tmp_path / "logs.before-restore-20260218T102000000000Z").mkdir()
    expect(look()["old logs"], "warning", "logs.before-restore-20260218T", "delete")


def test_files_left_out(look: Look, tmp_path: Path) -> None:
    """A name that no suffix takes, and a .log file without JSON."""
    (tmp_path / "logs" / "access.txt").write_text("x")
    (tmp_path / "logs" / "plain.log").write_text("x")
    (tmp_path / "logs" / ".hidden").write_text("x")
    expect(look()["files left out"], "warning", "2 have no", "--log-file-suffixes")


# --- server, port, TLS, webhook ---------------------------------------------------------------


def test_a_running_server(look: Look, tmp_path: Path) -> None:
    """It answers, and holds the index."""
    with start_server(settings_in(tmp_path)) as server:
        found = look(port=server.port)
        expect(found["server"], "ok", f"process {os.getpid()} uses the index")
        expect(found["port"], "ok", "a server answers")
        assert found["index"].status == "ok"


def test_the_port_of_another_server(look: Look, tmp_path: Path) -> None:
    """A MikroScope that does not use this index is in the way."""
    with start_server(settings_in(tmp_path / "other")) as server:
        expect(look(port=server.port)["port"], "problem", "with another index answers", "--port")


def test_a_server_that_does_not_answer(look: Look, tmp_path: Path) -> None:
    """It uses the index, and is not where it is looked for."""
    with start_server(settings_in(tmp_path)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        expect(look(port=port)["port"], "warning", "nothing answers at", "restart it")


def test_a_server_with_a_problem(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of itself is passed on."""
    with start_server(settings_in(tmp_path, min_free_bytes=1)) as server:
        monkeypatch.setattr("mikroscope.service.free_bytes", lambda _directory: 0)
        expect(look(port=server.port)["port"], "problem", "nearly full", "mend what it names")


class Stranger(http.server.BaseHTTPRequestHandler):
    """Some other service."""

    def do_GET(self) -> None:
        """Answer anything."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"service": "other"}')

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of some other service."""
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_port_that_is_taken(look: Look, stranger: int) -> None:
    """By a service that is not ours, whether it is asked by HTTP or by TLS."""
    expect(look(port=stranger)["port"], "problem", "something else than MikroScope", "--port")


def test_a_host_that_is_not_here(look: Look) -> None:
    """An address of another machine."""
    found = look(port=4310, host="192.0.2.1")
    expect(found["port"], "problem", "cannot be listened on: Cannot assign", "--host")


def test_open_to_all(look: Look) -> None:
    """Without credentials on an address that others reach."""
    expect(look(host="0.0.0.0")["access"], "warning", "may read all logs", "--api-token")  # noqa: S104
    expect(look(host="0.0.0.0", api_token="t")["access"], "ok", "credentials")  # noqa: S104


def certificate(directory: Path, name: str, days: int) -> dict[str, object]:
    """Flags of HTTPS with a certificate that is valid for some days."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-days", str(days)]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    pair = directory / f"{name}.crt", directory / f"{name}.key"
    return {"protocol": "https", "tls_cert_path": pair[0], "tls_key_path": pair[1]}


@pytest.mark.parametrize(("days", "status"), [(5, "warning"), (100, "ok")])
def test_certificates_that_expire(look: Look, tmp_path: Path, days: int, status: str) -> None:
    """In time to renew them."""
    until = datetime.now(UTC) + timedelta(days=days)
    found = look(**certificate(tmp_path, "c", days))["certificate"]
    expect(found, status, f"valid until {until:%Y-%m-}", "renew it" if status != "ok" else "")


def test_a_certificate_that_has_expired(look: Look, tmp_path: Path) -> None:
    """It is said."""
    flags = certificate(tmp_path, "c", 100)
    command = ["openssl", "x509", "-in", "c.crt", "-key", "c.key", "-out", "c.crt", "-days", "-1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this openssl makes no certificates of the past")
    expect(look(**flags)["certificate"], "problem", "expired", "renew it")


def test_a_key_of_another_certificate(look: Look, tmp_path: Path) -> None:
    """They do not belong together."""
    flags = certificate(tmp_path, "c", 9) | {
        "tls_key_path": certificate(tmp_path, "d", 9)["tls_key_path"]
    }
    expect(look(**flags)["certificate"], "problem", "does not belong", "belongs together")


def test_the_webhook(look: Look, stranger: int) -> None:
    """Only with --online anybody tries to reach it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    url = f"http://127.0.0.1:{closed}/key"
    expect(look(alert_webhook_url=url)["webhook"], "ok", "--online")
    expect(look(online=True, alert_webhook_url=url)["webhook"], "problem", "cannot be reached")
    url = f"http://127.0.0.1:{stranger}/key"
    expect(look(online=True, alert_webhook_url=url)["webhook"], "ok", "can be reached")


def test_table_in_a_file_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no terminal gets each finding on one line, however long, and how to mend it."""
    place = "/" + "very-long/" * 30
    print_findings(diagnosis([ok("index", place), problem("port", place, "take another")]))
    index, port, verdict = capsys.readouterr().out.splitlines()
    assert index == f"ok: index: {place}"
    assert port == f"problem: port: {place} -- mend: take another"
    assert verdict == "problems: 1, warnings: 0, ok: 1"
