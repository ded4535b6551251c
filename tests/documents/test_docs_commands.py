"""Every command in the documents is run here unchanged, or by another test named here."""

import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import benches.__main__
import click
import pytest
import yaml

from mikroscope.cli.main import cli
from tests.documents import test_runbook
from tests.helpers.documents import (
    DOCUMENTS,
    Block,
    Reader,
    Session,
    blocks,
    listens,
    name_of,
    sessions,
)
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until

# Blocks that another test runs: the document, words of the block, the test.
RUN_ELSEWHERE = [
    ("README.md", "$RELEASE/install.sh", "release/test_install.py::test_lines_of_the_readme"),
    ("README.md", "make serve", "documents/test_first_screen.py::test_from_a_checkout"),
    ("README.md", "uv build", "documents/test_first_screen.py::test_from_a_wheel"),
    ("README.md", "pip wheel", "documents/test_first_screen.py::test_from_a_wheel"),
    ("README.md", "docker build", "documents/test_first_screen.py::test_in_a_container"),
    ("README.md", "uv tool install", "release/test_release.py::test_wheel"),
    ("README.md", "SHA256SUMS.txt", "release/test_release.py::test_manual_archive"),
    ("docs/benchmarks.md", "python -m benches", "documents/test_docs_commands.py::test_benchmarks"),
]
# Blocks that cannot be run here: the document, words of the block, the reason. They are linted,
# and their make targets are checked.
NOT_RUN = [
    (
        "docs/install.md",
        "make release",
        "the tree must be clean; release/test_release.py::test_wheel",
    ),
    (
        "docs/benchmarks.md",
        "make bench",
        "an hour; benches/test_benches.py::test_every_scenario_leaves_its_result",
    ),
    ("deploy/systemd/README.md", "systemctl", "it needs systemd as process 1, and root"),
]
COMMANDS = [
    block
    for document in DOCUMENTS
    for block in blocks(document)
    if block.language.split() and block.language.split()[0] == "sh"
]


def _listed(block: Block, listed: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [one for one in listed if one[0] == block.document and one[1] in block.content]


def _to_run(session: Session) -> list[Block]:
    """Return the blocks of a session without the listed ones."""
    return [block for block in session.blocks if not _listed(block, RUN_ELSEWHERE + NOT_RUN)]


SESSIONS = [
    *filter(_to_run, sessions(ROOT / "README.md")),
    *sessions(ROOT / "docs" / "tutorial.md", whole=True),
    *sessions(ROOT / "docs" / "how-to.md"),
]


def _place(block: Block) -> str:
    return block.place


def _runs_in_a_session(block: Block) -> bool:
    return any(block in _to_run(session) for session in SESSIONS)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_session(session: Session, tmp_path: Path) -> None:
    """The commands of a page or a section run in order and print the shown output."""
    with Reader(tmp_path) as reader:
        for block in _to_run(session):
            reader.follow(block)


@pytest.mark.parametrize("block", COMMANDS, ids=_place)
def test_block_is_run(block: Block) -> None:
    """Each block of commands is run here or by a named test, or the list gives a reason."""
    elsewhere, not_run = _listed(block, RUN_ELSEWHERE), _listed(block, NOT_RUN)
    ways = [
        *elsewhere,
        *not_run,
        *(["its mark"] if "test" in block.marks else []),
        *(["the runbook's"] if block.document == "OPS_RUNBOOK.md" else []),
    ]
    if not ways:
        assert _runs_in_a_session(block), f"nothing runs {block.place}, and it is not listed"
    assert len(ways) <= 1


@pytest.mark.parametrize("block", [one for one in COMMANDS if "test" in one.marks], ids=_place)
def test_marked_block_has_its_test(block: Block) -> None:
    """A test asks for each named block by its name."""
    name = block.marks["test"]
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert any("documented(" in text and f'"{name}"' in text for text in tests)


def test_runbook_runs_its_blocks() -> None:
    """The runbook's test runs every block of the runbook."""
    of_runbook = {one.content for one in COMMANDS if one.document == "OPS_RUNBOOK.md"}
    assert of_runbook == {dedent(script) for script in test_runbook.RUNNING + test_runbook.STOPPED}


@pytest.mark.parametrize("listed", RUN_ELSEWHERE + NOT_RUN, ids=lambda one: f"{one[0]}: {one[1]}")
def test_list_is_current(listed: tuple[str, str, str]) -> None:
    """Each listed block is in a document, and each named test exists."""
    assert any(_listed(block, [listed]) for block in COMMANDS)
    for file, name in re.findall(r"((?:\w+/)*test_\w+\.py)::(test_\w+)", listed[2]):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("block", [one for one in COMMANDS if _listed(one, NOT_RUN)], ids=_place)
def test_what_is_not_run_is_shell(block: Block) -> None:
    """The shell and shellcheck find no error in a block that cannot be run here."""
    for command in (["sh", "-n"], ["shellcheck", "--shell=sh", "--severity=error", "-"]):
        if shutil.which(command[0]):
            subprocess.run(command, input=block.content, text=True, check=True)


@pytest.mark.parametrize("block", [one for one in COMMANDS if _listed(one, NOT_RUN)], ids=_place)
def test_what_is_not_run_can_be_made(block: Block) -> None:
    """Each make command in a block that cannot be run names a target that make accepts."""
    for line in re.findall(r"^make .*", block.content, re.MULTILINE):
        script = line.replace("make ", "make --dry-run ", 1)
        subprocess.run(["sh", "-euc", script], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_benchmarks(document: Path) -> None:
    """The benchmarks' command line accepts each command that a document shows."""
    parser = benches.__main__._parser()
    for words in re.findall(r"python -m benches ([^`\n#]+)", document.read_text()):
        parser.parse_args(words.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_benchmarks_of_their_own(document: Path) -> None:
    """Each program in benches/ that a document names exists and has the named flags."""
    pattern = r"python (?:-m benches\.(\w+)|benches/(\w+)\.py)([^`\n]*)"
    for module, file, words in re.findall(pattern, document.read_text()):
        program = (ROOT / "benches" / f"{module or file}.py").read_text()
        for flag in re.findall(r"--[a-z-]+", words):
            assert f'"{flag}"' in program, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_inline_commands(document: Path) -> None:
    """Each command of MikroScope in a sentence exists and has the named flags."""
    for words in re.findall(r"`mikroscope ([^`]+)`", document.read_text()):
        _check(words.split())


def _check(words: list[str]) -> None:
    command: click.Command = cli
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        assert words[0] in command.commands, f"mikroscope has no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {flag for one in command.params for flag in one.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_saved_files_are_named(document: Path) -> None:
    """The text before a block that is to be saved names the file."""
    text = document.read_text()
    for block in blocks(document):
        assert f"`{block.marks.get('file', '')}`" in text or "file" not in block.marks, block.place


def _with_language(language: str) -> list[Block]:
    found = [block for document in DOCUMENTS for block in blocks(document)]
    return [block for block in found if block.language == language]


@pytest.mark.parametrize("block", _with_language("yaml"), ids=_place)
def test_yaml(block: Block) -> None:
    """Each block fenced as YAML is YAML."""
    assert yaml.safe_load(block.content)


@pytest.mark.parametrize("block", _with_language("python"), ids=_place)
def test_python(block: Block) -> None:
    """Each block fenced as Python is Python."""
    compile(block.content, block.place, "exec")


# --- the reader itself ----------------------------------------------------------------------------


def _block(content: str, shown: str | None = None, **marks: str) -> Block:
    return Block("page.md", 1, "sh", content, marks, shown)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (_block("true\nfalse\ntrue"), "page.md:1 fails"),
        (_block("echo $nobody_has_set_this"), "parameter not set"),
        (_block("printf '{\"n\": 1}'", '{"n": 2}'), '{"n": 1}'),
        (_block("echo 'one two'", "one"), "one two"),
        (_block("true", fails=""), "page.md:1 fails"),
        (_block("curl -sS http://127.0.0.1:4310/nowhere"), "page.md:1 fails"),
    ],
)
def test_reader_notices(block: Block, told: str, tmp_path: Path) -> None:
    """A command that fails or prints something unexpected ends the session."""
    with Reader(tmp_path) as reader, pytest.raises(AssertionError, match=re.escape(told)):
        reader.follow(block)


def test_reader_goes_on(tmp_path: Path) -> None:
    """Directory and variables persist between blocks; files are saved in that directory."""
    with Reader(tmp_path) as reader:
        reader.follow(_block("mkdir here\ncd here\nwords='so it is'\n"))
        reader.follow(Block("page.md", 2, "json", "{}\n", {"file": "some.json"}))
        reader.follow(_block("ls", "some.json\n"))
        reader.follow(_block("echo $words on 2026-02-18", "so it is on 2020-01-01"))
        reader.follow(_block("false", fails=""))


def test_reader_ends_what_was_started(tmp_path: Path) -> None:
    """A server that a document leaves running ends with the session."""
    with Reader(tmp_path) as reader:
        reader.follow(_block("mikroscope serve\n"))
        reader.follow(_block("curl -sS http://127.0.0.1:4310/health"))
        reader.follow(_block("echo 4310 > port\n"))
    port = (tmp_path / "desk" / "port").read_text().strip()
    wait_until(lambda: not listens(port))


def test_sessions_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks before the sections are run before each section that is not marked `alone`."""
    monkeypatch.setattr("tests.helpers.documents.ROOT", tmp_path)
    fence = "```sh\n{}\n```\n"
    first, second, third = (fence.format(words) for words in ("first", "second", "third"))
    page = tmp_path / "page.md"
    page.write_text(f"# P\n{first}\n## A\n{second}\n## B\n<!-- alone -->\n{third}\n## C\nno\n")
    found = {one.name: [block.content for block in one.blocks] for one in sessions(page)}
    assert found == {"page.md#A": ["first\n", "second\n"], "page.md#B": ["third\n"]}


def test_block_that_nothing_runs_is_noticed() -> None:
    """The check reports a block of a new page that no test runs."""
    with pytest.raises(AssertionError, match="nothing runs"):
        test_block_is_run(Block("docs/new.md", 3, "sh", "mikroscope index\n"))
