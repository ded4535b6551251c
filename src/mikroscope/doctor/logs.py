"""Checks the log files: permissions, files that are not indexed, and the newest lines."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mikroscope.doctor.findings import Finding, left_of_restore, ok, problem, warning
from mikroscope.errors.wording import in_words
from mikroscope.logfiles.packed import DAMAGE, is_packed, unpack_all
from mikroscope.logfiles.reader import FileStat
from mikroscope.logfiles.skipped import Skipped, skipped_files
from mikroscope.logfiles.tree import LogTree
from mikroscope.records.parsing import NotARecordError, parse_line

_SAMPLED_FILES = 50
_SAMPLED_BYTES = 64 << 10  # of each, from its end
_UNPACKED_BYTES = 256 << 20  # of packed files, by their packed size
_AT_REST_S = 60.0  # since a file was last written
_AHEAD_S = 60.0
_NAMED = 3


def check_logs(
    tree: LogTree, suffixes: tuple[str, ...], now_s: float, own: Sequence[Path] = ()
) -> Iterator[Finding]:
    """Findings about the files of a tree; `suffixes` are those of the files to index."""
    if not tree.root.is_dir():
        yield ok("log files", f"none yet: {tree.root} does not exist")
        return
    closed, nameless = _closed_and_nameless(tree.root)
    with _nothing_logged():  # the findings say all of it
        listing = tree.walk()
        lines = _check_lines(tree, listing.files)
    closed += [path for path in listing.files if not os.access(tree.locate(path), os.R_OK)]
    if closed:
        yield problem(
            "log files",
            f"{in_words(len(closed), 'path')} cannot be read: {_some(closed)}",
            "let the server's user read them (chmod, chown, or a shared group)",
        )
    else:
        count = in_words(len(listing.files), "readable file")
        yield ok("log files", f"{count} below {tree.root}")
    yield from _check_skipped(skipped_files(tree.root, suffixes, own), nameless)
    yield lines
    yield from _check_packed(tree, listing.files, now_s)
    yield from _check_times(listing.files, now_s)
    name = f".{tree.root.resolve().name}.restoring"
    for remains in (tree.root / name, tree.root.resolve().parent / name):
        if remains.exists():
            yield left_of_restore("restore of logs", remains)
    kept = [path.name for path in tree.root.parent.glob(f"{tree.root.name}.before-restore-*Z")]
    if kept:
        yield warning(
            "old logs",
            f"a restore has kept the log files that it replaced: {_some(kept)}",
            "delete them when they are no longer needed",
        )


def _check_skipped(skipped: Skipped | None, nameless: list[str]) -> Iterator[Finding]:
    if skipped is not None:
        yield warning("files left out", skipped.text, skipped.fix)
    if nameless:
        what = in_words(len(nameless), "file")
        text = f"{what} not indexed because the name is not UTF-8: {_some(nameless)}"
        yield warning("names", text, "rename to UTF-8")


def _check_times(files: Mapping[str, FileStat], now_s: float) -> Iterator[Finding]:
    ahead = [path for path, stat in files.items() if stat.mtime_ns / 1e9 > now_s + _AHEAD_S]
    if ahead:
        yield warning(
            "file times",
            f"{in_words(len(ahead), 'log file')} written in the future: {_some(ahead)}",
            "set the clock of the machine that writes there, then touch the files: retention goes "
            "by that time",
        )


def _check_packed(tree: LogTree, files: Mapping[str, FileStat], now_s: float) -> Iterator[Finding]:
    """Unpack the newest packed files, except those that may still be written."""
    packed = [
        path
        for path in sorted(files, key=lambda path: -files[path].mtime_ns)
        if is_packed(path) and files[path].mtime_ns / 1e9 < now_s - _AT_REST_S
    ]
    damaged, left = list[str](), _UNPACKED_BYTES
    for path in packed[:_SAMPLED_FILES]:
        left -= files[path].size
        if left < 0:
            break
        if (reason := _unpack(tree.locate(path))) is not None:
            damaged.append(f"{path} ({reason})")
    if damaged:
        yield warning(
            "packed files",
            f"{in_words(len(damaged), 'file')} cannot be unpacked to the end: {_some(damaged)}",
            "restore from a backup, or compress again; the lines before the damage are indexed",
        )


def _unpack(path: Path) -> str | None:
    """Return what is wrong with a packed file; None if nothing is, or if it cannot be opened."""
    try:
        unpack_all(path)
    except DAMAGE as error:
        return str(error)
    except OSError:
        return None  # the check of permissions reports it
    return None


def _closed_and_nameless(root: Path) -> tuple[list[str], list[str]]:
    """Directories that cannot be listed, and names that are not UTF-8."""
    closed, nameless = list[str](), list[str]()

    def note(error: OSError) -> None:
        closed.append(ascii(os.path.relpath(str(error.filename), root) + "/")[1:-1])

    for _, directories, names in os.walk(root, onerror=note):
        nameless += [ascii(name)[1:-1] for name in directories + names if _is_nameless(name)]
    return closed, nameless


def _is_nameless(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


@contextmanager
def _nothing_logged() -> Iterator[None]:
    logger = logging.getLogger("mikroscope.logfiles")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _check_lines(tree: LogTree, files: Mapping[str, FileStat]) -> Finding:
    newest = sorted(files, key=lambda path: -files[path].mtime_ns)[:_SAMPLED_FILES]
    lines, wrong = 0, list[str]()
    for path in newest:
        count, reason = _sample(tree, path, files[path].size)
        lines += count
        if reason is not None:
            wrong.append(f"{path} ({reason})")
    text = f"checked {in_words(lines, 'line')} at the end of {in_words(len(newest), 'file')}"
    if not wrong:
        return ok("log lines", f"{text}: only JSON objects")
    return warning(
        "log lines",
        f"{text}; not JSON objects: {_some(wrong)}",
        "have the service write one JSON object per line; the server's log names each bad line, "
        "and all other lines are indexed",
    )


def _sample(tree: LogTree, path: str, size: int) -> tuple[int, str | None]:
    """The number of lines at the end of a file, and what is wrong with the first bad one."""
    start = 0 if is_packed(path) else max(0, size - _SAMPLED_BYTES)
    try:
        with tree.open(path, start) as reader:
            lines = [line for line in reader.lines(_SAMPLED_BYTES) if line.strip()]
    except OSError:
        return 0, None  # the check of permissions reports it
    for line in lines:
        try:
            parse_line(line)
        except NotARecordError as error:
            return len(lines), str(error)
    return len(lines), None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
