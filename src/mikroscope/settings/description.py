"""Describes the settings in force for people and logs, without secrets."""

from pathlib import Path

from mikroscope.settings.options import Settings, options


def describe(settings: Settings) -> dict[str, object]:
    """Return the settings by JSON key, ready for JSON and for logs: secrets are masked."""
    described = {
        option.key: _plain(getattr(settings, option.name), option.secret)
        for option in options()
        if option.key and hasattr(settings, option.name)  # not an alias, as `https`
    }
    return described | {"alertConfigPath": str(settings.alert_config_file)}


def _plain(value: object, secret: bool) -> object:
    if secret:
        return "[configured]" if value else None
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
