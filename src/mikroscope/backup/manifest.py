"""The files of a backup, with their hashes, and the manifest that lists them."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from mikroscope.disk import sync
from mikroscope.errors import MikroScopeError
from mikroscope.json_body import JsonBody

BackupPart = Literal["logs", "index"]

FORMAT = 1
MANIFEST = "manifest.json"
INDEX = "index.db"
ALERT_POLICY = "alert-policy.json"
LOGS = "logs/"

_BLOCK = 1 << 20


class SavedFile(JsonBody, frozen=True):
    """One file of a backup; `path` is relative to it, with `/`."""

    path: str
    size: int
    sha256: str
    mtime_ns: int


class _Made(msgspec.Struct):
    """The part of a manifest that every version has."""

    format: int
    version: str


class Manifest(JsonBody, frozen=True, kw_only=True):
    """What a backup holds; `entries` is None if there is no index in it."""

    format: int
    version: str
    created_at: str
    entries: int | None
    files: list[SavedFile]

    def only(self, part: BackupPart | None) -> "Manifest":
        """Keep the files of one part. Raises MikroScopeError if there are none."""
        if part is None:
            return self
        files = self.logs if part == "logs" else [one for one in self.files if one.path == INDEX]
        if not files:
            raise MikroScopeError(f"the backup of {self.created_at} has no {part}")
        entries = self.entries if part == "index" else None
        return msgspec.structs.replace(self, files=files, entries=entries)

    @property
    def logs(self) -> list[SavedFile]:
        """The log files."""
        return [one for one in self.files if one.path.startswith(LOGS)]

    def file(self, path: str) -> SavedFile | None:
        """The file with a path; None if the backup has none."""
        return next((one for one in self.files if one.path == path), None)


class ChangedError(Exception):
    """A file became shorter while it was copied."""


def copy_file(source: BinaryIO, target: Path, path: str, size: int) -> SavedFile:
    """Copy the first `size` bytes to a new file, with the original's mode and time, and sync it.

    Raises OSError, or ChangedError if there are fewer bytes.
    """
    status = os.fstat(source.fileno())
    digest = hashlib.sha256()
    source.seek(0)
    with target.open("xb") as copy:
        os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
        left = size
        while left:
            block = source.read(min(left, _BLOCK))
            if not block:
                raise ChangedError
            digest.update(block)
            copy.write(block)
            left -= len(block)
        copy.flush()
        os.fsync(copy.fileno())
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return SavedFile(path, size, digest.hexdigest(), status.st_mtime_ns)


def make_directory(original: Path, copy: Path) -> None:
    """Make a directory and its missing parents, each with the mode of its original.

    A file that all may read can be protected by its directory alone. The owner may always write.
    Raises OSError.
    """
    if copy.is_dir():
        return
    mode = stat.S_IMODE(original.stat().st_mode)
    make_directory(original.parent, copy.parent)
    copy.mkdir(mode=stat.S_IRWXU)
    copy.chmod(mode | stat.S_IRWXU)


def describe_file(file: Path, path: str) -> SavedFile:
    """Sync a file that is already in the backup, and return its manifest entry."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        status = os.fstat(opened.fileno())
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return SavedFile(path, status.st_size, digest, status.st_mtime_ns)


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a backup. Raises MikroScopeError if it is missing or unusable."""
    path = directory / MANIFEST
    try:
        text = path.read_bytes()
        made = msgspec.json.decode(text, type=_Made)
        manifest = msgspec.json.decode(text, type=Manifest) if made.format == FORMAT else None
    except FileNotFoundError:
        raise MikroScopeError(
            f"{directory} is not a backup, it has no {MANIFEST}: name a directory that "
            "'mikroscope backup' made, such as DIR/20260218T102000.000Z"
        ) from None
    except OSError as error:
        raise MikroScopeError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise MikroScopeError(f"{path} is not the manifest of a backup: {error}") from error
    if manifest is None:
        raise MikroScopeError(
            f"{path} has format {made.format}, expected {FORMAT}: restore it with MikroScope "
            f"{made.version}, which made it"
        )
    for one in manifest.files:
        _check_path(one.path, path)
    return manifest


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Read every file, and compare its size and hash with the manifest.

    Raises MikroScopeError for the first that is missing or has changed.
    """
    for one in manifest.files:
        try:
            with (directory / one.path).open("rb") as file:
                _forget_cached(file)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
        except OSError as error:
            raise MikroScopeError(
                f"the backup {directory} is incomplete: {one.path}: {error.strerror}"
            ) from error
        if (status.st_size, digest) != (one.size, one.sha256):
            shared = "; other backups share this file: back up into another directory"
            raise MikroScopeError(
                f"the backup {directory} is damaged: {one.path} has {status.st_size} bytes with "
                f"SHA-256 {digest}, expected {one.size} bytes with {one.sha256}"
                f"{shared if status.st_nlink > 1 else ''}"
            )


def sync_tree(directory: Path) -> None:
    """Make the names in a directory, and in all below it, durable."""
    for root, _, _ in os.walk(directory):
        sync(Path(root))


def _check_path(path: str, manifest: Path) -> None:
    """Refuse a path outside the backup: a manifest may come from anywhere."""
    parts = path.split("/")
    known = path in (INDEX, ALERT_POLICY) or path.startswith(LOGS)
    if not known or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise MikroScopeError(f"{manifest} names {path!r}, which is not part of a backup")


def _forget_cached(file: BinaryIO) -> None:
    """Make the next read come from the disk instead of the system's cache, where possible."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
