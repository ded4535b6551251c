"""The index: who uses it, is it whole, is its newest entry plausible, and what lies beside it."""

import platform
from collections.abc import Iterator
from pathlib import Path

from mikroscope.doctor.findings import Finding, left_of_restore, ok, problem, warning
from mikroscope.errors import DamagedIndexError, IndexFormatError, StoreError
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.sqlite.admin import inspection as diagnosis

_MUCH_LOG_BYTES = 256 << 20
_AHEAD_MS = 5 * 60_000
_MEBIBYTE = 1 << 20


def check_versions(version: str) -> Finding:
    """What runs: ours, Python's, SQLite's."""
    engine = diagnosis.engine_version()
    text = f"MikroScope {version}, Python {platform.python_version()}, SQLite {engine}"
    return ok("versions", text)


def check_index(path: Path, now_ms: int) -> Iterator[Finding]:
    """Findings about the file at `path` and its neighbours."""
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        yield ok("index", f"there is none at {path} yet: the first start makes it")
    elif not path.is_file():
        yield problem("index", f"{path} is no file", "name another file with --db")
    else:
        yield from _check_content(path, now_ms)
    yield from _check_neighbours(path)


def _check_content(path: Path, now_ms: int) -> Iterator[Finding]:
    try:
        content = diagnosis.examine(path)
    except DamagedIndexError as error:
        if not diagnosis.may_be_an_index(path):
            yield problem("index", f"{path} is no index", "name another file with --db")
            return
        yield problem(
            "index",
            str(error),
            "restart the server, or run 'mikroscope index --rebuild': the damaged file is kept "
            "under another name, and a new index is made from the log files",
        )
        return
    except IndexFormatError as error:
        yield warning(
            "index",
            str(error),
            "start the server: it keeps this one under another name, and makes a new one from the "
            "log files; or start the version of MikroScope that made it",
        )
        return
    except StoreError as error:
        yield problem("index", str(error), "look at the rights of the file, or name another --db")
        return
    yield ok("index", f"{path} is whole: {content.entries:,} entries")
    if content.newest is not None:
        yield _check_newest(content.newest.timestamp, content.newest.source_file, now_ms)


def _check_newest(timestamp: str, source: str, now_ms: int) -> Finding:
    time_ms = parse_time(timestamp)
    text = f"the newest entry is of {timestamp}"
    if time_ms is None or time_ms <= now_ms + _AHEAD_MS:
        return ok("newest entry", text)
    return warning(
        "newest entry",
        f"{text} in {source}, {(time_ms - now_ms) // 60_000:,} minutes from now",
        "set the clock of this machine, or of the one that wrote it; if the file says local time "
        "without a zone, have it say the zone",
    )


def _check_neighbours(path: Path) -> Iterator[Finding]:
    rebuild = diagnosis.rebuilding(path)
    if rebuild is not None and rebuild.holder is None:
        yield warning(
            "rebuild",
            f"{rebuild.path} is left of a rebuild that was killed",
            "start the server, or run 'mikroscope index --rebuild': either removes it",
        )
    elif rebuild is not None:
        yield ok("rebuild", f"process {rebuild.holder} makes the index anew")
    if (remains := diagnosis.restoring(path)) is not None:
        yield left_of_restore("restore", remains)
    if (size := diagnosis.log_bytes(path)) > _MUCH_LOG_BYTES:
        yield warning(
            "write-ahead log",
            f"{size // _MEBIBYTE:,} MiB are not in the file itself yet",
            "end programs that have had the index open for long (lsof); the next writes do it then",
        )
    kept = diagnosis.set_aside(path)
    if kept:
        size = sum(one.stat().st_size for one in kept)
        yield warning(
            "old indexes",
            f"{size // _MEBIBYTE:,} MiB are kept in {', '.join(one.name for one in kept)}",
            "delete them when nobody wants to look at them any more",
        )


def index_files(path: Path) -> list[Path]:
    """The file at `path`, and those that belong to it."""
    return diagnosis.files_of(path)


def check_holder(path: Path) -> tuple[str | None, Finding]:
    """The process whose server uses the index, or None, and the finding about it."""
    try:
        holder = diagnosis.holder_of(path)
    except StoreError as error:
        return None, warning("server", str(error), "ask as the user that the server runs as")
    if holder is None:
        return None, ok("server", "none uses the index")
    return holder, ok("server", f"process {holder} uses the index")
