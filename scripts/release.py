"""Builds a release: wheel, sdist, self-contained archives, SBOMs, installer and checksums.

The same commit and the same interpreter give the same bytes: times are those of the commit,
dependencies and their hashes those in scripts/release-requirements.txt.
"""

import argparse
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement

from release_archive import ROOT, archive_files, write_tar, write_zip
from release_sbom import sbom
from release_targets import Target, target_named

REQUIREMENTS = ROOT / "scripts" / "release-requirements.txt"
_OURS = re.compile(r"mikroscope-.*\.(whl|tar\.gz|zip|cdx\.json)|install\.sh|SHA256SUMS\.txt")
_BASE_URL_LINE = 'BASE_URL=""\n'


class ReleaseError(Exception):
    """A release that cannot be built; the text says why."""


def main() -> None:
    """Build what the command line asks for; an error is one line."""
    arguments = _arguments()
    try:
        epoch = commit_time(allow_changes=arguments.allow_changes)
        targets = [target_named(name) for name in arguments.target or [this_machine()]]
        build(arguments.out, targets, epoch, arguments.base_url)
    except (ReleaseError, ValueError) as error:
        sys.exit(f"release.py: {error}")
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path}")


def build(out: Path, targets: list[Target], epoch: int, base_url: str) -> None:
    """Write the whole release into a directory, after deleting an earlier release from it."""
    _empty(out)
    own = _build_packages(out, epoch)
    installer = _installer(base_url)
    (out / "install.sh").write_bytes(installer)
    for target in targets:
        _build_archive(out, own, target, installer, epoch)
    _write_sums(out)


def _empty(out: Path) -> None:
    """Delete the files of an earlier release; refuse if there are any others."""
    out.mkdir(parents=True, exist_ok=True)
    found = sorted(out.iterdir())
    for path in found:
        if path.is_dir() or not _OURS.fullmatch(path.name):
            raise ReleaseError(
                f"--out: {path} is not part of a release: empty {out}, or choose another directory"
            )
    for path in found:
        path.unlink()


def commit_time(*, allow_changes: bool) -> int:
    """Return the time for all files, in seconds since 1970: SOURCE_DATE_EPOCH, or the commit's."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    if given:
        raise ReleaseError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {given!r}")
    changes = _git("status", "--porcelain")
    if changes and not allow_changes:
        raise ReleaseError(
            "the tree has uncommitted changes, so the release could not be reproduced: "
            "commit them, or use --allow-changes"
        )
    return int(_git("log", "-1", "--format=%ct"))


def this_machine() -> str:
    """Return the name of the target for this machine and this Python."""
    system = {"linux": "linux", "darwin": "macos"}.get(sys.platform, sys.platform)
    if system == "linux" and platform.libc_ver()[0] != "glibc":
        system = "linux-musl"
    return f"{system}-{platform.machine()}-cp{sys.version_info[0]}{sys.version_info[1]}"


def _build_packages(out: Path, epoch: int) -> Path:
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    _run(command, "cannot build the packages", environment)
    return next(out.glob("*.whl"))


def _build_archive(out: Path, own: Path, target: Target, installer: bytes, epoch: int) -> None:
    name = f"{'-'.join(own.name.split('-')[:2])}-{target.name}"
    with tempfile.TemporaryDirectory() as directory:
        wheels = _fetch_wheels(Path(directory), target)
        files = archive_files(target, [own, *wheels], installer)
        (out / f"{name}.cdx.json").write_bytes(sbom(own, wheels, target, epoch))
    with ThreadPoolExecutor() as both:  # compression does not hold the interpreter's lock
        packed = both.submit(write_tar, out / f"{name}.tar.gz", name, files, epoch)
        write_zip(out / f"{name}.zip", name, files, epoch)
        packed.result()


def _fetch_wheels(directory: Path, target: Target) -> list[Path]:
    """Download the dependencies' wheels; pip checks each against its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--dest={directory}"]
    wanted = directory / "requirements.txt"
    wanted.write_text(requirements_for(target))
    command += [f"--requirement={wanted}", *target.pip_options]
    _run(command, f"cannot download the dependencies for {target.name}", dict(os.environ))
    return sorted(directory.glob("*.whl"))


def requirements_for(target: Target) -> str:
    """Return a target's pins without markers, which pip would evaluate for this machine."""
    lines, is_wanted = [], True
    for line in REQUIREMENTS.read_text().splitlines():
        if not line.startswith((" ", "#")):  # else a hash of the requirement above
            pin = line.removesuffix("\\")
            is_wanted = target.needs(Requirement(pin))
            line = pin.partition(";")[0] + " \\"
        lines += [line] if is_wanted else []
    return "\n".join(lines) + "\n"


def _installer(base_url: str) -> bytes:
    text = (ROOT / "scripts" / "install.sh").read_text()
    if (
        text.count(_BASE_URL_LINE) != 1
        or not base_url.isprintable()
        or set(base_url) & set('"$`\\')
    ):
        raise ReleaseError(f"--base-url: expected an address, got {base_url!r}")
    return text.replace(_BASE_URL_LINE, f'BASE_URL="{base_url}"\n').encode()


def _write_sums(out: Path) -> None:
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(out.iterdir())
    ]
    (out / "SHA256SUMS.txt").write_text("".join(sums))


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(
            "this is not a git checkout: set SOURCE_DATE_EPOCH to the time of the release"
        )
    return done.stdout.strip()


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"{failure}:\n{done.stdout}{done.stderr}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist/")
    parser.add_argument(
        "--target",
        action="append",
        help="build the archive for this kind of machine, such as linux-aarch64-cp312; may be "
        "repeated (default: this machine)",
    )
    parser.add_argument(
        "--base-url",
        default="",
        help="the address that will serve the files: install.sh downloads from it",
    )
    parser.add_argument(
        "--allow-changes", action="store_true", help="build from a tree with uncommitted changes"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
