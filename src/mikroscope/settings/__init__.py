"""Settings: every option of the program, and the layers that give them values."""

from mikroscope.settings.options import Settings, describe, options, resolve_settings
from mikroscope.settings.values import Option

__all__ = ["Option", "Settings", "describe", "options", "resolve_settings"]
