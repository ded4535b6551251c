"""Turns settings into command-line flags, and the flags given back into settings."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from mikroscope._version import __version__
from mikroscope.records.zones import default_zone_name
from mikroscope.settings.options import Option, Settings, options, resolve_settings

Command = TypeVar("Command", bound=Callable[..., Any])


version_option = click.version_option(__version__, prog_name="mikroscope")


def setting_options(names: Iterable[str] | None = None) -> Callable[[Command], Command]:
    """Add the flags of the named settings to a command; of all settings if `names` is None."""
    wanted = [option for option in options() if names is None or option.name in names]

    def decorate(command: Command) -> Command:
        for option in reversed(wanted):
            command = _flag(option)(command)
        return command

    return decorate


def _flag(option: Option) -> Callable[[Command], Command]:
    text = f"{option.help}  [default: {option.default}]"
    if option.kind == "boolean":  # --https, --https true and --https=true
        return click.option(
            option.flag, option.name, is_flag=False, flag_value="true", metavar="[BOOL]", help=text
        )
    return click.option(option.flag, option.name, metavar="VALUE", help=text)


def settings_of(given: dict[str, Any]) -> Settings:
    """Resolve the settings from a command's flags, the environment and the config file."""
    path = given.pop("config_path", None)
    return resolve_settings(config_file_path=path or None, overrides=given)


def warn_of_zone(settings: Settings) -> None:
    """Say so on stderr if a zone was given, and the index that was opened has another one."""
    wanted, zone = settings.default_timezone, default_zone_name()
    if "default_timezone" in settings.given and wanted != zone:
        text = f"the index was made with --default-timezone {zone}, which holds, not {wanted}"
        click.echo(f"mikroscope: {text}; to change it, rebuild the index", err=True)
