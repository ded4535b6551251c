"""Severity names: how loggers spell them, and which of them are errors."""

SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Every severity, the least severe first."""
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
"""Other names that loggers use, with the severity each one stands for."""

_ERRORS = SEVERITIES[SEVERITIES.index("ERROR") :]
ERROR_LEVELS = frozenset(
    (*_ERRORS, *(name for name, severity in SEVERITY_OF_NAME.items() if severity in _ERRORS))
)
"""ERROR and everything more severe, under every name that loggers use."""
