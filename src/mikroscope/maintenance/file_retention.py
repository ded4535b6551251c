"""Finds expired log files and deletes them; audit files are backed up first."""

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mikroscope.disk import sync
from mikroscope.errors import MikroScopeError
from mikroscope.logfiles.reader import FileStat, file_stat
from mikroscope.logfiles.rotation import is_unchanged
from mikroscope.logfiles.sources import Source
from mikroscope.logfiles.tree import LogTree
from mikroscope.records.attributes import audit_of
from mikroscope.records.parsing import NotARecordError, parse_line
from mikroscope.stores.base import Cutoffs

_TAIL_BYTES = 1 << 20
_PART = ".mikroscope-part"  # of a copy that is not complete
# What ingest writes, also if it was rotated or packed since.
_WRITTEN_HERE = re.compile(r"ingest/[^/]+/\d{4}-\d\d-\d\d\.ndjson[^/]*")


class Expired(NamedTuple):
    """A log file past its retention period; `path` is relative to the logs root."""

    path: str
    stat: FileStat
    is_audit: bool


def expired_files(
    tree: LogTree, files: Mapping[str, FileStat], sources: Iterable[Source], cutoffs: Cutoffs
) -> list[Expired]:
    """Return the files whose last change is older than the cutoff of their kind.

    A file that is not indexed to its last line feed is never one of them: what it holds is unknown.
    """
    indexed = {source.path: source for source in sources if not source.gone}
    expired = []
    for path, stat in files.items():
        source = indexed.get(path)
        if source is None or not is_unchanged(source.checkpoint, stat):
            continue
        is_audit = source.holds_audit or "audit" in path.lower()
        if not is_audit and _is_older(stat, cutoffs.normal_ms):
            is_audit = _ends_in_audit(tree, source)
        if _is_older(stat, cutoffs.audit_ms if is_audit else cutoffs.normal_ms):
            expired.append(Expired(path, stat, is_audit))
    return expired


def _is_older(stat: FileStat, cutoff_ms: int | None) -> bool:
    return cutoff_ms is not None and stat.mtime_ns < cutoff_ms * 1_000_000


def _ends_in_audit(tree: LogTree, source: Source) -> bool:
    """Return whether an audit record follows the last line feed, where nothing is indexed yet."""
    read_to = source.checkpoint
    with contextlib.suppress(OSError), tree.open(source.path, read_to.offset, read_to.line) as file:
        for line in file.lines(_TAIL_BYTES, final=True):
            with contextlib.suppress(NotARecordError):
                if audit_of(parse_line(line)[0], path_is_audit=False):
                    return True
    return False


def is_written_here(path: str) -> bool:
    """Return whether a file of this path below the logs root is one that ingest has written."""
    return _WRITTEN_HERE.fullmatch(path) is not None


def is_behind_link(tree: LogTree, path: str) -> bool:
    """Return whether the file is a symbolic link, or lies in a directory that is one."""
    return os.path.realpath(tree.locate(path)) != str(tree.root / path)


def delete_file(tree: LogTree, expired: Expired, backup: Path | None) -> bool:
    """Delete a file; an audit file only after a copy is safe below `backup`, if that is given.

    Returns False if the file has changed meanwhile and is kept. Raises MikroScopeError if the file
    cannot be backed up or deleted, also where a link leads to it; it is kept then, too.
    """
    file = tree.root / expired.path
    try:
        with _directory_of(tree.root, expired.path) as directory:
            if not _is_same(file.name, directory, expired.stat):
                return False
            if expired.is_audit and backup is not None:
                with _open_in(directory, file.name) as opened:
                    _back_up(opened, backup / expired.path)
                if not _is_same(file.name, directory, expired.stat):
                    return False
            os.unlink(file.name, dir_fd=directory)
    except OSError as error:
        raise MikroScopeError(
            f"cannot delete {file}, which is past its retention period: {error}"
        ) from error
    return True


@contextlib.contextmanager
def _directory_of(root: Path, path: str) -> Iterator[int]:
    """Open the directory of a file below the root, following no link on the way."""
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path.split("/")[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            above, directory = directory, os.open(name, flags, dir_fd=directory)
            os.close(above)
        yield directory
    finally:
        os.close(directory)


def _is_same(name: str, directory: int, stat: FileStat) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return file_stat(found) == stat


def _open_in(directory: int, name: str) -> io.BufferedReader:
    return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory), "rb")


def _back_up(file: io.BufferedReader, wanted: Path) -> None:
    """Copy a file and verify the copy; an earlier backup is never overwritten."""
    digest = hashlib.file_digest(file, "blake2b").digest()
    target = wanted
    number = 0
    while target.exists():
        if _digest(target) == digest:
            return
        number += 1
        target = wanted.with_name(f"{wanted.name}.{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}{_PART}")
    try:
        _copy(file, part)
        sync(part)
        if _digest(part) != digest:
            raise OSError(f"the copy {target} is not the same")
        os.link(part, target)  # unlike a rename, this cannot replace what is there
        sync(target.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _copy(file: io.BufferedReader, target: Path) -> None:
    """Copy the content, the mode and the times."""
    file.seek(0)
    with target.open("wb") as copied:
        shutil.copyfileobj(file, copied)
    stat = os.fstat(file.fileno())
    target.chmod(stat.st_mode & 0o777)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").digest()
