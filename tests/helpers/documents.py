"""The documents, the blocks of commands in them, and a shell that runs these as a reader would.

A page is run as a row of sessions: its whole text, or each of its sections. The blocks before the
first section are run before each of them. A block that is fenced as `sh` is run as it is, with
ports that are free here; a comment before a block can say more:

- `<!-- file: NAME -->`: a block that the reader saves under this name
- `<!-- fails -->`: commands that must fail
- `<!-- listens: PORT -->`: the commands start a server that must listen on this port
- `<!-- alone -->`, anywhere in a section: no other block is run before it

A block fenced as `json` or `text` after it is the expected output. White space does not count, `…`
matches any text, and any time matches any other. A query that finds nothing always fails.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.helpers.paths import ROOT
from tests.helpers.waiting import DEADLINE_S, wait_until

DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        ROOT / "OPS_RUNBOOK.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
PORTS = ("4310", "4311", "8443", "9099")  # those that documents use
_FENCE = re.compile(
    r"(?P<marks>(?:^<!--[^\n]*-->\n+)*)"
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<content>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NOTHING = re.compile(r'"(entries|buckets)":\[\]')
# Commands that may be repeated until their output is as expected: they change nothing.
_ASKING = re.compile(
    r"(curl (?!.*(--data|-X|-T))|mikroscope (query|aggregate) |cat |tail |ls |du )"
)

# An answer of 4xx or 5xx is a failure of the document.
_CURL = (
    'curl() { case "$1" in -f*) ;; *) set -- --fail-with-body "$@" ;; esac; command curl "$@"; }'
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    content: str
    marks: dict[str, str] = field(default_factory=dict, hash=False)
    shown: str | None = None  # its expected output, if the document shows one

    @property
    def place(self) -> str:
        """Return document and line of the block."""
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Session:
    """Blocks that a reader runs one after the other."""

    name: str
    blocks: tuple[Block, ...]


def name_of(path: Path) -> str:
    """Return a document's path relative to the project's root."""
    return path.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[Block]:
    """Return every fenced block of a document; a block of commands includes its expected output."""
    text, found = document.read_text(), list[Block]()
    end = 0
    for match in _FENCE.finditer(text):
        between, end = text[end : match.start()], match.end()
        if match["language"] in ("json", "text") and not match["marks"] and not between.strip():
            found[-1] = _with_output(found[-1], match["content"])
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        marks = dict(_mark(one) for one in re.findall(r"<!-- (.*?) -->", match["marks"]))
        content = re.sub(f"^{match['indent']}", "", match["content"], flags=re.MULTILINE)
        found.append(Block(name_of(document), line, match["language"], content, marks))
    return found


def _with_output(block: Block, shown: str) -> Block:
    return Block(block.document, block.line, block.language, block.content, block.marks, shown)


def _mark(words: str) -> tuple[str, str]:
    name, _, value = words.partition(": ")
    return name, value


def sessions(document: Path, whole: bool = False) -> list[Session]:
    """Return the sessions of a page: one for each section with commands, or a single one."""
    found = blocks(document)
    if whole:
        return [Session(name_of(document), tuple(found))]
    (_, first, _), *sections = _sections(document)
    before = [block for block in found if block.line < first]
    rows = []
    for heading, end, text in sections:
        start = end - text.count("\n")
        of = [block for block in found if start <= block.line < end]
        if any(block.language == "sh" for block in of):
            alone = "<!-- alone -->" in text
            blocks_of = tuple(of if alone else [*before, *of])
            rows.append(Session(f"{name_of(document)}#{heading}", blocks_of))
    return rows


def _sections(document: Path) -> list[tuple[str, int, str]]:
    """Yield each second-level heading, the line where its text begins, and that text."""
    parts = re.split(r"^(?=## )", document.read_text(), flags=re.MULTILINE)
    line, found = 1, []
    for part in parts:
        line += part.count("\n")
        found.append((part.partition("\n")[0].removeprefix("## "), line, part))
    return found


class Reader:
    """Runs the blocks of a session in one shell, in its own directory.

    Between two blocks it waits like a person: it continues once the started server answers, and
    repeats a query until the expected output can be there.
    """

    def __init__(self, directory: Path) -> None:
        self._scratch = directory / "typed"
        for name in ("typed", "desk", "home"):
            (directory / name).mkdir()
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self._count = 0
        self._shell = subprocess.Popen(
            ["sh", "-eu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=directory / "desk",
            env=self._environment(directory / "home"),
            start_new_session=True,
        )
        self._send(_CURL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell and the processes that it has left running."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        with suppress(PermissionError):  # macOS raises it for a group without processes
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.stdin.close()
        self._shell.wait()
        self._shell.stdout.read()  # until the last process that has it open has ended
        self._shell.stdout.close()

    def follow(self, block: Block) -> None:
        """Save or run a block."""
        if name := block.marks.get("file"):
            saved = self._scratch / "saved"
            saved.write_text(self._here(block.content))
            self._type(f"cp {saved} {name}", block)
        if block.language == "sh":
            self._run(block)

    def _run(self, block: Block) -> None:
        script, shown = self._here(block.content), self._here(block.shown or "…")
        port = self._awaited(script, block)
        if port:  # a killed server may still hold it
            wait_until(lambda: not listens(port))
            script = _in_the_background(script)
        printed = self._type(script, block)
        end = time.monotonic() + DEADLINE_S
        while not _matches(printed, shown):
            again = _is_asking(script) and time.monotonic() < end
            assert again, f"{block.place} shows\n{shown}\nand prints\n{printed}"
            printed = self._type(script, block)
        if port:
            wait_until(lambda: listens(port))

    def _type(self, script: str, block: Block) -> str:
        """Run a script in the shell; return its stdout."""
        self._count += 1
        typed, out, err = (self._scratch / f"{self._count}.{end}" for end in ("sh", "out", "err"))
        typed.write_text(script)
        run = f". {typed} >{out} 2>{err} </dev/null"
        if "fails" in block.marks:
            run = f"if ({run}); then exit 1; fi"
        elif block.shown and _is_asking(script):
            run = f"({run}) || true"  # its output decides
        self._send(f"{run}\necho done")
        assert self._shell.stdout is not None
        ended = self._shell.stdout.readline()
        assert ended, f"{block.place} fails:\n{script}\n{out.read_text()}\n{err.read_text()}"
        return out.read_text()

    def _send(self, line: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\n")
        self._shell.stdin.flush()

    def _here(self, text: str) -> str:
        """Replace the ports of a document with free ones."""
        for port, free in self._ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text

    def _awaited(self, script: str, block: Block) -> str:
        """The port on which a server must listen after the script; empty if it starts none."""
        if "mikroscope serve" not in script or "fails" in block.marks:
            return self._here(block.marks.get("listens", ""))
        named = (one for one in self._ports.values() if f"--port {one}" in script)
        return next(named, self._ports["4310"])

    def _environment(self, home: Path) -> dict[str, str]:
        kept = {name: v for name, v in os.environ.items() if not name.startswith("MIKROSCOPE_")}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        own = {"HOME": str(home), "MIKROSCOPE_PORT": self._ports["4310"]}
        return kept | own | {"MIKROSCOPE_MIN_FREE_BYTES": "0"}


def _free_ports(count: int) -> Iterator[str]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return iter(ports)


def listens(port: str) -> bool:
    """Return whether a server listens on a local port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(port))) == 0


def _in_the_background(script: str) -> str:
    """Add `&` to a server for which a reader would open another terminal."""
    return script if re.search(r"&$", script, re.MULTILINE) else f"{script.rstrip()} &"


def _is_asking(script: str) -> bool:
    commands = script.replace("\\\n", " ").splitlines()
    return all(_ASKING.match(f"{command} ") for command in commands if command.strip())


def _matches(printed: str, shown: str) -> bool:
    """Return whether a document's output matches the printed one."""
    pattern, said = re.escape(_plain(shown)).replace("…", ".*?"), _plain(printed)
    return not _NOTHING.search(said) and re.fullmatch(pattern, said, re.DOTALL) is not None


def _plain(text: str) -> str:
    """Remove white space, and make all times and days equal."""
    return _DAY.sub("DAY", _TIME.sub("TIME", "".join(text.split())))
