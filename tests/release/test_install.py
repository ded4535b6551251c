"""The installer: fresh, again, to a newer version, and everything that can go wrong on the way."""

import hashlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import termios
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mikroscope import __version__
from mikroscope.settings.options import options
from tests.helpers.paths import ROOT
from tests.helpers.release import PYTHON, Release, bare_environment, documented, output, run
from tests.helpers.waiting import DEADLINE_S, wait_until

SCRIPT = ROOT / "scripts" / "install.sh"
# Stands for a server: what the installer sees of one, without the megabytes.
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
    """A release of a stand-in, whose packages are those that the installer's steps need."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Release(directory, version, tag)
    program = STAND_IN.format(python=PYTHON, version=version, behaviour=behaviour)
    files = {"mikroscope": program.encode(), "ballast": os.urandom(ballast)}
    files |= {"install.sh": SCRIPT.read_bytes()}
    files["install_steps.py"] = (ROOT / "scripts" / "install_steps.py").read_bytes()
    settings = ("settings/__init__", "settings/options", "settings/sources", "settings/values")
    for name in ("__init__", "_version", "errors", *settings):
        files[f"lib/mikroscope/{name}.py"] = (ROOT / f"src/mikroscope/{name}.py").read_bytes()
    files |= {f"lib/module_{number}.py": b"x = 1\n" * 500 for number in range(modules)}
    with tarfile.open(found.archive, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{found.name}/{name}")
            entry.size, entry.mode = len(content), 0o755 if name == "mikroscope" else 0o644
            archive.addfile(entry, io.BytesIO(content))
    write_sums(directory)
    return found


def write_sums(directory: Path) -> None:
    """SHA256SUMS.txt for what is there."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.name != "SHA256SUMS.txt"
    ]
    (directory / "SHA256SUMS.txt").write_text("".join(sums))


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory, without a word."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Site:
    """The place on the web where the files of a release are found."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=directory))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class User:
    """Somebody who installs; everything lies in one home."""

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
        """Put a release of a stand-in on the site, in the place of what is there."""
        for path in self.site.directory.iterdir():
            path.unlink()
        return write_release(self.site.directory, self.tag, version, behaviour, ballast)

    def install(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the installer."""
        return run(["sh", str(SCRIPT), *arguments], self.home, **self.env | more)

    def installs(self, *arguments: str, **more: str) -> str:
        """Run the installer, which must succeed; what it prints."""
        done = self.install(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_refused(self, *arguments: str, **more: str) -> str:
        """Run the installer, which must fail with one line; that line."""
        done = self.install(*arguments, **more)
        assert done.returncode == 1, done.stdout
        assert re.fullmatch(r"install\.sh: [^\n]+\n", done.stderr), done.stderr
        return done.stderr

    @property
    def version(self) -> str:
        """What the command says."""
        return output([str(self.command), "--version"], self.home).split()[-1]

    @property
    def versions(self) -> list[str]:
        """Which versions lie in the directory."""
        return sorted(path.name.split("-")[0] for path in (self.directory / "versions").iterdir())

    def left(self) -> set[str]:
        """Every file and link in the home."""
        found = set()
        for directory, names, files in os.walk(self.home):  # which bears that things vanish
            links = [name for name in names if (Path(directory) / name).is_symlink()]
            found |= {Path(directory) / name for name in links + files}
        return {path.relative_to(self.home).as_posix() for path in found}


@pytest.fixture
def user(tmp_path: Path, release: Release) -> Iterator[User]:
    """A new user, and a site with version 0.1.0 of a stand-in."""
    site = Site(tmp_path / "site")
    (tmp_path / "home").mkdir()
    found = User(tmp_path / "home", site, release.tag)
    found.publish("0.1.0")
    yield found
    site.close()


# --- a real release -------------------------------------------------------------------------


def test_real_release(release: Release, tmp_path: Path) -> None:
    """Fetched over HTTP, verified, unpacked, tried out: the command indexes and answers."""
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
    """The commands of docs/install.md install; those of uninstalling take it away again."""
    shutil.copy(SCRIPT, user.site.directory)
    env = {"RELEASE": user.site.url, "MIKROSCOPE_PYTHON": PYTHON}
    output(["sh", "-euc", documented(words)], user.home, **env)
    assert user.version == "0.1.0"
    output(["sh", "-euc", documented("uninstall")], user.home)
    assert user.left() == {".local/share/mikroscope/mikroscope.config.json"}


def test_lines_for_systemd(user: User, tmp_path: Path) -> None:
    """The installer's lines in deploy/systemd/README.md put all where the units expect it."""
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
    """The README's lines are those of docs/install.md, which are run."""
    readme = (ROOT / "README.md").read_text().splitlines()
    lines = documented(way).splitlines()
    assert lines
    assert set(lines) <= set(readme)


def test_from_a_directory(user: User, release: Release) -> None:
    """A directory does as well as an address: an archive that was carried there is installed."""
    user.installs(MIKROSCOPE_INSTALL_BASE_URL=str(user.site.directory))
    assert user.version == "0.1.0"


# --- fresh ----------------------------------------------------------------------------------


def test_config(user: User) -> None:
    """The config file has the defaults, absolute paths, and is for its owner only."""
    user.installs()
    assert json.loads(user.config.read_text()) == {
        "logsPath": str(user.directory / "logs"),
        "dbPath": str(user.directory / "data" / "mikroscope.db"),
        "host": "127.0.0.1",
        "port": 4310,
    }
    assert user.config.stat().st_mode & 0o777 == 0o600


def test_config_from_the_environment(user: User) -> None:
    """Options of the environment are in the config file; relative paths are made whole."""
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
    """Both directories can be chosen, with any characters in their names."""
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
    """Somebody whose files are for nobody else can install for a service that is another user."""
    before = os.umask(0o077)
    try:
        user.installs()
    finally:
        os.umask(before)
    found = [path for path in (user.directory / "versions").rglob("*") if path != user.config]
    assert {path.stat().st_mode & 0o055 for path in found} <= {0o044, 0o055}
    assert user.directory.stat().st_mode & 0o777 == 0o755


def test_path_line(user: User) -> None:
    """If the command's directory is not in PATH, the line that adds it is printed, and works."""
    printed = user.installs()
    line = next(line for line in printed.splitlines() if "export PATH=" in line)
    script = f"{line}; command -v mikroscope"
    assert output(["sh", "-c", script], user.home) == f"{user.command}\n"


def test_no_path_line(user: User) -> None:
    """If it is in PATH already, nothing is said about it."""
    path = f"{user.command.parent}:{bare_environment(user.home)['PATH']}"
    assert "export PATH" not in user.installs(PATH=path)


def test_nothing_else_stays(user: User) -> None:
    """An installation leaves its directory and the command, and nothing half done."""
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
    """Read from standard input, as `curl … | sh` does, it works the same."""
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


def test_cut_off(user: User) -> None:
    """A script whose end is missing does nothing."""
    text = SCRIPT.read_text()
    env = bare_environment(user.home, **user.env)
    for size in range(1, 10):
        part = text[: len(text) * size // 10]
        subprocess.run(["sh", "-c", part], cwd=user.home, env=env, capture_output=True, check=False)
    assert not user.left()


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_fetching(user: User, tmp_path: Path, program: str) -> None:
    """One of curl and wget is enough."""
    path = only_programs(tmp_path / "programs", program)
    user.installs(PATH=path)
    assert user.version == "0.1.0"


def test_neither_curl_nor_wget(user: User, tmp_path: Path) -> None:
    """Without both one line says what to do."""
    assert "curl or wget is needed" in user.is_refused(PATH=only_programs(tmp_path / "programs"))


def only_programs(directory: Path, *more: str) -> str:
    """A PATH with what every system has, and some more."""
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


# --- the configuration in use ---------------------------------------------------------------


def test_command_uses_the_config(user: User, tmp_path: Path) -> None:
    """The command reads the installed config, unless another is named or lies there."""
    user.installs()
    launcher = (user.directory / "current").resolve() / "mikroscope"
    launcher.write_text('#!/bin/sh\necho "${MIKROSCOPE_CONFIG_PATH:-none}"\n')
    assert output([str(user.command)], user.home).strip() == str(user.config)
    assert output([str(user.command)], user.home, MIKROSCOPE_CONFIG_PATH="a").strip() == "a"
    (user.home / "mikroscope.config.json").write_text("{}")
    assert output([str(user.command)], user.home).strip() == "none"


def test_wrong_value(user: User) -> None:
    """A value that no server would take is refused, and nothing is installed."""
    line = user.is_refused(MIKROSCOPE_PORT="many")
    assert "MIKROSCOPE_PORT: expected a whole number from 0 to 65535, got 'many'" in line
    assert not user.left()


def test_wrong_combination(user: User) -> None:
    """So is a combination that no server would take."""
    assert "--auth-password" in user.is_refused(MIKROSCOPE_AUTH_USERNAME="ann")
    assert not user.left()


def test_questions(user: User) -> None:
    """On a terminal it asks, also when the script itself comes by a pipe; secrets are not shown."""
    shown = answer_questions(user, ["", "4998", "", "", "s3cret", "", "ann", "pass word"])
    content = json.loads(user.config.read_text())
    assert (content["port"], content["host"]) == (4998, "127.0.0.1")
    assert (content["apiToken"], content["authPassword"]) == ("s3cret", "pass word")
    assert "s3cret" not in shown
    assert "Port [4310]: 4998" in shown


def test_questions_again(user: User) -> None:
    """After a wrong answer it says what was expected, and asks for that one again."""
    shown = answer_questions(user, ["", "many", "4998"])
    assert "Port: expected a whole number from 0 to 65535, got 'many'" in shown
    assert json.loads(user.config.read_text())["port"] == 4998


def test_one_way_to_say_none(user: User) -> None:
    """A default can be taken back by a hyphen, and a home be written as in a shell."""
    answers = ["", "4998", "~/my logs", "", "", "", "-"]
    answer_questions(user, answers, MIKROSCOPE_AUTH_USERNAME="ann", MIKROSCOPE_AUTH_PASSWORD="x")
    content = json.loads(user.config.read_text())
    assert content["logsPath"] == f"{user.home}/my logs"
    assert not {"authUsername", "authPassword"} & set(content)


def test_a_refused_combination_can_be_mended(user: User) -> None:
    """After answers that do not go together they are asked for again, and can be taken back."""
    shown = answer_questions(user, ["", "4998", *[""] * 4, "ann", "", *[""] * 6, "-"])
    assert "expected together with --auth-password" in shown
    assert "authUsername" not in json.loads(user.config.read_text())


def test_address_in_use(user: User) -> None:
    """An address that is taken is asked for again; given a second time, it is accepted."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        shown = answer_questions(user, ["", str(port)])
    assert f"cannot listen on 127.0.0.1:{port} now: Address already in use" in shown
    assert json.loads(user.config.read_text())["port"] == port


def test_address_in_use_without_questions(user: User) -> None:
    """Where nothing is asked, it is a warning: whatever is there may be about to leave."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        printed = user.installs(MIKROSCOPE_PORT=port)
    assert f"warning: cannot listen on 127.0.0.1:{port} now" in printed


def test_interrupted_at_a_secret(user: User) -> None:
    """Ctrl-C while a secret is typed leaves nothing, and a terminal that shows what is typed."""
    process, terminal = on_terminal(user)
    shown = ""
    while (
        "run it again to finish" not in shown and select.select([terminal], [], [], DEADLINE_S)[0]
    ):
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:
            break
        if shown.endswith("]: "):
            os.write(terminal, b"\x03" if "Token required" in shown else b"\n")
    os.waitpid(process, 0)
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(terminal)
    assert "run it again to finish" in shown
    assert not user.left()


def on_terminal(user: User, **more: str) -> tuple[int, int]:
    """Run `cat install.sh | sh` on a terminal; its process, and the terminal."""
    env = bare_environment(user.home, **user.env | {"MIKROSCOPE_INSTALL_NONINTERACTIVE": ""} | more)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(user.home)
        os.execve("/bin/sh", ["sh", "-c", f"cat {SCRIPT} | sh"], env)  # noqa: S606 -- a shell
    return process, terminal


def answer_questions(user: User, answers: list[str], **more: str) -> str:
    """Type the answers, and Enter for whatever else is asked; what the terminal shows."""
    process, terminal = on_terminal(user, **more)
    left, shown, seen = iter(answers), "", 0
    while select.select([terminal], [], [], DEADLINE_S)[0]:
        try:
            read = os.read(terminal, 4096).decode()
        except OSError:  # the other end is closed
            break
        shown += read
        if not read:
            break
        for _ in range(shown.count("]: ", seen)):
            os.write(terminal, next(left, "").encode() + b"\n")
        seen = len(shown)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, shown
    os.close(terminal)
    return shown


# --- again, and newer -----------------------------------------------------------------------


def test_upgrade(user: User) -> None:
    """Run again it brings the new version; config, logs, index and the old version stay."""
    user.installs(MIKROSCOPE_PORT="4999")
    config = user.config.read_text()
    (user.directory / "data").mkdir()
    (user.directory / "data" / "mikroscope.db").write_text("index")
    user.publish("0.2.0")
    user.installs(MIKROSCOPE_PORT="5000")
    assert user.version == "0.2.0"
    assert user.versions == ["0.1.0", "0.2.0"]
    assert user.config.read_text() == config
    assert (user.directory / "data" / "mikroscope.db").read_text() == "index"


def test_old_versions_leave(user: User) -> None:
    """One version before the one in use stays, older ones leave."""
    for version in ("0.1.0", "0.2.0", "0.3.0"):
        user.publish(version)
        user.installs()
    assert user.versions == ["0.2.0", "0.3.0"]


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("broken", "mikroscope: it is broken"), ("sick", "HTTP Error 500")]
)
def test_roll_back(user: User, behaviour: str, reason: str) -> None:
    """A new version that does not start, or whose /health fails, is removed again."""
    user.installs()
    before = user.left()
    user.publish("0.2.0", behaviour)
    assert reason in user.is_refused()
    assert user.version == "0.1.0"
    assert user.left() == before


def test_roll_back_names_what_stays(user: User) -> None:
    """The error tells which version goes on."""
    user.installs()
    user.publish("0.2.0", "broken")
    assert re.search(r"0\.1\.0-[0-9a-f]{12} stays$", user.is_refused().strip())


def test_real_version_refuses_the_config(release: Release, tmp_path: Path) -> None:
    """A version that does not take the config that is there is not put in place."""
    site = Site(release.directory)
    user = User(tmp_path / "home", site, release.tag)
    try:
        user.directory.mkdir(parents=True)
        user.config.write_text('{"prot": 1}')
        line = user.is_refused()
    finally:
        site.close()
    assert "did you mean port?" in line
    assert not (user.directory / "current").exists()


def test_again(user: User) -> None:
    """The same version again changes nothing."""
    user.installs()
    before = user.left()
    user.installs()
    assert user.left() == before


def test_mends(user: User) -> None:
    """Run again it brings back a command that was deleted."""
    user.installs()
    user.command.unlink()
    user.installs()
    assert user.version == "0.1.0"


def test_mends_a_version(user: User) -> None:
    """Run again it puts a version whose files were damaged beside itself, and uses that."""
    user.installs()
    (user.directory / "current" / "lib" / "mikroscope" / "errors.py").write_text("")
    (user.directory / "current" / "mikroscope").write_text("")
    user.installs()
    assert user.version == "0.1.0"


def test_another_directory_for_the_command(user: User) -> None:
    """Run again with another directory for the command, it leaves none in the first."""
    user.installs()
    user.installs(MIKROSCOPE_BIN_DIR=str(user.home / "bin"))
    assert not user.command.exists()
    user.installs("--uninstall")
    assert not (user.home / "bin" / "mikroscope").exists()


def test_more_than_one_version(user: User) -> None:
    """Where several versions lie at one address, it asks for the name of one, and takes that."""
    write_release(user.site.directory, user.tag, "0.2.0")
    assert "MIKROSCOPE_INSTALL_VERSION" in user.is_refused()
    user.installs(MIKROSCOPE_INSTALL_VERSION="0.1.0")
    assert user.version == "0.1.0"


# --- what can go wrong ----------------------------------------------------------------------


def test_wrong_sum(user: User) -> None:
    """An archive that does not have its sum is refused, and nothing is installed."""
    release = user.publish("0.1.0")
    with release.archive.open("ab") as file:
        file.write(b"x")
    assert "does not match SHA256SUMS.txt" in user.is_refused()
    assert not user.left()


@pytest.mark.parametrize(
    "told", [{"MIKROSCOPE_INSTALL_SKIP_CHECKSUM": "1"}, {"argument": "--skip-checksum"}]
)
def test_wrong_sum_on_request(user: User, told: dict[str, str]) -> None:
    """Told so by flag or variable, it is installed all the same, with a warning."""
    sums = user.site.directory / "SHA256SUMS.txt"
    sums.write_text(f"{'0' * 64}  {user.publish('0.1.0').archive.name}\n")
    told = dict(told)
    arguments = [told.pop("argument")] if "argument" in told else []
    done = user.install(*arguments, **told)
    assert done.returncode == 0, done.stderr
    assert "is not verified: expected 0000" in done.stderr
    assert user.version == "0.1.0"


def test_no_sums(user: User) -> None:
    """Without SHA256SUMS.txt nothing is installed."""
    (user.site.directory / "SHA256SUMS.txt").unlink()
    line = user.is_refused()
    assert "cannot download" in line
    assert "SHA256SUMS.txt: " in line
    assert "404" in line
    assert not user.left()


def test_no_sums_on_request(user: User) -> None:
    """Told so, and told the version, it does without."""
    (user.site.directory / "SHA256SUMS.txt").unlink()
    assert "MIKROSCOPE_INSTALL_VERSION" in user.is_refused("--skip-checksum")
    user.installs("--skip-checksum", MIKROSCOPE_INSTALL_VERSION="0.1.0")
    assert user.version == "0.1.0"


def test_archive_is_missing(user: User) -> None:
    """A release without an archive for this machine is refused with those it has."""
    for path in user.site.directory.iterdir():
        path.unlink()
    write_release(user.site.directory, "plan9-mips-cp311")
    line = user.is_refused()
    assert f"the release has no archive for {user.tag}" in line
    assert "mikroscope-0.1.0-plan9-mips-cp311" in line


def test_archive_is_something_else(user: User) -> None:
    """What is no archive is refused, sum or not."""
    release = user.publish("0.1.0")
    release.archive.write_bytes(b"<html>not found</html>")
    write_sums(user.site.directory)
    assert "cannot be unpacked" in user.is_refused()
    assert not user.left()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("{}/../../../evil", tarfile.REGTYPE),
        ("{}/x", tarfile.SYMTYPE),
    ],
)
def test_archive_that_reaches_out(user: User, tmp_path: Path, name: str, kind: bytes) -> None:
    """What an archive has outside its directory is not written, by a Python without filters too."""
    release = user.publish("0.1.0")
    with tarfile.open(release.archive, "w:gz") as archive:
        entry = tarfile.TarInfo(name.format(release.name))
        entry.type, entry.linkname = kind, "/"
        archive.addfile(entry, io.BytesIO())
    write_sums(user.site.directory)
    python = python_without_filters(tmp_path / "python")
    assert "does not belong in a release" in user.is_refused(MIKROSCOPE_PYTHON=python)
    assert not user.left()


def python_without_filters(directory: Path) -> str:
    """A Python as before 3.11.4, such as that of Debian 12."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(directory)], check=True)
    packages = next(directory.glob("lib/python*/site-packages"))
    (packages / "sitecustomize.py").write_text("import tarfile\ndel tarfile.data_filter\n")
    return str(directory / "bin" / "python")


def test_sums_are_something_else(user: User) -> None:
    """A page in the place of SHA256SUMS.txt is not taken for a release without archives."""
    (user.site.directory / "SHA256SUMS.txt").write_text("<html>\nsign in\n</html>\n")
    assert "SHA256SUMS.txt lists no archive" in user.is_refused()
    assert not user.left()


def test_simple_wget(user: User, tmp_path: Path) -> None:
    """A wget that crashes on limits of time, as Debian's busybox has one, does as well."""
    path = Path(only_programs(tmp_path / "programs"))
    real = shutil.which("wget")
    (path / "wget").write_text(
        f'#!/bin/sh\ncase " $* " in\n*" --version "*) exit 1 ;;\n*" -T "*) kill -SEGV $$ ;;\nesac\n'
        f'exec {real} "$@"\n'
    )
    (path / "wget").chmod(0o755)
    user.installs(PATH=str(path))
    assert user.version == "0.1.0"


def test_no_home(user: User) -> None:
    """Without HOME, as for cloud-init, the directories must be named."""
    assert "HOME is not set: set MIKROSCOPE_INSTALL_DIR to a directory" in user.is_refused(HOME="")
    chosen = {"MIKROSCOPE_INSTALL_DIR": f"{user.home}/a", "MIKROSCOPE_BIN_DIR": f"{user.home}/b"}
    user.installs(HOME="", **chosen)


def test_directory_of_two_lines(user: User) -> None:
    """A directory whose name would end a line of the command is refused."""
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=f"{user.home}/a\nb")
    assert "contains a line break" in line
    assert not user.left()


def test_versions_of_something_else(user: User) -> None:
    """A directory that has versions of something else is left alone, by --uninstall too."""
    (user.directory / "versions" / "1.0").mkdir(parents=True)
    (user.directory / "versions" / "1.0" / "program").write_text("program")
    before = user.left()
    assert "holds versions of another program" in user.is_refused()
    assert "there is no MikroScope in" in user.is_refused("--uninstall", "--purge")
    assert user.left() == before


def test_no_network(user: User) -> None:
    """A site that cannot be reached is named, with the reason."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        line = user.is_refused(MIKROSCOPE_INSTALL_BASE_URL=url)
    assert f"cannot download {url}/SHA256SUMS.txt: curl: (7)" in line
    assert not user.left()


def test_password_of_the_site(user: User, tmp_path: Path) -> None:
    """A password in the address is neither among curl's arguments nor in what is said."""
    path = Path(only_programs(tmp_path / "programs"))
    (path / "curl").write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/arguments\nexec {shutil.which("curl")} "$@"\n'
    )
    (path / "curl").chmod(0o755)
    url = user.site.url.replace("//", "//ann:s3cret@")
    line = user.is_refused(PATH=str(path), MIKROSCOPE_INSTALL_BASE_URL=f"{url}/nothing")
    user.installs(PATH=str(path), MIKROSCOPE_INSTALL_BASE_URL=url)
    assert "s3cret" not in line + (tmp_path / "arguments").read_text()


def test_no_address(user: User) -> None:
    """An installer that was told no address says how to tell it one."""
    assert "set MIKROSCOPE_INSTALL_BASE_URL" in user.is_refused(MIKROSCOPE_INSTALL_BASE_URL="")


def test_unsupported_python(user: User, tmp_path: Path) -> None:
    """Without a Python that is new enough one line says so, before anything is fetched."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    line = user.is_refused(MIKROSCOPE_PYTHON=str(old))
    assert "CPython 3.11 or newer is needed" in line
    assert not user.left()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_noexec(user: User, small_disk: Path) -> None:
    """A file system whose programs cannot be run is named as the reason."""
    subprocess.run(["mount", "-o", "remount,noexec", str(small_disk)], check=True)
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=str(small_disk / "mikroscope"))
    assert "mounted noexec" in line
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize("ballast", [3 << 20, 5 << 20], ids=["to unpack", "to fetch"])
def test_no_space(user: User, small_disk: Path, ballast: int) -> None:
    """A disk that is full, while fetching or unpacking, is one line, and nothing stays on it."""
    user.publish("0.1.0", ballast=ballast)
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=str(small_disk / "mikroscope"))
    assert re.search(r"No space left on device|\(23\)", line), line
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_no_permission(user: User) -> None:
    """A directory that may not be written is named, with the variable that chooses another."""
    locked = user.home / "locked"
    locked.mkdir(0o555)
    nobody = 65534 if os.geteuid() == 0 else None  # root may write everywhere
    done = subprocess.run(
        ["sh", "-s"],
        input=SCRIPT.read_text(),
        env=bare_environment(user.home, **user.env, MIKROSCOPE_INSTALL_DIR=str(locked / "in")),
        cwd="/",
        user=nobody,
        group=nobody,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"install.sh: {locked}/in cannot be created: Permission denied "
        "(choose another with MIKROSCOPE_INSTALL_DIR)\n"
    )


def test_no_permission_for_the_command(user: User) -> None:
    """So is one for the command that cannot be, and nothing is installed."""
    (user.home / "file").write_text("")
    line = user.is_refused(MIKROSCOPE_BIN_DIR=str(user.home / "file" / "bin"))
    assert line.endswith("Not a directory (choose another with MIKROSCOPE_BIN_DIR)\n")
    assert user.left() == {"file"}


def test_somebody_elses_command(user: User) -> None:
    """A file of this name that is not ours is not touched."""
    user.command.parent.mkdir(parents=True)
    user.command.write_text("#!/bin/sh\n")
    assert "was not created by this installer" in user.is_refused()
    assert user.command.read_text() == "#!/bin/sh\n"


# --- interrupted ----------------------------------------------------------------------------


class Running:
    """An installer in the background, in a process group of its own."""

    def __init__(self, user: User, **more: str) -> None:
        self.process = subprocess.Popen(
            ["sh", str(SCRIPT)],
            cwd=user.home,
            env=bare_environment(user.home, **user.env | more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def interrupt(self, how: Callable[[], None]) -> str:
        """Do so, and wait; what it says."""
        how()
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 130
        return errors


@pytest.fixture
def stuck_site() -> Iterator[ThreadingHTTPServer]:
    """A site that takes a request and never answers; `asked` tells when it has one."""
    asked, end = threading.Event(), threading.Event()

    class Stuck(Handler):
        def do_GET(self) -> None:
            asked.set()
            end.wait(DEADLINE_S)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stuck)
    server.asked = asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    end.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("everybody", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_while_fetching(
    user: User, stuck_site: ThreadingHTTPServer, everybody: bool
) -> None:
    """By Ctrl-C, or by SIGTERM to the shell alone, it ends at once and leaves nothing."""
    url = f"http://127.0.0.1:{stuck_site.server_port}"
    running = Running(user, MIKROSCOPE_INSTALL_BASE_URL=url)
    assert stuck_site.asked.wait(DEADLINE_S)  # type: ignore[attr-defined]
    number = running.process.pid
    if everybody:
        said = running.interrupt(lambda: os.killpg(number, signal.SIGINT))
    else:
        said = running.interrupt(lambda: os.kill(number, signal.SIGTERM))
    assert said.strip() == "install.sh: interrupted: run it again to finish"
    assert not user.left()


def test_interrupted_while_compiling(user: User) -> None:
    """Interrupted while the modules are compiled, it leaves no process behind and no version."""
    user.publish("0.1.0").archive.unlink()
    write_release(user.site.directory, user.tag, modules=200)
    running = Running(user)
    wait_until(lambda: any("__pycache__" in path for path in user.left()))
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert not list((user.directory / "versions").iterdir())
    with pytest.raises(ProcessLookupError):  # its group has ended with it
        os.killpg(running.process.pid, 0)


def test_interrupted_while_trying(user: User) -> None:
    """Interrupted while the new version is tried out, the old one stays and the trial ends."""
    user.installs()
    before = user.left()
    user.publish("0.2.0", "slow")
    running = Running(user)
    wait_until(lambda: any("server.log" in path for path in user.left()))
    log = next(user.directory.rglob("server.log"))
    wait_until(lambda: "starting" in log.read_text())
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert user.version == "0.1.0"
    wait_until(lambda: user.left() == before)


def test_after_a_kill(user: User) -> None:
    """What a killed run has left is cleared away by the next one."""
    left = user.directory / ".incoming"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    with subprocess.Popen(["true"]) as ended:
        (left / "process").write_text(f"{ended.pid}\n")
    user.installs()
    assert not left.exists()


def test_two_at_once(user: User, stuck_site: ThreadingHTTPServer) -> None:
    """A second installer in the same directory is refused, and takes nothing from the first."""
    running = Running(
        user, MIKROSCOPE_INSTALL_BASE_URL=f"http://127.0.0.1:{stuck_site.server_port}"
    )
    assert stuck_site.asked.wait(DEADLINE_S)  # type: ignore[attr-defined]
    before = user.left()
    assert f"another installer, process {running.process.pid}, is working" in user.is_refused()
    assert user.left() == before
    running.interrupt(lambda: os.kill(running.process.pid, signal.SIGTERM))
    assert not user.left()


# --- uninstall ------------------------------------------------------------------------------


def test_uninstall(user: User) -> None:
    """The program and the command leave; config, logs and index stay."""
    user.installs()
    for name in ("logs/app.ndjson", "data/mikroscope.db"):
        (user.directory / name).parent.mkdir()
        (user.directory / name).write_text(name)
    user.installs("--uninstall")
    share = ".local/share/mikroscope"
    kept = ("mikroscope.config.json", "logs/app.ndjson", "data/mikroscope.db")
    assert user.left() == {f"{share}/{name}" for name in kept}


def test_purge(user: User) -> None:
    """With --purge config, logs and index leave too, where they lie in the directory."""
    user.installs(MIKROSCOPE_LOGS_PATH="elsewhere")
    (user.home / "elsewhere").mkdir()
    (user.home / "elsewhere" / "app.ndjson").write_text("{}")
    user.installs("--uninstall", "--purge")
    assert user.left() == {"elsewhere/app.ndjson"}
    assert not user.directory.exists()


def test_purge_of_what_the_config_names(user: User) -> None:
    """Directories of these names that the config does not name belong to something else."""
    user.installs(MIKROSCOPE_LOGS_PATH="elsewhere", MIKROSCOPE_DB_PATH="elsewhere.db")
    for name in ("logs", "data"):
        (user.directory / name).mkdir()
        (user.directory / name / "mine").write_text("mine")
    user.installs("--uninstall", "--purge")
    share = ".local/share/mikroscope"
    assert user.left() == {f"{share}/logs/mine", f"{share}/data/mine"}


def test_two_installations(user: User) -> None:
    """Uninstalling one does not take the command that another has made since."""
    user.installs(MIKROSCOPE_INSTALL_DIR=f"{user.home}/other")
    user.installs()
    user.installs("--uninstall", MIKROSCOPE_INSTALL_DIR=f"{user.home}/other")
    assert user.version == "0.1.0"


def test_installed_script_uninstalls(user: User, tmp_path: Path) -> None:
    """The script that was installed along knows both directories by itself."""
    user.installs(MIKROSCOPE_BIN_DIR=str(tmp_path / "bin"))
    script = user.directory / "current" / "install.sh"
    output(["sh", str(script), "--uninstall"], tmp_path / "other")
    assert not list((tmp_path / "bin").iterdir())
    assert not (user.directory / "versions").exists()


def test_install_after_uninstall(user: User) -> None:
    """Installed anew, it takes up the config that had stayed."""
    user.installs(MIKROSCOPE_PORT="4999")
    user.installs("--uninstall")
    user.installs()
    assert json.loads(user.config.read_text())["port"] == 4999


def test_uninstall_of_nothing(user: User) -> None:
    """Where nothing is installed, nothing is removed."""
    (user.directory / "logs").mkdir(parents=True)
    (user.directory / "logs" / "mine").write_text("mine")
    assert "there is no MikroScope in" in user.is_refused("--uninstall", "--purge")
    assert user.left() == {".local/share/mikroscope/logs/mine"}


def test_uninstall_keeps_somebody_elses_command(user: User) -> None:
    """A command of this name that is not ours stays."""
    user.installs()
    user.command.write_text("#!/bin/sh\n")
    user.installs("--uninstall")
    assert user.command.exists()


# --- the script -----------------------------------------------------------------------------


def test_unknown_argument(user: User) -> None:
    """An unknown argument is wrong usage."""
    done = user.install("--unistall")
    assert done.returncode == 2
    assert done.stderr == "install.sh: --unistall: unknown argument (see --help)\n"


def test_help_names_every_variable(user: User) -> None:
    """--help names each variable that the script reads, and only options that there are."""
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
    """shellcheck has nothing to say about the scripts."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    command = ["shellcheck", "--shell=sh", str(ROOT / "scripts" / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_version_is_ours(release: Release) -> None:
    """The release has the version of the package."""
    assert release.version == __version__
