"""Directories, disks and files: rights, room, secrets that others can read, watch limits."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from mikroscope.disk import free_bytes
from mikroscope.doctor.findings import Finding, ok, problem, warning

_FEW_FILES = 1000  # that may still be made on a disk
_MEBIBYTE = 1 << 20
_BOTH = os.R_OK | os.W_OK
_ALL = _BOTH | os.X_OK
_FLAG = {"database": "--db", "logs": "--logs", "audit backup": "--audit-backup-dir"}
_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")


def check_directory(what: str, directory: Path) -> Finding:
    """Whether the user who asks may write to a directory, or make it."""
    check = f"{what} directory"
    if directory.is_dir():
        return _check_rights(check, directory, f"{directory} can be written by {_user()}")
    if directory.exists():
        return problem(
            check, f"{directory} is a file", f"name another directory with {_FLAG[what]}"
        )
    parent = next(one for one in directory.absolute().parents if one.exists())
    return _check_rights(check, parent, f"{directory} will be made when it is needed")


def check_written(what: str, paths: Iterable[Path]) -> Finding:
    """Whether the user who asks may write to what a server writes to, where that is there.

    A command that was given as another user, root say, may have left some of it.
    """
    found = [path for path in paths if path.exists()]
    closed = [path for path in found if not os.access(path, _ALL if path.is_dir() else _BOTH)]
    if not closed:
        return ok(
            what, f"{len(found)} can be written by {_user()}" if found else "there are none yet"
        )
    owner = _name(closed[0].stat().st_uid)
    more = f", nor can {len(closed) - 1} more" if len(closed) > 1 else ""
    return problem(
        what,
        f"{closed[0]} cannot be read and written by {_user()}, it belongs to user {owner}{more}",
        f"chown them to {_user()}, or ask as the user that the server runs as",
    )


def check_room(what: str, directory: Path, min_free_bytes: int) -> Finding:
    """Whether the disk has the room that must stay free, and more."""
    check = f"{what} disk"
    place = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    free = free_bytes(place)
    if free is None:
        return warning(check, f"nobody tells how much is free at {place}", "look with df")
    text = f"{_size(free)} free at {place}, {_size(min_free_bytes)} must stay free"
    fix = "make room, keep logs for fewer days (--log-retention-days, --db-retention-days)"
    if free < min_free_bytes:
        return problem(check, text, f"{fix}, or set --min-free-bytes lower")
    if free < 2 * min_free_bytes:
        return warning(check, text, fix)
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < _FEW_FILES:
        few = f"only {inodes.f_favail} more files can be made at {place}"
        return warning(check, few, "delete files that nobody needs")
    return ok(check, text)


def check_secret_file(what: str, path: Path, forbidden: int) -> Finding | None:
    """Whether others may read a file with secrets; `forbidden` are the bits of mode they need."""
    check = f"{what} file"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    if not os.access(path, os.R_OK):
        return problem(
            check, f"{path} cannot be read by {_user()}", f"chown {_user()} {path}, or chmod it"
        )
    if mode & forbidden:
        text = f"{path} has mode {mode:04o}: others may read the secrets in it"
        return warning(check, text, f"chmod {mode & ~forbidden:04o} {path}")
    return ok(check, f"{path} has mode {mode:04o}")


def check_watches(root: Path, limit_file: Path = _WATCHES) -> Finding | None:
    """Whether the system watches as many directories as there are; None where none are counted."""
    try:
        limit = int(limit_file.read_text())
    except (OSError, ValueError):
        return None
    directories = sum(1 for _ in os.walk(root, followlinks=False))
    text = f"{directories} directories of logs, {limit} may be watched"
    fix = f"sysctl fs.inotify.max_user_watches={max(524_288, 4 * directories)}"
    if directories > limit:
        return problem("watch", f"{text}: the others are looked at in turn only", fix)
    if directories > 0.8 * limit:
        return warning("watch", text, fix)
    return ok("watch", text)


def check_clock(now_s: float, written: Iterator[Path] | list[Path]) -> Finding:
    """Whether the clock stands before the time that files were written at."""
    times = {path: path.stat().st_mtime for path in written if path.exists()}
    ahead = {path: time - now_s for path, time in times.items() if time > now_s + 60}
    if not ahead:
        return ok("clock", "no file is from the future")
    path = max(ahead, key=lambda one: ahead[one])
    return warning(
        "clock",
        f"{path} was written {round(ahead[path])} s after now: the clock was set back, or is wrong",
        "set the clock (timedatectl status), and keep it so by NTP",
    )


def _check_rights(check: str, directory: Path, text: str) -> Finding:
    if os.access(directory, _ALL):
        return ok(check, text)
    owner = directory.stat().st_uid
    return problem(
        check,
        f"{directory} cannot be written by {_user()}, it belongs to user {_name(owner)}",
        f"chown {_user()} {directory}, or ask as the user that the server runs as",
    )


def _user() -> str:
    return _name(os.geteuid())


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _size(count: int) -> str:
    return f"{count // _MEBIBYTE:,} MiB"
