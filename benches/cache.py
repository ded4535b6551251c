"""Corpora and their finished indexes, built once and kept for later scenarios."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import mikroscope
from benches.corpus import Shape, write_corpus
from benches.lines.moments import START, even
from benches.lines.plain import plain_lines
from benches.program import index

FILE = "corpus.ndjson"


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk, the only file in its log directory."""

    shape: Shape
    records: int
    path: Path
    size: int

    @property
    def logs(self) -> Path:
        """The root of its log files."""
        return self.path.parent


class Cache:
    """A directory of corpora and indexes, which later runs use again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def corpus(self, shape: Shape, records: int) -> Corpus:
        """Return the corpus of this shape and size; write it if it does not exist."""
        path = self.root / f"{shape}-{records}" / "logs" / FILE
        if not path.exists():
            part = path.parent.with_name(
                "part"
            )  # outside the logs, so that half a corpus is never read
            write_corpus(part, records, shape=shape)
            path.parent.mkdir(exist_ok=True)
            part.rename(path)
        return Corpus(shape, records, path, path.stat().st_size)

    def index(self, corpus: Corpus) -> Path:
        """Return the index of a corpus as built by this version of the program."""
        directory = corpus.logs.parent / f"index-{program_digest()}"
        path = directory / "mikroscope.db"
        if not path.exists():
            for old in corpus.logs.parent.glob("index-*"):
                shutil.rmtree(old)
            part = directory.with_name("index-part")
            part.mkdir()
            index(corpus.logs, part / path.name)
            part.rename(directory)
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a directory for one measurement, on the same file system."""
        with tempfile.TemporaryDirectory(dir=self.root, prefix="scratch-") as directory:
            yield Path(directory)


def place_with(corpus: Corpus, index: Path, directory: Path) -> tuple[Path, Path]:
    """Return logs and index of a corpus that the scenario may add to; the index is a copy."""
    return link_logs(corpus, directory), copy_index(index, directory / index.name)


def link_logs(corpus: Corpus, directory: Path) -> Path:
    """Create a log directory with a hard link to the corpus."""
    logs = directory / "logs"
    logs.mkdir()
    os.link(corpus.path, logs / FILE)
    return logs


def copy_index(index: Path, target: Path) -> Path:
    """Copy an index that no process has open, replacing the target."""
    for leftover in target.parent.glob(f"{target.name}*"):
        leftover.unlink()
    return Path(shutil.copyfile(index, target))


def index_bytes(index: Path) -> int:
    """Return the bytes on disk of an index, with the files that SQLite keeps beside it."""
    return sum(file.stat().st_size for file in index.parent.glob(f"{index.name}*"))


def newer_lines(corpus: Corpus, count: int) -> bytes:
    """Return lines like those of a plain corpus, as dense, but with times after its end."""
    lines = islice(plain_lines(even(corpus.records), Random(2)), count)
    old, new = START.strftime('"%Y-%m-'), START.replace(month=3).strftime('"%Y-%m-')
    return b"".join(lines).replace(old.encode(), new.encode())


def program_digest() -> str:
    """Return a digest of the program's code."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(mikroscope.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
