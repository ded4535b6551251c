"""Writes the reference of the command line from click's tree of commands."""

from collections.abc import Iterator

import click

from mikroscope.cli.main import cli
from mikroscope.settings.options import options

Flag = click.Option
SETTINGS = {option.flag for option in options()}
OPTIONS = "[options of the configuration](configuration.md#options)"


def commands_markdown() -> str:
    """A table of all commands, then a section for each."""
    found = list(_commands(cli, "mikroscope"))
    rows = [
        f"| [`{path}`](#{path.replace(' ', '-')}) | {_summary(one)} |" for path, one, _ in found
    ]
    sections = [_section(path, command, inherited) for path, command, inherited in found]
    return "\n".join(["| Command | What it does |", "|---|---|", *rows, "", *sections])


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command, list[Flag]]]:
    """Every command that runs, with its full name and the flags of its group."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command, _own_flags(group)


def _own_flags(command: click.Command) -> list[Flag]:
    """The flags of a command that are not options of the configuration."""
    flags = [one for one in command.params if isinstance(one, Flag) and not _is_setting(one)]
    return [one for one in flags if one.name != "version"]


def _section(path: str, command: click.Command, inherited: list[Flag]) -> str:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    usage = " ".join([path, "[OPTIONS]", *(_argument(one) for one in arguments)])
    rows = [f"| `{_flag(one)}` | {_words(one)} |" for one in _own_flags(command)]
    before = f"Goes before `{command.name}`."
    rows += [f"| `{_flag(one)}` | {before} {_words(one)} |" for one in inherited]
    table = ["| Flag | What it does |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(
        [f"### {path}", "", f"`{usage}`", "", _text(command), "", *table, *_settings(command)]
    )


def _settings(command: click.Command) -> list[str]:
    """The options of the configuration that a command accepts."""
    flags = [one.opts[0] for one in command.params if _is_setting(one)]
    if not flags:
        return []
    if set(flags) == SETTINGS:
        return [f"Also accepts all {OPTIONS}.", ""]
    named = ", ".join(f"`{flag}`" for flag in flags)
    return [
        f"Also accepts these [options of the configuration](configuration.md#options): {named}.",
        "",
    ]


def _is_setting(one: click.Parameter) -> bool:
    return isinstance(one, Flag) and one.opts[0] in SETTINGS


def _argument(one: click.Argument) -> str:
    name = one.metavar or f"{{{','.join(_choices(one))}}}"
    return name if one.required else f"[{name}]"


def _flag(one: Flag) -> str:
    value = one.metavar or ("" if one.is_flag else f"{{{','.join(_choices(one))}}}")
    return f"{one.opts[0]} {value}".strip()


def _choices(one: click.Parameter) -> tuple[str, ...]:
    return tuple(one.type.choices) if isinstance(one.type, click.Choice) else (one.type.name,)


def _summary(command: click.Command) -> str:
    return _text(command).partition("\n")[0].rstrip(".")


def _text(command: click.Command) -> str:
    """The help, one line for each paragraph."""
    paragraphs = (command.help or "").split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _words(flag: Flag) -> str:
    """A flag's help for one line of a table, with its default if it has one."""
    said, _, rest = " ".join((flag.help or "").split()).partition(" [default: ")
    said += " Required." if flag.required else ""
    return f"{said} Default: {rest.removesuffix(']')}." if rest else said
