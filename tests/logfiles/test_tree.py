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
    """A file with another suffix is listed among the others, with its inode."""
    for name in ("a.ndjson", "b.jsonl", "d/e/c.ndjson"):
        write(tree, name)
    write(tree, "d.ndjson.gz", gzip.compress(b"{}\n"))
    other = write(tree, "a.ndjson.kept")
    listing = tree.walk()
    assert list(listing.files) == ["a.ndjson", "b.jsonl", "d.ndjson.gz", "d/e/c.ndjson"]
    assert listing.others == {"a.ndjson.kept": other.stat().st_ino}


def test_a_listed_file_comes_with_its_look(tree: CountingTree) -> None:
    """The tree lists each file with device, inode, size and modification time."""
    stat = write(tree, "a.ndjson", b"{}\n{}\n").stat()
    assert tree.walk().files["a.ndjson"] == (stat.st_dev, stat.st_ino, 6, stat.st_mtime_ns)
    assert tree.stat("a.ndjson") == tree.walk().files["a.ndjson"]


def test_a_file_that_is_not_there_has_no_look(tree: CountingTree) -> None:
    """The stat of a missing file is None."""
    assert tree.stat("missing.ndjson") is None


def test_a_walk_opens_nothing(tree: CountingTree) -> None:
    """A walk lists names and stats without opening a file."""
    for number in range(20):
        write(tree, f"{number}.ndjson")
    tree.walk()
    assert tree.opened == []


@pytest.mark.parametrize(
    "content", [b'{"a":1}\n', BOM + b'{"a":1}\r\n', b'\n\n  {"a":1}\nplain text\n']
)
def test_a_log_file_with_json_in_its_first_line_is_read(tree: CountingTree, content: bytes) -> None:
    """A `.log` file is read if its first line that is not blank is a JSON object."""
    write(tree, "a.log", content)
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b'{"a":1', b"plain text\n", b"[1]\n", b'plain\n{"a":1}\n', b"{broken\n", b"\0\0"],
)
def test_any_other_log_file_is_not(tree: CountingTree, content: bytes) -> None:
    """A `.log` file without JSON in its first line is listed among the others."""
    write(tree, "a.log", content)
    assert list(tree.walk().others) == ["a.log"]


@pytest.mark.parametrize("size", [0, 2_000])
def test_a_log_file_is_asked_again_when_it_has_grown(tree: CountingTree, size: int) -> None:
    """The tree checks the first line of a `.log` file again after the file has grown."""
    file = write(tree, "a.log", b'{"a":"' + b"x" * size)
    assert list(tree.walk().files) == []
    with file.open("ab") as more:
        more.write(b'"}\n')
    assert list(tree.walk().files) == ["a.log"]


@pytest.mark.parametrize("content", [b'{"a":1}\n', b"plain text\n"])
def test_a_log_file_that_does_not_change_is_asked_once(tree: CountingTree, content: bytes) -> None:
    """A scan does not open a `.log` file that has not changed since the scan before."""
    write(tree, "a.log", content)
    first = tree.walk()
    tree.opened.clear()
    assert tree.walk() == first
    assert tree.opened == []


def test_a_large_log_file_without_line_ends_is_not_read_through(
    tree: CountingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bytes of a `.log` file are enough to see that it is not JSON."""
    write(tree, "core.log", b"\x7fELF" + bytes(5_000))
    monkeypatch.setattr(logfiles, "LineReader", None)  # nothing is read line by line
    assert list(tree.walk().others) == ["core.log"]


def test_a_directory_named_like_a_file_is_a_directory(tree: CountingTree) -> None:
    """Files are found in a directory whose name looks like a log file."""
    write(tree, "x.ndjson/a.ndjson")
    assert list(tree.walk().files) == ["x.ndjson/a.ndjson"]


def test_a_link_to_a_file_outside_is_read(tree: CountingTree, tmp_path: Path) -> None:
    """A file outside is read under the name of the link to it."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside.ndjson"
    outside.write_bytes(b"{}\n")
    (tree.root / "link.ndjson").symlink_to(outside)
    assert list(tree.walk().files) == ["link.ndjson"]


def test_a_link_to_a_directory_outside_is_followed(tree: CountingTree, tmp_path: Path) -> None:
    """The tree follows a link to a directory outside, as containers mount logs."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "a.ndjson").write_bytes(b"{}\n")
    (tree.root / "pods").symlink_to(outside)
    assert list(tree.walk().files) == ["pods/a.ndjson"]


@pytest.mark.parametrize("link", ["a.ndjson", "z.ndjson"])
def test_of_a_file_and_a_link_to_it_the_file_is_read(tree: CountingTree, link: str) -> None:
    """Of a file and a link to it the file is read, so its lines are read once."""
    write(tree, "m.ndjson")
    (tree.root / link).symlink_to("m.ndjson")
    assert list(tree.walk().files) == ["m.ndjson"]


def test_of_two_names_of_one_file_the_first_is_read(tree: CountingTree) -> None:
    """Of two names of one file the first is read, so its lines are read once."""
    file = write(tree, "b.ndjson")
    (tree.root / "a.ndjson").hardlink_to(file)
    assert list(tree.walk().files) == ["a.ndjson"]


@pytest.mark.parametrize("link", ["a", "z", "m/a/down"])
def test_of_a_directory_and_a_link_to_it_the_directory_is_read(
    tree: CountingTree, link: str
) -> None:
    """A file's path does not depend on the order in which the system lists a directory."""
    write(tree, "m/a/x.ndjson")
    write(tree, "n/y.ndjson")
    (tree.root / link).symlink_to(tree.root / "n", target_is_directory=True)
    assert list(tree.walk().files) == ["m/a/x.ndjson", "n/y.ndjson"]


def test_links_in_a_circle_end(tree: CountingTree) -> None:
    """The walk ends where a link leads to itself or to a directory above."""
    write(tree, "d/a.ndjson")
    (tree.root / "d" / "up").symlink_to("..", target_is_directory=True)
    (tree.root / "self.ndjson").symlink_to("self.ndjson")
    (tree.root / "self").symlink_to("self")
    assert list(tree.walk().files) == ["d/a.ndjson"]


def test_a_dangling_link_is_left_out(tree: CountingTree) -> None:
    """A link to a missing file is not listed."""
    (tree.root / "a.ndjson").symlink_to("missing.ndjson")
    assert list(tree.walk().files) == []


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.1", "a.log", "a"])
def test_a_pipe_is_neither_read_nor_listed(tree: CountingTree, name: str) -> None:
    """The tree does not open a pipe, which would wait for a writer forever."""
    os.mkfifo(tree.root / name)
    assert tree.walk() == ({}, {})


def test_a_device_is_not_read(tree: CountingTree) -> None:
    """The tree does not read a device; /dev/zero has no end."""
    (tree.root / "zero.ndjson").symlink_to("/dev/zero")
    assert tree.walk() == ({}, {})


def test_very_deep_directories_are_walked(tree: CountingTree) -> None:
    """The tree walks directories that are nested deeper than Python's stack allows."""
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
    """A file whose name is not UTF-8 is left out with one warning; its neighbours are read."""
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
    """The neighbours of an unreadable directory are found, with one warning in all."""
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
    """The tree of a missing directory is empty; the directory may be mounted later."""
    assert LogTree(tmp_path / "missing", SUFFIXES).walk() == ({}, {})


def test_an_absolute_path_is_named_as_the_tree_names_it(tree: CountingTree) -> None:
    """An absolute path below the root becomes the tree's path; any other becomes None."""
    assert tree.relative(f"{tree.root}/d/a.ndjson") == "d/a.ndjson"
    assert tree.relative(f"{tree.root}-other/a.ndjson") is None


def test_files_that_are_read_directories_and_what_is_gone_concern_the_index(
    tree: CountingTree,
) -> None:
    """A change concerns the index if it is of a log file, a directory or a missing path."""
    write(tree, "a.ndjson")
    write(tree, "d/b.txt")
    names = ("a.ndjson", "d", "gone", "d/b.txt")
    assert [tree.concerns(name) for name in names] == [True, True, True, False]


def test_a_log_file_of_plain_text_does_not_concern_the_index(tree: CountingTree) -> None:
    """A change of a plain `.log` file waits for the next scan to check it for JSON."""
    write(tree, "plain.log", b"plain text\n")
    write(tree, "json.log", b"{}\n")
    tree.walk()
    assert [tree.concerns(name) for name in ("plain.log", "json.log", "new.log")] == [
        False,
        True,
        True,
    ]


def test_the_head_of_what_cannot_be_read_is_empty(tree: CountingTree) -> None:
    """The head of a missing file, of a directory and of broken gzip is empty."""
    write(tree, "no.ndjson.gz", b"plain")
    (tree.root / "d").mkdir()
    assert [tree.head(path) for path in ("missing", "d", "no.ndjson.gz")] == [b"", b"", b""]


def test_the_head_of_a_packed_file_is_that_of_its_content(tree: CountingTree) -> None:
    """The head of a packed file is the beginning of its unpacked content."""
    content = lines(*range(500))
    write(tree, "a.ndjson.gz", gzip.compress(content))
    assert tree.head("a.ndjson.gz") == content[:FINGERPRINT_BYTES]


def test_nothing_is_logged_about_an_ordinary_tree(
    tree: CountingTree, caplog: pytest.LogCaptureFixture
) -> None:
    """A tree without problems causes no warnings."""
    write(tree, "a.ndjson")
    (tree.root / "empty").mkdir()
    with caplog.at_level(logging.DEBUG):
        tree.walk()
    assert caplog.records == []
