"""The tree of log files is found as it is."""

import gzip
import logging
import os
import subprocess
from pathlib import Path

import pytest

from mikroscope.logfiles import tree as logfiles
from mikroscope.logfiles.reader import FINGERPRINT_BYTES
from mikroscope.logfiles.tree import LogTree
from tests.helpers.stores import SUFFIXES, CountingTree, lines, run_python

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def tree(tmp_path: Path) -> CountingTree:
    """An empty tree."""
    return CountingTree(tmp_path)


def write(tree: LogTree, path: str, content: bytes = b"{}\n") -> Path:
    """Make a file with its directories."""
    file = tree.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_files_are_known_by_their_suffix(tree: CountingTree) -> None:
    """What ends otherwise is listed among the others, with its inode."""
    for name in ("a.ndjson", "b.jsonl", "d/e/c.ndjson"):
        write(tree, name)
    write(tree, "d.ndjson.gz", gzip.compress(b"{}\n"))
    other = write(tree, "a.ndjson.old")
    listing = tree.walk()
    assert list(listing.files) == ["a.ndjson", "b.jsonl", "d.ndjson.gz", "d/e/c.ndjson"]
    assert listing.others == {"a.ndjson.old": other.stat().st_ino}


@pytest.mark.parametrize(
    "name",
    [
        *("a.ndjson.1", "a.jsonl.20", "a.log.3", "a.ndjson-20260218", "a.ndjson.2026-02-18"),
        *("a.ndjson.2026-02-18_10-20-00", "a.ndjson-2026021810"),
    ],
)
def test_rotated_files_are_read(tree: CountingTree, name: str) -> None:
    """A number or a date behind a suffix is what rotation adds."""
    write(tree, name)
    assert list(tree.walk().files) == [name]


def test_rotated_and_packed_files_are_read(tree: CountingTree) -> None:
    """As logrotate names them when it compresses."""
    write(tree, "a.ndjson.2.gz", gzip.compress(b"{}\n"))
    assert list(tree.walk().files) == ["a.ndjson.2.gz"]


def test_a_listed_file_comes_with_its_look(tree: CountingTree) -> None:
    """Device, inode, size and modification time: what a checkpoint is compared with."""
    stat = write(tree, "a.ndjson", b"{}\n{}\n").stat()
    assert tree.walk().files["a.ndjson"] == (stat.st_dev, stat.st_ino, 6, stat.st_mtime_ns)
    assert tree.stat("a.ndjson") == tree.walk().files["a.ndjson"]


def test_a_file_that_is_not_there_has_no_look(tree: CountingTree) -> None:
    """It is no error to ask."""
    assert tree.stat("missing.ndjson") is None


def test_a_walk_opens_nothing(tree: CountingTree) -> None:
    """Names and looks are enough."""
    for number in range(20):
        write(tree, f"{number}.ndjson")
    tree.walk()
    assert tree.opened == []


@pytest.mark.parametrize(
    "content", [b'{"a":1}\n', BOM + b'{"a":1}\r\n', b'\n\n  {"a":1}\nplain text\n']
)
def test_a_log_file_with_json_in_its_first_line_is_read(tree: CountingTree, content: bytes) -> None:
    """Blank lines before it do not count."""
    write(tree, "a.log", content)
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b'{"a":1}', b"plain text\n", b"[1]\n", b'plain\n{"a":1}\n', b"{broken\n", b"\0\0"],
)
def test_any_other_log_file_is_not(tree: CountingTree, content: bytes) -> None:
    """It is one of the others."""
    write(tree, "a.log", content)
    assert list(tree.walk().others) == ["a.log"]


@pytest.mark.parametrize("size", [0, 2_000])
def test_a_log_file_is_asked_again_when_it_has_grown(tree: CountingTree, size: int) -> None:
    """Its first line, however long, may have been half written before."""
    file = write(tree, "a.log", b'{"a":"' + b"x" * size)
    assert list(tree.walk().files) == []
    with file.open("ab") as more:
        more.write(b'"}\n')
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize("content", [b'{"a":1}\n', b"plain text\n"])
def test_a_log_file_that_does_not_change_is_asked_once(tree: CountingTree, content: bytes) -> None:
    """Thousands of idle files are not opened at every look."""
    write(tree, "a.log", content)
    first = tree.walk()
    tree.opened.clear()
    assert tree.walk() == first
    assert tree.opened == []


def test_a_large_log_file_without_line_ends_is_not_read_through(
    tree: CountingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes tell that it is no JSON."""
    write(tree, "core.log", b"\x7fELF" + bytes(5_000))
    monkeypatch.setattr(logfiles, "LineReader", None)  # nothing is read line by line
    assert list(tree.walk().others) == ["core.log"]


def test_a_directory_named_like_a_file_is_a_directory(tree: CountingTree) -> None:
    """What is in it is found."""
    write(tree, "x.ndjson/a.ndjson")
    assert list(tree.walk().files) == ["x.ndjson/a.ndjson"]


def test_a_link_to_a_file_outside_is_read(tree: CountingTree, tmp_path: Path) -> None:
    """Under its name in the tree."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside.ndjson"
    outside.write_bytes(b"{}\n")
    (tree.root / "link.ndjson").symlink_to(outside)
    assert list(tree.walk().files) == ["link.ndjson"]


def test_a_link_to_a_directory_outside_is_followed(tree: CountingTree, tmp_path: Path) -> None:
    """Containers mount their logs so."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "a.ndjson").write_bytes(b"{}\n")
    (tree.root / "pods").symlink_to(outside)
    assert list(tree.walk().files) == ["pods/a.ndjson"]


@pytest.mark.parametrize("link", ["a.ndjson", "z.ndjson"])
def test_of_a_file_and_a_link_to_it_the_file_is_read(tree: CountingTree, link: str) -> None:
    """Whatever their names, its lines come once."""
    write(tree, "m.ndjson")
    (tree.root / link).symlink_to("m.ndjson")
    assert list(tree.walk().files) == ["m.ndjson"]


def test_of_two_names_of_one_file_the_first_is_read(tree: CountingTree) -> None:
    """Its lines come once."""
    file = write(tree, "b.ndjson")
    (tree.root / "a.ndjson").hardlink_to(file)
    assert list(tree.walk().files) == ["a.ndjson"]


@pytest.mark.parametrize("link", ["a", "z", "m/a/down"])
def test_of_a_directory_and_a_link_to_it_the_directory_is_read(
    tree: CountingTree, link: str
) -> None:
    """So a file's path does not depend on the order in which the system lists a directory."""
    write(tree, "m/a/x.ndjson")
    write(tree, "n/y.ndjson")
    (tree.root / link).symlink_to(tree.root / "n", target_is_directory=True)
    assert list(tree.walk().files) == ["m/a/x.ndjson", "n/y.ndjson"]


def test_links_in_a_circle_end(tree: CountingTree) -> None:
    """A link to a directory above, and one to itself."""
    write(tree, "d/a.ndjson")
    (tree.root / "d" / "up").symlink_to("..", target_is_directory=True)
    (tree.root / "self.ndjson").symlink_to("self.ndjson")
    (tree.root / "self").symlink_to("self")
    assert list(tree.walk().files) == ["d/a.ndjson"]


def test_a_dangling_link_is_left_out(tree: CountingTree) -> None:
    """There is nothing to read."""
    (tree.root / "a.ndjson").symlink_to("missing.ndjson")
    assert list(tree.walk().files) == []


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.1", "a.log", "a"])
def test_a_pipe_is_neither_read_nor_listed(tree: CountingTree, name: str) -> None:
    """To open it would wait for a writer forever."""
    os.mkfifo(tree.root / name)
    assert tree.walk() == ({}, {})


def test_a_device_is_not_read(tree: CountingTree) -> None:
    """/dev/zero has no end."""
    (tree.root / "zero.ndjson").symlink_to("/dev/zero")
    assert tree.walk() == ({}, {})


def test_very_deep_directories_are_walked(tree: CountingTree) -> None:
    """Deeper than Python's stack."""
    path = "d/" * 1_200
    try:
        subprocess.run(["mkdir", "-p", path], cwd=tree.root, check=True)
        write(tree, f"{path}a.ndjson")
        assert list(tree.walk().files) == [f"{path}a.ndjson"]
    finally:  # Python's own way to clean up is not up to that
        subprocess.run(["rm", "-rf", "d"], cwd=tree.root, check=True)


def test_a_name_that_is_no_utf8_is_left_out_with_one_warning(
    tree: CountingTree, caplog: pytest.LogCaptureFixture
) -> None:
    """No index and no JSON can hold it; its neighbours are read."""
    write(tree, "a.ndjson")
    for name in (b"/\xff.ndjson", b"/\xff.ndjson.1"):
        Path(os.fsdecode(os.fsencode(tree.root) + name)).write_bytes(b"{}\n")
    Path(os.fsdecode(os.fsencode(tree.root) + b"/\xfe")).mkdir()
    write(tree, os.fsdecode(b"\xfe/b.ndjson"))
    for _ in range(3):
        assert list(tree.walk().files) == ["a.ndjson"]
    told = [record.message for record in caplog.records]
    assert len(told) == len(set(told)) == 3
    assert all("UTF-8" in text for text in told)


def test_an_unreadable_directory_costs_its_files_only() -> None:
    """Its neighbours are found, and there is one warning, however often one looks."""
    program = """
import logging, tempfile
from pathlib import Path
from mikroscope.logfiles.tree import LogTree
become_nobody()
told = []
handler = logging.Handler(); handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger().addHandler(handler)
with tempfile.TemporaryDirectory() as root:
    tree = LogTree(Path(root), (".ndjson",))
    for name in ("open", "shut"):
        (tree.root / name).mkdir()
        (tree.root / name / "a.ndjson").touch()
    (tree.root / "shut").chmod(0)
    print([list(tree.walk().files) for _ in range(3)], len(told), "shut" in told[0])
    (tree.root / "shut").chmod(0o700)
"""
    assert run_python(program) == "[['open/a.ndjson'], ['open/a.ndjson'], ['open/a.ndjson']] 1 True"


def test_a_root_that_is_missing_is_empty(tmp_path: Path) -> None:
    """It may be mounted later."""
    assert LogTree(tmp_path / "missing", SUFFIXES).walk() == ({}, {})


def test_an_absolute_path_is_named_as_the_tree_names_it(tree: CountingTree) -> None:
    """And one beside the root is none of it."""
    assert tree.relative(f"{tree.root}/d/a.ndjson") == "d/a.ndjson"
    assert tree.relative(f"{tree.root}-other/a.ndjson") is None


def test_files_that_are_read_directories_and_what_is_gone_concern_the_index(
    tree: CountingTree,
) -> None:
    """Other files do not."""
    write(tree, "a.ndjson")
    write(tree, "d/b.txt")
    names = ("a.ndjson", "d", "gone", "d/b.txt")
    assert [tree.concerns(name) for name in names] == [True, True, True, False]


def test_a_log_file_of_plain_text_does_not_concern_the_index(tree: CountingTree) -> None:
    """It may change all the time; whether it holds JSON now is seen at the next look."""
    write(tree, "plain.log", b"plain text\n")
    write(tree, "json.log", b"{}\n")
    tree.walk()
    assert [tree.concerns(name) for name in ("plain.log", "json.log", "new.log")] == [
        False,
        True,
        True,
    ]


def test_the_head_of_what_cannot_be_read_is_empty(tree: CountingTree) -> None:
    """Missing, a directory, or no gzip."""
    write(tree, "no.ndjson.gz", b"plain")
    (tree.root / "d").mkdir()
    assert [tree.head(path) for path in ("missing", "d", "no.ndjson.gz")] == [b"", b"", b""]


def test_the_head_of_a_packed_file_is_that_of_its_content(tree: CountingTree) -> None:
    """By it a packed file is known again."""
    content = lines(*range(500))
    write(tree, "a.ndjson.gz", gzip.compress(content))
    assert tree.head("a.ndjson.gz") == content[:FINGERPRINT_BYTES]


def test_nothing_is_logged_about_an_ordinary_tree(
    tree: CountingTree, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are for what somebody should look at."""
    write(tree, "a.ndjson")
    (tree.root / "empty").mkdir()
    with caplog.at_level(logging.DEBUG):
        tree.walk()
    assert caplog.records == []
