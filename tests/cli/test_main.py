"""The program as a whole: where settings come from, help, and errors on one line."""

import json
import re
from pathlib import Path

import pytest

from mikroscope import cli
from tests.helpers.program import SERVE, Program

COMMANDS = ["serve", "index", "query", "aggregate", "mock-data"]


def test_layers(program: Program) -> None:
    """The config file, the environment and the flags apply in this order; the last one wins."""

    def index_in_force(*arguments: str, **variables: str) -> str:
        text = program.refuse(1, "query", *arguments, **variables)
        named = text.removeprefix("No index at ").partition(". Run this")[0]
        return str(Path(named).relative_to(program.directory.resolve()))

    variables = {"MIKROSCOPE_DB_PATH": "from-environment.db"}
    assert index_in_force() == "data/mikroscope.db"
    (program.directory / "mikroscope.config.json").write_text('{"dbPath": "from-file.db"}')
    (program.directory / "other.json").write_text('{"dbPath": "from-other-file.db"}')
    assert index_in_force() == "from-file.db"
    assert index_in_force("--config", "other.json") == "from-other-file.db"
    assert index_in_force(MIKROSCOPE_CONFIG_PATH="other.json") == "from-other-file.db"
    assert index_in_force(**variables) == "from-environment.db"
    assert index_in_force("--db", "from-flag.db", **variables) == "from-flag.db"


@pytest.mark.parametrize(
    ("arguments", "variables", "config", "expected"),
    [
        ("serve --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --port=70000", {}, "{}", "--port: expected a whole number"),
        ("serve", {"MIKROSCOPE_PORT": "abc"}, "{}", "MIKROSCOPE_PORT: expected a whole number"),
        ("serve", {}, '{"port": "abc"}', "port in ./mikroscope.config.json: expected a whole"),
        ("serve", {}, '{"prot": 1}', "Unknown option 'prot' in ./mikroscope.config.json"),
        ("serve", {}, "{", "./mikroscope.config.json: expected JSON, but line 1"),
        ("serve --config none.json", {}, "{}", "--config: expected an existing file"),
        ("query", {"MIKROSCOPE_CONFIG_PATH": "no"}, "{}", "MIKROSCOPE_CONFIG_PATH: expected a"),
        ("serve --https", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https true", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https=on", {}, "{}", "--https: expected together with --tls-cert"),
        ("serve --https false --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --https --port abc", {}, "{}", "--port: expected a whole number"),
        ("serve --disable-auto-ingest maybe", {}, "{}", "--disable-auto-ingest: expected true or"),
        ("serve --nonsense", {}, "{}", "No such option '--nonsense'"),
        ("serve extra", {}, "{}", "Got unexpected extra argument (extra)"),
        ("serve --port", {}, "{}", "Option '--port' requires an argument"),
        ("nonsense", {}, "{}", "No such command 'nonsense'"),
        ("query --limit 0", {}, "{}", "'limit' is '0', expected a whole number from 1 to 1000"),
        ("query --from yesterday", {}, "{}", "'from' is 'yesterday', expected an ISO 8601 time"),
        ("query --audit maybe", {}, "{}", "'audit' is 'maybe', expected true or false"),
        ("query --field a", {}, "{}", "'field' is given without 'value'"),
        ("aggregate", {}, "{}", "Missing option '--group-by'"),
        ("aggregate --group-by day", {}, "{}", "'groupBy' is 'day', expected one of level, "),
        ("aggregate --group-by field", {}, "{}", "'groupField' is missing"),
        ("mock-data --days 0", {}, "{}", "--days is '0': expected a whole number"),
        ("mock-data", {"MOCK_LOG_DAYS": "x"}, "{}", "MOCK_LOG_DAYS is 'x': expected a whole"),
    ],
)
def test_usage(
    program: Program, arguments: str, variables: dict[str, str], config: str, expected: str
) -> None:
    """A wrong value in any layer is exit code 2 and one line: where it is and what is expected."""
    (program.directory / "mikroscope.config.json").write_text(config)
    text = program.refuse(2, *arguments.split(), **variables)
    assert text.startswith(expected)


SECRET = "s3cret-value"


@pytest.mark.parametrize(
    ("flags", "variables", "config"),
    [
        ((f"--ingest-producers={SECRET}",), {}, {}),
        ((f"--ingest-producers={SECRET}=a b",), {}, {}),
        ((f"--ingest-producers={SECRET}=a,{SECRET}=b",), {}, {}),
        ((f"--auth-password={SECRET}",), {}, {}),
        ((f"--api-token={SECRET}\n",), {"MIKROSCOPE_API_TOKEN": f"{SECRET}\x07{SECRET}"}, {}),
        ((), {"MIKROSCOPE_INGEST_PRODUCERS": SECRET}, {}),
        ((), {"MIKROSCOPE_ALERT_WEBHOOK_URL": f"ftp://{SECRET}"}, {}),
        ((), {}, {"apiToken": [SECRET]}),
        ((), {}, {"ingestProducers": {SECRET: "no producer!"}}),
        ((), {}, {"alertWebhookUrl": f"https://{SECRET}:port"}),
    ],
)
def test_secrets_in_errors(
    program: Program, flags: tuple[str, ...], variables: dict[str, str], config: object
) -> None:
    """An error about a secret does not show it."""
    (program.directory / "mikroscope.config.json").write_text(json.dumps(config))
    assert SECRET not in program.refuse(2, *SERVE, *flags, **variables)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("query --since 5m", "No such option '--since'. Did you mean '--from'?"),
        ("query --until 5m", "No such option '--until'. Did you mean '--to'?"),
        ("query --grep x", "No such option '--grep'. Did you mean '--text'?"),
        ("query --tail 5", "No such option '--tail'. Did you mean '--limit'?"),
        ("query -n 5", "No such option '-n'. Did you mean '--limit'?"),
        ("query --severity warn", "No such option '--severity'. Did you mean '--level'?"),
        ("query --database x", "No such option '--database'. Did you mean '--db'?"),
        ("query --levle x", "No such option '--levle'. Did you mean '--level'?"),
        ("query --form x", "No such option '--form'. Did you mean '--from'?"),
        ("query --format json", "No such option '--format'. The output is always JSON"),
        ("query --url x", "No such option '--url'. This command reads the index file (--db);"),
        ("aggregate --token x", "No such option '--token'. This command reads the index file"),
        ("aggregate --by level", "No such option '--by'. Did you mean '--group-by'?"),
        ("aggregate --colour level", "No such option '--colour' (see "),
        ("serve --bind x", "No such option '--bind'. Did you mean '--host'?"),
        ("serve --token x", "No such option '--token'. Did you mean '--api-token'?"),
        ("serve --log-dir x", "No such option '--log-dir'. Did you mean '--logs'?"),
        ("serve --webhook x", "No such option '--webhook'. Did you mean '--alert-webhook-url'?"),
        ("serve --prot 1", "No such option '--prot'. Did you mean '--port'?"),
        ("serve --since 1", "No such option '--since' (see "),
        ("index --reindex", "No such option '--reindex'. Did you mean '--rebuild'?"),
        ("restore x --dry-run", "No such option '--dry-run'. Did you mean '--check'?"),
        ("mock-data --output x", "No such option '--output'. Did you mean '--out-dir'?"),
        ("start", "No such command 'start'. Did you mean 'mikroscope serve'?"),
        ("search x", "No such command 'search'. Did you mean 'mikroscope query'?"),
        ("reindex", "No such command 'reindex'. Did you mean 'mikroscope index --rebuild'?"),
        ("qurey", "No such command 'qurey'. Did you mean 'query'?"),
        ("demo alert", "No such command 'alert'. Did you mean 'alerts'?"),
        ("frobnicate", "No such command 'frobnicate' (see 'mikroscope --help')"),
    ],
)
def test_what_was_meant(program: Program, arguments: str, expected: str) -> None:
    """A wrong name gets the one that means the same, or that differs by a typing error; other
    names, however alike, are not suggested.
    """
    assert program.refuse(2, *arguments.split()).startswith(expected)


def test_a_field_as_group(program: Program) -> None:
    """The name of a field as --group-by gets the flags that count by it, ready for a shell."""
    text = program.refuse(2, "aggregate", "--group-by", "user id")
    assert text.startswith("'groupBy' is 'user id', expected one of level, event, field, ")
    assert text.endswith("; to count by a field: --group-by field --group-field 'user id'")


@pytest.mark.parametrize("group", ["", "demo", "demo alerts"])
def test_no_command(program: Program, group: str) -> None:
    """Without a command the help is printed; exit code 2 tells scripts that nothing was done."""
    done = program.run(*group.split())
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == program.run(*group.split(), "--help").stdout


def test_order_of_the_commands(program: Program) -> None:
    """The help begins with the command that a new user needs first, and cuts no description."""
    commands = program.run("--help").stdout.partition("Commands:\n")[2]
    assert commands.startswith("  serve ")
    assert "..." not in commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help(program: Program, command: str) -> None:
    """Every command describes itself and its flags."""
    done = program.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: mikroscope {command} [OPTIONS]\n")
    flags = {flag for option in cli.cli.commands[command].params for flag in option.opts}
    assert all(flag in done.stdout for flag in flags)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_the_program(program: Program, flag: str) -> None:
    """`--help` lists the commands."""
    done = program.run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", ["--version", "serve --version", "query --version"])
def test_version(program: Program, arguments: str) -> None:
    """`--version` prints the version, of the program and of every command."""
    done = program.run(*arguments.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"mikroscope, version \d+\.\d+\.\d+\S*\n", done.stdout)


def test_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is one line, too: what and where, without a traceback."""

    def fail(**_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("mikroscope.cli.options.resolve_settings", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main(["query"])
    text = capsys.readouterr().err
    assert caught.value.code == 1
    assert re.fullmatch(
        r"mikroscope: internal error, please report it: KeyError: .* \(test_main\.py:\d+\)\n", text
    )
