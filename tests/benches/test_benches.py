"""The benchmarks run every scenario, write their page from the results, and compare peers."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from benches.__main__ import DOCS, ROOT, main
from benches.cache import Cache, Corpus
from benches.corpus import write_corpus
from benches.figures import Recorder
from benches.goals import GOALS, Goal, Measured
from benches.load import asking, get, load
from benches.peers import PEERS
from benches.peers.base import Peer
from benches.peers.grep_jq import GrepAndJq
from benches.peers.ours import MikroScope
from benches.program import serve
from benches.published import Results
from benches.report import write_report
from benches.scenarios import SCENARIOS
from benches.scenarios.base import Scenario
from benches.scenarios.peers import peers
from benches.siege import ASSAULTS
from benches.svg import Row, bars, lines, number
from benches.trivial import trivial_server

pytestmark = pytest.mark.process

RECORDS = 600
SLIGHT = ("--records", str(RECORDS), "--rounds", "1", "--effort", "0.02")
BLOCKS = re.compile(r"<!-- begin: ([\w-]+) -->\n(.*?)<!-- end: \1 -->", re.DOTALL)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of every scenario on a tiny corpus; peers have separate tests."""
    directory = tmp_path_factory.mktemp("benches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DIR", str(directory / "cache"))
        few = {name: ASSAULTS[name] for name in ("idle connections", "kill -9")}
        patch.setattr("benches.scenarios.siege.ASSAULTS", few)
        names = [name for name in SCENARIOS if name != "peers"]
        main(["run", *names, *SLIGHT, "--results", str(directory / "results")])
    return directory / "results"


@pytest.fixture(scope="module")
def docs(measured: Path) -> Path:
    """A page with pictures, generated from these results."""
    directory = measured.parent / "docs"
    directory.mkdir()
    shutil.copy(DOCS / "benchmarks.md", directory)
    shutil.copy(ROOT / "README.md", directory.parent)
    main(["report", "--publish", "--results", str(measured), "--docs", str(directory)])
    return directory


def test_every_scenario_leaves_its_result(measured: Path) -> None:
    """A run of all scenarios stores one result for each scenario and shape."""
    found = [json.loads(path.read_text()) for path in measured.glob("*.json")]
    expected = {(one.name, shape) for one in SCENARIOS.values() for shape in one.shapes}
    assert {(one["scenario"], one["shape"]) for one in found} == expected - {("peers", "plain")}


def test_results_say_where_they_come_from(measured: Path) -> None:
    """Each result names its machine, versions, commit, date and the yardstick's speed."""
    for path in measured.glob("*.json"):
        result = json.loads(path.read_text())
        assert {"cores", "processor", "python", "sqlite", "mikroscope", "commit"} <= set(
            result["machine"]
        )
        assert result["date"].endswith("Z")
        assert result["jsonRecordsPerSecond"]["median"] > 0


def test_every_time_is_also_in_json_records(measured: Path) -> None:
    """A figure in a unit of time is also given relative to the bare loop."""
    for path in measured.glob("*.json"):
        for figure in json.loads(path.read_text())["figures"]:
            if figure["unit"] in ("s", "ms", "records/s", "requests/s"):
                assert figure["jsonRecords"] > 0, figure


def test_report_fills_every_block(docs: Path) -> None:
    """The page shows a table for each measurement."""
    pages = (docs / "benchmarks.md").read_text() + (docs.parent / "README.md").read_text()
    blocks = dict(BLOCKS.findall(pages))
    empty = {name for name, text in blocks.items() if "| --- |" not in text}
    assert empty == {"peers", "front-page"}


def test_report_draws_every_picture_it_shows(docs: Path) -> None:
    """Each picture on the page is a file next to it."""
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (docs / "benchmarks.md").read_text())
    assert len(shown) >= 6
    assert all((docs / name).read_text().startswith("<svg") for name in shown)


def test_goals_are_held_against_the_results(docs: Path) -> None:
    """If a goal's scenario ran at another size, the page shows that result with its size."""
    rows = [goal.row(Results(docs / "benchmarks")) for goal in GOALS]
    unknown = [row[0] for row in rows if row[-1] == "not measured"]
    assert unknown == ["cold index at 10 million, relative to 1 million"]
    assert all(" at 600 records" in row[-1] for row in rows if row[0] not in unknown)


def test_published_page_is_current(tmp_path: Path) -> None:
    """Both pages and their pictures match the published results, whatever these are."""
    copy = Path(shutil.copytree(DOCS, tmp_path / "docs"))
    shutil.copy(ROOT / "README.md", tmp_path)
    write_report(copy)
    pictures = (DOCS / "benchmarks").glob("*.svg")
    for path in [ROOT / "README.md", DOCS / "benchmarks.md", *pictures]:
        again = tmp_path / path.relative_to(ROOT)
        assert again.read_text() == path.read_text(), "run: python -m benches report"


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (5.0, False, "met"),
        (20.0, False, "**missed**: 2 times that"),
        (10.0, True, "met"),
        (5.0, True, "**missed**: 50% of it"),
    ],
)
def test_verdict(value: float, at_least: bool, verdict: str) -> None:
    """The page says that a goal is met, or by how much it is missed."""

    def find(results: Results, records: int) -> Measured:
        return Measured(value, None, "it", records)

    goal = Goal("it", 10, "ms", 1, find, at_least)
    assert goal.row(Results(Path("nowhere")))[-1] == verdict


@pytest.mark.parametrize("name", [name for name in PEERS if name != "MikroScope"])
def test_peer_agrees(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each installed peer gives the same answers as MikroScope."""
    if reason := PEERS[name].missing():
        pytest.skip(reason)
    pair: dict[str, type[Peer]] = {one: PEERS[one] for one in ("MikroScope", name)}
    monkeypatch.setattr("benches.scenarios.peers.PEERS", pair)
    cache = Cache(tmp_path)
    record = Recorder(cache.corpus("plain", RECORDS), rounds=1, effort=0.02)
    peers(cache, cache.corpus("plain", RECORDS), record)
    assert record.notes == [f"MikroScope, {name} gave the same answers to every question"]


def test_front_page(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README shows the measured peers in a table and a picture, and names the machine."""
    pair: dict[str, type[Peer]] = {one: PEERS[one] for one in ("MikroScope", "grep and jq")}
    if reason := pair["grep and jq"].missing():
        pytest.skip(reason)
    monkeypatch.setattr("benches.scenarios.peers.PEERS", pair)
    monkeypatch.setenv("BENCH_DIR", str(docs.parent / "cache"))
    main(["run", "peers", *SLIGHT, "--results", str(tmp_path / "results")])
    (tmp_path / "results" / "of-something-else.json").write_text('{"ways": {}}')
    copy = Path(shutil.copytree(docs, tmp_path / "docs"))
    shutil.copy(ROOT / "README.md", tmp_path)
    main(["report", "--publish", "--results", str(tmp_path / "results"), "--docs", str(copy)])
    block = dict(BLOCKS.findall((tmp_path / "README.md").read_text()))["front-page"]
    assert "|  | MikroScope | grep and jq |\n| --- | --- | --- |\n| load 600 records |" in block
    assert "nothing to do" in block
    assert "cores" in block
    picture = (copy.parent / re.findall(r"\]\((.*?)\)", block)[0]).read_text()
    assert picture.count('<rect class="f0"') == picture.count('<rect class="other"') == 2


def test_missing_peer_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing peer is named with the package to install, and the other peers run."""

    class Absent(GrepAndJq):
        @staticmethod
        def missing() -> str | None:
            return "it is not installed (apt-get install it)"

    pair: dict[str, type[Peer]] = {"MikroScope": MikroScope, "it": Absent}
    monkeypatch.setattr("benches.scenarios.peers.PEERS", pair)
    cache = Cache(tmp_path)
    record = Recorder(cache.corpus("plain", RECORDS), rounds=1, effort=0.02)
    peers(cache, cache.corpus("plain", RECORDS), record)
    assert record.notes[0] == "it left out: it is not installed (apt-get install it)"


def test_plain_corpus_keeps_its_bytes(tmp_path: Path) -> None:
    """The same arguments always give the same bytes, so that figures stay comparable."""
    write_corpus(tmp_path / "c", 5000)
    digest = hashlib.blake2b((tmp_path / "c").read_bytes(), digest_size=8).hexdigest()
    assert digest == "3588083d558b435b"


def test_corpus_and_index_are_kept(tmp_path: Path) -> None:
    """A second scenario reuses the corpus and the index of the first."""
    first = Cache(tmp_path).index(Cache(tmp_path).corpus("plain", 100)).stat()
    again = Cache(tmp_path).index(Cache(tmp_path).corpus("plain", 100)).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_load_sends_each_request_once() -> None:
    """Many clients share the requests, and the load counts every answer."""
    path = ROOT / "tests" / "fixtures" / "loggers" / "documented.ndjson"
    with (
        trivial_server() as url,
        load(url, "--post", path, "--clients", 7, "--requests", 50, "--batch", 3) as sending,
    ):
        seen = sending.finish()
    assert (seen.succeeded, len(seen.milliseconds)) == (50, 50)


def test_load_asks_in_order() -> None:
    """A single client returns one latency for each target, in order."""
    with trivial_server() as url:
        assert len(get(url, ["/a", "/b", "/c"]).milliseconds) == 3


def test_load_names_failed_requests(tmp_path: Path) -> None:
    """A load tells which of its requests failed."""
    with serve(tmp_path / "logs", tmp_path / "index.db") as server:
        seen = get(server.url, ["/health", "/nowhere", "/health"])
    assert (seen.succeeded, seen.failed) == (2, [1])


def test_load_keeps_its_rate() -> None:
    """Clients share a rate: twenty requests at two hundred per second take a tenth of a second."""
    with (
        trivial_server() as url,
        asking(url, ["/a"] * 20, "--clients", 4, "--rate", 200) as asked,
    ):
        seen = asked.finish()
    assert seen.succeeded == 20
    assert seen.seconds >= 19 / 200


def test_live_load_goes_on_until_it_is_stopped() -> None:
    """A load of new records has no end of its own."""
    with trivial_server() as url, load(url, "--live", "--clients", 2, "--rate", 500) as sending:
        assert get(url, ["/a"]).succeeded == 1
        seen = sending.finish()
    assert seen.succeeded == len(seen.milliseconds) > 0


def test_pictures_of_groups_have_no_empty_rows(docs: Path) -> None:
    """The first time after a start has no row of its own in the pictures of groups."""
    for name in ("aggregates", "filtered-groups"):
        labels = re.findall(
            r'text-anchor="end">([^<]*)<', (docs / "benchmarks" / f"{name}.svg").read_text()
        )
        assert labels
        assert not [label for label in labels if label.endswith((", all", ", one day"))]


def test_failing_scenario_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run names failed scenarios at the end and exits with 1; the other results are kept."""

    def fail(cache: Cache, corpus: Corpus, record: Recorder) -> None:
        raise RuntimeError("it does not work")

    monkeypatch.setenv("BENCH_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(SCENARIOS, "counts", Scenario("counts", fail))
    with pytest.raises(SystemExit, match="counts failed"):
        main(["run", "counts", "size", *SLIGHT, "--results", str(tmp_path / "results")])
    assert len(list((tmp_path / "results").glob("size-plain-*.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nonsense"], "unknown scenario nonsense; expected cold-index"),
        (["run", "pages", "--shape", "ragged"], "pages has no ragged corpus, only plain"),
        (["run", "--records", "1000,0"], "'0' is not a positive whole number"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is refused with one line and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_numbers_are_short() -> None:
    """Numbers have three digits and separated thousands."""
    shown = [number(value) for value in (0.0, 0.12345, 2.5, 99.96, 250.0, 123456.7)]
    assert shown == ["0", "0.123", "2.5", "100", "250", "123,457"]


def test_pictures_escape_their_words() -> None:
    """A label in a picture may contain any character."""
    assert "a &lt; b" in bars("t", "ms", ["s"], [Row("a < b", [1.0])])


def test_pictures_leave_out_what_is_missing() -> None:
    """A value that was not measured has no bar and no point in a picture."""
    assert bars("t", "ms", ["s", "r"], [Row("a", [1.0, None])]).count('height="12"') == 1
    drawn = lines("t", ("x", "y"), [1, 2, 3], {"s": [1.0, None, 3.0]}, log=True)
    assert drawn.count("<circle") == 2
