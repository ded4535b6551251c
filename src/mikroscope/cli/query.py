"""`mikroscope query` and `mikroscope aggregate`: questions to an index, without a server."""

from collections.abc import Callable
from typing import Any

import click

from mikroscope.cli.options import Command, setting_options, settings_of, version_option
from mikroscope.cli.output import print_json

_QUERY_OPTIONS = ("db_path", "config_path")


def _filters(command: Command) -> Command:
    """The flags that choose entries; they have the names of the HTTP parameters."""
    flags = [
        ("--from", "from", "TIME", "Entries of this time and later (ISO 8601)."),
        ("--to", "to", "TIME", "Entries of this time and earlier (ISO 8601)."),
        ("--level", "level", "LEVEL", "Entries of this level."),
        ("--audit", "audit", "[BOOL]", "Audit entries only; with false, all others."),
        ("--field", "field", "NAME", "With --value: entries with this value in this field."),
        ("--value", "value", "VALUE", "The value of --field."),
        ("--text", "text", "WORDS", "Entries with all these words in message or error."),
    ]
    for flag, name, metavar, text in reversed(flags):
        attributes: dict[str, Any] = {"metavar": metavar, "help": text}
        if name == "audit":
            attributes |= {"is_flag": False, "flag_value": "true"}
        command = click.option(flag, f"_{name}", **attributes)(command)
    return command


@click.command()
@setting_options(_QUERY_OPTIONS)
@_filters
@click.option("--limit", "_limit", metavar="N", help="Entries at the most.  [default: 100]")
@click.option("--cursor", "_cursor", metavar="CURSOR", help="nextCursor of the page before.")
@version_option
def query(**given: Any) -> None:
    """Print entries, newest first."""
    from mikroscope.query.parameters import parse_page, parse_query

    parameters = _take_parameters(given)
    _with_store(given, lambda store: store.search(parse_query(parameters), parse_page(parameters)))


@click.command()
@setting_options(_QUERY_OPTIONS)
@click.option(
    "--group-by",
    "_groupBy",
    metavar="WHAT",
    required=True,
    help="level, event, field or correlation.",
)
@click.option("--group-field", "_groupField", metavar="NAME", help="The field of --group-by field.")
@_filters
@click.option("--limit", "_limit", metavar="N", help="Buckets at the most.  [default: 25]")
@version_option
def aggregate(**given: Any) -> None:
    """Print how many entries there are of each value, most first."""
    from mikroscope.query.parameters import parse_grouping, parse_limit, parse_query

    parameters = _take_parameters(given)
    grouping = parse_grouping(parameters)
    query, limit = parse_query(parameters), parse_limit(parameters, 25)
    _with_store(given, lambda store: store.aggregate(query, grouping, limit))


def _take_parameters(given: dict[str, Any]) -> dict[str, str]:
    """Move the parameters of a query out of the options; a flag that is empty is not given."""
    names = [name for name in given if name.startswith("_")]
    taken = {name[1:]: given.pop(name) for name in names}
    # What the shell gave may be no UTF-8; HTTP replaces such bytes, too.
    return {
        name: value.encode("utf-8", "replace").decode()
        for name, value in taken.items()
        if value is not None
    }


def _with_store(given: dict[str, Any], question: Callable[[Any], object]) -> None:
    from mikroscope.stores import open_store

    settings = settings_of(given)
    store = open_store(settings.db_path, "read")
    try:
        print_json(question(store))
    finally:
        store.close()
