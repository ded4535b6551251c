"""`mikroscope query` and `mikroscope aggregate`: query an index without a server."""

from collections.abc import Callable, Iterable
from shlex import quote
from typing import Any

import click

from mikroscope.cli.options import (
    Command,
    setting_options,
    settings_of,
    version_option,
    warn_of_zone,
)
from mikroscope.cli.output import print_json
from mikroscope.errors import QueryError
from mikroscope.query.model import GROUPINGS, Grouping
from mikroscope.query.parameters import (
    CURSOR,
    FILTERS,
    GROUPING,
    LIMIT,
    PARAMETERS,
    REPEATABLE,
    QueryParameter,
    parse_grouping,
    parse_limit,
    parse_page,
    parse_query,
)

_SETTINGS = ("db_path", "config_path", "default_timezone")
_DEFAULT_BUCKETS = 25
_FLAGS = {parameter.name: parameter.flag for parameter in PARAMETERS}


def _query_options(parameters: Iterable[QueryParameter]) -> Callable[[Command], Command]:
    """The flags of query parameters, in the given order."""
    flags = [_option(parameter) for parameter in parameters]

    def decorate(command: Command) -> Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def _option(parameter: QueryParameter) -> Callable[[Command], Command]:
    optional_value: dict[str, Any] = {}
    if parameter.kind == "boolean":  # --audit, --audit true and --audit=false
        optional_value = {"is_flag": False, "flag_value": "true"}
    return click.option(
        parameter.flag,
        f"_{parameter.name}",
        metavar=parameter.metavar,
        required=parameter.required,
        multiple=True,  # so that a second one is seen, and mostly refused
        help=_help(parameter),
        **optional_value,
    )


def _help(parameter: QueryParameter) -> str:
    text = parameter.help.format(**_FLAGS).replace("`", "")
    if parameter.choices:
        text += f" One of {', '.join(parameter.choices)}."
    return text if parameter.default is None else f"{text}  [default: {parameter.default}]"


@click.command()
@setting_options(_SETTINGS)
@_query_options((*FILTERS, LIMIT, CURSOR))
@version_option
def query(**given: Any) -> None:
    """Print entries, newest first."""
    parameters = _take_parameters(given)
    _with_store(given, lambda store: store.search(parse_query(parameters), parse_page(parameters)))


@click.command(short_help="Count entries by level, event, field or correlation.")
@setting_options(_SETTINGS)
@_query_options((*GROUPING, *FILTERS, LIMIT._replace(default=_DEFAULT_BUCKETS)))
@version_option
def aggregate(**given: Any) -> None:
    """Print the number of entries for each value, highest first."""
    parameters = _take_parameters(given)
    grouping = _grouping(parameters)
    query, limit = parse_query(parameters), parse_limit(parameters, _DEFAULT_BUCKETS)
    _with_store(given, lambda store: store.aggregate(query, grouping, limit))


def _grouping(parameters: dict[str, str]) -> Grouping:
    """Read the grouping; the name of a field gets the flags that count by it."""
    by = parameters.get("groupBy", "")
    if by and by not in GROUPINGS:
        raise QueryError(
            f"'groupBy' is {by!r}, expected one of {', '.join(GROUPINGS)}; to count by a field: "
            f"--group-by field --group-field {quote(by)}"
        )
    return parse_grouping(parameters)


def _take_parameters(given: dict[str, Any]) -> dict[str, str]:
    """Move the query parameters out of a command's options; those not given are left out."""
    names = [name for name in given if name.startswith("_")]
    taken = {name[1:]: given.pop(name) for name in names}
    for name, values in taken.items():
        if len(values) > 1 and name not in REPEATABLE:
            raise click.UsageError(f"{_FLAGS[name]} is given {len(values)} times, expected it once")
    # An argument may not be valid UTF-8. HTTP replaces such bytes, too.
    return {
        name: ",".join(values).encode("utf-8", "replace").decode()
        for name, values in taken.items()
        if values
    }


def _with_store(given: dict[str, Any], question: Callable[[Any], object]) -> None:
    """Print the answer of the index that the settings name."""
    from mikroscope.stores import open_store

    settings = settings_of(given)
    store = open_store(settings.db_path, "read")
    try:
        print_json(question(store))
        warn_of_zone(settings)
    finally:
        store.close()
