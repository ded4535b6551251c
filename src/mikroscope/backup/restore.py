"""Restores a backup of index, log files and alert policy; replaced files are renamed and kept."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mikroscope.backup.create import BackupSummary, snapshots_of, summary, verified
from mikroscope.backup.manifest import (
    ALERT_POLICY,
    INDEX,
    LOGS,
    BackupPart,
    Manifest,
    SavedFile,
    copy_file,
    make_directory,
    sync_tree,
)
from mikroscope.disk import free_bytes, sync, translating_errors
from mikroscope.errors import MikroScopeError, StorageFullError
from mikroscope.settings.options import Settings
from mikroscope.stores.administration import Snapshots


class Restored(BackupSummary, frozen=True, kw_only=True):
    """What was restored; `kept` are the new names of the files and directories it replaced."""

    kept: list[str]


class _Places(msgspec.Struct, frozen=True):
    """The paths that the parts of a backup are restored to, or staged at."""

    logs: Path
    index: Path
    alert_policy: Path

    def of(self, path: str) -> Path:
        """The path for a file, given its path in the backup."""
        if path.startswith(LOGS):
            return self.logs / path.removeprefix(LOGS)
        return self.index if path == INDEX else self.alert_policy


def restore(
    settings: Settings, backup: Path, *, force: bool = False, only: BackupPart | None = None
) -> Restored:
    """Verify a backup, or one part of it, and restore it to the paths of the settings.

    Existing files are refused, or renamed with `force`. Everything is first copied next to its
    place; a failure until then changes nothing. Then the copies are renamed, the index last.
    Raises MikroScopeError, also if a server uses the index.
    """
    manifest = verified(settings, backup, only)
    places = _places(settings)
    snapshots = snapshots_of(places.index)
    with (
        translating_errors(settings.logs_path),
        snapshots.staging() as staged_index,
        _staged(places, staged_index) as staged,
    ):
        _check_free(places, manifest, force)
        _require_free_space(places, manifest)
        if manifest.logs:
            like = places.logs if places.logs.exists() else backup / LOGS
            staged.logs.parent.mkdir(parents=True, exist_ok=True)
            make_directory(like, staged.logs)
        for saved in manifest.files:
            _copy(backup, saved, staged.of(saved.path))
        kept = _put_in_place(manifest, staged, places, snapshots)
    totals = msgspec.structs.asdict(summary(backup, manifest))
    return Restored(**totals, kept=[str(path) for path in kept])


def _places(settings: Settings) -> _Places:
    places = _Places(
        settings.logs_path.resolve(), settings.db_path.resolve(), settings.alert_config_file
    )
    if places.index.is_relative_to(places.logs):
        raise MikroScopeError(
            f"the index {settings.db_path} is inside the log directory {settings.logs_path}: "
            "set --db to a path outside it"
        )
    return places


@contextmanager
def _staged(places: _Places, staged_index: Path) -> Iterator[_Places]:
    """The paths of the parts until they are complete, each on the disk of its final place."""
    parent = places.logs if _is_fixed(places.logs) else places.logs.parent
    logs = parent / f".{places.logs.name}.restoring"
    policy = places.alert_policy.with_name(f".{places.alert_policy.name}.restoring")
    staged = _Places(logs, staged_index, policy)
    _remove(staged)
    try:
        yield staged
    finally:
        _remove(staged)


def _remove(staged: _Places) -> None:
    shutil.rmtree(staged.logs, ignore_errors=True)
    staged.alert_policy.unlink(missing_ok=True)


def _check_free(places: _Places, manifest: Manifest, force: bool) -> None:
    """Raise MikroScopeError if existing files are in the way that may not be renamed."""
    occupied = [path for path in _targets(places, manifest) if _is_occupied(path)]
    if occupied and not force:
        raise MikroScopeError(
            f"the restore would replace {' and '.join(map(str, occupied))}: restore to other "
            "paths, or keep what is there under another name with --force"
        )
    if places.logs in occupied and _is_fixed(places.logs):
        raise MikroScopeError(
            f"{places.logs} cannot be renamed, because it is a mount point or its parent "
            "directory is not writable: move its content away"
        )


def _is_fixed(logs: Path) -> bool:
    """Return True if the directory cannot be renamed."""
    return logs.is_mount() or (logs.exists() and not os.access(logs.parent, os.W_OK))


def _targets(places: _Places, manifest: Manifest) -> list[Path]:
    found = [places.logs] if manifest.logs else []
    return found + [places.of(path) for path in (ALERT_POLICY, INDEX) if manifest.file(path)]


def _is_occupied(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _require_free_space(places: _Places, manifest: Manifest) -> None:
    needed: Counter[Path] = Counter()
    for saved in manifest.files:
        needed[places.of(saved.path).parent if saved.path == INDEX else places.logs] += saved.size
    by_device: Counter[int] = Counter()
    for directory, size in needed.items():
        existing = next(one for one in (directory, *directory.parents) if one.exists())
        device = existing.stat().st_dev
        by_device[device] += size
        free = free_bytes(existing)
        if free is not None and free < by_device[device]:
            raise StorageFullError(
                f"the backup needs {by_device[device]} bytes on the disk of {existing}, which has "
                f"{free} free: free some space, or restore to another disk"
            )


def _copy(backup: Path, saved: SavedFile, target: Path) -> None:
    if saved.path.startswith(LOGS):
        make_directory((backup / saved.path).parent, target.parent)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
    with (backup / saved.path).open("rb") as source:
        copied = copy_file(source, target, saved.path, saved.size)
    os.utime(target, ns=(saved.mtime_ns, saved.mtime_ns))  # those of the backup may be lost
    if saved.path == ALERT_POLICY:
        target.chmod(0o600)
    if copied.sha256 != saved.sha256:
        raise MikroScopeError(f"{backup / saved.path} changed while it was copied: try again")


def _put_in_place(
    manifest: Manifest, staged: _Places, places: _Places, snapshots: Snapshots
) -> list[Path]:
    """Rename everything to its final place; return the new names of what was there."""
    kept: list[Path | None] = []
    if manifest.logs:
        sync_tree(staged.logs)
        kept.append(None if _is_fixed(places.logs) else _set_aside(places.logs))
        _move_logs(staged.logs, places.logs)
    if manifest.file(ALERT_POLICY):
        kept.append(_set_aside(places.alert_policy))
        staged.alert_policy.rename(places.alert_policy)
    if manifest.file(INDEX):
        kept.append(snapshots.restore_from(staged.index))
        sync(places.index.parent)
    return [path for path in kept if path is not None]


def _set_aside(path: Path) -> Path | None:
    if not path.exists() or not _is_occupied(path):
        return None
    aside = path.with_name(f"{path.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    return path.rename(aside)


def _move_logs(staged: Path, root: Path) -> None:
    if not root.exists():
        staged.rename(root)
    else:  # an empty directory, whose owner and mode were chosen on purpose
        for entry in staged.iterdir():
            entry.rename(root / entry.name)
        sync(root)
    sync(root.parent)
