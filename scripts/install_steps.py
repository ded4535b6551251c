"""What the installer does with a version it has unpacked: write the config file, try it out.

It lies beside the version's `mikroscope`, and runs with that version's packages.
"""

import argparse
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mikroscope.errors import MikroScopeError
from mikroscope.settings import Option, options, resolve_settings
from mikroscope.settings_values import parse

_PATIENCE_S = 60.0  # a cold disk, a busy machine; a version that works needs a second


def main() -> None:
    """Run a step; what is wrong is one line on stderr, and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    arguments = _arguments()
    try:
        if arguments.step == "write-config":
            write_config(arguments.config, arguments.home, arguments.directory, os.environ)
        else:
            try_out(arguments.config)
    except (MikroScopeError, OSError, ValueError) as error:
        sys.exit(" ".join(str(error).split()))


def write_config(config: Path, home: Path, directory: Path, env: Any) -> None:
    """Write the options that are in the environment, and where logs and index lie.

    Relative paths count from `directory`. The file is never seen half written, is for its owner
    only, and an existing one is never replaced (FileExistsError).
    """
    content: dict[str, object] = {
        "logsPath": str(home / "logs"),
        "dbPath": str(home / "data" / "mikroscope.db"),
        "host": "127.0.0.1",
        "port": 4310,
    }
    for option in options():
        if option.key and env.get(option.env, "").strip():
            content[option.key] = _as_json(option, env[option.env], directory)
    draft = config.with_name(f"{config.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    try:
        resolve_settings(config_file_path=draft, env={})
        os.link(draft, config)
    finally:
        draft.unlink()


def try_out(config: Path) -> None:
    """Start the server with this config, but on a free port and with a directory of its own.

    Returns when `/health` has answered. Raises MikroScopeError with what the server said.
    """
    with tempfile.TemporaryDirectory(prefix="mikroscope-trial-") as name:
        directory = Path(name)
        with _server(directory, config) as (server, log):
            url = _url(server)
            if url is None:
                raise MikroScopeError(f"the server does not start: {_last_line(log)}")
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/health", timeout=_PATIENCE_S) as answer:
                if json.load(answer).get("service") != "mikroscope":
                    raise MikroScopeError("/health of the server answers something else")


@contextlib.contextmanager
def _server(directory: Path, config: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    log = directory / "server.log"
    command = [str(Path(__file__).parent / "mikroscope"), "serve", "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", "0", "--protocol", "http"]
    command += ["--logs", "logs", "--db", "index.db", "--min-free-bytes", "0"]
    command += ["--alert-config-path", "alerts.json"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MIKROSCOPE_")}
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield server, log
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_PATIENCE_S)
        server.kill()
        server.wait()


def _url(server: "subprocess.Popen[str]") -> str | None:
    """What the server says on starting; None if it ends, or says nothing for too long."""
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], _PATIENCE_S)
    found = re.search(r"listens on (\S+)", server.stdout.readline()) if ready else None
    return found[1] if found else None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it says nothing")


def _as_json(option: Option, raw: str, directory: Path) -> object:
    value = parse(option, raw, option.env)
    if isinstance(value, Path):
        return str(directory / value)
    return value if isinstance(value, int) else raw


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=["write-config", "try-out"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="the directory that is installed into")
    parser.add_argument("--directory", type=Path, help="where the user stands")
    return parser.parse_args()


if __name__ == "__main__":
    main()
