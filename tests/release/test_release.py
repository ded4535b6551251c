"""A release has the right content, builds reproducibly, and installs in each documented way."""

import contextlib
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mikroscope import __version__
from tests.helpers.forms import amount
from tests.helpers.paths import ROOT
from tests.helpers.release import (
    EPOCH,
    PYTHON,
    Release,
    bare_environment,
    build_release,
    copy_sources,
    documented,
    output,
    run,
    run_release,
)

RECORD = '{"level":"ERROR","message":"from a release"}\n'


def sums(release: Release) -> dict[str, str]:
    """The sums in SHA256SUMS.txt, by name."""
    lines = (release.directory / "SHA256SUMS.txt").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def entries(release: Release) -> list[tarfile.TarInfo]:
    """The entries of the .tar.gz."""
    with tarfile.open(release.archive) as archive:
        return archive.getmembers()


@pytest.fixture(scope="module")
def unpacked(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked by tar into a directory with spaces."""
    directory = tmp_path_factory.mktemp("unpacked") / "a directory"
    directory.mkdir()
    subprocess.run(["tar", "-xzf", str(release.archive), "-C", str(directory)], check=True)
    return directory / release.name


def answers_a_query(command: list[str], home: Path, **more: str) -> bool:
    """Return whether an installed program indexes a file and finds its record."""
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "app.ndjson").write_text(RECORD)
    output([*command, "index"], home, **more)
    page = json.loads(output([*command, "query", "--level", "ERROR"], home, **more))
    return [entry["message"] for entry in page["entries"]] == ["from a release"]


# --- content --------------------------------------------------------------------------------


def test_files(release: Release) -> None:
    """A release has a wheel, an sdist, archives with their SBOM, the installer and the sums."""
    assert {path.name for path in release.directory.iterdir()} == {
        f"mikroscope-{__version__}-py3-none-any.whl",
        f"mikroscope-{__version__}.tar.gz",
        f"{release.name}.tar.gz",
        f"{release.name}.zip",
        f"{release.name}.cdx.json",
        "install.sh",
        "SHA256SUMS.txt",
    }


def test_sums(release: Release) -> None:
    """SHA256SUMS.txt has the sum of every other file."""
    files = [path for path in release.directory.iterdir() if path.name != "SHA256SUMS.txt"]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert sums(release) == found


def test_sums_as_the_tool_reads_them(release: Release) -> None:
    """`sha256sum -c` accepts the file unchanged."""
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is missing")
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS.txt"]
    subprocess.run(command, cwd=release.directory, check=True, capture_output=True)


@pytest.mark.long
def test_built_twice(release: Release, tmp_path: Path) -> None:
    """A build in another directory and with another umask gives identical bytes."""
    before = os.umask(0o077)
    try:
        again = build_release(tmp_path / "dist", copy_sources(tmp_path / "sources"))
    finally:
        os.umask(before)
    assert sums(again) == sums(release)


def test_entries_tell_nothing_of_the_builder(release: Release) -> None:
    """Every entry has the commit's time, root as owner and one of two modes, in sorted order."""
    found = entries(release)
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname) for e in found} == {(EPOCH, 0, 0, "", "")}
    assert {e.mode for e in found} == {0o644, 0o755}
    assert [e.name for e in found] == sorted(e.name for e in found)


def test_zip_is_the_same(release: Release) -> None:
    """The .zip has the files of the .tar.gz with their modes."""
    with zipfile.ZipFile(release.archive.with_suffix("").with_suffix(".zip")) as archive:
        zipped = {
            e.filename: (e.file_size, e.external_attr >> 16 & 0o777) for e in archive.filelist
        }
    assert zipped == {entry.name: (entry.size, entry.mode) for entry in entries(release)}


def test_sbom(release: Release) -> None:
    """The SBOM has every package in lib/, with version, licence and the wheel's checksum."""
    document = json.loads((release.directory / f"{release.name}.cdx.json").read_text())
    listed = {c["name"]: c for c in document["components"] if c["purl"].startswith("pkg:pypi/")}
    infos = [e.name.split("/")[2] for e in entries(release) if e.name.endswith(".dist-info/RECORD")]
    packages = dict(info.removesuffix(".dist-info").split("-") for info in infos)
    assert packages.pop("mikroscope") == document["metadata"]["component"]["version"]
    found = {name: component["version"] for name, component in listed.items()}
    assert found == {canonicalize_name(name): version for name, version in packages.items()}
    assert all(c["licenses"] and c["hashes"][0]["alg"] == "SHA-256" for c in listed.values())


def test_sbom_names_what_the_wheel_holds(release: Release) -> None:
    """The SBOM has Scalar, which is part of our own package."""
    document = json.loads((release.directory / f"{release.name}.cdx.json").read_text())
    version = (ROOT / "src/mikroscope/server/static/scalar.VERSION").read_text().strip()
    purls = {component["purl"] for component in document["components"]}
    assert f"pkg:npm/%40scalar/api-reference@{version}" in purls


def test_sbom_tells_who_needs_whom(release: Release) -> None:
    """The SBOM's graph reaches every component from the program."""
    document = json.loads((release.directory / f"{release.name}.cdx.json").read_text())
    needs = {node["ref"]: node["dependsOn"] for node in document["dependencies"]}
    reached: set[str] = set()
    left = [document["metadata"]["component"]["bom-ref"]]
    while left:
        ref = left.pop()
        reached.add(ref)
        left += set(needs.get(ref, [])) - reached
    assert {component["bom-ref"] for component in document["components"]} <= reached


def test_requirements_are_current() -> None:
    """scripts/release-requirements.txt has a fitting version of each dependency: `make lock`."""
    text = (ROOT / "scripts" / "release-requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(requirement) for requirement in project["dependencies"]]
    assert not [one for one in needed if not one.specifier.contains(pinned.get(one.name, "0"))]


def release_script(name: str) -> Any:
    """Import a module of scripts/, which is not a package."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize(
    ("target", "condition", "applies"),
    [
        ("linux-x86_64-cp311", "python_version < '3.13'", True),
        ("linux-x86_64-cp313", "python_version < '3.13'", False),
        ("linux-x86_64-cp315", "python_full_version < '3.15'", False),
        ("macos-arm64-cp312", "sys_platform == 'darwin' and platform_machine == 'arm64'", True),
        ("linux-musl-aarch64-cp312", "platform_system == 'Linux' and extra == 'x'", False),
    ],
)
def test_conditions_are_those_of_the_target(target: str, condition: str, applies: bool) -> None:
    """Conditions of a package are evaluated for the archive's machine, not for the builder's."""
    found = release_script("release_targets").target_named(target)
    assert found.needs(Requirement(f"package; {condition}")) is applies


def test_requirements_of_a_target() -> None:
    """The requirements for pip are those of the target, with hashes and without conditions."""
    target = release_script("release_targets").target_named
    older = release_script("release").requirements_for(target("linux-x86_64-cp311"))
    newer = release_script("release").requirements_for(target("linux-x86_64-cp315"))
    assert "\ntyping-extensions==" in older
    assert "typing-extensions" not in newer
    assert older.count("--hash=") == (ROOT / "scripts/release-requirements.txt").read_text().count(
        "--hash="
    )
    assert ";" not in older


def test_out_is_not_emptied_of_other_things(tmp_path: Path) -> None:
    """An output directory with other files is refused and left unchanged."""
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "install.sh").write_text("old")
    done = run_release(ROOT, "--out", str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path}/thesis.txt is not part of a release" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "install.sh"}


def test_wrong_time(tmp_path: Path) -> None:
    """An invalid SOURCE_DATE_EPOCH is refused with an error that names the expected value."""
    done = run_release(ROOT, "--out", str(tmp_path / "dist"), epoch="soon")
    assert done.stderr == (
        "release.py: SOURCE_DATE_EPOCH: expected seconds since 1970, got 'soon'\n"
    )


def test_installer_knows_the_address(tmp_path: Path, release: Release) -> None:
    """The release's installer downloads from the address given by --base-url."""
    text = release_script("release")._installer("https://example.com/latest").decode()
    assert '\nBASE_URL="https://example.com/latest"\n' in text
    assert '\nBASE_URL=""\n' in (release.directory / "install.sh").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--target", "plan9-mips-cp311"), "expected SYSTEM-cp3NN with a SYSTEM of linux-x86_64"),
        (("--base-url", 'https://example.com/"; rm'), "--base-url: expected an address"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: tuple[str, str], expected: str) -> None:
    """Impossible arguments are refused with one line that names the expected values."""
    done = run_release(ROOT, "--out", str(tmp_path / "dist"), *arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_uncommitted_changes(tmp_path: Path) -> None:
    """A tree with uncommitted changes is refused, since its release could not be reproduced."""
    tree = copy_sources(tmp_path / "tree")
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    done = run_release(tree, "--out", str(tmp_path / "dist"), epoch="")
    assert done.returncode == 1
    assert "uncommitted changes" in done.stderr


# --- the archive ----------------------------------------------------------------------------


def without_network() -> list[str]:
    """Return a command prefix that disables the network; empty where that is not allowed."""
    prefix = ["unshare", "--user", "--map-root-user", "--net"]
    with contextlib.suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return []


@pytest.mark.long
def test_archive_without_network(unpacked: Path, tmp_path: Path) -> None:
    """The unpacked archive works without a network, a package index or installed packages."""
    assert run([PYTHON, "-c", "import apsw"], tmp_path).returncode != 0
    command = [*without_network(), str(unpacked / "mikroscope")]
    assert answers_a_query(command, tmp_path / "home", PIP_NO_INDEX="1")


def test_archive_serves(unpacked: Path, tmp_path: Path) -> None:
    """The archive's server answers, including `/docs`."""
    assert served(unpacked / "mikroscope", tmp_path, "/health")["service"] == "mikroscope"


def served(program: Path, home: Path, path: str) -> Any:
    """Return the responses of a program's server."""
    command = [str(program), "serve", "--port", "0", "--min-free-bytes", "0"]
    env = {"HOME": str(home), "PATH": f"{Path(PYTHON).parent}:/usr/bin:/bin"}
    with subprocess.Popen(
        command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split(" listens on ")[1].split()[0]
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url + path, timeout=30) as answer:
                return json.load(answer)
        finally:
            server.terminate()


def test_launcher_by_a_link(unpacked: Path, tmp_path: Path) -> None:
    """The launcher works through symbolic links, including relative ones."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "real").symlink_to(unpacked)
    (tmp_path / "bin" / "m").symlink_to("../real/mikroscope")
    (tmp_path / "bin" / "mikroscope").symlink_to("m")
    printed = output([str(tmp_path / "bin" / "mikroscope"), "--version"], tmp_path)
    assert printed == f"mikroscope, version {__version__}\n"


def test_launcher_by_a_relative_path(unpacked: Path, tmp_path: Path) -> None:
    """The launcher works by a relative path, whatever CDPATH is."""
    (tmp_path / "sub").symlink_to(unpacked)
    (tmp_path / "else" / "sub").mkdir(parents=True)
    printed = output(["sh", "sub/mikroscope", "--version"], tmp_path, CDPATH=f"{tmp_path}/else")
    assert printed == f"mikroscope, version {__version__}\n"


def test_launcher_is_not_led_astray(unpacked: Path, tmp_path: Path) -> None:
    """Neither PYTHONPATH nor a module in the working directory replaces the packages."""
    for name in ("click.py", "mikroscope.py", "apsw.py"):
        (tmp_path / name).write_text("raise SystemExit('astray')")
    command = [str(unpacked / "mikroscope"), "--version"]
    assert output(command, tmp_path, PYTHONPATH=str(tmp_path)).startswith("mikroscope, version")


def test_launcher_with_another_python(unpacked: Path, tmp_path: Path) -> None:
    """The launcher refuses a Python that the packages do not support, and names it."""
    done = run([str(unpacked / "mikroscope")], tmp_path, MIKROSCOPE_PYTHON="/bin/false")
    assert done.returncode == 1
    assert re.fullmatch(r"mikroscope: MIKROSCOPE_PYTHON: .*got /bin/false\n", done.stderr)


def test_launcher_without_python(unpacked: Path, tmp_path: Path) -> None:
    """Without a suitable Python, the launcher prints one line with the required version."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "readlink", "sh"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = run([str(unpacked / "mikroscope")], tmp_path, PATH=str(tools))
    assert done.returncode == 1
    assert f"need CPython {sys.version_info[0]}.{sys.version_info[1]} for" in done.stderr
    assert done.stderr.count("\n") == 1


def test_launcher_when_its_python_is_gone(unpacked: Path, tmp_path: Path) -> None:
    """If the remembered Python is gone, the launcher searches again."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(unpacked / "mikroscope", copy)
    (copy / "lib").symlink_to(unpacked / "lib")
    (copy / "python.path").write_text("/nowhere/python3\n")
    assert output([str(copy / "mikroscope"), "--version"], tmp_path).startswith("mikroscope")


# --- as docs/install.md says ------------------------------------------------------------------


WAYS = ["pip", "uv", "pipx", "pipx run", "uvx"]


def follow(release: Release, home: Path, script: str) -> str:
    """Type commands as a user with uv and pipx would, next to dist/; return the output."""
    tools = home / "tools"
    tools.mkdir(parents=True)
    for name in ("uv", "uvx", "pipx"):
        program = Path(sys.executable).parent / name
        if program.exists():
            (tools / name).symlink_to(program)
        elif f"{name} " in script:
            pytest.skip(f"{name} is missing: pip install uv pipx")
    (home / "dist").symlink_to(release.directory)
    path = f"{home}/.local/bin:{home}/mikroscope/bin:{tools}:{bare_environment(home)['PATH']}"
    chosen = {"UV_PYTHON": PYTHON, "PIPX_DEFAULT_PYTHON": PYTHON, "PIP_NO_COMPILE": "1"}
    return output(["sh", "-euc", script], home, PATH=path, **chosen)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS[: amount(2, len(WAYS))])
def test_wheel(release: Release, tmp_path: Path, way: str) -> None:
    """The wheel, installed in each way without the source tree, indexes a file."""
    script = documented(way)
    if "mikroscope index" not in script:
        script += "mikroscope index\n"
    (tmp_path / "home" / "logs").mkdir(parents=True)
    (tmp_path / "home" / "logs" / "app.ndjson").write_text(RECORD)
    printed = follow(release, tmp_path / "home", script)
    assert json.loads(printed.splitlines()[-1])["report"]["recordsInserted"] == 1


@pytest.mark.long
def test_manual_archive(release: Release, tmp_path: Path) -> None:
    """The archive runs after a user has verified and unpacked it by hand."""
    printed = follow(release, tmp_path / "home", documented("archive"))
    assert f"{release.name}.tar.gz: OK\n" in printed
    assert printed.endswith(f"mikroscope, version {__version__}\n")


def test_sdist(release: Release, tmp_path: Path) -> None:
    """A wheel built from the sdist equals the wheel of the release."""
    sdist = release.directory / f"mikroscope-{__version__}.tar.gz"
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path)], check=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    env = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}
    source = tmp_path / f"mikroscope-{__version__}"
    subprocess.run(command, cwd=source, env=env, check=True, capture_output=True)
    assert (tmp_path / release.wheel.name).read_bytes() == release.wheel.read_bytes()
