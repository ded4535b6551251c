"""Levels: how loggers spell severities, and which ones count as errors."""

import re
from functools import lru_cache

SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Every severity, from the least to the most severe."""
DEFAULT_LEVEL = "INFO"

_NAMES = {
    # Java's FINE… are those of java.util.logging, `silly` is npm's, `trce` .NET's console's
    "TRACE": "VERBOSE FINEST FINER SILLY TRCE VRB TRC T V TRACE1 TRACE2 TRACE3 TRACE4",
    "DEBUG": "FINE CONFIG DBUG DBG D DEBUG1 DEBUG2 DEBUG3 DEBUG4 DEBUG5 D1 D2 D3 D4 D5",
    # `log` is PostgreSQL's and the console's, `note` and `system` MySQL's
    "INFO": "INFORMATION INFORMATIONAL NOTICE DEFAULT INF I N NOTE LOG SYSTEM",
    "WARN": "WARNING WRN W",
    "ERROR": "ERR SEVERE FAIL FAILURE E EROR ERRO",
    "FATAL": "CRITICAL CRIT ALERT EMERGENCY EMERG PANIC DPANIC FTL F C CRI",
}
SEVERITY_OF_NAME = {name: severity for severity in _NAMES for name in _NAMES[severity].split()}
"""Other names that loggers use, and the severity each one means."""

ERRORS = SEVERITIES[SEVERITIES.index("ERROR") :]
"""The severities that count as errors."""
# Go's slog names a level between two others by its distance from the lower one: INFO+2.
_DISTANCE = re.compile(r"(DEBUG|INFO|WARN|ERROR)([+-]\d{1,6})", re.ASCII)
_SLOG = {"DEBUG": -4, "INFO": 0, "WARN": 4, "ERROR": 8}
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")  # ISO 6429, SGR
_MAX_KNOWN = 1_000


def severity_of(level: str) -> str:
    """Return the severity that a level in upper case means; the level itself if it has none."""
    return _SEVERITIES[level]


@lru_cache(maxsize=100)
def severities_in(levels: str) -> frozenset[str]:
    """Return the severities that levels in upper case mean, separated by commas.

    The text as a whole is one of them: a custom level may contain a comma.
    """
    names = (levels, *(name.strip() for name in levels.split(",")))
    return frozenset(severity_of(name) for name in names if name)


def is_error(level: str) -> bool:
    """Return True for ERROR and everything more severe, under all of their names."""
    return _SEVERITIES[level] in ERRORS


def level_named(text: str) -> str:
    """Return a logger's text for a level in upper case, without spaces and colours around it.

    Empty if nothing else is there.
    """
    return LEVEL_NAMES[text]


class _Severities(dict[str, str]):
    def __missing__(self, level: str) -> str:
        if len(self) >= _MAX_KNOWN:  # some records have anything as level
            self.clear()
        self[level] = _find_severity(level)
        return self[level]


class _Levels(dict[str, str]):
    """Cache of the levels that texts name."""

    def __missing__(self, text: str) -> str:
        if len(self) >= _MAX_KNOWN:
            self.clear()
        level = _COLOUR.sub("", text).strip().upper()
        if len(text) <= 100:
            self[text] = level
        return level


_SEVERITIES = _Severities()
LEVEL_NAMES = _Levels()
"""What `level_named` returns, by the text: for loops in which a call counts."""


def _find_severity(level: str) -> str:
    if level in SEVERITIES:
        return level
    distance = _DISTANCE.fullmatch(level)
    if distance is None:
        return SEVERITY_OF_NAME.get(level, level)
    number = _SLOG[distance[1]] + int(distance[2])
    bands = [severity for severity, lowest in _SLOG.items() if lowest <= number]
    return bands[-1] if bands else "TRACE"
