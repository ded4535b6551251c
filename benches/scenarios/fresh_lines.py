"""How soon a line is findable that another program has written to a file."""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benches.cache import Cache, Corpus
from benches.figures import Recorder
from benches.program import Server, serve

LINES = 20  # of each kind in a round
PAUSE_S = 0.3  # between two lines, so that the server is at rest
PATIENCE_S = 60.0
_number = count(1)


def fresh_lines(cache: Cache, corpus: Corpus, record: Recorder) -> None:
    """Time from writing a line to a file until a query finds it, for several kinds of files."""
    kinds: dict[str, Callable[[Path, Path], Path]] = {
        "a plain file": _plain,
        "an empty .log file gets its first line": _empty_log,
        "a file is renamed into the tree": _renamed,
        "a file in a directory created a moment ago": _new_directory,
        "a linked file": _linked_file,
        "a file of a linked directory": _linked_directory,
    }
    for _ in record.rounds():
        with cache.scratch() as scratch:
            logs, outside = scratch / "logs", scratch / "outside"
            (outside / "pods").mkdir(parents=True)
            logs.mkdir()
            for file in (logs / "plain.ndjson", outside / "app.ndjson", outside / "pods/a.ndjson"):
                _write(file)
            (logs / "linked.ndjson").symlink_to(outside / "app.ndjson")
            (logs / "pods").symlink_to(outside / "pods")
            with serve(logs, scratch / "index.db") as server:
                server.wait_until_indexed()
                for name, prepare in kinds.items():
                    for _line in range(record.samples(LINES)):
                        _measure(server, name, prepare(logs, outside), logs, record)


def _measure(server: Server, name: str, file: Path, logs: Path, record: Recorder) -> None:
    """Write a line to a file, which is moved into the tree if it is not there, and find it."""
    time.sleep(PAUSE_S * record.effort)
    began = time.perf_counter()
    number = _write(file)
    if file.name.startswith("moved"):
        file.rename(logs / file.name)
    while not server.count(field="fresh", value=str(number)):
        if time.perf_counter() - began > PATIENCE_S:
            raise TimeoutError(f"{name}: the line was not found in {PATIENCE_S} s")
        time.sleep(0.001)
    record.add(name, "ms", (time.perf_counter() - began) * 1000)


def _write(file: Path) -> int:
    """Append a line; return the number that only it has."""
    number = next(_number)
    file.parent.mkdir(exist_ok=True)
    with file.open("ab") as opened:
        opened.write(b'{"level":"INFO","message":"fresh","fresh":%d}\n' % number)
    return number


def _plain(logs: Path, _outside: Path) -> Path:
    return logs / "plain.ndjson"


def _empty_log(logs: Path, _outside: Path) -> Path:
    file = logs / f"empty-{next(_number)}.log"
    file.touch()
    return file


def _renamed(_logs: Path, outside: Path) -> Path:
    return outside / f"moved-{next(_number)}.ndjson"


def _new_directory(logs: Path, _outside: Path) -> Path:
    return logs / f"new-{next(_number)}" / "app.ndjson"


def _linked_file(_logs: Path, outside: Path) -> Path:
    return outside / "app.ndjson"


def _linked_directory(_logs: Path, outside: Path) -> Path:
    return outside / "pods" / "a.ndjson"
