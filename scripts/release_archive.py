"""The contents of a self-contained archive, and how to pack it reproducibly."""

import gzip
import io
import tarfile
import time
import zipfile
from pathlib import Path

from release_targets import Target

ROOT = Path(__file__).parent.parent
_ZIP_BEGINS = 315_532_800  # 1980, the earliest time in a zip file
_LAUNCHER = ROOT / "scripts" / "launcher.sh"
_BESIDE = ("README.md", "CHANGELOG.md", "LICENSE", "OPS_RUNBOOK.md", "docs", "examples", "deploy")

Files = dict[str, tuple[bytes, bool]]  # path -> content, whether it is executable


def archive_files(target: Target, wheels: list[Path], installer: bytes) -> Files:
    """Return the files of a target's archive: the launcher, the packages in lib/, the documents."""
    steps = (ROOT / "scripts" / "install_steps.py").read_bytes()
    files: Files = {
        "mikroscope": (_launcher(target), True),
        "install.sh": (installer, True),
        "install_steps.py": (steps, False),
    }
    for wheel in wheels:
        files |= _unpacked(wheel)
    for name in _BESIDE:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files[path.relative_to(ROOT).as_posix()] = (path.read_bytes(), False)
    return files


def write_tar(path: Path, top: str, files: Files, epoch: int) -> None:
    """Write a .tar.gz whose bytes depend only on the arguments; `top` is its directory."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, (content, runs) in sorted(files.items()):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o755 if runs else 0o644
            archive.addfile(entry, io.BytesIO(content))


def write_zip(path: Path, top: str, files: Files, epoch: int) -> None:
    """Write a .zip whose bytes depend only on the arguments; `top` is its directory."""
    when = time.gmtime(max(epoch, _ZIP_BEGINS))[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, (content, runs) in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", when)
            entry.create_system = 3  # Unix, so that unzip applies the modes
            entry.external_attr = (0o100755 if runs else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def _launcher(target: Target) -> bytes:
    text = _LAUNCHER.read_text()
    text = text.replace("@PYTHON@", ".".join(map(str, target.python)))
    return text.replace("@SYSTEM@", target.system).replace("@MACHINE@", target.machine).encode()


def _unpacked(wheel: Path) -> Files:
    """Return the files of a wheel for lib/, without its scripts: the launcher replaces them."""
    files: Files = {}
    with zipfile.ZipFile(wheel) as opened:
        for name in opened.namelist():
            place, inside = _place(name)
            if not name.endswith("/") and place:
                files[f"lib/{inside}"] = (opened.read(name), False)
    return files


def _place(name: str) -> tuple[bool, str]:
    """Return whether a wheel's file goes into lib/, and its path there."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return True, name
    kind, _, inside = rest.partition("/")
    return kind in ("purelib", "platlib"), inside
