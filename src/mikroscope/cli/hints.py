"""Tells what a user meant by a command or flag that does not exist."""

import click

from mikroscope.errors.wording import did_you_mean

# What people call our commands, or expect them to be called.
_COMMANDS = {
    **dict.fromkeys(("start", "run", "server", "up", "daemon", "listen", "watch"), "serve"),
    **dict.fromkeys(("search", "find", "grep", "logs", "list", "tail", "show"), "query"),
    **dict.fromkeys(("count", "group", "stats", "facets", "top"), "aggregate"),
    **dict.fromkeys(("check", "status", "health", "diagnose", "config", "validate"), "doctor"),
    **dict.fromkeys(("scan", "ingest", "import", "load", "read"), "index"),
    **dict.fromkeys(("rebuild", "reindex"), "index --rebuild"),
    **dict.fromkeys(("dump", "snapshot", "save"), "backup"),
    **dict.fromkeys(("sample", "seed", "generate", "mock"), "mock-data"),
    **dict.fromkeys(("alert", "alerts"), "demo alerts"),
    "help": "--help",
    "version": "--version",
}
# Flags that `query` and `aggregate` do not have, and why they need none.
_ANSWERS = {
    **dict.fromkeys(
        ("--format", "--json", "--output", "--pretty", "-o"), "The output is always JSON"
    ),
    **dict.fromkeys(
        ("--url", "--host", "--port", "--server", "--token", "--api-token"),
        "This command reads the index file (--db); to query a server, use its HTTP API",
    ),
}


class NoCommand(click.ClickException):
    """A group was called without a command; `help` is what the group prints then."""

    exit_code = 2  # a script whose command is empty should notice

    def __init__(self, text: str) -> None:
        super().__init__("no command is given")
        self.help = text


class Group(click.Group):
    """A group of commands that prints its help without one, and explains a wrong one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are declared: the first one first."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raise NoCommand if there are no arguments."""
        if not args and not ctx.resilient_parsing:
            raise NoCommand(ctx.get_help())
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, its name and its arguments; fail if there is none of that name."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        meant = _COMMANDS.get(name) if ctx.parent is None else None
        hint = did_you_mean(name, self.list_commands(ctx))
        if meant is not None:
            hint = f". Did you mean '{ctx.command_path} {meant}'?"
        raise click.UsageError(f"No such command '{name}'{hint}", ctx)


def message(error: click.ClickException) -> str:
    """Return an error's text; a suggestion in it is what was meant, not what is spelled alike.

    click itself suggests each name that shares some letters, such as --version for --since.
    """
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message()
    name, command = error.option_name, error.ctx.command
    hint = did_you_mean(name, [flag for one in command.params for flag in one.opts])
    if not hint and command.name in ("query", "aggregate") and name in _ANSWERS:
        hint = f". {_ANSWERS[name]}"
    return f"No such option '{name}'{hint}"
