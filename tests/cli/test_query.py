"""`mikroscope query` and `mikroscope aggregate`: flags, pages, buckets, failures."""

import os

import click
import pytest

from mikroscope.cli.query import aggregate, query
from mikroscope.query.parameters import CURSOR, FILTERS, GROUPING, LIMIT, QueryParameter
from tests.helpers.program import Processes, Program


def test_query(program: Program) -> None:
    """`query` prints a page as the API gives it."""
    record = {"timestamp": "2026-02-18T10:00:00Z", "level": "warn", "message": "Paper is low"}
    program.write("app.ndjson", record)
    program.ask("index")
    content = program.ask("query", "--level", "WARN")
    (entry,) = content["entries"]
    assert content == {"entries": [entry], "hasMore": False, "limit": 100}
    assert entry == {
        "id": entry["id"],
        "timestamp": record["timestamp"],
        "level": "WARN",
        "event": "Paper is low",
        "message": "Paper is low",
        "data": record,
        "sourceFile": "app.ndjson",
        "lineNumber": 1,
    }


RECORDS = [
    {"n": 1, "timestamp": "2026-02-18T10:00:00Z", "level": "INFO", "tenant": "north"},
    {"n": 2, "timestamp": "2026-02-18T11:00:00Z", "level": "WARN", "message": "low ink"},
    {"n": 3, "timestamp": "2026-02-18T12:00:00Z", "level": "INFO", "audit": True},
]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A place where RECORDS are indexed."""
    program = Program(tmp_path_factory.mktemp("indexed"))
    program.write("app.ndjson", *RECORDS)
    program.ask("index")
    return program


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", [3, 2, 1]),
        ("--from 2026-02-18T11:00:00Z", [3, 2]),
        ("--to=2026-02-18T11:00:00Z", [2, 1]),
        ("--level info", [3, 1]),
        ("--audit", [3]),
        ("--audit false", [2, 1]),
        ("--audit=true --limit 5", [3]),
        ("--audit --limit 5", [3]),
        ("--field tenant --value north", [1]),
        ("--text INK", [2]),
        ("--limit 2", [3, 2]),
        ("--level warn --level ERROR", [2]),
        ("--level info,warn", [3, 2, 1]),
        ("--level=", [3, 2, 1]),
    ],
)
def test_flags_of_a_query(indexed: Program, flags: str, expected: list[int]) -> None:
    """The flags choose entries; `--flag value` and `--flag=value` mean the same."""
    entries = indexed.ask("query", *flags.split())["entries"]
    assert [entry["data"]["n"] for entry in entries] == expected


def test_pages(indexed: Program) -> None:
    """`--cursor` continues after the page that returned it."""
    page = indexed.ask("query", "--limit", "2")
    assert page["hasMore"] is True
    rest = indexed.ask("query", "--limit", "2", "--cursor", page["nextCursor"])
    assert [entry["data"]["n"] for entry in rest["entries"]] == [1]


def test_aggregate(indexed: Program) -> None:
    """`aggregate` prints buckets as the API gives them."""
    assert indexed.ask("aggregate", "--group-by", "level") == {
        "buckets": [{"key": "INFO", "count": 2}, {"key": "WARN", "count": 1}],
        "groupBy": "level",
    }
    flags = ("--group-by=field", "--group-field=tenant", "--level=INFO", "--limit=1")
    assert indexed.ask("aggregate", *flags) == {
        "buckets": [{"key": "(missing)", "count": 1}],
        "groupBy": "field",
        "groupField": "tenant",
        "hasMore": True,
    }


@pytest.mark.parametrize("flag", ["--limit", "--field", "--text", "--from"])
def test_flag_that_is_given_twice(indexed: Program, flag: str) -> None:
    """A flag given twice is refused: one of the two would be ignored."""
    text = indexed.refuse(2, "query", flag, "2026-02-18", flag, "2026-02-19")
    assert f"{flag} is given 2 times, expected it once" in text


def test_default_limit_of_an_aggregate(program: Program) -> None:
    """`aggregate` prints 25 buckets unless `--limit` says otherwise."""
    program.write("app.ndjson", *({"n": number} for number in range(30)))
    program.ask("index")
    flags = ("aggregate", "--group-by", "field", "--group-field", "n")
    assert len(program.ask(*flags)["buckets"]) == 25
    assert len(program.ask(*flags, "--limit", "27")["buckets"]) == 27


@pytest.mark.parametrize("command", ["query", "aggregate --group-by level"])
def test_missing_index(program: Program, command: str) -> None:
    """A missing index is a failure that says where it was expected: mostly it is the wrong
    directory. None is created.
    """
    text = program.refuse(1, *command.split(), "--db", "nowhere/index.db")
    place = program.directory.resolve() / "nowhere" / "index.db"
    assert text.startswith(f"No index at {place}. Run this where the server runs, or pass --db")
    assert not (program.directory / "nowhere").exists()


@pytest.mark.parametrize("command", ["query", "index"])
def test_file_that_is_no_index(program: Program, command: str) -> None:
    """A file that is not an index is a failure of one line, and stays as it is."""
    path = program.write("notes.txt", "my notes")
    content = path.read_bytes()
    program.refuse(1, command, "--db", "logs/notes.txt")
    assert path.read_bytes() == content


@pytest.mark.parametrize("flags", [["--value", os.fsdecode(b"\xff")], ["--value", "ü"]])
def test_arguments_of_any_bytes(processes: Processes, flags: list[str]) -> None:
    """Arguments that are not UTF-8 break nothing."""
    processes.write("app.ndjson", {"n": 1})
    processes.ask("index")
    assert processes.ask("query", "--field", os.fsdecode(b"\xfe"), *flags)["entries"] == []
    field = processes.ask("aggregate", "--group-by", "field", "--group-field", os.fsdecode(b"\xff"))
    assert field["groupField"] == "?"


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
