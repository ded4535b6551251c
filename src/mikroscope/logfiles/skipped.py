"""Says which files below the logs directory are not indexed, why, and what would include them."""

import os
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mikroscope.errors.wording import in_words
from mikroscope.logfiles.names import has_suffix, origin
from mikroscope.logfiles.packed import packing
from mikroscope.logfiles.tree import LogTree

_NAMED = 3
_LOOKED_AT = 2_000  # files, which takes some milliseconds
_PLAIN_TEXT, _NO_SUFFIX = "plain text", "no suffix"


class Skipped(NamedTuple):
    """Files that are not indexed: `text` names some of them with reasons, `fix` what to do."""

    total: int
    text: str
    fix: str


class _SilentTree(LogTree):
    """A tree that logs nothing: the indexer logs the same problems."""

    def _warn_once(self, problem: str) -> None:
        pass


def skipped_files(
    root: Path, suffixes: tuple[str, ...], own: Sequence[Path] = ()
) -> Skipped | None:
    """List a tree and describe the files that are not read; None if there are none to name.

    Hidden files (of editors and file managers) and empty ones are not named, nor are the program's
    `own`: each of these paths with any ending, so that one stands for all files of an index.
    """
    return describe_skipped(root, suffixes, _SilentTree(root, suffixes).walk().others, own)


def describe_skipped(
    root: Path, suffixes: tuple[str, ...], unread: Collection[str], own: Sequence[Path] = ()
) -> Skipped | None:
    """Describe the files of a tree that are not read, as `skipped_files` does.

    Of very many only the first ones are looked at, and all others count.
    """
    kinds = {}
    top = os.path.realpath(root)
    beginnings = tuple(os.path.join(os.path.realpath(path.parent), path.name) for path in own)
    for path in sorted(islice(unread, _LOOKED_AT)):
        if os.path.join(top, path).startswith(beginnings):
            continue
        kind = _kind(path, suffixes)
        is_empty = kind == _PLAIN_TEXT and not _size(root / path)
        if not is_empty and not PurePosixPath(path).name.startswith("."):
            kinds[path] = kind
    count = len(kinds) + max(0, len(unread) - _LOOKED_AT)
    if not kinds:
        return None
    named = ", ".join(f"{path} ({kinds[path]})" for path in list(kinds)[:_NAMED])
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    verb = "is" if count == 1 else "are"
    text = f"{in_words(count, 'file')} {verb} not indexed: {named}{more}"
    return Skipped(count, text, _fix(set(kinds.values()), suffixes, "it" if count == 1 else "them"))


def _fix(kinds: set[str], suffixes: tuple[str, ...], files: str) -> str:
    parts = []
    if new := sorted(kinds - {_PLAIN_TEXT, _NO_SUFFIX}):
        parts.append(f"to index {files}, set --log-file-suffixes {','.join((*suffixes, *new))}")
    if _PLAIN_TEXT in kinds:
        parts.append("the first line of a .log file must be a JSON object")
    if _NO_SUFFIX in kinds:
        parts.append("rename files without a suffix")
    return "; ".join([*parts, f"or move {files} out of the logs directory"])


def _kind(path: str, suffixes: tuple[str, ...]) -> str:
    """Return the end of a name that could be configured, or what else is the reason."""
    if has_suffix(path, suffixes):
        return _PLAIN_TEXT
    end = PurePosixPath(origin(path)).suffix
    return f"{end}{packing(path)}" or _NO_SUFFIX


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
