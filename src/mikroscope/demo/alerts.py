"""The alert demo: a server and a webhook receiver in the background, in their own directory."""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec

from mikroscope.disk import write_json
from mikroscope.errors import MikroScopeError

Mode = Literal["error", "nologs"]

ERRORS = 5  # that `trigger_error` sends; above the threshold
_PATIENCE_S = 20.0
_STEP_S = 0.1
_TAIL = 20
_NEVER = 1_000_000  # a threshold that the demo does not reach
_POLICY: dict[Mode, dict[str, int]] = {
    "error": {"error-threshold": 3, "no-logs-threshold-minutes": 0},
    "nologs": {"error-threshold": _NEVER, "no-logs-threshold-minutes": 1},
}


class Process(msgspec.Struct):
    """A process that the demo has started.

    `started` distinguishes it from a later process with the same id.
    """

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return _start_of(self.pid) == self.started

    def end(self) -> None:
        """Send SIGTERM; return when the process has ended."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGTERM)
        _wait_until(
            lambda: not self.is_alive(),
            f"process {self.pid} did not end within {_PATIENCE_S:g} s of SIGTERM",
        )


class State(msgspec.Struct):
    """What `up` has started, as stored for the other commands."""

    mode: Mode
    server: Process
    catcher: Process
    url: str
    token: str


class AlertDemo:
    """One demo, in its directory. Errors are MikroScopeErrors that say what to do."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._state_file = self._directory / "state.json"
        self._webhooks = self._directory / "webhooks.ndjson"
        self._log = self._directory / "server.log"

    def up(self, mode: Mode) -> State:
        """Start the receiver and the server; return when the server answers."""
        if self._state_file.exists():
            if self._load().server.is_alive():
                raise MikroScopeError(
                    "the demo is already running: stop it with 'mikroscope demo alerts down'"
                )
            self.down()  # the server has died, but perhaps not the receiver
        self._directory.mkdir(parents=True, exist_ok=True)
        self._webhooks.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        catcher_command = [sys.executable, "-m", "mikroscope.demo.alerts", str(self._webhooks)]
        catcher, webhook_url = self._start(catcher_command)
        token = secrets.token_urlsafe(16)
        try:
            server, line = self._start(self._serve_command(mode, webhook_url), token)
        except MikroScopeError:
            catcher.end()
            raise
        url = line.split(" listens on ")[1].split()[0]
        state = State(mode, server, catcher, url, token)
        write_json(self._state_file, state)
        return state

    def trigger_error(self) -> dict[str, object]:
        """Send errors and wait for the webhook; return how many were sent, and its payload."""
        state = self._running()
        before = len(self._received())
        errors = [
            {"level": "ERROR", "event": "demo.failed", "message": f"demo error {number}"}
            for number in range(1, ERRORS + 1)
        ]
        headers = {"authorization": f"Bearer {state.token}"}
        with _client(state) as client:
            client.post("/api/ingest", json=errors, headers=headers).raise_for_status()
        if state.mode == "nologs":
            return {"sent": ERRORS, "webhook": None}
        _wait_until(
            lambda: len(self._received()) > before,
            f"no webhook was received within {_PATIENCE_S:g} s: "
            "see 'mikroscope demo alerts status' and 'mikroscope demo alerts logs'",
        )
        return {"sent": ERRORS, "webhook": self._received()[before]}

    def status(self) -> dict[str, object]:
        """Return what `/health` reports about alerting."""
        state = self._running()
        with _client(state) as client:
            health = client.get("/health").json()
        return {"url": state.url, "mode": state.mode} | {
            name: health[name] for name in ("alerting", "alertPolicy")
        }

    def logs(self) -> dict[str, object]:
        """Return the last webhooks, and the last lines of the server's log."""
        if not self._state_file.exists():
            raise _not_running()
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return {"webhooks": self._received()[-_TAIL:], "serverLog": lines[-_TAIL:]}

    def down(self) -> None:
        """Stop the server and the receiver; their files stay."""
        if not self._state_file.exists():
            raise _not_running()
        state = self._load()
        state.server.end()
        state.catcher.end()
        self._state_file.unlink()

    def _serve_command(self, mode: Mode, webhook_url: str) -> list[str]:
        flags: dict[str, object] = {
            "port": 0,
            "logs": self._directory / "logs",
            "db": self._directory / "data" / "mikroscope.db",
            "min-free-bytes": 0,
            "alert-webhook-url": webhook_url,
            "alert-interval-ms": 1000,
            "alert-window-minutes": 1,
            "alert-cooldown-ms": 5000,
        }
        flags |= {f"alert-{name}": value for name, value in _POLICY[mode].items()}
        command = [sys.executable, "-m", "mikroscope", "serve"]
        return command + [f"--{name}={value}" for name, value in flags.items()]

    def _start(self, command: list[str], token: str = "") -> tuple[Process, str]:
        """Start a process that outlives this one; return it and the first line it prints."""
        # The settings in the environment are not for the demo.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MIKROSCOPE_")}
        if token:
            environment["MIKROSCOPE_INGEST_PRODUCERS"] = f"{token}=demo"
        with self._log.open("ab") as log:
            started = subprocess.Popen(  # noqa: S603 -- our own program
                command,
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        if started.stdout is None:
            raise AssertionError("stdout is a pipe")
        with started.stdout as output:
            ready, _, _ = select.select([output], [], [], _PATIENCE_S)
            line = output.readline().decode().strip() if ready else ""
        if not line:
            started.kill()
            started.wait()
            raise MikroScopeError(f"the demo did not start: see {self._log}")
        started.returncode = 0  # nothing waits for it: keep Popen from warning about that
        return Process(started.pid, _start_of(started.pid)), line

    def _running(self) -> State:
        if not self._state_file.exists():
            raise _not_running()
        state = self._load()
        if not state.server.is_alive():
            raise MikroScopeError(
                f"the demo's server has ended (see {self._log}): "
                "run 'mikroscope demo alerts down', then 'mikroscope demo alerts up'"
            )
        return state

    def _load(self) -> State:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError) as error:
            raise MikroScopeError(f"{self._state_file} cannot be read: {error}") from error

    def _received(self) -> list[Any]:
        if not self._webhooks.exists():
            return []
        return [json.loads(line) for line in self._webhooks.read_text().splitlines()]


@contextlib.contextmanager
def _client(state: State) -> Iterator[httpx.Client]:
    try:
        with httpx.Client(base_url=state.url, timeout=_PATIENCE_S, trust_env=False) as client:
            yield client
    except httpx.HTTPError as error:
        raise MikroScopeError(
            f"the demo's server at {state.url} does not answer: {error}"
        ) from error


def _not_running() -> MikroScopeError:
    return MikroScopeError("the demo is not running: start it with 'mikroscope demo alerts up'")


def _wait_until(condition: Any, problem: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise MikroScopeError(problem)
        time.sleep(_STEP_S)


def _start_of(pid: int) -> str:
    """Return the start time of a process as the system shows it; empty if it does not run."""
    with contextlib.suppress(OSError):
        # The second field is the program's name in brackets and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def catch_webhooks(file: Path) -> None:
    """Print a URL; then append each body posted to it to a file, a line each, until SIGTERM."""

    class Catcher(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with file.open("ab") as opened:
                opened.write(body.replace(b"\n", b" ") + b"\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Catcher) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/webhook\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    catch_webhooks(Path(sys.argv[1]))
