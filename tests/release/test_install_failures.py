"""If the installer fails for any reason, it leaves no partial installation."""

import io
import os
import re
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.helpers.installer import (
    SCRIPT,
    User,
    only_programs,
    write_release,
    write_sums,
)
from tests.helpers.release import PYTHON, bare_environment


def test_wrong_sum(user: User) -> None:
    """An archive with a wrong checksum is refused, and nothing is installed."""
    release = user.publish("0.1.0")
    with release.archive.open("ab") as file:
        file.write(b"x")
    assert "does not match SHA256SUMS.txt" in user.is_refused()
    assert not user.left()


@pytest.mark.parametrize(
    "told", [{"MIKROSCOPE_INSTALL_SKIP_CHECKSUM": "1"}, {"argument": "--skip-checksum"}]
)
def test_wrong_sum_on_request(user: User, told: dict[str, str]) -> None:
    """With a flag or variable, an archive with a wrong checksum is installed, with a warning."""
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
    """With --skip-checksum and a version, the installer works without SHA256SUMS.txt."""
    (user.site.directory / "SHA256SUMS.txt").unlink()
    assert "MIKROSCOPE_INSTALL_VERSION" in user.is_refused("--skip-checksum")
    user.installs("--skip-checksum", MIKROSCOPE_INSTALL_VERSION="0.1.0")
    assert user.version == "0.1.0"


def test_archive_is_missing(user: User) -> None:
    """If the archive for this machine is missing, the error lists the existing ones."""
    for path in user.site.directory.iterdir():
        path.unlink()
    write_release(user.site.directory, "plan9-mips-cp311")
    line = user.is_refused()
    assert f"the release has no archive for {user.tag}" in line
    assert "mikroscope-0.1.0-plan9-mips-cp311" in line


def test_archive_is_something_else(user: User) -> None:
    """A file that is not an archive is refused, whether or not its checksum is right."""
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
    """Files outside the archive's directory are not written, even by a Python without filters."""
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
    """Return a Python without tarfile filters, as before 3.11.4 (Debian 12 has one)."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(directory)], check=True)
    packages = next(directory.glob("lib/python*/site-packages"))
    (packages / "sitecustomize.py").write_text("import tarfile\ndel tarfile.data_filter\n")
    return str(directory / "bin" / "python")


def test_sums_are_something_else(user: User) -> None:
    """An HTML page in place of SHA256SUMS.txt is refused as a file without archives."""
    (user.site.directory / "SHA256SUMS.txt").write_text("<html>\nsign in\n</html>\n")
    assert "SHA256SUMS.txt lists no archive" in user.is_refused()
    assert not user.left()


def test_simple_wget(user: User, tmp_path: Path) -> None:
    """A wget that crashes on time limits, as Debian's busybox does, still works."""
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
    """Without HOME, as in cloud-init, the user must name the directories."""
    assert "HOME is not set: set MIKROSCOPE_INSTALL_DIR to a directory" in user.is_refused(HOME="")
    chosen = {"MIKROSCOPE_INSTALL_DIR": f"{user.home}/a", "MIKROSCOPE_BIN_DIR": f"{user.home}/b"}
    user.installs(HOME="", **chosen)


def test_directory_of_two_lines(user: User) -> None:
    """A directory whose name contains a line break is refused."""
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=f"{user.home}/a\nb")
    assert "contains a line break" in line
    assert not user.left()


def test_versions_of_something_else(user: User) -> None:
    """A directory with another program's versions is left unchanged, also by --uninstall."""
    (user.directory / "versions" / "1.0").mkdir(parents=True)
    (user.directory / "versions" / "1.0" / "program").write_text("program")
    before = user.left()
    assert "holds versions of another program" in user.is_refused()
    assert "there is no MikroScope in" in user.is_refused("--uninstall", "--purge")
    assert user.left() == before


def test_no_network(user: User) -> None:
    """If the site cannot be reached, the error names it and the reason."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        line = user.is_refused(MIKROSCOPE_INSTALL_BASE_URL=url)
    assert f"cannot download {url}/SHA256SUMS.txt: curl: (7)" in line
    assert not user.left()


def test_password_of_the_site(user: User, tmp_path: Path) -> None:
    """A password in the address is neither in curl's arguments nor in the output."""
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
    """An installer without an address explains how to set one."""
    assert "set MIKROSCOPE_INSTALL_BASE_URL" in user.is_refused(MIKROSCOPE_INSTALL_BASE_URL="")


def test_unsupported_python(user: User, tmp_path: Path) -> None:
    """Without a recent Python, the installer prints one line before it downloads anything."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    line = user.is_refused(MIKROSCOPE_PYTHON=str(old))
    assert "CPython 3.11 or newer is needed" in line
    assert not user.left()


def test_noexec(user: User, small_disk: Path) -> None:
    """The error names a file system that forbids running programs as the reason."""
    subprocess.run(["mount", "-o", "remount,noexec", str(small_disk)], check=True)
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=str(small_disk / "mikroscope"))
    assert "mounted noexec" in line
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize("ballast", [3 << 20, 5 << 20], ids=["to unpack", "to fetch"])
def test_no_space(user: User, small_disk: Path, ballast: int) -> None:
    """A full disk is reported in one line, and no file is left on it."""
    user.publish("0.1.0", ballast=ballast)
    line = user.is_refused(MIKROSCOPE_INSTALL_DIR=str(small_disk / "mikroscope"))
    assert re.search(r"No space left on device|\(23\)", line), line
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_no_permission(user: User) -> None:
    """If a directory is not writable, the error names it and the variable to change it."""
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
    """If the command's directory cannot be created, the error says so; nothing is installed."""
    (user.home / "file").write_text("")
    line = user.is_refused(MIKROSCOPE_BIN_DIR=str(user.home / "file" / "bin"))
    assert line.endswith("Not a directory (choose another with MIKROSCOPE_BIN_DIR)\n")
    assert user.left() == {"file"}


def test_somebody_elses_command(user: User) -> None:
    """The installer does not replace another program's command of the same name."""
    user.command.parent.mkdir(parents=True)
    user.command.write_text("#!/bin/sh\n")
    assert "was not created by this installer" in user.is_refused()
    assert user.command.read_text() == "#!/bin/sh\n"
