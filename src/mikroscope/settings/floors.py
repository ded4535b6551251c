"""Values that are taken otherwise than given, with a warning: too low, or empty."""

import logging

from mikroscope.settings.sources import Blanks, Given, Layer
from mikroscope.settings.values import Option

logger = logging.getLogger(__name__)


def effective(option: Option, given: Given) -> object:
    """Return the value, raised to the option's floor with a warning."""
    is_off = option.zero_is_off and given.value == 0
    if option.floor is None or given.value >= option.floor or is_off:
        return given.value
    text = f"{given.spelling}: {given.value} is too low and is raised to {option.floor}"
    logger.warning("%s", text, extra={"fix": "set it to that value or a higher one"})
    return option.floor


def warn_of_blanks(blanks: Blanks, given: Layer) -> None:
    """Warn of empty credentials: the variable may be unset that their value comes from."""
    for name, spelling in blanks.items():
        if name not in given:
            text = f"{spelling} is empty and counts as not set: no credential comes from it"
            fix = "set it, also any variable that its value is taken from, or remove it"
            logger.warning("%s", text, extra={"fix": fix})
