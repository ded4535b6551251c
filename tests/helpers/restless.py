"""A program that does all that a store does, in small portions and without rest, to be killed.

It forks a child for each line `<directory> <seed> <round> <index>` on its standard input and
answers with the child's number. A child writes log files, indexes them, seals, merges, rewrites,
deletes, drops partitions and vacuums until it is killed, with constants so small that each of this
happens many times in a second. It names what it begins in `<directory>/doing-<index>`. Children
with an index above 0 do what `mikroscope index` does: they index beside the one that owns it.
"""

import contextlib
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mikroscope.errors import StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.logfiles.tree import LogTree
from mikroscope.records.timestamps import format_time, parse_time
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.stores import SUFFIXES

SMALL: dict[str, object] = {
    "SEAL_ENTRIES": 60,
    "LEAST_ENTRIES": 25,
    "MAX_ENTRIES": 120,
    "BLOCK_LINES": 8,
    "MOST_DAYS": 3,
    "_MANY_LOOSE": 3,
    "_REWRITE_SHARE": 0.2,
    "_WASTED_SHARE": 0.2,
    "_WASTED_ORDINALS": 40,
    "_MERGE_PAGES": 2,
    "_VACUUM_PAGES": 2,
    "FEW_ENTRIES": 150,
    "_MANY_ENTRIES": 300,
    "_MOST_ENTRIES": 600,
    "_MOST_DAYS": 4,
    "_FRESH_AT_ONCE": 30,
    "_FEW_VALUES": 8,
    "_VALUES_PER_ENTRY": 0.2,
    "_LEAST_SHARE": 4,
    "MAX_TEMPLATES": 12,
    "MIN_SAMPLE_LINES": 20,
    "SAMPLE_EVERY": 2,
    "RETRAIN_AFTER_LINES": 150,
    "WORSE_BY": 0.5,
}
HOUR_MS = 3_600_000
FIRST_MS = 1_780_000_000_000
SPAN_MS = 60 * HOUR_MS  # how far back records of a round may be
KEPT_MS = 40 * HOUR_MS
BATCH_BYTES = 12_000
FILES = ("a.ndjson", "b.ndjson", "audit/c.ndjson", "deep/d.ndjson")
LEVELS = ("INFO", "WARN", "ERROR", "DEBUG")


def shrink(put: Callable[[Any, str, object], object] = setattr) -> None:
    """Make the constants of the store small, in all modules that use them."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mikroscope.stores.sqlite"):
            for constant, value in SMALL.items():
                if hasattr(module, constant):
                    put(module, constant, value)


def now_of(round_number: int) -> int:
    """Return the time of a round: each is two hours after the one before it."""
    return FIRST_MS + 2 * HOUR_MS * round_number


def cutoff_of(round_number: int) -> int:
    """Return the time before which entries expire in a round."""
    return now_of(round_number) - KEPT_MS


def record(number: int, time_ms: int) -> bytes:
    """Return a record; all that it says follows from its number and its time."""
    fields: dict[str, object] = {
        "timestamp": format_time(time_ms) if number % 3 else time_ms,
        "n": number,
        "level": LEVELS[number % 4],
        "kind": f"kind {number % 5}",
        "user": f"user-{number % 997}",
        "message": f"request {number % 30} took {number} w{number}w of t{number % 17}x",
    }
    if not number % 7:
        fields["inner"] = {"rare": number, "list": ["x", "y"]}
    if not number % 11:
        fields[f"own{number % 5}"] = "y" * (number % 300)
    return msgspec.json.encode(fields)


class Child:
    """Works on a directory until it is killed."""

    def __init__(self, directory: Path, seed: int, round_number: int, index: int) -> None:
        self._directory = directory
        self._chance = random.Random(seed)
        self._round = round_number
        self._index = index
        self._next = (round_number * 4 + index) * 100_000
        self._logs = directory / "logs"
        self._doing = os.open(directory / f"doing-{index}", os.O_RDWR | os.O_CREAT, 0o600)
        for name in FILES:
            (self._logs / name).parent.mkdir(parents=True, exist_ok=True)
        self._store = SqliteStore(directory / "index.db", alone=not index)
        self._indexer = Indexer(self._store, LogTree(self._logs, SUFFIXES), BATCH_BYTES)

    def run(self) -> None:
        """Do something, again and again."""
        often = [self.append] * 6 + [self.pair] + [self.bulk]
        rare = [self.rewrite, self.rename, self.delete]
        other = [self.seal_and_merge] * 3 + [self.expire] * 2
        while True:
            self._do(self._chance.choice(often if self._index else often + rare + other))

    def _do(self, act: Callable[[], None]) -> None:
        os.pwrite(self._doing, act.__name__.ljust(20).encode(), 0)
        with contextlib.suppress(StoreError, OSError):  # a full disk
            act()

    def append(self) -> None:
        """Write some lines and index them, sometimes without the last line feed."""
        lines = self._records(self._chance.choice((1, 1, 2, 5, 40)))
        self._write(self._file(), b"\n".join(lines) + self._chance.choice((b"\n", b"\n", b"")))
        self._index_all(final=True)

    def pair(self) -> None:
        """Let a line that was indexed grow by a second record behind a NUL."""
        one, other = self._records(2)
        file = self._file()
        self._write(file, one)
        self._index_all(final=True)
        with file.open("ab") as opened:
            opened.write(b"\0" + other + b"\n")
        self._index_all(final=True)

    def bulk(self) -> None:
        """Write many lines at once."""
        lines = self._records(self._chance.randrange(100, 400))
        self._write(self._file(), b"\n".join(lines) + b"\n")
        self._index_all(final=False)

    def seal_and_merge(self) -> None:
        """Do all that is left to do, or some of it."""
        self._take(self._store.compact())

    def expire(self) -> None:
        """Delete what is past its time."""
        cutoff = cutoff_of(self._round)
        self._take(self._store.expire(Cutoffs(cutoff, cutoff)))

    def rewrite(self) -> None:
        """Put other lines in the place of a file's: its entries are collected."""
        file = self._file()
        file.write_bytes(b"".join(line + b"\n" for line in self._records(30)))
        self._index_all(final=True)

    def rename(self) -> None:
        """Rotate a file."""
        file = self._file()
        if file.exists():
            file.replace(file.with_name(f"{file.stem}.{self._next}.ndjson"))
            self._next += 1
        self._index_all(final=True)

    def delete(self) -> None:
        """Delete a file that is past its time; what it had is indexed before."""
        self._index_all(final=True)
        for file in self._logs.rglob("*.ndjson"):
            times = [one.time_ms for one in read_file(self._logs, file)]
            if times and max(times) < cutoff_of(self._round):
                file.unlink()
                break
        self._index_all(final=False)

    def _take(self, steps: Iterator[object]) -> None:
        most = self._chance.choice((1, 3, 1_000))
        for _, _ in zip(range(most), steps, strict=False):
            pass

    def _index_all(self, *, final: bool) -> None:
        for _ in self._indexer.run(final):
            if self._chance.random() < 0.1:
                next(self._store.compact(), None)

    def _file(self) -> Path:
        own = FILES if not self._index else [f"beside{self._index}.ndjson"]
        return self._logs / self._chance.choice(own)

    def _records(self, count: int) -> list[bytes]:
        first, self._next = self._next, self._next + count
        spread = self._chance.choice((1, 1, HOUR_MS, SPAN_MS))
        now = now_of(self._round)
        return [
            record(number, now - self._chance.randrange(spread))
            for number in range(first, first + count)
        ]

    def _write(self, file: Path, content: bytes) -> None:
        with file.open("a+b") as opened:
            size = opened.seek(0, os.SEEK_END)
            if size:
                opened.seek(size - 1)
                content = content if opened.read() == b"\n" else b"\n" + content
            opened.write(content)


class Written(msgspec.Struct, frozen=True):
    """A record of a file, or the time of one."""

    path: str
    line: int
    number: int
    time_ms: int
    data: bytes


def read_file(logs: Path, file: Path) -> Iterator[Written]:
    """Yield the records of a file; a line that a kill has cut has none."""
    path = file.relative_to(logs).as_posix()
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        for text in line.split(b"\0"):
            with contextlib.suppress(msgspec.DecodeError):
                fields = msgspec.json.decode(text, type=dict[str, Any])
                time = fields["timestamp"]
                time_ms = time if isinstance(time, int) else parse_ms(time)
                yield Written(path, number, fields["n"], time_ms, text)


def parse_ms(text: str) -> int:
    """Return the epoch milliseconds of a time that `format_time` has written."""
    found = parse_time(text)
    assert found is not None
    return found


def main() -> None:
    """Fork a child for each line."""
    shrink()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        directory, seed, round_number, index = line.split()
        child = os.fork()
        if not child:
            try:
                Child(Path(directory), int(seed), int(round_number), int(index)).run()
            except BaseException:
                Path(directory, f"failed-{index}").write_text(traceback.format_exc())
                os._exit(1)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
