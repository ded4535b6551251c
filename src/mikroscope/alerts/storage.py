"""Reads the stored alert policy, and the stored times of the last notifications."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mikroscope.alerts.policy import AlertPolicy, apply_change, whole_json_number
from mikroscope.errors import AlertPolicyError, ConfigurationError, MikroScopeError

logger = logging.getLogger(__name__)


def load_policy(
    path: Path, default: AlertPolicy, limits: Mapping[str, tuple[int, int]]
) -> AlertPolicy:
    """Return the stored policy, or the default if none is stored.

    Numbers below their floor are raised to it, with a warning. Raises ConfigurationError naming
    the file and the field for anything else that `apply_change` refuses.
    """
    stored = _load(path)
    if stored == {}:
        return default
    try:
        return apply_change(default, _raised(path, stored, limits), limits)
    except AlertPolicyError as error:
        raise ConfigurationError(f"{path}: {error}; correct the file or delete it") from None


def _raised(path: Path, stored: Any, limits: Mapping[str, tuple[int, int]]) -> Any:
    """Return the content with each number below its floor raised to it."""
    if not isinstance(stored, dict):
        return stored
    raised = {}
    for key, (low, _) in limits.items():
        number = whole_json_number(stored.get(key))
        if low and number is not None and number < low:
            logger.warning("%s: %s: %d is too low and is raised to %d", path, key, number, low)
            raised[key] = low
    return stored | raised


def load_last_sent(path: Path) -> dict[str, int]:
    """Return when each rule last notified, in epoch milliseconds; empty if that is unknown."""
    with contextlib.suppress(MikroScopeError, msgspec.ValidationError):
        return msgspec.convert(_load(path), dict[str, int])
    return {}


def _load(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MikroScopeError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from error
