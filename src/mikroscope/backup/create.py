"""Makes a backup of index, log files and alert policy while a server goes on with its work."""

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
from mikroscope.disk import free_bytes, sync, translating_errors, write_json
from mikroscope.errors import IndexFormatError, MikroScopeError, StorageFullError
from mikroscope.ingest.native import receipt_time
from mikroscope.json_body import JsonBody
from mikroscope.settings.options import Settings
from mikroscope.sidecar import open_tree
from mikroscope.stores.sqlite.admin.snapshot import Copied, copy_index, count_whole, look_into

Clock = Callable[[], datetime]

_PART = ".part"  # of a backup that is not complete
_LOCK = ".mikroscope-backup.lock"


class BackupSummary(JsonBody, frozen=True, kw_only=True):
    """What `mikroscope backup` and `mikroscope restore` tell."""

    backup: str
    created_at: str
    entries: int | None
    files: int
    bytes: int


def summary(backup: Path, manifest: Manifest) -> BackupSummary:
    """A backup in a few figures."""
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
    """Make a backup below `directory`, named by the time, and read it back.

    It appears under its name when it is complete and was found whole; after a failure there is
    none. The index is copied first, so that the files hold at least what it knows of them.
    Raises MikroScopeError.
    """
    _check_place(settings, directory)
    now = clock()
    name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
    with translating_errors(directory / name), _alone_in(directory):
        target, part = directory / name, directory / f".{name}{_PART}"
        if target.exists():
            raise MikroScopeError(f"the backup {target} is there already: try again")
        try:
            part.mkdir(mode=0o700)
            manifest = _fill(settings, part, only, receipt_time(now), version)
            _verify(part, manifest)
            part.rename(target)
            sync(directory)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return summary(target, manifest)


def verified(backup: Path, only: BackupPart | None = None) -> Manifest:
    """Read a whole backup, or one part of it, and examine its index; returns what was read.

    Raises MikroScopeError if anything is wrong.
    """
    manifest = read_manifest(backup).only(only)
    try:
        _verify(backup, manifest)
    except IndexFormatError as error:
        raise MikroScopeError(
            f"the index in {backup} has another format than this version reads: restore it with "
            f"MikroScope {manifest.version}, which made it; or the files alone, with --only logs, "
            "and the next start makes an index from them"
        ) from error
    return manifest


def _verify(backup: Path, manifest: Manifest) -> None:
    verify_files(backup, manifest)
    if manifest.file(INDEX) is None:
        return
    entries = count_whole(backup / INDEX)
    if entries != manifest.entries:
        raise MikroScopeError(
            f"the backup {backup} is damaged: its index has {entries} entries, "
            f"expected {manifest.entries}"
        )


def _fill(
    settings: Settings, part: Path, only: BackupPart | None, created_at: str, version: str
) -> Manifest:
    previous = _previous(part.parent)
    _require_room(settings, part, only, previous)
    files: list[SavedFile] = []
    copied = Copied([], None)
    if only != "logs":
        copied = _copy_index(settings.db_path, part / INDEX)
        files.append(describe_file(part / INDEX, INDEX))
    if only != "index":
        files += LogCopy(open_tree(settings), part / LOGS, _indexed(copied), previous).run()
    if only is None:
        files += _copy_alert_policy(settings.alert_config_file, part)
    manifest = Manifest(
        format=FORMAT,
        version=version,
        created_at=created_at,
        entries=copied.entries,
        files=files,
    )
    write_json(part / MANIFEST, manifest)
    sync_tree(part)
    return manifest


def _copy_index(path: Path, target: Path) -> Copied:
    copy_index(path, target)
    shutil.copymode(path, target)
    return look_into(target)


def _indexed(copied: Copied) -> dict[str, int]:
    """How far each file is indexed."""
    return {one.path: one.checkpoint.offset for one in copied.sources if not one.gone}


def _copy_alert_policy(path: Path, part: Path) -> list[SavedFile]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return [copy_file(file, part / ALERT_POLICY, ALERT_POLICY, size)]
    return []


def _previous(directory: Path) -> Previous:
    """The newest backup with log files whose manifest can be read."""
    for backup in sorted(directory.glob(f"*Z/{MANIFEST}"), reverse=True):
        with contextlib.suppress(MikroScopeError):
            manifest = read_manifest(backup.parent)
            if manifest.logs:
                return Previous(backup.parent, {one.path: one for one in manifest.logs})
    return NOTHING_BEFORE


def _check_place(settings: Settings, directory: Path) -> None:
    if not settings.logs_path.is_dir():
        raise MikroScopeError(f"there is no directory {settings.logs_path}: name the logs' --logs")
    if directory.resolve().is_relative_to(settings.logs_path.resolve()):
        raise MikroScopeError(
            f"{directory} lies below the logs ({settings.logs_path}), where its files would be "
            "indexed again: choose another directory"
        )
    if directory.exists() and not directory.is_dir():
        raise MikroScopeError(f"{directory} is a file, expected a directory for backups")


def _reserve(settings: Settings, part: Path) -> int:
    """What must stay free: on a disk that the server uses, it would refuse logs below that."""
    device = part.stat().st_dev
    used = [settings.logs_path, settings.db_path.parent]
    shared = any(path.exists() and path.stat().st_dev == device for path in used)
    return settings.min_free_bytes if shared else 0


def _require_room(
    settings: Settings, part: Path, only: BackupPart | None, previous: Previous
) -> None:
    needed = 0
    if only != "logs":
        needed += _size_of_index(settings.db_path)
    if only != "index":
        needed += LogCopy(open_tree(settings), part / LOGS, {}, previous).bytes_to_copy()
    free, reserve = free_bytes(part), _reserve(settings, part)
    if free is not None and free < needed + reserve:
        kept = f", and {reserve} (--min-free-bytes) must stay free for the server" * bool(reserve)
        raise StorageFullError(
            f"the backup needs about {needed} bytes in {part.parent}, which has {free}{kept}: "
            "make room, or name a directory on another disk"
        )


def _size_of_index(path: Path) -> int:
    """The copy is no bigger than the file, its log included."""
    both = (path, path.with_name(f"{path.name}-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One backup at a time; what an earlier one left when it was killed is removed."""
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
    """Hold a file of our own: the directory itself may be that of an index, where servers lock it.

    Who held it before has deleted it, so the one that was opened may bear no name any more.
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
                f"another backup into {path.parent} is being made: wait until it is done"
            ) from None
        os.close(descriptor)
