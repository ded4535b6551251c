"""The installer on a fresh machine, and properties of the script."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mikroscope import __version__
from mikroscope.settings.options import options
from tests.helpers.forms import amount
from tests.helpers.installer import SCRIPT, Site, User, only_programs
from tests.helpers.paths import ROOT
from tests.helpers.release import PYTHON, Release, bare_environment, documented, output


@pytest.mark.long
def test_real_release(release: Release, tmp_path: Path) -> None:
    """The installed release, downloaded over HTTP and verified, indexes and answers."""
    site = Site(release.directory)
    user = User(tmp_path / "it's a home", site, release.tag)
    user.home.mkdir()
    try:
        user.installs()
    finally:
        site.close()
    (user.directory / "logs").mkdir()
    (user.directory / "logs" / "app.ndjson").write_text('{"message":"found"}\n')
    output([str(user.command), "index"], user.home)
    page = json.loads(output([str(user.command), "query"], user.home))
    assert [entry["message"] for entry in page["entries"]] == ["found"]


@pytest.mark.parametrize("words", ["installer", "provisioning"])
def test_as_documented(user: User, words: str) -> None:
    """The commands of docs/install.md install the program, and those of uninstalling remove it."""
    shutil.copy(SCRIPT, user.site.directory)
    env = {"RELEASE": user.site.url, "MIKROSCOPE_PYTHON": PYTHON}
    output(["sh", "-euc", documented(words)], user.home, **env)
    assert user.version == "0.1.0"
    output(["sh", "-euc", documented("uninstall")], user.home)
    assert user.left() == {".local/share/mikroscope/mikroscope.config.json"}


def test_lines_for_systemd(user: User, tmp_path: Path) -> None:
    """The lines in deploy/systemd/README.md install everything where the units expect it."""
    shutil.copy(SCRIPT, user.site.directory)
    text = (ROOT / "deploy" / "systemd" / "README.md").read_text()
    found = re.search(r"^curl .*?MIKROSCOPE_DB_PATH=\S+ sh$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    lines = re.sub("=/(opt|usr|var)/", rf"={tmp_path}/\1/", found[0])
    env = {"RELEASE": user.site.url, "MIKROSCOPE_PYTHON": PYTHON}
    output(["sh", "-euc", lines], user.home, **env)
    assert (tmp_path / "opt" / "mikroscope" / "current" / "mikroscope").exists()
    assert (tmp_path / "usr" / "local" / "bin" / "mikroscope").exists()


@pytest.mark.parametrize("way", ["uv", "pipx", "pip", "uvx", "pipx run", "installer", "archive"])
def test_lines_of_the_readme(way: str) -> None:
    """The README's lines equal those of docs/install.md, which a test runs."""
    readme = (ROOT / "README.md").read_text().splitlines()
    lines = documented(way).splitlines()
    assert lines
    assert set(lines) <= set(readme)


def test_from_a_directory(user: User, release: Release) -> None:
    """The installer accepts a directory with an archive in place of an address."""
    user.installs(MIKROSCOPE_INSTALL_BASE_URL=str(user.site.directory))
    assert user.version == "0.1.0"


def test_config(user: User) -> None:
    """The config file has the defaults and absolute paths, and only its owner can read it."""
    user.installs()
    assert json.loads(user.config.read_text()) == {
        "logsPath": str(user.directory / "logs"),
        "dbPath": str(user.directory / "data" / "mikroscope.db"),
        "host": "127.0.0.1",
        "port": 4310,
    }
    assert user.config.stat().st_mode & 0o777 == 0o600


def test_config_from_the_environment(user: User) -> None:
    """Options from the environment are in the config file, with relative paths made absolute."""
    user.installs(
        MIKROSCOPE_PORT="4999",
        MIKROSCOPE_LOGS_PATH="my logs",
        MIKROSCOPE_API_TOKEN='to"ken',
        MIKROSCOPE_AUTH_USERNAME="ann",
        MIKROSCOPE_AUTH_PASSWORD="it's",
        MIKROSCOPE_INGEST_ASYNC_QUEUE="yes",
    )
    content = json.loads(user.config.read_text())
    assert content["port"] == 4999
    assert content["logsPath"] == str(user.home / "my logs")
    assert (content["apiToken"], content["authUsername"]) == ('to"ken', "ann")
    assert (content["authPassword"], content["ingestAsyncQueue"]) == ("it's", True)


def test_chosen_directories(user: User, tmp_path: Path) -> None:
    """Both directories are configurable, with any characters in their names."""
    chosen = {
        "MIKROSCOPE_INSTALL_DIR": str(tmp_path / "an 'odd' $name"),
        "MIKROSCOPE_BIN_DIR": str(tmp_path / "bin `too`"),
    }
    user.installs(**chosen)
    command = tmp_path / "bin `too`" / "mikroscope"
    assert output([str(command), "--version"], user.home) == "mikroscope, version 0.1.0\n"
    user.installs("--uninstall", "--purge", **chosen)
    assert not (tmp_path / "an 'odd' $name").exists()
    assert not command.exists()


def test_careful_umask(user: User) -> None:
    """A user whose umask hides files from others can install for a service with another user."""
    before = os.umask(0o077)
    try:
        user.installs()
    finally:
        os.umask(before)
    found = [path for path in (user.directory / "versions").rglob("*") if path != user.config]
    assert {path.stat().st_mode & 0o055 for path in found} <= {0o044, 0o055}
    assert user.directory.stat().st_mode & 0o777 == 0o755


def test_path_line(user: User) -> None:
    """If the command's directory is not in PATH, the installer prints a line that adds it."""
    printed = user.installs()
    line = next(line for line in printed.splitlines() if "export PATH=" in line)
    script = f"{line}; command -v mikroscope"
    assert output(["sh", "-c", script], user.home) == f"{user.command}\n"


def test_no_path_line(user: User) -> None:
    """If the directory is in PATH already, no such line is printed."""
    path = f"{user.command.parent}:{bare_environment(user.home)['PATH']}"
    assert "export PATH" not in user.installs(PATH=path)


def test_nothing_else_stays(user: User) -> None:
    """An installation leaves only its directory and the command, and no temporary files."""
    user.installs()
    left = {path.split("/versions/")[0] for path in user.left()}
    share = ".local/share/mikroscope"
    assert left == {
        ".local/bin/mikroscope",
        share,
        f"{share}/bin.path",
        f"{share}/current",
        f"{share}/mikroscope.config.json",
    }


def test_piped(user: User) -> None:
    """The script works the same when it is read from standard input, as in `curl … | sh`."""
    done = subprocess.run(
        ["sh"],
        input=SCRIPT.read_text(),
        cwd=user.home,
        env=bare_environment(user.home, **user.env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert user.version == "0.1.0"


@pytest.mark.long
def test_cut_off(user: User) -> None:
    """A truncated script does nothing, wherever it is cut off."""
    text, parts = SCRIPT.read_text(), amount(10, 200)
    env = bare_environment(user.home, **user.env)
    for size in range(1, parts):
        part = text[: len(text) * size // parts]
        subprocess.run(["sh", "-c", part], cwd=user.home, env=env, capture_output=True, check=False)
    assert not user.left()


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_fetching(user: User, tmp_path: Path, program: str) -> None:
    """The installer works with either curl or wget."""
    path = only_programs(tmp_path / "programs", program)
    user.installs(PATH=path)
    assert user.version == "0.1.0"


def test_neither_curl_nor_wget(user: User, tmp_path: Path) -> None:
    """Without curl and wget, the installer prints one line that says what to do."""
    assert "curl or wget is needed" in user.is_refused(PATH=only_programs(tmp_path / "programs"))


def test_command_uses_the_config(user: User, tmp_path: Path) -> None:
    """The command uses the installed config, unless another one is named or is in the directory."""
    user.installs()
    launcher = (user.directory / "current").resolve() / "mikroscope"
    launcher.write_text('#!/bin/sh\necho "${MIKROSCOPE_CONFIG_PATH:-none}"\n')
    assert output([str(user.command)], user.home).strip() == str(user.config)
    assert output([str(user.command)], user.home, MIKROSCOPE_CONFIG_PATH="a").strip() == "a"
    (user.home / "mikroscope.config.json").write_text("{}")
    assert output([str(user.command)], user.home).strip() == "none"


def test_wrong_value(user: User) -> None:
    """A value that the server would refuse is refused, and nothing is installed."""
    line = user.is_refused(MIKROSCOPE_PORT="many")
    assert "MIKROSCOPE_PORT: expected a whole number from 0 to 65535, got 'many'" in line
    assert not user.left()


def test_wrong_combination(user: User) -> None:
    """A combination that the server would refuse is refused, too."""
    assert "--auth-password" in user.is_refused(MIKROSCOPE_AUTH_USERNAME="ann")
    assert not user.left()


def test_unknown_argument(user: User) -> None:
    """An unknown argument is a usage error."""
    done = user.install("--unistall")
    assert done.returncode == 2
    assert done.stderr == "install.sh: --unistall: unknown argument (see --help)\n"


def test_help_names_every_variable(user: User) -> None:
    """--help names each variable that the script reads, and only existing options."""
    told = set(re.findall(r"MIKROSCOPE_[A-Z_]+", user.installs("--help")))
    read = set(re.findall(r"(?<!\\)\$\{(MIKROSCOPE_[A-Z_]+)", SCRIPT.read_text()))
    assert read <= told
    assert told - read <= {option.env for option in options()}


@pytest.mark.parametrize("script", ["install.sh", "launcher.sh", "ensure_chromium.sh"])
def test_posix(script: str) -> None:
    """The scripts are POSIX sh."""
    if shutil.which("dash") is None:
        pytest.skip("dash is missing: apt-get install dash")
    subprocess.run(["dash", "-n", str(ROOT / "scripts" / script)], check=True)


@pytest.mark.parametrize("script", ["install.sh", "launcher.sh", "ensure_chromium.sh"])
def test_shellcheck(script: str) -> None:
    """shellcheck finds no fault in the scripts."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    command = ["shellcheck", "--shell=sh", str(ROOT / "scripts" / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_version_is_ours(release: Release) -> None:
    """The release has the version of the package."""
    assert release.version == __version__
