"""The log files: can they be read, is any left out, and do the newest lines parse."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mikroscope.doctor.findings import Finding, ok, problem, warning
from mikroscope.logfiles import FileStat, LogTree
from mikroscope.records import NotARecordError, parse_line

_SAMPLED_FILES = 50
_SAMPLED_BYTES = 64 << 10  # of each, from its end
_NAMED = 3


def check_logs(tree: LogTree) -> Iterator[Finding]:
    """Findings about the files below a root."""
    if not tree.root.is_dir():
        yield ok("log files", f"there are none yet: {tree.root} is not there")
        return
    closed = _closed_directories(tree.root)
    listing = tree.walk()
    closed += [path for path in listing.files if not os.access(tree.root / path, os.R_OK)]
    if closed:
        yield problem(
            "log files",
            f"{len(closed)} cannot be read: {_some(closed)}",
            "give the server's user the right to read (chmod, chown, or a common group)",
        )
    else:
        yield ok("log files", f"{len(listing.files)} can be read below {tree.root}")
    left_out = [path for path in listing.others if not Path(path).name.startswith(".")]
    if left_out:
        yield warning(
            "files left out",
            f"{len(left_out)} have no name or content that is read: {_some(left_out)}",
            "add the end of the name to --log-file-suffixes (.log files must hold JSON), "
            "or move them out of the logs",
        )
    yield _check_lines(tree, listing.files)
    kept = [path.name for path in tree.root.parent.glob(f"{tree.root.name}.before-restore-*Z")]
    if kept:
        yield warning(
            "old logs",
            f"a restore has kept what was there before: {_some(kept)}",
            "delete it when nobody wants to look at it any more",
        )


def _closed_directories(root: Path) -> list[str]:
    found: list[str] = []

    def note(error: OSError) -> None:
        found.append(os.path.relpath(str(error.filename), root) + "/")

    for _ in os.walk(root, onerror=note):
        pass
    return found


def _check_lines(tree: LogTree, files: Mapping[str, FileStat]) -> Finding:
    newest = sorted(files, key=lambda path: -files[path].mtime_ns)[:_SAMPLED_FILES]
    lines, wrong = 0, list[str]()
    for path in newest:
        count, reason = _sample(tree, path, files[path].size)
        lines += count
        if reason is not None:
            wrong.append(f"{path} ({reason})")
    text = f"{lines} lines at the end of the {len(newest)} newest files"
    if not wrong:
        return ok("log lines", f"{text} are JSON objects")
    return warning(
        "log lines",
        f"of {text} some are no JSON objects, in {_some(wrong)}",
        "have the service write one JSON object a line; the server's log names each line, "
        "and everything else of these files is indexed",
    )


def _sample(tree: LogTree, path: str, size: int) -> tuple[int, str | None]:
    """How many of a file's last lines there are, and what is wrong with the first bad one."""
    start = 0 if path.endswith(".gz") else max(0, size - _SAMPLED_BYTES)
    try:
        with tree.open(path, start) as reader:
            lines = [line for line in reader.read(_SAMPLED_BYTES).lines if line.strip()]
    except OSError:
        return 0, None  # told of already
    for line in lines:
        try:
            parse_line(line)
        except NotARecordError as error:
            return len(lines), str(error)
    return len(lines), None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
