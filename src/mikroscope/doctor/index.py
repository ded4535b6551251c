"""Checks the index: its owner, its content, its newest entry, and the files beside it."""

import platform
from collections.abc import Iterator
from pathlib import Path

from mikroscope.doctor.findings import Finding, left_of_restore, ok, problem, warning
from mikroscope.errors import DamagedIndexError, IndexFormatError, NotAnIndexError, StoreError
from mikroscope.errors.wording import in_words
from mikroscope.query.model import Entry
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.administration import Inspectable, UnfinishedRebuild

_MUCH_UNMERGED_BYTES = 256 << 20
_NEARLY_FULL = 0.9  # of the limit: so large is an index from which entries leave
_AHEAD_MS = 5 * 60_000
_MEBIBYTE = 1 << 20


def check_versions(version: str, index: object = None) -> Finding:
    """The versions of MikroScope and Python, and of the database engine if the index has one."""
    text = f"MikroScope {version}, Python {platform.python_version()}"
    return ok("versions", f"{text}, {index.engine()}" if isinstance(index, Inspectable) else text)


def check_index(index: object, address: str, now_ms: int) -> Iterator[Finding]:
    """Findings about the index at an address, and about what lies beside it."""
    if not isinstance(index, Inspectable):
        yield warning(
            "index",
            f"the store of {address} cannot be inspected from here",
            "check it with that store's own tools",
        )
        return
    yield from _check_content(index, address, now_ms)
    yield from _check_leftovers(index)


def _check_content(index: Inspectable, address: str, now_ms: int) -> Iterator[Finding]:
    try:
        content = index.examine()
    except StoreError as error:
        yield _explain(error, index, address)
        return
    if content is None:
        yield ok("index", f"no index at {address} yet; the first start creates it")
        return
    yield ok("index", f"{address} is intact: {in_words(content.entries, 'entry')}")
    if content.newest is not None:
        yield _check_newest(content.newest, now_ms)


def _explain(error: StoreError, index: Inspectable, address: str) -> Finding:
    """The finding for an index that cannot be used."""
    if isinstance(error, IndexFormatError):
        return warning(
            "index",
            str(error),
            "start the server, which rebuilds the index from the log files; or run the version of "
            "MikroScope that made it",
        )
    if not isinstance(error, DamagedIndexError):
        fix = "set --db to another file, or check the permissions of this one"
        return problem("index", str(error), fix)
    if not index.may_be_an_index():
        return problem("index", f"{address} is not an index", "set --db to another file")
    if isinstance(error, NotAnIndexError):
        return problem(
            "index",
            f"{address} is not an SQLite file",
            "set --db to another file; otherwise the next start moves this one and makes a new "
            "index",
        )
    return problem(
        "index",
        str(error),
        "restart the server, or run 'mikroscope index --rebuild': the damaged file is kept under "
        "another name, and the index is rebuilt from the log files",
    )


def _check_newest(newest: Entry, now_ms: int) -> Finding:
    time_ms = parse_time(newest.timestamp)
    text = f"the newest entry is from {newest.timestamp}"
    if time_ms is None or time_ms <= now_ms + _AHEAD_MS:
        return ok("newest entry", text)
    return warning(
        "newest entry",
        f"{text} in {newest.source_file}, "
        f"{in_words((time_ms - now_ms) // 60_000, 'minute')} in the future",
        "set the clock of this machine, or of the one that wrote the entry; if the file has local "
        "times without a zone, write the zone too",
    )


def check_size(size_bytes: int, max_bytes: int, retention_days: int) -> Finding:
    """A warning if an index is nearly as large as its limit although days are set, too."""
    size, limit = f"{size_bytes / _MEBIBYTE:,.1f}", f"{max_bytes / _MEBIBYTE:,.1f}"
    text = f"the index takes {size} MiB of the {limit} MiB of --db-max-bytes"
    if not retention_days or size_bytes < _NEARLY_FULL * max_bytes:
        return ok("index size", text)
    return warning(
        "index size",
        f"{text}: entries are deleted before they are {in_words(retention_days)} old",
        "raise that limit; or set --db-retention-days to 0 if only the size is to count",
    )


def _check_leftovers(index: Inspectable) -> Iterator[Finding]:
    found = index.leftovers()
    if found.rebuild is not None:
        yield _check_rebuild(found.rebuild)
    if found.restore is not None:
        yield left_of_restore("restore", found.restore)
    if found.unmerged_bytes > _MUCH_UNMERGED_BYTES:
        yield warning(
            "write-ahead log",
            f"{found.unmerged_bytes // _MEBIBYTE:,} MiB are not merged into the index file yet",
            "end programs that have kept the index open for long (lsof); then the next writes "
            "merge it",
        )
    if found.renamed:
        size = sum(one.stat().st_size for one in found.renamed)
        yield warning(
            "old indexes",
            f"{size // _MEBIBYTE:,} MiB are kept in {', '.join(one.name for one in found.renamed)}",
            "delete them when they are no longer needed",
        )


def _check_rebuild(rebuild: UnfinishedRebuild) -> Finding:
    if rebuild.process is not None:
        return ok("rebuild", f"process {rebuild.process} is rebuilding the index")
    return warning(
        "rebuild",
        f"{rebuild.path} was left by a rebuild that was killed",
        "start the server, or run 'mikroscope index --rebuild': either deletes it",
    )


def index_files(index: object) -> list[Path]:
    """The files of the index that a server writes; none if the store cannot be inspected."""
    return index.files() if isinstance(index, Inspectable) else []


def check_owner(index: object) -> tuple[str | None, Finding]:
    """The process whose server uses the index, or None, and the finding about that."""
    if not isinstance(index, Inspectable):
        fix = "check it with that store's own tools"
        return None, warning("server", "which server uses the index is unknown", fix)
    try:
        owner = index.owner()
    except StoreError as error:
        return None, warning("server", str(error), "run this as the server's user")
    if owner is None:
        return None, ok("server", "no server uses the index")
    return owner, ok("server", f"process {owner} uses the index")
