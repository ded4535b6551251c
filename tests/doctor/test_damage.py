"""The doctor finds damage in every part of an index, and says what is lost by it."""

import shutil
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import pytest

from mikroscope.doctor.examine import examine
from mikroscope.doctor.findings import Finding
from mikroscope.stores.base import Cutoffs
from mikroscope.stores.sqlite.sealing import (
    COMMITS,
    FIRST_FIELD,
    KEYS,
    LINES,
    SOURCES,
    TIMES,
    WORDS,
)
from mikroscope.stores.sqlite.write import sealer
from tests.helpers.restless import FIRST_MS, record, shrink
from tests.helpers.stores import Place

ENTRIES = 430
CUT = "SET data = CAST(substr(data, 1, length(data) - 4) || x'00000000' AS BLOB)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that has everything: segments with and without an inverted index, dictionaries,
    a segment of which entries were deleted, and entries that are not sealed.
    """
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, Place(directory) as place:
        shrink(patch.setattr)
        patch.setattr(sealer, "SEAL_ENTRIES", 20)
        numbers = iter(range(1_000))

        def write(name: str, count: int) -> None:
            lines = [record(n, FIRST_MS + n) for n in islice(numbers, count)]
            place.write(name, b"".join(line + b"\n" for line in lines))
            place.index()

        write("many.ndjson", 408)
        write("loose.ndjson", 20)
        for _ in place.store.compact():
            pass
        for _ in place.store.expire(Cutoffs(FIRST_MS + 8, None)):
            pass
        write("fresh.ndjson", 10)
    return directory


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    """A copy of that index."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path / "index.db"


def damage(index: Path, statement: str) -> None:
    """Change what SQLite cannot check."""
    with closing(apsw.Connection(str(index))) as connection:
        connection.execute(statement)


def finding(index: Path) -> Finding:
    """Return what the doctor says about the index."""
    given: dict[str, object] = {"logs_path": index.parent / "logs", "db_path": index, "port": 0}
    found = examine("1.2.3", None, given | {"min_free_bytes": 0}, online=False).findings
    (one,) = [one for one in found if one.check == "index"]
    return one


def test_an_index_that_has_everything(index: Path) -> None:
    """Nothing is found in an index that is whole, and the tests below damage what is there."""
    assert (finding(index).status, f"{ENTRIES} entries" in finding(index).text) == ("ok", True)
    with closing(apsw.Connection(str(index))) as connection:
        for table in ("columns", "blocks", "masks", "fresh", "dictionaries"):
            assert connection.execute(f"SELECT count(*) FROM {table}").get, table  # noqa: S608
        posted = (
            "SELECT count(*), count(DISTINCT is_posted), total(entries - deleted) FROM segments"
        )
        counted: Any = connection.execute(posted).fetchone()
        segments, kinds, entries = counted
        assert (segments > 3, kinds, entries) == (True, 2, ENTRIES - 10)


@pytest.mark.parametrize("place", [TIMES, KEYS, SOURCES, LINES, COMMITS, WORDS, FIRST_FIELD])
@pytest.mark.parametrize("change", [CUT, "SET data = x'01'", ""])
def test_a_damaged_column(index: Path, place: int, change: str) -> None:
    """A column that has other bytes, is cut or is missing."""
    action = f"UPDATE columns {change}" if change else "DELETE FROM columns"
    one = f"(SELECT max(id) FROM columns WHERE id & 65535 = {place})"  # noqa: S608
    damage(index, f"{action} WHERE id = {one}")
    assert_lost(finding(index))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE segments SET head = zeroblob(9) WHERE id = (SELECT max(id) FROM segments)",
        f"UPDATE blocks {CUT} WHERE id = (SELECT max(id) FROM blocks)",  # noqa: S608
        "DELETE FROM blocks WHERE id = (SELECT min(id) FROM blocks)",
        f"UPDATE masks {CUT}",
        "DELETE FROM masks",
        "UPDATE segments SET deleted = deleted + 1 WHERE deleted > 0",
        "UPDATE segments SET last_ms = last_ms + 1 WHERE id = (SELECT min(id) FROM segments)",
        f"UPDATE fresh {CUT}",
        "UPDATE fresh SET entries = entries + 1",
        "UPDATE fresh SET dictionary = 99",
        "DELETE FROM dictionaries",
        "UPDATE dictionaries SET dictionary = zeroblob(16384)",
    ],
)
def test_damaged_entries(index: Path, statement: str) -> None:
    """Heads, lines, masks of deleted entries, pieces that are not sealed, dictionaries."""
    damage(index, statement)
    assert_lost(finding(index))


def assert_lost(found: Finding) -> None:
    """Assert that the finding says how much is lost, of when, and what to do."""
    assert found.status == "problem"
    assert " is damaged: up to " in found.text
    assert " entries from 2026-05-28T20:26:40." in found.text
    assert " cannot be read (" in found.text
    assert "mikroscope index --rebuild" in str(found.fix)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE terms_1_data SET block = zeroblob(50) WHERE id > 100", "DROP TABLE terms_1"],
)
def test_a_damaged_inverted_index(index: Path, statement: str) -> None:
    """All entries are there, but searches may miss some."""
    damage(index, statement)
    found = finding(index)
    assert found.status == "problem"
    assert "is damaged: searches may miss entries from 2026-05-28T20:26:40." in found.text
    assert "terms_1" in found.text


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE minutes SET entries = entries + 7",
        "DELETE FROM segments WHERE id = (SELECT max(id) FROM segments WHERE deleted = 0)",
        "DELETE FROM fresh",
    ],
)
def test_counts_that_disagree(index: Path, statement: str) -> None:
    """Entries that are gone without a trace are missing from the count."""
    damage(index, statement)
    found = finding(index)
    assert found.status == "problem"
    assert "entries, but counts 4" in found.text
