"""However files change during indexing, the index equals one built from their final state."""

import os
import shutil
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from mikroscope.errors import StoreError
from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.pipeline import AppendedBatch
from mikroscope.ingest.batch import IngestBatch
from mikroscope.logfiles.appender import LogAppender
from mikroscope.records.parsing import parse_line
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.forms import examples
from tests.helpers.stores import CountingTree, FlakyStore, line, rows

SIZES = st.lists(st.sampled_from([0, 0, 60, 1_500]), min_size=1, max_size=4)
NAMES = st.sampled_from(["app-{}.ndjson", "app.{}.ndjson", "old/{}.jsonl", "{}.ndjson"])


class ChangingTree(RuleBasedStateMachine):
    """Programs write, others rotate, the indexer scans now and then, and may be interrupted.

    All records differ. A program completes a line it has begun later, in the file that has the name
    it writes to.
    """

    logs = Bundle("logs")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="mikroscope-test-"))
        self.root = self.directory / "logs"
        (self.root / "old").mkdir(parents=True)
        self.records = 0
        self.names = 0
        self.ticks = time.time_ns()
        self.unwritten: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.moved: set[str] = set()
        self.batch_bytes = 1
        self.open()

    def open(self) -> None:
        """Open the index, as after a start."""
        self.store = SqliteStore(self.directory / "index.db")
        self.flaky = FlakyStore(self.store, late=True)
        self.indexer = Indexer(self.flaky, CountingTree(self.root), self.batch_bytes)

    def changed(self, name: str) -> None:
        """Advance a file's time: changes here are faster than a file system's clock."""
        self.ticks += 10_000_000
        os.utime(self.root / name, ns=(self.ticks, self.ticks))

    def new_name(self, pattern: str) -> str:
        """Return a name that no file had before."""
        self.names += 1
        return pattern.format(self.names)

    def write(self, name: str, content: bytes) -> None:
        """Append to a file."""
        with (self.root / name).open("ab") as file:
            file.write(content)
        self.changed(name)

    # --- what programs do -----------------------------------------------------------------

    @initialize(batch_bytes=st.sampled_from([1, 200, 5_000]))
    def choose(self, batch_bytes: int) -> None:
        """Choose how much is indexed at a time."""
        self.batch_bytes = batch_bytes
        self.restart()

    @rule(target=logs)
    def begin_a_file(self) -> str:
        """Begin a file that is written to from now on."""
        name = self.new_name("app{}.ndjson")
        self.write(name, b"")
        return name

    @rule(name=logs, sizes=SIZES, cut=st.integers(0, 1_600) | st.just(0))
    def append(self, name: str, sizes: list[int], cut: int) -> None:
        """Complete what was begun, add records; the last one may be cut off for now."""
        content = self.unwritten.pop(name, b"")
        for size in sizes:
            self.records += 1
            content += line(self.records, size)
        keep = len(content) - min(cut, len(content))
        self.write(name, content[:keep])
        self.unwritten[name] = content[keep:]

    @rule(name=logs)
    def leave_out_a_line_end(self, name: str) -> None:
        """Write a record without its line end, which what comes next may turn into something else.

        Nothing that was begun is completed by this: it stays begun.
        """
        self.records += 1
        self.write(name, line(self.records)[:-1])

    @rule(name=logs, size=st.sampled_from([1, 500, 5_000]))
    def leave_nul_bytes(self, name: str, size: int) -> None:
        """Leave NUL bytes at the end of a file, as a power loss does."""
        self.write(name, bytes(size))

    # --- what others do to the files --------------------------------------------------------

    @rule(name=logs, pattern=NAMES)
    def rename(self, name: str, pattern: str) -> None:
        """Rotate by name: the program continues in a new file."""
        self.move(name, self.new_name(pattern))

    @rule(target=logs, name=consumes(logs), pattern=NAMES)
    def rename_under_its_writer(self, name: str, pattern: str) -> str:
        """Rename a file while its program continues to write to it."""
        other = self.new_name(pattern)
        self.move(name, other)
        self.unwritten[other] = self.unwritten.pop(name, b"")
        return other

    def move(self, name: str, other: str) -> None:
        """Rename a file, if it is there."""
        self.look_if(name in self.cut)
        if (self.root / name).exists():
            os.replace(self.root / name, self.root / other)
            self.moved.add(other)

    def cut_off(self, name: str, keep: int) -> None:
        """Keep only the first bytes of a file."""
        self.look_if(name in self.moved)
        os.truncate(self.root / name, min(keep, (self.root / name).stat().st_size))
        self.changed(name)
        self.cut.add(name)

    def look_if(self, needed: bool) -> None:
        """Scan if a file was cut or moved: one that is both between two scans looks deleted.

        The indexer would keep its entries, so these tests scan between the two steps.
        """
        while needed and (self.cut or self.moved):
            with suppress(StoreError):
                for _ in self.indexer.run():
                    pass
                self.cut.clear()
                self.moved.clear()

    @rule(name=logs, pattern=NAMES, steps=st.integers(0, 4))
    def copy_and_truncate(self, name: str, pattern: str, steps: int) -> None:
        """Rotate by copy, with or without a scan in between."""
        if (self.root / name).exists():
            shutil.copy(self.root / name, self.root / self.new_name(pattern))
            if steps:
                self.look(steps)
            self.cut_off(name, 0)

    @rule(name=logs, pattern=NAMES, steps=st.integers(0, 4))
    def copy_and_truncate_under_its_writer(self, name: str, pattern: str, steps: int) -> None:
        """Rotate by copy under a program without O_APPEND, which continues at its old place."""
        if (self.root / name).exists():
            size = (self.root / name).stat().st_size
            self.copy_and_truncate(name, pattern, steps)
            if size:
                os.truncate(self.root / name, size)
                self.changed(name)

    @rule(name=logs, keep=st.integers(0, 3_000))
    def truncate(self, name: str, keep: int) -> None:
        """Cut a file; what was in it is gone."""
        if (self.root / name).exists():
            self.cut_off(name, keep)

    # --- what the indexer does --------------------------------------------------------------

    @rule(steps=st.integers(1, 6), final=st.booleans())
    def look(self, steps: int, final: bool = False) -> None:
        """Scan the tree and run some steps, also with last lines without their ends."""
        with suppress(StoreError):
            self.indexer.scan(final)
            while steps and self.indexer.backlog:
                self.indexer.step(final)
                steps -= 1

    @rule()
    def finish(self) -> None:
        """Read last lines without their ends of files that are quiet."""
        with suppress(StoreError):
            self.indexer.finish(self.indexer.take_ended())

    @rule(name=logs)
    def index_now(self, name: str) -> None:
        """Index one file at once, as for a record sent over HTTP."""
        with suppress(StoreError):
            self.indexer.index_now({name})

    @rule(name=logs, sizes=SIZES)
    def ingest(self, name: str, sizes: list[int]) -> None:
        """Ingest as the server does: it knows the record that it has just written."""
        numbers = range(self.records + 1, self.records + len(sizes) + 1)
        self.records += len(sizes)
        content = b"".join(map(line, numbers, sizes))
        with closing(LogAppender(self.root)) as writer:
            appended = writer.append(name, content)
        records = [parse_line(one)[0] for one in content.splitlines()]
        batch = IngestBatch(name, content, len(records), 0, records)
        with suppress(StoreError):
            self.indexer.index_now({name}, {name: AppendedBatch(batch, appended)})

    @rule(batches=st.integers(1, 3))
    def lose_a_batch(self, batches: int) -> None:
        """Make one of the next commits fail."""
        self.flaky.losses = [self.flaky.calls + batches]

    @rule()
    def restart(self) -> None:
        """Stop and start."""
        self.store.close()
        self.open()

    @rule()
    def index_all_in_another_process(self) -> None:
        """Index in another process, as `mikroscope index` does while a server runs."""
        with closing(SqliteStore(self.directory / "index.db")) as store:
            index_all(store, self.root)

    def teardown(self) -> None:
        """Assert that the index equals one that is built from the present files."""
        try:
            self.flaky.losses = []
            self.look_if(needed=True)
            # Half a line that was a record before is indexed as that record; it ends here.
            for file in self.root.rglob("*.*"):
                self.write(str(file.relative_to(self.root)), b"\n")
            for _ in range(3):  # a pending failure of a batch is raised once
                self.look(100_000, final=True)
            with closing(SqliteStore(self.directory / "fresh.db")) as fresh:
                index_all(fresh, self.root)
                found, want = rows(self.store), rows(fresh)
            assert (dict(found - want), dict(want - found)) == ({}, {})
        finally:
            self.store.close()
            shutil.rmtree(self.directory)


def index_all(store: SqliteStore, root: Path) -> None:
    """Run steps until nothing is left to index."""
    for _ in Indexer(store, CountingTree(root)).run(final=True):
        pass


ChangingTree.TestCase.settings = settings(
    max_examples=examples(50),
    stateful_step_count=30,
)
test_any_interleaving_gives_the_index_of_the_final_tree = ChangingTree.TestCase
