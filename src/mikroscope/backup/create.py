"""Makes a backup of index, log files and alert policy while a server keeps running."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mikroscope.backup.log_snapshot import NOTHING_BEFORE, LogCopy, Previous
from mikroscope.backup.manifest import (
    ALERT_POLICY,
    FORMAT,
    INDEX,
    LOGS,
    MANIFEST,
    BackupPart,
    Manifest,
    SavedFile,
    copy_file,
    describe_file,
    read_manifest,
    sync_tree,
    verify_files,
)
from mikroscope.disk import free_bytes, require_no_file, sync, translating_errors, write_json
from mikroscope.errors import IndexFormatError, MikroScopeError, StorageFullError
from mikroscope.errors.wording import in_words
from mikroscope.json_body import JsonBody
from mikroscope.records.timestamps import format_moment
from mikroscope.settings.options import Settings
from mikroscope.sidecar import open_tree
from mikroscope.stores import administer
from mikroscope.stores.administration import SnapshotContent, Snapshots

Clock = Callable[[], datetime]

_PART = ".part"  # of a backup that is not complete
_LOCK = ".mikroscope-backup.lock"


class BackupSummary(JsonBody, frozen=True, kw_only=True):
    """What `mikroscope backup` and `mikroscope restore` print."""

    backup: str
    created_at: str
    entries: int | None
    files: int
    bytes: int


def summary(backup: Path, manifest: Manifest) -> BackupSummary:
    """Sum up a backup; `entries` is None if there is no index in it."""
    return BackupSummary(
        backup=str(backup),
        created_at=manifest.created_at,
        entries=manifest.entries,
        files=len(manifest.files),
        bytes=sum(one.size for one in manifest.files),
    )


def back_up(
    settings: Settings,
    directory: Path,
    version: str,
    only: BackupPart | None = None,
    clock: Clock = lambda: datetime.now(UTC),
) -> BackupSummary:
    """Make a backup below `directory`, named by the time, and verify it.

    It gets its name only when it is complete and verified; a failure leaves no backup. The index
    is copied first, so the copied files hold at least every line that it has indexed.
    Raises MikroScopeError.
    """
    _check_place(settings, directory)
    now = clock()
    name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
    with translating_errors(directory / name), _alone_in(directory):
        target, part = directory / name, directory / f".{name}{_PART}"
        if target.exists():
            raise MikroScopeError(f"the backup {target} already exists: try again")
        try:
            part.mkdir(mode=0o700)
            manifest = _fill(settings, part, only, format_moment(now), version)
            _verify(settings, part, manifest)
            part.rename(target)
            sync(directory)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return summary(target, manifest)


def verified(settings: Settings, backup: Path, only: BackupPart | None = None) -> Manifest:
    """Read all of a backup, or of one part, and check its index; return the manifest of that.

    Raises MikroScopeError if anything is wrong.
    """
    manifest = read_manifest(backup).only(only)
    try:
        _verify(settings, backup, manifest)
    except IndexFormatError as error:
        raise MikroScopeError(
            f"the index in {backup} is in a format that this version does not read: restore it "
            f"with MikroScope {manifest.version}, which made it; or restore only the log files "
            "with --only logs, and the next start rebuilds the index from them"
        ) from error
    return manifest


def snapshots_of(address: Path) -> Snapshots:
    """The snapshots of the index at an address. Raises MikroScopeError if its store has none."""
    store = administer(address)
    if isinstance(store, Snapshots):
        return store
    raise MikroScopeError(
        f"backups of {address} are made and restored with that store's own tools; "
        "'mikroscope backup --only logs' backs up the log files"
    )


def _verify(settings: Settings, backup: Path, manifest: Manifest) -> None:
    verify_files(backup, manifest)
    if manifest.file(INDEX) is None:
        return
    entries = snapshots_of(settings.db_path).verify(backup / INDEX)
    if entries != manifest.entries:
        raise MikroScopeError(
            f"the backup {backup} is damaged: its index has {in_words(entries, 'entry')}, "
            f"expected {manifest.entries}"
        )


def _fill(
    settings: Settings, part: Path, only: BackupPart | None, created_at: str, version: str
) -> Manifest:
    previous = _previous(part.parent)
    _require_free_space(settings, part, only, previous)
    files: list[SavedFile] = []
    content: SnapshotContent | None = None
    if only != "logs":
        content = snapshots_of(settings.db_path).snapshot_to(part / INDEX)
        files.append(describe_file(part / INDEX, INDEX))
    if only != "index":
        files += LogCopy(open_tree(settings), part / LOGS, _indexed(content), previous).run()
    if only is None:
        files += _copy_alert_policy(settings.alert_config_file, part)
    manifest = Manifest(
        format=FORMAT,
        version=version,
        created_at=created_at,
        entries=None if content is None else content.entries,
        files=files,
    )
    write_json(part / MANIFEST, manifest)
    sync_tree(part)
    return manifest


def _indexed(content: SnapshotContent | None) -> dict[str, int]:
    """The number of bytes of each file that the copied index has read."""
    sources = [] if content is None else content.sources
    return {one.path: one.checkpoint.offset for one in sources if not one.gone}


def _copy_alert_policy(path: Path, part: Path) -> list[SavedFile]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return [copy_file(file, part / ALERT_POLICY, ALERT_POLICY, size)]
    return []


def _previous(directory: Path) -> Previous:
    """Find the newest backup that has log files, and a manifest that can be read."""
    for backup in sorted(directory.glob(f"*Z/{MANIFEST}"), reverse=True):
        with contextlib.suppress(MikroScopeError):
            manifest = read_manifest(backup.parent)
            if manifest.logs:
                return Previous(backup.parent, {one.path: one for one in manifest.logs})
    return NOTHING_BEFORE


def _check_place(settings: Settings, directory: Path) -> None:
    require_no_file(settings.logs_path, "--logs")
    if not settings.logs_path.is_dir():
        raise MikroScopeError(
            f"No logs directory at {settings.logs_path.absolute()}. Run this where the server "
            "runs, or pass --logs"
        )
    if directory.resolve().is_relative_to(settings.logs_path.resolve()):
        raise MikroScopeError(
            f"{directory} is inside the log directory {settings.logs_path}, where its files would "
            "be indexed again: choose another directory"
        )
    if directory.exists() and not directory.is_dir():
        raise MikroScopeError(f"{directory} is a file; backups go into a directory")


def _reserve(settings: Settings, part: Path) -> int:
    """The bytes that must stay free: on a disk that the server uses, it needs its reserve."""
    device = part.stat().st_dev
    used = [settings.logs_path, settings.db_path.parent]
    shared = any(path.exists() and path.stat().st_dev == device for path in used)
    return settings.min_free_bytes if shared else 0


def _require_free_space(
    settings: Settings, part: Path, only: BackupPart | None, previous: Previous
) -> None:
    needed = 0
    if only != "logs":
        needed += snapshots_of(settings.db_path).snapshot_size_bytes()
    if only != "index":
        needed += LogCopy(open_tree(settings), part / LOGS, {}, previous).bytes_to_copy()
    free, reserve = free_bytes(part), _reserve(settings, part)
    if free is not None and free < needed + reserve:
        kept = f", and {reserve} (--min-free-bytes) must stay free for the server" * bool(reserve)
        raise StorageFullError(
            f"the backup needs about {needed} bytes in {part.parent}, which has {free} free{kept}: "
            "free some space, or choose a directory on another disk"
        )


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Allow one backup at a time, and delete what a killed one has left."""
    if not directory.exists():
        directory.mkdir(parents=True, mode=0o700)
    lock = directory / _LOCK
    descriptor = _lock(lock)
    try:
        for remains in directory.glob(f".*Z{_PART}"):
            shutil.rmtree(remains)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Lock a file of our own: servers lock the directory itself if it holds their index.

    The previous holder deletes the file, so the one opened here may have been deleted since.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samefile(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise MikroScopeError(
                f"another backup into {path.parent} is running: wait until it is done"
            ) from None
        os.close(descriptor)
