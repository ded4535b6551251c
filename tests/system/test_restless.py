"""However often a process is killed that does all that a store does, the index stays whole.

The process and its small constants are in tests/helpers/restless.py.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import apsw
import pytest

from mikroscope.indexing.indexer import Indexer
from mikroscope.logfiles.tree import LogTree
from mikroscope.query.model import Entry, Grouping, Query
from mikroscope.records.timestamps import parse_time
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite import SqliteStore
from mikroscope.stores.sqlite.admin.snapshot import verify
from mikroscope.stores.sqlite.admin.tools import SqliteTools
from tests.helpers import restless
from tests.helpers.forms import amount
from tests.helpers.paths import ROOT
from tests.helpers.restless import Written, cutoff_of, read_file, shrink
from tests.helpers.stores import SUFFIXES, all_entries
from tests.helpers.waiting import wait_until

KILLS = amount(30, 1_000)
LONGEST_LIFE_S = 0.5
MOST = 100_000
ALL_FIELDS = {"n", "level", "kind", "user", "message"}


class Forker:
    """The process that forks those which are killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", restless.__name__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._children: list[int] = []

    def start(self, directory: Path, seed: int, round_number: int, index: int) -> int:
        """Start a child and return its number."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{directory} {seed} {round_number} {index}\n")
        stdin.flush()
        self._children.append(int(stdout.readline()))
        return self._children[-1]

    def close(self) -> None:
        """End the process and what it has forked, in a test that fails too."""
        kill([one for one in self._children if not is_gone(one)])
        self._process.communicate()


@pytest.fixture
def forker() -> Iterator[Forker]:
    """A process that forks."""
    with closing(Forker()) as process:
        yield process


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the same small constants here."""
    shrink(monkeypatch.setattr)


def is_gone(process: int) -> bool:
    """Return whether a process has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def kill(processes: list[int]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in processes:
        wait_until(partial(is_gone, process))


@pytest.mark.long
def test_killed_in_the_midst_of_everything(tmp_path: Path, forker: Forker) -> None:
    """A process that commits, seals, merges, rewrites, expires, drops and vacuums is killed 30
    times, or 1,000; sometimes another one indexes beside it, or the disk is full for a while.
    Nothing is lost or there twice, and all counts agree.
    """
    chance = random.Random(amount(15, random.SystemRandom().getrandbits(32)))
    doing: Counter[str] = Counter()
    for number in range(KILLS):
        doing.update(live_and_die(tmp_path, forker, number, chance))
        assert_whole(tmp_path, number, chance)
    assert len(doing) > 5


def live_and_die(
    directory: Path, forker: Forker, number: int, chance: random.Random
) -> Iterator[str]:
    """Start one process or two, and kill them at some moment; yield what they were doing."""
    children = range(2 if chance.random() < 0.2 else 1)
    processes = [
        forker.start(directory, chance.getrandbits(32), number, index) for index in children
    ]
    time.sleep(chance.random() * LONGEST_LIFE_S)
    is_full = chance.random() < 0.2
    if is_full:
        fill_disk(directory, processes, chance)
    kill(processes)
    for index in children:
        failed = directory / f"failed-{index}"
        if failed.exists():
            text = failed.read_text()
            assert is_full, text
            assert "StorageFullError" in text
            failed.unlink()
        yield (directory / f"doing-{index}").read_text().strip()


def fill_disk(directory: Path, processes: list[int], chance: random.Random) -> None:
    """Let no file grow much for a while, which is what a full disk does."""
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    limit = max(sizes, default=0) + chance.randrange(30_000)
    for most in (limit, resource.RLIM_INFINITY):
        for process in processes:
            with suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        time.sleep(chance.random() * LONGEST_LIFE_S / 2)


@pytest.mark.long
def test_copied_in_the_midst_of_everything(tmp_path: Path, forker: Forker) -> None:
    """Snapshots that are made meanwhile are whole, and one that is restored is read on from."""
    chance = random.Random(amount(15, random.SystemRandom().getrandbits(32)))
    here, copies = tmp_path / "here", tmp_path / "copies"
    here.mkdir()
    copies.mkdir()
    tools = SqliteTools(here / "index.db")
    for number in range(amount(2, 20)):
        process = forker.start(here, chance.getrandbits(32), number, 0)
        wait_until(lambda: (here / "doing-0").exists() and bool((here / "doing-0").read_text()))
        for one in range(5):
            time.sleep(chance.random() * 0.2)
            copy = copies / f"{number}-{one}.db"
            content = tools.snapshot_to(copy)
            assert verify(copy) == content.entries
            assert_tables(copy)
            with closing(SqliteStore(copy, write=False)) as store:
                found = all_entries(store)
                assert len(found) == content.entries
                assert_ordered(found)
                assert_answers(store, found, chance)
        kill([process])
        assert not (here / "failed-0").exists(), (here / "failed-0").read_text()
        with tools.staging() as staged:
            shutil.copy(chance.choice(sorted(copies.iterdir())), staged)
            tools.restore_from(staged)
        assert_whole(here, number, chance)


def assert_whole(directory: Path, number: int, chance: random.Random) -> None:
    """Assert that the index is intact, and has what the files have once they are read."""
    index, logs = directory / "index.db", directory / "logs"
    if not index.exists() or not index.stat().st_size:
        return
    entries = verify(index)
    assert_tables(index)
    tree = LogTree(logs, SUFFIXES)
    with closing(SqliteStore(index)) as store, closing(Indexer(store, tree)) as indexer:
        found = all_entries(store)
        assert len(found) == entries
        assert_ordered(found)
        for _ in indexer.run(final=True):
            pass
        if chance.random() < 0.3:
            cutoff = cutoff_of(number)
            for _ in store.expire(Cutoffs(cutoff, cutoff)):
                pass
        if chance.random() < 0.2:
            for _ in store.compact():
                pass
        found = all_entries(store)
        assert_ordered(found)
        kept = {one.path for one in store.sources() if one.gone}
        assert_as_written(found, list(written(logs)), kept, cutoff_of(number))
        assert_answers(store, found, chance)
    assert_tables(index)


def written(logs: Path) -> Iterator[Written]:
    """Yield the records of all files."""
    for file in sorted(logs.rglob("*.ndjson")):
        yield from read_file(logs, file)


def assert_ordered(found: list[Entry]) -> None:
    """Assert that no id is there twice and that the newest entry comes first."""
    assert len({one.id for one in found}) == len(found)
    times = [one.timestamp for one in found]
    assert times == sorted(times, reverse=True)


def assert_as_written(
    found: list[Entry], lines: list[Written], kept: set[str], cutoff: int
) -> None:
    """Assert that every record is there once.

    Entries before the cutoff may have expired, or not yet. Files that were emptied and files that
    are gone keep theirs until then: `kept` has their paths.
    """
    there = Counter(map(_identity, found))
    wanted = Counter((one.path, one.line, one.data) for one in lines if one.time_ms >= cutoff)
    assert wanted - there == Counter()
    assert max(there.values(), default=1) == 1
    may_be_there = Counter(
        _identity(one)
        for one in found
        if one.source_file in kept or (parse_time(one.timestamp) or 0) < cutoff
    )
    assert there - wanted - may_be_there == Counter()


def _identity(entry: Entry) -> tuple[str, int, bytes]:
    return entry.source_file, entry.line_number, bytes(entry.data)


def assert_answers(store: SqliteStore, found: list[Entry], chance: random.Random) -> None:
    """Assert that counts, groups and filters say what the entries say."""
    records = [json.loads(bytes(one.data)) for one in found]
    assert store.count(Query()) == len(found)
    for level in restless.LEVELS:
        query = Query(level=level)
        assert store.count(query) == sum(one.level == level for one in found)
    for field in ("kind", "user", "inner.rare", "n"):
        counted = store.aggregate(Query(), Grouping("field", field), MOST)
        assert counted.complete
        assert {one.key: one.count for one in counted.buckets} == values(records, field)
    levels = store.aggregate(Query(), Grouping("level"), MOST)
    assert {one.key: one.count for one in levels.buckets} == Counter(one.level for one in found)
    minutes = store.histogram(Query(), 60_000 * 60 * 24)
    assert sum(one.count for one in minutes) == len(found)
    assert not found or ALL_FIELDS.issubset(store.fields())
    for one in chance.sample(found, min(5, len(found))):
        number = json.loads(bytes(one.data))["n"]
        for query in (Query(field="n", value=str(number)), Query(text=f"w{number}w")):
            (same,) = store.search(query).entries
            assert same == one
        assert store.get(one.id) == one


def values(records: list[dict[str, object]], field: str) -> Counter[str]:
    """Count the values of a field."""
    counted: Counter[str] = Counter()
    for record in records:
        value: object = record
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        counted["(missing)" if value is None else str(value)] += 1
    return counted


CHECKS = {
    "parts of segments that are gone": """
        SELECT (SELECT count(*) FROM columns WHERE id >> 16 NOT IN (SELECT id FROM segments))
        + (SELECT count(*) FROM blocks WHERE id >> 16 NOT IN (SELECT id FROM segments))
        + (SELECT count(*) FROM masks WHERE segment NOT IN (SELECT id FROM segments))
        + (SELECT count(*) FROM segment_sources WHERE segment NOT IN (SELECT id FROM segments))
    """,
    "partitions that count otherwise": """
        SELECT count(*) FROM partitions WHERE entries !=
        (SELECT total(entries - deleted) FROM segments WHERE part = partitions.id)
    """,
    "segments without partition": """
        SELECT count(*) FROM segments WHERE part NOT IN (SELECT id FROM partitions)
    """,
    "inverted indexes without partition": """
        SELECT count(*) FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL%'
        AND name NOT IN (SELECT 'terms_' || id FROM partitions)
    """,
    "ordinals that are used twice": """
        SELECT count(*) FROM segments one JOIN segments other
        ON one.part = other.part AND one.id < other.id AND one.is_posted AND other.is_posted
        AND one.first_ordinal <= other.first_ordinal + other.entries
        AND other.first_ordinal <= one.first_ordinal + one.entries
    """,
    "minutes that count otherwise": """
        SELECT (SELECT total(entries) FROM minutes)
        != (SELECT total(entries - deleted) FROM segments) + (SELECT total(entries) FROM fresh)
    """,
}


def assert_tables(index: Path) -> None:
    """Assert that the tables agree."""
    with closing(apsw.Connection(str(index), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for what, question in CHECKS.items():
            assert connection.execute(question).get == 0, what
