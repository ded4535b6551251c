"""Reads the stored alert policy, and the stored times of the last notifications."""

import contextlib
import logging
import math
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

    With a warning, numbers with a fraction are rounded, then those below their floor are raised to
    it. Raises ConfigurationError naming the file and the field for anything else that
    `apply_change` refuses.
    """
    stored = _load(path)
    if stored == {}:
        return default
    try:
        return apply_change(default, _with_valid_numbers(path, stored, limits), limits)
    except AlertPolicyError as error:
        text = f"{path}: {error}"
        advice = " Correct" if text.endswith("?") else "; correct"
        raise ConfigurationError(f"{text}{advice} the file or delete it") from None


def _with_valid_numbers(path: Path, stored: Any, limits: Mapping[str, tuple[int, int]]) -> Any:
    """Return the content with its numbers rounded, and raised to their floors."""
    if not isinstance(stored, dict):
        return stored
    changed = {}
    for key, (low, _) in limits.items():
        number = stored.get(key)
        if isinstance(number, float) and not number.is_integer():
            whole_number = math.floor(number + 0.5)
            # A rule that is on stays on: where 0 switches it off, half a minute does not.
            changed[key] = max(1, whole_number) if number > 0 else whole_number
            logger.warning("%s: %s: %s is rounded to %d", path, key, number, changed[key])
        whole = whole_json_number(changed.get(key, number))
        if low and whole is not None and whole < low:
            logger.warning("%s: %s: %d is too low and is raised to %d", path, key, whole, low)
            changed[key] = low
    return stored | changed


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
