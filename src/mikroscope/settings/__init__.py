"""Every option of the program, and the layers that set them: file, environment, flags."""

from mikroscope.settings.description import describe
from mikroscope.settings.options import Settings, options, resolve_settings
from mikroscope.settings.values import Option

__all__ = ["Option", "Settings", "describe", "options", "resolve_settings"]
