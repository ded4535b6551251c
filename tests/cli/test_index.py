"""`mikroscope index`: what it reports, alone, twice at once, and after a kill."""

import json
import re
from collections.abc import Iterator

import pytest

from mikroscope.records.zones import set_default_zone
from tests.helpers.program import Processes, Program
from tests.helpers.waiting import DEADLINE_S, wait_until


def test_index(program: Program) -> None:
    """`index` prints a report of what it did."""
    program.write("app.ndjson", {"n": 1}, {"n": 2})
    program.write("audit/people.ndjson", {"n": 3})
    content = program.ask("index")
    report = content["report"]
    assert list(content) == ["report"]
    assert report == {
        "filesScanned": 2,
        "linesScanned": 3,
        "recordsInserted": 3,
        "recordsSkipped": 0,
        "parseErrors": 0,
        "startedAt": report["startedAt"],
        "finishedAt": report["finishedAt"],
        "mode": "full",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["startedAt"])
    assert report["startedAt"] <= report["finishedAt"]


def test_index_takes_a_last_line_without_its_end(program: Program) -> None:
    """A last line without a line end is indexed if it is a record."""
    for name, text in (("a", '{"n":1}\n{"n":2}'), ("b", '{"n":3}\n{"n":')):
        program.write(f"{name}.ndjson").write_text(text)
    assert program.ask("index")["report"]["recordsInserted"] == 3


def test_index_with_bad_lines(program: Program) -> None:
    """Bad lines are counted and named on stderr; the others are indexed."""
    program.write("app.ndjson", {"n": 1}, 2, {"n": 3})
    done = program.run("index")
    assert done.returncode == 0
    assert json.loads(done.stdout)["report"]["parseErrors"] == 1
    assert "app.ndjson:2: " in done.stderr


def test_missing_logs(program: Program) -> None:
    """Without a logs directory the report has zeros, and stderr says where it was expected."""
    done = program.run("index", "--logs", "nowhere")
    place = program.directory.resolve() / "nowhere"
    assert done.stderr.startswith(f"mikroscope: No logs directory at {place}. Run this where ")
    report = json.loads(done.stdout)["report"]
    assert (done.returncode, report["mode"]) == (0, "full")
    assert [value for value in report.values() if isinstance(value, int)] == [0] * 5


def test_rebuild_without_logs(program: Program) -> None:
    """A rebuild without a logs directory is refused: it would leave an empty index."""
    text = program.refuse(1, "index", "--rebuild", "--logs", "nowhere")
    assert text.endswith(
        "nowhere. Run this where the logs are, or pass --logs; a rebuild would leave an empty index"
    )


@pytest.mark.parametrize("command", ["index", "index --rebuild", "backup saved"])
def test_a_file_as_logs_directory(program: Program, command: str) -> None:
    """A log file passed as --logs is wrong usage; the error says what the flag takes."""
    path = program.write("api.log", {"n": 1})
    text = program.refuse(2, *command.split(), "--logs", "logs/api.log")
    assert text == f"{path.resolve()} is a file; --logs takes a directory"


@pytest.mark.parametrize("command", ["index", "index --rebuild", "query"])
def test_a_directory_as_index(program: Program, command: str) -> None:
    """A directory passed as --db is wrong usage; the error says what the flag takes."""
    program.write("api.log", {"n": 1})
    text = program.refuse(2, *command.split(), "--db", "logs")
    assert text == f"{program.directory.resolve() / 'logs'} is a directory; --db takes a file"


def test_mock_data_and_index(processes: Processes) -> None:
    """`index` takes all 28,350 records of mock-data, and a second run reads nothing."""
    written = processes.ask("mock-data")
    assert list(written) == ["files", "records", "auditRecords", "bytes"]
    assert (written["files"], written["records"], written["auditRecords"]) == (42, 28_350, 3_150)
    names = ("filesScanned", "linesScanned", "recordsInserted", "recordsSkipped", "parseErrors")
    reports = [processes.ask("index")["report"] for _ in range(2)]
    assert [reports[0][name] for name in names] == [42, 28_350, 28_350, 0, 0]
    assert [reports[1][name] for name in names] == [42, 0, 0, 0, 0]
    assert total(processes) == 28_350


def total(program: Program) -> int:
    content = program.ask("aggregate", "--group-by", "level")
    return sum(bucket["count"] for bucket in content["buckets"])


def test_two_indexes_at_once(processes: Processes) -> None:
    """Two `index` processes at the same time neither lose nor duplicate records."""
    processes.ask("mock-data", "--days", "8")
    both = [processes.start("index") for _ in range(2)]
    inserted = 0
    for process in both:
        out, _ = process.communicate(timeout=2 * DEADLINE_S)
        assert process.returncode == 0, processes.stderr
        inserted += json.loads(out)["report"]["recordsInserted"]
    assert inserted == total(processes) == 8 * 1350
    places = all_places(processes)
    assert len(set(places)) == len(places) == 8 * 1350


def all_places(program: Program) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    cursor = ""
    while True:
        page = program.ask("query", "--limit", "1000", "--cursor", cursor)
        found += [(entry["sourceFile"], entry["lineNumber"]) for entry in page["entries"]]
        if not page["hasMore"]:
            return found
        cursor = page["nextCursor"]


def test_index_that_is_killed(processes: Processes) -> None:
    """A killed `index` neither loses nor duplicates records: the next run continues."""
    processes.ask("mock-data", "--days", "8")
    process = processes.start("index")
    path = processes.directory / "data" / "mikroscope.db-wal"
    wait_until(lambda: process.poll() is not None or (path.exists() and path.stat().st_size > 1e5))
    process.kill()
    process.wait()
    processes.ask("index")
    assert total(processes) == 8 * 1350


@pytest.fixture
def utc() -> Iterator[None]:
    """Restore the default zone of this process."""
    yield
    set_default_zone("UTC")


@pytest.mark.usefixtures("utc")
def test_one_index_has_one_zone(program: Program) -> None:
    """Commands follow the zone that an index was made with; a rebuild with a zone changes it."""
    program.write("app.ndjson", {"time": "2026-02-18 10:20:00"})
    tokyo, kyiv = ("--default-timezone", "Asia/Tokyo"), ("--default-timezone", "Europe/Kyiv")

    def time_of_the_entry(*options: str) -> str:
        found = json.loads(program.run("query", *options).stdout)
        return str(found["entries"][0]["timestamp"])

    program.ask("index", *tokyo)
    assert time_of_the_entry() == time_of_the_entry(*kyiv) == "2026-02-18T01:20:00.000Z"
    done = program.run("index", *kyiv)
    assert (
        "was made with --default-timezone Asia/Tokyo, which holds, not Europe/Kyiv" in done.stderr
    )
    program.ask("index", "--rebuild")
    assert time_of_the_entry() == "2026-02-18T01:20:00.000Z"
    program.ask("index", "--rebuild", *kyiv)
    assert time_of_the_entry() == "2026-02-18T08:20:00.000Z"
