"""The flags of `query` and `aggregate` are those of the table of query parameters."""

import click
import pytest

from mikroscope.cli.query import aggregate, query
from mikroscope.query.parameters import CURSOR, FILTERS, GROUPING, LIMIT, QueryParameter


def flags(command: click.Command) -> list[click.Option]:
    """The flags that are neither settings nor `--version`."""
    options = [one for one in command.params if isinstance(one, click.Option)]
    return [one for one in options if str(one.name).startswith("_")]


@pytest.mark.parametrize(
    ("command", "rows", "limit"),
    [(query, (*FILTERS, LIMIT, CURSOR), 100), (aggregate, (*GROUPING, *FILTERS, LIMIT), 25)],
)
def test_flags(command: click.Command, rows: tuple[QueryParameter, ...], limit: int) -> None:
    """Each parameter of the table is a flag with its placeholder; the help has the default."""
    found = flags(command)
    assert [(one.opts, one.metavar) for one in found] == [([row.flag], row.metavar) for row in rows]
    (limits,) = [one.help for one in found if one.opts == ["--limit"]]
    assert str(limits).endswith(f"[default: {limit}]")


def test_required() -> None:
    """Only --group-by must be given."""
    assert [one.opts[0] for one in flags(aggregate) if one.required] == ["--group-by"]


def test_help_is_for_the_command_line() -> None:
    """A help text names other parameters by their flags, without marks of HTTP or Markdown."""
    texts = {one.opts[0]: str(one.help) for one in flags(aggregate)}
    assert texts["--value"].startswith("With --field: ")
    assert not any(mark in text for text in texts.values() for mark in "{}`")
