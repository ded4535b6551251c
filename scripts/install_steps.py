"""The installer's steps with an unpacked version: write the config file, test the server.

The script is next to the version's `mikroscope`, and runs with the packages of that version.
"""

import argparse
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mikroscope.errors import MikroScopeError
from mikroscope.settings.options import Option, options, resolve_settings
from mikroscope.settings.values import parse

_PATIENCE_S = 60.0  # a cold disk, a busy machine; a version that works needs a second
_OPTIONS = {option.env: option for option in options()}
_HOST, _PORT = "MIKROSCOPE_HOST", "MIKROSCOPE_PORT"
_USERNAME, _PASSWORD = "MIKROSCOPE_AUTH_USERNAME", "MIKROSCOPE_AUTH_PASSWORD"
_QUESTIONS = {
    "MIKROSCOPE_LOGS_PATH": "Directory of the logs",
    "MIKROSCOPE_DB_PATH": "File of the index",
    "MIKROSCOPE_API_TOKEN": "Token required by the API; "
    "without one anyone who can reach the port may query",
    "MIKROSCOPE_INGEST_PRODUCERS": "Producers that may send logs, as token=producer pairs",
    _USERNAME: "User name for Basic auth",
}


def main() -> None:
    """Run a step; an error is one line on stderr, with exit code 1."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(1)
    )  # so that the server it has started is stopped
    arguments = _arguments()
    try:
        if arguments.step == "write-config":
            configure(arguments, os.environ | _defaults(arguments.home))
        else:
            try_out(arguments.config, arguments.work)
    except (MikroScopeError, OSError, ValueError) as error:
        sys.exit(" ".join(str(error).split()))


# --- the config file ------------------------------------------------------------------------


def configure(arguments: argparse.Namespace, env: dict[str, str]) -> None:
    """Write the config file from `env`, with `--ask` after asking on the terminal."""
    if not arguments.ask:
        write_config(arguments.config, arguments.directory, arguments.work, env)
        if problem := unusable(env):
            print(f"warning: {problem}")
        return
    terminal = Terminal()
    while True:
        ask_all(terminal, env)
        try:
            write_config(arguments.config, arguments.directory, arguments.work, env)
        except MikroScopeError as error:
            terminal.say(str(error))
        else:
            return


def write_config(config: Path, directory: Path, work: Path, env: dict[str, str]) -> None:
    """Write the options that are set in `env`.

    Relative paths are relative to `directory`. The file appears only when it is complete, is
    readable by its owner only, and never replaces an existing one (FileExistsError). `work` is on
    the same disk.
    """
    content = {
        option.key: _as_json(option, env[option.env], directory)
        for option in options()
        if option.key and env.get(option.env, "").strip()
    }
    with tempfile.NamedTemporaryFile("w", dir=work) as draft:  # of mode 0600
        json.dump(content, draft, indent=2)
        draft.write("\n")
        draft.flush()
        try:
            resolve_settings(config_file_path=draft.name, env={})
        except MikroScopeError as error:
            raise MikroScopeError(str(error).replace(draft.name, config.name)) from None
        os.link(draft.name, config)


def unusable(env: dict[str, str]) -> str | None:
    """Return why a server could not listen at its address now; None if it could."""
    host, port = env[_HOST], int(str(parse(_OPTIONS[_PORT], env[_PORT], _PORT)))
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return f"cannot listen on {host}:{port} now: {error.strerror}"
    return None


def _defaults(home: Path) -> dict[str, str]:
    """Return the values of the environment, else the installer's own defaults."""
    defaults = {
        _HOST: "127.0.0.1",
        _PORT: "4310",
        "MIKROSCOPE_LOGS_PATH": str(home / "logs"),
        "MIKROSCOPE_DB_PATH": str(home / "data" / "mikroscope.db"),
    }
    return {name: os.environ.get(name, "").strip() or value for name, value in defaults.items()}


def _as_json(option: Option, raw: str, directory: Path) -> object:
    value = parse(option, raw, option.env)
    if isinstance(value, Path):
        return str(directory / value)
    return value if isinstance(value, int) else raw


# --- the questions --------------------------------------------------------------------------


class Terminal:
    """The user's terminal, wherever standard input and output go."""

    def __init__(self) -> None:
        # Both stay open until this process ends.
        self._input = open("/dev/tty", errors="surrogateescape")  # noqa: SIM115
        self._output = open("/dev/tty", "w", errors="surrogateescape")  # noqa: SIM115

    def say(self, text: str, end: str = "\n") -> None:
        """Print a line on the terminal."""
        print(text, end=end, file=self._output, flush=True)

    def ask(self, question: str, *, secret: bool) -> str:
        """Return the line typed, hidden if secret; raise MikroScopeError at the end of input."""
        with self._hidden() if secret else contextlib.nullcontext():
            self.say(question, end="")
            line = self._input.readline()
        if not line:
            raise MikroScopeError("input ended before all questions were answered")
        return line.rstrip("\n")

    @contextlib.contextmanager
    def _hidden(self) -> Iterator[None]:
        before = termios.tcgetattr(self._input)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(self._input, termios.TCSADRAIN, silent)
        try:
            yield
        finally:
            termios.tcsetattr(self._input, termios.TCSADRAIN, before)
            self.say("")


def ask_all(terminal: Terminal, env: dict[str, str]) -> None:
    """Put the answer to each question into `env`; Enter keeps the value that is already there."""
    _ask_address(terminal, env)
    for name, question in _QUESTIONS.items():
        _ask(terminal, env, name, question)
    if env[_USERNAME]:
        _ask(terminal, env, _PASSWORD, "Password for that user")
    else:
        env.pop(_PASSWORD, None)


def _ask_address(terminal: Terminal, env: dict[str, str]) -> None:
    """Ask until a server can listen on the address, or the user confirms it."""
    shown = None
    while True:
        _ask(terminal, env, _HOST, "Address to listen on")
        _ask(terminal, env, _PORT, "Port")
        problem = unusable(env)
        if problem in (None, shown):
            return
        terminal.say(f"{problem}; enter another address, or press Enter to keep this one")
        shown = problem


def _ask(terminal: Terminal, env: dict[str, str], name: str, question: str) -> None:
    """Ask until the answer is a valid value of the option."""
    option, default = _OPTIONS[name], env.get(name, "")
    may_be_none = option.default == "none" and name != _PASSWORD
    offer = "as in the environment" if option.secret else default
    offer += ", - for none" if may_be_none else ""
    while True:
        typed = terminal.ask(f"{question} [{offer if default else 'none'}]: ", secret=option.secret)
        answer = typed if typed.strip() else default
        if answer.strip() == "-" and may_be_none:
            answer = ""
        if option.kind == "path":
            answer = os.path.expanduser(answer)
        try:
            _ = parse(option, answer, question) if answer else None
        except MikroScopeError as error:
            terminal.say(str(error))
        else:
            env[name] = answer
            return


# --- the trial ------------------------------------------------------------------------------


def try_out(config: Path, work: Path) -> None:
    """Start the server with this config, but on a free port and in a directory of its own.

    Return when `/health` has answered. Raise MikroScopeError with the last line of its log.
    """
    with tempfile.TemporaryDirectory(prefix="trial-", dir=work) as name:
        directory = Path(name)
        with _server(directory, config) as (server, log):
            url = _url(server)
            if url is None:
                raise MikroScopeError(f"the server does not start: {_last_line(log)}")
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/health", timeout=_PATIENCE_S) as answer:
                if json.load(answer).get("service") != "mikroscope":
                    raise MikroScopeError("another program answered /health")


@contextlib.contextmanager
def _server(directory: Path, config: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    log = directory / "server.log"
    command = [str(Path(__file__).parent / "mikroscope"), "serve", "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", "0", "--protocol", "http"]
    command += ["--logs", "logs", "--db", "index.db", "--min-free-bytes", "0"]
    command += ["--alert-config-path", "alerts.json"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MIKROSCOPE_")}
    asked: list[int] = []  # signals that arrive while the server starts: it must be stopped first
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        signal.signal(signal.SIGTERM, before)
        if asked:
            sys.exit(1)
        yield server, log
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_PATIENCE_S)
        server.kill()
        server.wait()


def _url(server: "subprocess.Popen[str]") -> str | None:
    """Return the URL in the server's first line; None if it exits or prints nothing in time."""
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], _PATIENCE_S)
    found = re.search(r"listens on (\S+)", server.stdout.readline()) if ready else None
    return found[1] if found else None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it logged nothing")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=["write-config", "try-out"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a directory for unfinished files")
    parser.add_argument("--home", type=Path, help="the install directory")
    parser.add_argument("--directory", type=Path, help="the user's current directory")
    parser.add_argument("--ask", action="store_true", help="ask on the terminal")
    return parser.parse_args()


if __name__ == "__main__":
    main()
