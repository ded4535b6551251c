"""Severity names: how loggers spell them, and which ones count as errors."""

SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Every severity, from the least to the most severe."""
DEFAULT_LEVEL = "INFO"

SEVERITY_OF_NAME = {
    "VERBOSE": "TRACE",
    "INFORMATION": "INFO",
    "INFORMATIONAL": "INFO",
    "NOTICE": "INFO",
    "DEFAULT": "INFO",
    "WARNING": "WARN",
    "ERR": "ERROR",
    "SEVERE": "ERROR",
    "CRITICAL": "FATAL",
    "CRIT": "FATAL",
    "ALERT": "FATAL",
    "EMERGENCY": "FATAL",
    "EMERG": "FATAL",
    "PANIC": "FATAL",
    "DPANIC": "FATAL",
}
"""Other names that loggers use, and the severity each one means."""

_ERRORS = SEVERITIES[SEVERITIES.index("ERROR") :]
ERROR_LEVELS = frozenset(
    (*_ERRORS, *(name for name, severity in SEVERITY_OF_NAME.items() if severity in _ERRORS))
)
"""ERROR, everything more severe, and all other names of those severities."""
