"""A user who runs the installer, and a site with releases of a dummy server."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.release import PYTHON, Release, output, run

SCRIPT = ROOT / "scripts" / "install.sh"
# A dummy server: the parts that the installer uses, without the megabytes.
STAND_IN = """#!/bin/sh
exec {python} -I -c '
import http.server, sys
VERSION, BEHAVIOUR = "{version}", "{behaviour}"
if sys.argv[1:] == ["--version"]:
    sys.exit(print(f"mikroscope, version {{VERSION}}"))
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if BEHAVIOUR == "sick" else 200)
        self.end_headers()
        self.wfile.write(b"{{\\"service\\": \\"mikroscope\\"}}")
if BEHAVIOUR == "broken":
    sys.exit("mikroscope: it is broken")
server = http.server.HTTPServer(("127.0.0.1", 0), Health)
if BEHAVIOUR == "slow":
    print("starting", file=sys.stderr, flush=True)
    server.serve_forever()
print(f"MikroScope listens on http://127.0.0.1:{{server.server_port}}", flush=True)
server.serve_forever()
' "$@"
"""


def write_release(
    directory: Path,
    tag: str,
    version: str = "0.1.0",
    behaviour: str = "",
    ballast: int = 0,
    modules: int = 0,
) -> Release:
    """Write a release of the dummy server with the packages that the installer's steps need."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Release(directory, version, tag)
    program = STAND_IN.format(python=PYTHON, version=version, behaviour=behaviour)
    files = {"mikroscope": program.encode(), "ballast": os.urandom(ballast)}
    files |= {"install.sh": SCRIPT.read_bytes()}
    files["install_steps.py"] = (ROOT / "scripts" / "install_steps.py").read_bytes()
    package = ROOT / "src" / "mikroscope"
    for path in (
        *package.glob("*.py"),
        *package.glob("settings/*.py"),
        *package.glob("records/*.py"),
        *package.glob("errors/*.py"),
    ):
        files[f"lib/mikroscope/{path.relative_to(package)}"] = path.read_bytes()
    files |= {f"lib/module_{number}.py": b"x = 1\n" * 500 for number in range(modules)}
    with tarfile.open(found.archive, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{found.name}/{name}")
            entry.size, entry.mode = len(content), 0o755 if name == "mikroscope" else 0o644
            archive.addfile(entry, io.BytesIO(content))
    write_sums(directory)
    return found


def write_sums(directory: Path) -> None:
    """Write SHA256SUMS.txt for the files in a directory."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.name != "SHA256SUMS.txt"
    ]
    (directory / "SHA256SUMS.txt").write_text("".join(sums))


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory without logging."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Site:
    """A web server with the files of a release."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=directory))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class User:
    """A user who installs into one home directory."""

    def __init__(self, home: Path, site: Site, tag: str) -> None:
        self.home = home
        self.site = site
        self.tag = tag
        self.directory = home / ".local" / "share" / "mikroscope"
        self.command = home / ".local" / "bin" / "mikroscope"
        self.config = self.directory / "mikroscope.config.json"
        self.env = {
            "MIKROSCOPE_INSTALL_BASE_URL": site.url,
            "MIKROSCOPE_INSTALL_NONINTERACTIVE": "1",
            "MIKROSCOPE_PYTHON": PYTHON,
        }

    def publish(self, version: str, behaviour: str = "", ballast: int = 0) -> Release:
        """Replace the site's files with a release of the dummy server."""
        for path in self.site.directory.iterdir():
            path.unlink()
        return write_release(self.site.directory, self.tag, version, behaviour, ballast)

    def install(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the installer."""
        return run(["sh", str(SCRIPT), *arguments], self.home, **self.env | more)

    def installs(self, *arguments: str, **more: str) -> str:
        """Run the installer, which must succeed; return its stdout."""
        done = self.install(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_refused(self, *arguments: str, **more: str) -> str:
        """Run the installer, which must fail with one line; return that line."""
        done = self.install(*arguments, **more)
        assert done.returncode == 1, done.stdout
        assert re.fullmatch(r"install\.sh: [^\n]+\n", done.stderr), done.stderr
        return done.stderr

    @property
    def version(self) -> str:
        """Return the version that the installed command prints."""
        return output([str(self.command), "--version"], self.home).split()[-1]

    @property
    def versions(self) -> list[str]:
        """Return the versions in the directory."""
        return sorted(path.name.split("-")[0] for path in (self.directory / "versions").iterdir())

    def left(self) -> set[str]:
        """Return every file and link in the home."""
        found = set()
        for directory, names, files in os.walk(self.home):  # files may vanish meanwhile
            links = [name for name in names if (Path(directory) / name).is_symlink()]
            found |= {Path(directory) / name for name in links + files}
        return {path.relative_to(self.home).as_posix() for path in found}


def only_programs(directory: Path, *more: str) -> str:
    """Return a PATH with the programs that every system has, and some more."""
    names = [
        "basename",
        "cat",
        "chmod",
        "cp",
        "df",
        "dirname",
        "find",
        "grep",
        "ln",
        "ls",
        "mkdir",
        "mv",
    ]
    names += ["readlink", "rm", "rmdir", "sed", "sh", "stty", "tail", "tr", *more]
    directory.mkdir()
    for name in names:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is missing here")
        (directory / name).symlink_to(path)
    return str(directory)
