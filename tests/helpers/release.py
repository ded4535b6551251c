"""A release of this tree, and an environment in which MikroScope is not installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import ROOT

EPOCH = 1_790_000_000  # the date of test releases
# The interpreter without our environment's packages.
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
# Variables that let package clients reach their registries.
_NETWORK = ("PIP_", "UV_", "SSL_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_")


class Release(NamedTuple):
    """A release in a directory."""

    directory: Path
    version: str
    tag: str  # linux-x86_64-cp311

    @property
    def name(self) -> str:
        """Return the name of the archive without its suffix, and of the directory in it."""
        return f"mikroscope-{self.version}-{self.tag}"

    @property
    def wheel(self) -> Path:
        """Return the path of the wheel."""
        return next(self.directory.glob("*.whl"))

    @property
    def archive(self) -> Path:
        """Return the path of the archive for this machine."""
        return self.directory / f"{self.name}.tar.gz"


def build_release(out: Path, root: Path = ROOT, *arguments: str) -> Release:
    """Build a release for this machine from a source tree."""
    done = run_release(root, "--out", str(out), *arguments)
    assert done.returncode == 0, done.stderr
    return find_release(out)


def find_release(out: Path) -> Release:
    """Return the release in a directory."""
    archive = next(path.name for path in out.glob("*.tar.gz") if "-cp3" in path.name)
    _, version, tag = archive.removesuffix(".tar.gz").split("-", 2)
    return Release(out, version, tag)


def run_release(
    root: Path, *arguments: str, epoch: str = str(EPOCH)
) -> "subprocess.CompletedProcess[str]":
    """Run the script that builds releases."""
    command = [sys.executable, str(root / "scripts" / "release.py"), *arguments]
    env = os.environ | {"SOURCE_DATE_EPOCH": epoch}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def copy_sources(target: Path) -> Path:
    """Copy the files that belong to this tree."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user without MikroScope, with a home and the system PATH."""
    home.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name.startswith(_NETWORK)}
    env["PATH"] = f"{Path(PYTHON).parent}:/usr/local/bin:/usr/bin:/bin"
    # Tests share downloaded packages.
    caches = Path.home() / ".cache"
    env |= {"PIP_CACHE_DIR": str(caches / "pip"), "UV_CACHE_DIR": str(caches / "uv")}
    return env | {"HOME": str(home), "LC_ALL": "C.UTF-8"} | more


def run(command: list[str], home: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a bare environment, in its home."""
    env = bare_environment(home, **more)
    return subprocess.run(
        command, cwd=home, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def output(command: list[str], home: Path, **more: str) -> str:
    """Run a program that must succeed; return its stdout."""
    done = run(command, home, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documented(name: str) -> str:
    """Return the block of commands in docs/install.md after the comment with this name."""
    text = (ROOT / "docs" / "install.md").read_text()
    found = re.search(rf"<!-- test: {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]
