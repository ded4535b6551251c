"""Checks directories, disks and files: permissions, free space, secrets, watches, clock."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from mikroscope.disk import free_bytes
from mikroscope.doctor.findings import Finding, ok, problem, warning
from mikroscope.errors.wording import in_words

_FEW_FILES = 1000  # that can still be created on a disk
_MEBIBYTE = 1 << 20
_BOTH = os.R_OK | os.W_OK
_ALL = _BOTH | os.X_OK
_FLAG = {"database": "--db", "logs": "--logs", "audit backup": "--audit-backup-dir"}
_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")


def check_directory(what: str, directory: Path) -> Finding:
    """Check that the current user may write to a directory, or create it."""
    check = f"{what} directory"
    if directory.is_dir():
        return _check_rights(check, directory, f"{directory} is writable by {_user()}")
    if directory.exists():
        taken = "an index in a directory" if what == "database" else "a directory"
        text = f"{directory.absolute()} is a file; {_FLAG[what]} takes {taken}"
        return problem(check, text, f"set {_FLAG[what]} to another path")
    parent = next(one for one in directory.absolute().parents if one.exists())
    return _check_rights(check, parent, f"{directory} does not exist yet, and can be created")


def check_written(what: str, paths: Iterable[Path]) -> Finding:
    """Check that the current user may read and write the files of a server that exist.

    A command that was run as another user, such as root, may have created some of them.
    """
    found = [path for path in paths if path.exists()]
    closed = [path for path in found if not os.access(path, _ALL if path.is_dir() else _BOTH)]
    if not closed:
        count = in_words(len(found), "file" if what == "index files" else "path")
        return ok(what, f"{count} writable by {_user()}" if found else "none yet")
    owner = _name(closed[0].stat().st_uid)
    more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
    return problem(
        what,
        f"{closed[0]}{more} cannot be read and written by {_user()}; owner: {owner}",
        f"chown them to {_user()}, or run this as the server's user",
    )


def check_free_space(what: str, directory: Path, min_free_bytes: int) -> Finding:
    """Check that the disk has more free space than the reserve, and can take more files."""
    check = f"{what} disk"
    place = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    free = free_bytes(place)
    if free is None:
        return warning(check, f"the free space at {place} is unknown", "check it with df")
    text = f"{_size(free)} free at {place}, {_size(min_free_bytes)} must stay free"
    fix = "free some space, keep logs for fewer days (--log-retention-days, --db-retention-days)"
    if free < min_free_bytes:
        return problem(check, text, f"{fix}, or lower --min-free-bytes")
    if free < 2 * min_free_bytes:
        return warning(check, text, fix)
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < _FEW_FILES:
        few = f"only {in_words(inodes.f_favail, 'more file')} can be created at {place}"
        return warning(check, few, "delete files that are no longer needed")
    return ok(check, text)


def check_secret_file(what: str, path: Path, forbidden: int) -> Finding | None:
    """Check that other users cannot read a file of secrets: no bit of `forbidden` is in its mode.

    None if the file does not exist.
    """
    check = f"{what} file"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    if not os.access(path, os.R_OK):
        return problem(
            check,
            f"{path} cannot be read by {_user()}",
            f"chown {_user()} {path}, or run this as the server's user",
        )
    if mode & forbidden:
        text = f"{path} has mode {mode:04o}: other users can read the secrets in it"
        return warning(check, text, f"chmod {mode & ~forbidden:04o} {path}")
    return ok(check, f"{path} has mode {mode:04o}")


def check_watches(root: Path, limit_file: Path = _WATCHES) -> Finding | None:
    """Check that the system can watch all log directories; None if it states no limit."""
    try:
        limit = int(limit_file.read_text())
    except (OSError, ValueError):
        return None
    directories = sum(1 for _ in os.walk(root, followlinks=False))
    text = f"{in_words(directories, 'log directory')}; up to {limit:,} can be watched"
    fix = f"sysctl fs.inotify.max_user_watches={max(524_288, 4 * directories)}"
    if directories > limit:
        return problem("watch", f"{text}; new lines in the rest are found later, by scans", fix)
    if directories > 0.8 * limit:
        return warning("watch", text, fix)
    return ok("watch", text)


def check_clock(now_s: float, written: Iterator[Path] | list[Path]) -> Finding:
    """Check that no file was written at a time that the clock has not reached yet."""
    times = {path: path.stat().st_mtime for path in written if path.exists()}
    ahead = {path: time - now_s for path, time in times.items() if time > now_s + 60}
    if not ahead:
        return ok("clock", "no file was written in the future")
    path = max(ahead, key=lambda one: ahead[one])
    return warning(
        "clock",
        f"{path} was written {round(ahead[path])} s in the future: the clock was set back, or is "
        "wrong",
        "set the clock (timedatectl status), and keep it synchronised with NTP",
    )


def _check_rights(check: str, directory: Path, text: str) -> Finding:
    if os.access(directory, _ALL):
        return ok(check, text)
    owner = directory.stat().st_uid
    return problem(
        check,
        f"{directory} is not writable by {_user()}; owner: {_name(owner)}",
        f"chown {_user()} {directory}, or run this as the server's user",
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
