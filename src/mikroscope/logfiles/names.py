"""Names of log files, also those that rotation and compression give them.

Rotation renames `app.log` to, for example:

    logrotate                    app.log.1, app.log-20260218, app.log-20260218-1771410000
    Python, log4js               app.log.2026-02-18, app.log.2026-02-18_10-20-00
    winston-daily-rotate-file    app.2026-02-18.log, app.2026-02-18.log.1
    Docker, kubelet              c0ffee-json.log.1, 0.log.20260218-102000
    log4j, logback, NLog         app.log.2026-02-18.3, app.log.18-Feb-2026, app.2026-02-18.0.log
    lumberjack, Serilog          app-2026-02-18T10-20-00.000.log, app20260218_001.log
    by hand                      app.log.old

What stands before the suffix does not matter here. What may follow it is made of numbers, with the
signs that join them, of names of months, and of the word "old". Other words (bak, copy) stand for
copies rather than for files that were moved away; to read them would index their lines twice.
"""

import os
import re

from mikroscope.logfiles.packed import packing, unpacked_name

# Every part must begin with a sign, so that no name has more than one way to match.
_PART = r"(?:w?\d+z?|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|old\d*)"
_ROTATED = re.compile(rf"[-_.@]{_PART}(?:[-_.@:,+T]+{_PART})*$", re.IGNORECASE)


def origin(path: str) -> str:
    """Return the name before rotation and before packing: app.log for app.log-20260218.gz."""
    return _ROTATED.sub("", unpacked_name(path))


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a name ended in one of these (in lower case) before rotation and packing.

    Case does not matter. A suffix may also include the packing, as `.ndjson.gz` does.
    """
    if path.lower().endswith(suffixes):  # most names: this spares them the search
        return True
    name = origin(path).lower()
    return name.endswith(suffixes) or f"{name}{packing(path)}".endswith(suffixes)


def is_rotated(name: str, of: str) -> bool:
    """Return whether rotation may have made a file of another one, and packed it.

    It may add something to the name, or put it before the suffix: app-2026-02-18.log of app.log.
    """
    if origin(name) == of:
        return True
    stem, dot, suffix = of.rpartition(".")
    before, unpacked = f"{dot}{suffix}", unpacked_name(name)
    return bool(stem) and unpacked.endswith(before) and origin(unpacked[: -len(before)]) == stem


def renamed(name: str, of: str, other: str) -> str:
    """Return what a name that rotation made of `of` would be if that had been named `other`."""
    if name.startswith(of):
        return f"{other}{name[len(of) :]}"
    stem, suffix = os.path.splitext(of)
    other_stem, other_suffix = os.path.splitext(other)
    unpacked = unpacked_name(name)
    return f"{other_stem}{unpacked[len(stem) : -len(suffix)]}{other_suffix}{packing(name)}"
