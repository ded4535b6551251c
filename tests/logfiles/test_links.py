"""Links to files and directories are followed, whatever becomes of what they name."""

import contextlib
import gzip
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope.indexing.once import rebuild_once
from mikroscope.logfiles.tree import Listing, LogTree
from mikroscope.maintenance.file_retention import is_behind_link
from mikroscope.stores import begin_rebuild
from tests.helpers.stores import SUFFIXES, Place, lines


class Linked(Place):
    """A tree with links to files in a directory outside of it."""

    size = 0
    restarts = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.outside = directory / "outside"
        self.outside.mkdir()

    def log(self, name: str, *numbers: int) -> Path:
        """Append records to a file outside."""
        file = self.outside / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(lines(*numbers, size=self.size))
        return file

    def link(self, path: str, name: str) -> None:
        """Let a link in the tree lead to a file or directory outside, in one step."""
        link = self.logs / path
        link.parent.mkdir(parents=True, exist_ok=True)
        new = link.with_name("new-link")
        new.symlink_to(self.outside / name)
        new.replace(link)

    def move(self, name: str, other: str) -> None:
        """Rename a file outside."""
        (self.outside / name).rename(self.outside / other)

    def look(self) -> list[int]:
        """Index twice, the second time without effect; return the numbers that were found."""
        if self.restarts:
            self.restart()
        self.index()
        found = self.numbers()
        assert (self.index().lines_scanned, self.numbers()) == (0, found)
        return found


@pytest.fixture(params=["short", "long"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Linked]:
    """Files of less than a kibibyte, and longer ones."""
    with Linked(tmp_path) as place:
        place.size = 600 if request.param == "long" else 0
        yield place


@pytest.fixture(params=["running", "restarted"])
def steady(place: Linked, request: pytest.FixtureRequest) -> Linked:
    """The same, also with a restart before every scan."""
    place.restarts = request.param == "restarted"
    return place


# --- what a link names is rotated ---------------------------------------------------------


@pytest.mark.parametrize(
    "rotated", ["app.log.1", "app.log-20260218", "app-2026-02-18T10-20-00.000.log", "app.log.kept"]
)
def test_what_was_written_before_a_rotation(steady: Linked, rotated: str) -> None:
    """Lines that were written since the last look are read where rotation has moved them."""
    steady.log("app.log", 1, 2, 3)
    steady.link("web/app.log", "app.log")
    assert steady.look() == [1, 2, 3]
    steady.log("app.log", 4, 5)
    steady.move("app.log", rotated)
    steady.log("app.log", 6)
    assert steady.look() == [1, 2, 3, 4, 5, 6]
    steady.log(rotated, 7)  # its program has not opened the new file yet
    steady.log("app.log", 8)
    assert steady.look() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("packs", [True, False])
def test_several_rotations_at_once(steady: Linked, packs: bool) -> None:
    """A file that was written and rotated between two looks is read, also when it is packed."""
    steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    for first in (4, 6, 8):
        steady.log("app.log", first)
        for number in (3, 2, 1):
            for packed in ("", ".gz"):
                if (steady.outside / f"app.log.{number}{packed}").exists():
                    steady.move(f"app.log.{number}{packed}", f"app.log.{number + 1}{packed}")
        steady.move("app.log", "app.log.1")
        if packs:
            content = (steady.outside / "app.log.1").read_bytes()
            (steady.outside / "app.log.1").unlink()
            (steady.outside / "app.log.1.gz").write_bytes(gzip.compress(content))
        steady.log("app.log", first + 1)
    assert steady.look() == list(range(1, 10))
    assert {path.partition(".")[0] for path in steady.by_path()} == {"app"}


def test_copy_and_truncate(steady: Linked) -> None:
    """The entries go to the copy, and what was written before the copy is read from it."""
    steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    file = steady.log("app.log", 4)
    shutil.copy(file, steady.outside / "app.log.1")
    os.truncate(file, 0)
    steady.log("app.log", 5)
    assert steady.look() == [1, 2, 3, 4, 5]


def test_a_deleted_target(steady: Linked) -> None:
    """The entries stay; what comes under the name later is another file."""
    file = steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    file.unlink()
    assert steady.look() == [1, 2, 3]
    steady.log("app.log", 4)
    assert steady.look() == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [None, b"", b"starting\n"], ids=["none", "empty", "text"])
def test_what_follows_a_rotation_is_no_record_yet(steady: Linked, content: bytes | None) -> None:
    """Rotated files are read while the link leads to a file without records, or to none."""
    steady.log("app.log", 1)
    steady.link("web.log", "app.log")
    assert steady.look() == [1]
    steady.log("app.log", 2)
    steady.move("app.log", "app.log.1")
    if content is not None:
        (steady.outside / "app.log").write_bytes(content)
    assert steady.look() == [1, 2]
    steady.log("app.log.1", 3)
    assert steady.look() == [1, 2, 3]


@pytest.mark.parametrize("content", [None, b""], ids=["none", "empty"])
def test_a_first_look_at_a_link_to_a_file_that_was_just_rotated(
    steady: Linked, content: bytes | None
) -> None:
    """A new index finds the rotated files although the link leads to none with records."""
    steady.log("app.log.2", 1)
    steady.log("app.log.1", 2)
    steady.link("web.log", "app.log")
    if content is not None:
        (steady.outside / "app.log").write_bytes(content)
    assert steady.look() == [1, 2]
    steady.log("app.log", 3)
    assert steady.look() == [1, 2, 3]


def test_a_link_to_an_empty_file_that_is_pointed_elsewhere(steady: Linked) -> None:
    """What comes into a file that was empty at the last look is read, then and later."""
    (steady.outside / "monday.ndjson").touch()
    steady.link("day.ndjson", "monday.ndjson")
    assert steady.look() == []
    steady.log("monday.ndjson", 1)
    steady.log("tuesday.ndjson", 2)
    steady.link("day.ndjson", "tuesday.ndjson")
    assert steady.look() == [1, 2]
    steady.log("monday.ndjson", 3)
    assert steady.look() == [1, 2, 3]


def test_a_link_to_a_device_is_left_alone(steady: Linked) -> None:
    """It names no directory to watch, and no files."""
    (steady.logs / "access.log").symlink_to("/dev/null")
    steady.log("app.ndjson", 1)
    steady.link("app.ndjson", "app.ndjson")
    assert steady.look() == [1]
    assert {one.path for one in steady.tree.watched().files_only} == {str(steady.outside)}


def test_a_chain_of_links(steady: Linked) -> None:
    """A link to a link is followed to the end, also when that is rotated or exchanged."""
    steady.log("real/app.log", 1, 2, 3)
    (steady.outside / "current").symlink_to("real")
    (steady.outside / "middle.log").symlink_to("current/app.log")
    steady.link("app.log", "middle.log")
    steady.look()
    steady.log("real/app.log", 4)
    steady.move("real/app.log", "real/app.log.1")
    steady.log("real/app.log", 5)
    assert steady.look() == [1, 2, 3, 4, 5]
    steady.log("real/app.log", 6)
    steady.log("other/app.log", 7)
    (steady.outside / "current").unlink()
    (steady.outside / "current").symlink_to("other")
    assert steady.look() == [1, 2, 3, 4, 5, 6, 7]


def test_two_links_to_one_file(steady: Linked) -> None:
    """The file is read once, and so is what rotation makes of it."""
    steady.log("app.log", 1, 2, 3)
    steady.link("a.log", "app.log")
    steady.link("b.log", "app.log")
    steady.look()
    steady.log("app.log", 4)
    steady.move("app.log", "app.log.1")
    steady.log("app.log", 5)
    assert steady.look() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["app-2026-02-18.log", "app.log.1", "app.2026-02-18.log.gz"])
def test_links_to_files_of_one_name(steady: Linked, name: str) -> None:
    """What rotation makes of several files of one name is read of each."""
    for place in ("a", "b", "c"):
        steady.log(f"{place}/app.log", ord(place))
        steady.link(f"{place}.log", f"{place}/app.log")
    steady.look()
    for place in ("a", "b", "c"):
        steady.log(f"{place}/app.log", ord(place) + 10)
        steady.move(f"{place}/app.log", f"{place}/{name.removesuffix('.gz')}")
        steady.log(f"{place}/app.log", ord(place) + 20)
        if name.endswith(".gz"):
            file = steady.outside / place / name
            file.write_bytes(gzip.compress(file.with_suffix("").read_bytes()))
            file.with_suffix("").unlink()
    numbers = sorted(ord(place) + more for place in "abc" for more in (0, 10, 20))
    assert steady.look() == numbers
    with Linked(steady.logs.parent / "new") as new:
        new.logs.rmdir()
        steady.logs.rename(new.logs)
        assert new.look() == numbers


def test_rotated_under_the_name_of_an_older_file(steady: Linked) -> None:
    """A link was pointed elsewhere; both files are rotated to what is one name beside the link."""
    steady.log("0.log.1", 1)
    steady.log("0.log", 2)
    steady.link("shop.log", "0.log")
    assert steady.look() == [1, 2]
    steady.log("1.log.1", 3)
    steady.log("1.log", 4)
    steady.link("shop.log", "1.log")
    assert steady.look() == [1, 2, 3, 4]
    steady.log("0.log.1", 5)
    steady.log("1.log.1", 6)
    assert steady.look() == [1, 2, 3, 4, 5, 6]


def test_packed_beside_the_name_of_an_older_file(steady: Linked) -> None:
    """The path of a packed file may look like that of another one's packed content."""
    steady.log("0.log.1", 1)
    steady.log("0.log", 2)
    steady.link("shop.log", "0.log")
    assert steady.look() == [1, 2]
    steady.log("1.log", 3)
    steady.link("shop.log", "1.log")
    assert steady.look() == [1, 2, 3]
    content = lines(4, size=steady.size)
    (steady.outside / "1.log.1.gz").write_bytes(gzip.compress(content))
    assert steady.look() == [1, 2, 3, 4]
    (steady.outside / "1.log.2").write_bytes(content)
    shutil.move(steady.outside / "1.log.1.gz", steady.outside / "1.log.2.gz")
    assert steady.look() == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", lines(9, 10, size=600)])
def test_packed_after_a_link_was_pointed_elsewhere(steady: Linked, content: bytes) -> None:
    """A rotated file of an older target is recognised when it is packed, however short it is."""
    steady.log("0.log", 1)
    steady.link("shop.log", "0.log")
    assert steady.look() == [1]
    steady.log("1.log", 2)
    steady.move("0.log", "0.log.1")
    (steady.outside / "0.log").write_bytes(content)
    steady.link("shop.log", "1.log")
    numbers = [1, 2, 9, 10] if content else [1, 2]
    seen = steady.look()
    assert seen in (numbers, [1, 2])
    packed = gzip.compress((steady.outside / "0.log.1").read_bytes())
    (steady.outside / "0.log.1").unlink()
    (steady.outside / "0.log.1.gz").write_bytes(packed)
    assert steady.look() == seen
    assert steady.look() == seen


def test_a_rebuild_after_two_rotations_and_a_link_that_was_pointed_elsewhere(
    place: Linked,
) -> None:
    """Rotated files of the old target stay known by where they are now."""
    place.log("0.log", 1)
    place.link("shop.log", "0.log")
    place.look()
    for number in (2, 3):
        if (place.outside / "0.log.1").exists():
            place.move("0.log.1", "0.log.2")
        place.move("0.log", "0.log.1")
        place.log("0.log", number)
        place.look()
    place.log("1.log", 4)
    place.link("shop.log", "1.log")
    assert place.look() == [1, 2, 3, 4]
    place.log("0.log.2", 5)
    assert place.look() == [1, 2, 3, 4, 5]


def test_other_files_beside_it_are_left_alone(steady: Linked) -> None:
    """Only what rotation makes of the linked file is read, nothing else of its directory."""
    for name in ("app.log", "other.log", "app.log.lock", "application.log.1", "app.json"):
        steady.log(name, 1)
    steady.link("app.log", "app.log")
    assert steady.look() == [1]


def test_a_link_gives_a_file_its_suffix(steady: Linked) -> None:
    """A file is read under the link's name, whatever its own, and so is what rotation makes of it.

    Other files of its directory that begin alike are not.
    """
    steady.log("catalina.out", 1, 2, 3)
    steady.log("catalina.output", 8)
    steady.link("tomcat.ndjson", "catalina.out")
    steady.look()
    steady.log("catalina.out", 4)
    steady.move("catalina.out", "catalina.out.1")
    steady.log("catalina.out", 5)
    assert steady.look() == [1, 2, 3, 4, 5]
    assert list(steady.by_path()) == ["tomcat.ndjson", "tomcat.ndjson.1"]


def test_a_file_takes_the_place_of_a_link(steady: Linked) -> None:
    """What was written to the linked file is read, and then the file that is there now."""
    steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    steady.log("app.log", 4)
    (steady.logs / "app.log").unlink()
    steady.write("app.log", lines(5, size=steady.size))
    assert steady.look() == [1, 2, 3, 4, 5]


# --- a link is pointed elsewhere ----------------------------------------------------------


def test_a_link_that_names_another_file_each_day(steady: Linked) -> None:
    """The rest of the old file is read, and what still comes there; then the new one."""
    steady.log("app-17.log", 1, 2, 3)
    steady.link("current.log", "app-17.log")
    steady.look()
    for day in (18, 19, 20):
        steady.log(f"app-{day - 1}.log", day * 10)
        steady.log(f"app-{day}.log", day * 10 + 1)
        steady.link("current.log", f"app-{day}.log")
        steady.look()
        steady.log(f"app-{day - 1}.log", day * 10 + 2)
    assert steady.look() == sorted(
        [1, 2, 3, *(day * 10 + n for day in (18, 19, 20) for n in range(3))]
    )


@pytest.mark.parametrize("names", [("pod/0.log", "pod/1.log"), ("a/0.log", "b/0.log")])
def test_links_as_kubelet_makes_them(steady: Linked, names: tuple[str, str]) -> None:
    """A link to another file of the same directory, or to the same name in another one."""
    first, second = names
    steady.log(first, 1, 2, 3)
    steady.link("containers/shop.log", first)
    steady.look()
    steady.log(first, 4)
    steady.log(second, 5)
    steady.link("containers/shop.log", second)
    assert steady.look() == [1, 2, 3, 4, 5]


def test_old_files_without_a_link_need_no_watch(steady: Linked) -> None:
    """Directories of files that no link leads to are watched while these are still written."""
    for name in ("a", "b"):
        steady.log(f"{name}/app.log", ord(name))
        steady.link("app.log", f"{name}/app.log")
        steady.look()
    watched = {Path(one.path).name for one in steady.tree.watched().files_only}
    assert watched == {"a", "b"}
    os.utime(steady.outside / "a" / "app.log", (0, 0))
    assert steady.look() == [ord("a"), ord("b")]
    watched = {Path(one.path).name for one in steady.tree.watched().files_only}
    assert watched == {"b"}


def test_a_link_that_is_pointed_elsewhere_during_a_scan(
    place: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries stay although the listing has the link with its old file."""
    place.log("monday.ndjson", 1)
    place.link("day.ndjson", "monday.ndjson")
    assert place.look() == [1]
    place.log("monday.ndjson", 2)
    place.log("tuesday.ndjson", 3)
    walk = place.tree.walk

    def walk_and_link(*known: object) -> Listing:
        listing = walk(*known)  # type: ignore[arg-type]
        monkeypatch.setattr(place.tree, "walk", walk)
        place.link("day.ndjson", "tuesday.ndjson")
        return listing

    monkeypatch.setattr(place.tree, "walk", walk_and_link)
    place.indexer.scan()
    assert 1 in place.numbers()
    assert place.look() == [1, 2, 3]


def test_rotated_and_pointed_elsewhere(steady: Linked) -> None:
    """A file that was renamed besides is found by its inode or its content."""
    steady.log("a/app.log", 1, 2, 3)
    steady.link("app.log", "a/app.log")
    steady.look()
    steady.log("a/app.log", 4)
    steady.move("a/app.log", "a/app.log.1")
    steady.log("b/app.log", 5)
    steady.link("app.log", "b/app.log")
    assert steady.look() == [1, 2, 3, 4, 5]
    steady.log("a/app.log.1", 6)
    steady.move("a/app.log.1", "a/app.log.2")
    assert steady.look() == [1, 2, 3, 4, 5, 6]


def test_rotated_twice_and_pointed_elsewhere(steady: Linked) -> None:
    """All files of the old place are read that were written since the last look."""
    steady.log("a/app.log", 1, 2, 3)
    steady.link("app.log", "a/app.log")
    steady.look()
    for first in (4, 6):
        steady.log("a/app.log", first)
        if (steady.outside / "a/app.log.1").exists():
            steady.move("a/app.log.1", "a/app.log.2")
        steady.move("a/app.log", "a/app.log.1")
        steady.log("a/app.log", first + 1)
    steady.log("b/app.log", 8)
    steady.link("app.log", "b/app.log")
    assert steady.look() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_link_that_is_away_for_a_moment(steady: Linked) -> None:
    """What was written before a link was exchanged is read, also if it was missing meanwhile."""
    steady.log("app-17.log", 1, 2, 3)
    steady.link("current.log", "app-17.log")
    steady.look()
    steady.log("app-17.log", 4)
    (steady.logs / "current.log").unlink()
    assert steady.look() == [1, 2, 3]
    steady.log("app-18.log", 5)
    steady.link("current.log", "app-18.log")
    assert steady.look() == [1, 2, 3, 4, 5]


def test_a_link_that_is_removed(steady: Linked) -> None:
    """The entries stay, and the file is not followed any more."""
    steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    (steady.logs / "app.log").unlink()
    steady.log("app.log", 4)
    assert steady.look() == [1, 2, 3]


# --- directories --------------------------------------------------------------------------


def test_a_linked_directory(steady: Linked) -> None:
    """Files behind it are read and rotated like those of the tree."""
    steady.log("pods/a/app.log", 1, 2, 3)
    steady.link("pods", "pods")
    steady.look()
    steady.log("pods/a/app.log", 4)
    steady.move("pods/a/app.log", "pods/a/app.log.1")
    steady.log("pods/a/app.log", 5)
    steady.log("pods/b/new.log", 6)
    assert steady.look() == [1, 2, 3, 4, 5, 6]


def test_a_linked_directory_that_is_exchanged(steady: Linked) -> None:
    """A link to a directory that leads to another one: the rest of the old files is read."""
    steady.log("releases/1/app.log", 1, 2, 3)
    steady.log("releases/1/more/web.log", 4)
    steady.log("releases/1/old.log", 9)
    steady.link("current", "releases/1")
    steady.look()
    steady.log("releases/1/app.log", 5)
    steady.log("releases/1/more/web.log", 6)
    steady.log("releases/1/old.log", 10)
    steady.log("releases/2/app.log", 7)
    steady.log("releases/2/more/web.log", 8)
    steady.link("current", "releases/2")
    assert steady.look() == list(range(1, 11))


# --- new indexes, retention ---------------------------------------------------------------


def test_a_rebuild_has_what_the_old_index_had(steady: Linked) -> None:
    """Files that no link leads to any more are read again by a rebuild."""
    steady.log("app-17.log", 1, 2, 3)
    steady.link("current.log", "app-17.log")
    steady.look()
    steady.log("app-18.log", 4)
    steady.link("current.log", "app-18.log")
    steady.look()
    steady.move("app-18.log", "app-18.log.1")
    steady.log("app-18.log", 5)
    want = steady.look(), steady.by_path()
    rebuild = begin_rebuild(steady.database)
    rebuild_once(rebuild, steady.tree)
    rebuild.close()
    steady.indexer.follow_replacement()
    assert (steady.look(), steady.by_path()) == want


def test_a_new_index_finds_rotated_files(steady: Linked) -> None:
    """What rotation has made of a linked file is read by an index that never saw it."""
    steady.log("app.log", 1, 2, 3)
    steady.link("app.log", "app.log")
    steady.look()
    steady.move("app.log", "app.log.1")
    steady.log("app.log", 4)
    want = steady.look(), steady.by_path()
    steady.database.unlink()
    steady.restart()
    assert (steady.look(), steady.by_path()) == want


def test_nothing_beside_a_linked_file_is_ours_to_delete(tmp_path: Path) -> None:
    """Rotated files beside a linked one count as behind a link, too."""
    with Linked(tmp_path) as place:
        place.log("app.log", 1)
        place.log("app.log.1", 2)
        place.link("app.log", "app.log")
        tree = LogTree(place.logs, SUFFIXES)
        assert sorted(tree.walk().files) == ["app.log", "app.log.1"]
        assert all(is_behind_link(tree, path) for path in ("app.log", "app.log.1"))


class Chance(Linked):
    """Programs and rotation outside do something by chance, and a link names another file."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory)
        self.chance = random.Random(seed)
        self.size = self.chance.choice([0, 600])
        self.records = 0
        self.names = ["0/app.log"]
        self.steps = [self.add, self.add, self.rotate, self.rotate, self.pack]
        self.steps += [self.exchange, self.write_late]

    def add(self, name: str = "") -> None:
        """Write records."""
        first, self.records = self.records + 1, self.records + self.chance.randint(1, 4)
        self.log(name or self.names[-1], *range(first, self.records + 1))

    def rotate(self) -> None:
        """Rename or copy the file, and begin a new one."""
        file = self.outside / self.names[-1]
        for number, packed in itertools.product(range(9, 0, -1), ("", ".gz")):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{file}.{number}{packed}", f"{file}.{number + 1}{packed}")
        if self.chance.random() < 0.5:
            file.rename(f"{file}.1")
        else:
            shutil.copy(file, f"{file}.1")
            os.truncate(file, 0)
        self.add()

    def pack(self) -> None:
        """Pack an older file."""
        file = self.outside / f"{self.names[-1]}.2"
        if file.exists():
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()

    def exchange(self) -> None:
        """Point the link elsewhere; what it leads to is seen before it leads elsewhere again."""
        number = len(self.names)
        self.names.append(self.chance.choice([f"{number}/app.log", f"0/app{number}.log"]))
        self.add()
        self.link("web/app.log", self.names[-1])
        self.index()

    def write_late(self) -> None:
        """Write to the file that was just rotated."""
        if (self.outside / f"{self.names[-1]}.1").exists():
            self.add(f"{self.names[-1]}.1")

    def step(self) -> None:
        """Do something, and perhaps look, perhaps after a restart."""
        self.chance.choice(self.steps)()
        if self.chance.random() < 0.4:
            if self.chance.random() < 0.5:
                self.restart()
            self.index()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_outside(tmp_path: Path, seed: int) -> None:
    """However files outside are rotated and links exchanged, every record is there once."""
    with Chance(tmp_path, seed) as place:
        place.add()
        place.link("web/app.log", place.names[0])
        place.index()
        for _ in range(14):
            place.step()
        place.index()
        assert place.numbers() == list(range(1, place.records + 1))
