"""Whatever happens to a file between two scans, its entries are neither lost nor duplicated."""

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mikroscope.logfiles.reader import FINGERPRINT_BYTES
from tests.helpers.stores import Place, lines, place_in

LONG = FINGERPRINT_BYTES // 2  # three such records exceed the first kibibyte


class Scene(Place):
    """A place whose records have one size, and which may be restarted before each scan."""

    size = 0
    restarts = False

    def log(self, path: str, *numbers: int) -> None:
        """Append records."""
        (self.logs / path).parent.mkdir(parents=True, exist_ok=True)
        self.append(path, lines(*numbers, size=self.size))

    def look(self) -> dict[str, list[int]]:
        """Index twice, the second time without effect; return the indexed numbers by file."""
        if self.restarts:
            self.restart()
        self.index()
        found = self.by_path()
        again = self.index()
        assert (again.lines_scanned, self.by_path()) == (0, found)
        return found


@pytest.fixture(params=["short", "long"])
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Files of less than a kibibyte, and longer ones."""
    with Scene(tmp_path) as scene:
        scene.size = LONG if request.param == "long" else 0
        yield scene


@pytest.fixture(params=["running", "restarted"])
def steady(scene: Scene, request: pytest.FixtureRequest) -> Scene:
    """The same files, also with a restart before every scan."""
    scene.restarts = request.param == "restarted"
    return scene


# --- rename -------------------------------------------------------------------------------


def test_a_renamed_file_keeps_its_entries(steady: Scene) -> None:
    """Entries move to the new name; a new file under the old name is read from its start."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    steady.rename("app.ndjson", "app-1.ndjson")
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app-1.ndjson": [1, 2, 3], "app.ndjson": [4]}


def test_a_renamed_file_is_not_read_again(scene: Scene) -> None:
    """After a rename nothing is read again."""
    scene.log("app.ndjson", 1, 2, 3)
    scene.look()
    scene.rename("app.ndjson", "app-1.ndjson")
    assert scene.index().lines_scanned == 0


@pytest.mark.parametrize("name", ["other.ndjson", "archive/x.jsonl"])
def test_a_file_may_get_any_name(steady: Scene, name: str) -> None:
    """A file is recognised by its inode under any name and in any directory."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    (steady.logs / "archive").mkdir()
    steady.rename("app.ndjson", name)
    steady.log("app.ndjson", 4)
    assert steady.look() == {name: [1, 2, 3], "app.ndjson": [4]}


def test_lines_written_just_before_a_rename_are_found(steady: Scene) -> None:
    """Lines that were unread at the rename are found, and lines written after it."""
    steady.log("app.ndjson", 1)
    steady.look()
    steady.log("app.ndjson", 2)
    steady.rename("app.ndjson", "app-1.ndjson")
    steady.log("app-1.ndjson", 3)
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app-1.ndjson": [1, 2, 3], "app.ndjson": [4]}


def test_half_a_line_is_completed_under_the_new_name(steady: Scene) -> None:
    """A program that still has the old file open completes its line under the new name."""
    steady.log("app.ndjson", 1)
    steady.append("app.ndjson", b'{"n":')
    steady.look()
    steady.rename("app.ndjson", "app-1.ndjson")
    steady.append("app-1.ndjson", b"2}\n")
    steady.log("app.ndjson", 3)
    assert steady.look() == {"app-1.ndjson": [1, 2], "app.ndjson": [3]}


def test_a_renamed_directory_keeps_the_entries_of_its_files(steady: Scene) -> None:
    """Entries move to the new names of the files in a renamed directory."""
    for number in range(3):
        steady.log(f"old/{number}.ndjson", number)
    steady.look()
    steady.rename("old", "new")
    assert steady.look() == {f"new/{number}.ndjson": [number] for number in range(3)}


def test_files_that_swap_their_names_keep_their_own_entries(steady: Scene) -> None:
    """Files that swap their names are recognised by their content."""
    steady.log("a.ndjson", 1)
    steady.log("b.ndjson", 2)
    steady.look()
    steady.rename("a.ndjson", "c.ndjson")
    steady.rename("b.ndjson", "a.ndjson")
    steady.rename("c.ndjson", "b.ndjson")
    assert steady.look() == {"b.ndjson": [1], "a.ndjson": [2]}


def rotate(scene: Scene, keep: int) -> None:
    """app.ndjson becomes app.1.ndjson, that one app.2.ndjson, and so on; the last is lost."""
    for number in range(keep - 1, -1, -1):
        name = f"app.{number}.ndjson" if number else "app.ndjson"
        if (scene.logs / name).exists():
            scene.rename(name, f"app.{number + 1}.ndjson")


@pytest.mark.parametrize("look_between", [True, False])
def test_a_chain_of_renames_keeps_all_entries(steady: Scene, look_between: bool) -> None:
    """A chain of renames keeps all entries, also if no scan happens in between."""
    steady.log("app.ndjson", 0)
    steady.look()
    for number in range(1, 4):
        rotate(steady, keep=3)
        steady.log("app.ndjson", number)
        if look_between:
            steady.look()
    assert steady.look() == {
        "app.ndjson": [3],
        "app.1.ndjson": [2],
        "app.2.ndjson": [1],
        "app.3.ndjson": [0],
    }


@pytest.mark.parametrize("look_between", [True, False])
def test_a_file_that_another_is_renamed_over_is_a_deleted_one(
    steady: Scene, look_between: bool
) -> None:
    """Entries of a file that was overwritten by a rename stay until retention."""
    steady.log("app.ndjson", 1)
    steady.log("app.1.ndjson", 0)
    steady.look()
    rotate(steady, keep=1)
    if look_between:
        steady.look()
    steady.log("app.ndjson", 2)
    steady.look()
    assert steady.numbers() == [0, 1, 2]
    assert steady.numbers("app.ndjson") == [2]


def test_files_of_equal_content_are_rotated_too(steady: Scene) -> None:
    """Files with equal content are distinguished by their inodes."""
    for _ in range(4):
        rotate(steady, keep=5)
        steady.log("app.ndjson", 7)
        steady.look()
    want = {"app.ndjson": [7], **{f"app.{number}.ndjson": [7] for number in range(1, 4)}}
    assert steady.look() == want


def test_a_file_moved_out_of_sight_keeps_its_entries(steady: Scene, tmp_path: Path) -> None:
    """A file that was moved out of the tree keeps its entries, like a deleted file."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    (steady.logs / "app.ndjson").rename(tmp_path / "outside.ndjson")
    steady.log("app.ndjson", 4)
    steady.look()
    assert steady.numbers() == [1, 2, 3, 4]


# --- rename to a name that is not read ----------------------------------------------------


def test_a_file_is_followed_to_a_name_that_is_not_read(steady: Scene) -> None:
    """A file is followed to a name that is not read, and lines appended there are found."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.log("app.ndjson.1", 3)
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app.ndjson.1": [1, 2, 3], "app.ndjson": [4]}
    steady.log("app.ndjson.1", 5)
    assert steady.look() == {"app.ndjson.1": [1, 2, 3, 5], "app.ndjson": [4]}


@pytest.mark.parametrize("look_between", [True, False])
def test_a_file_is_followed_from_one_such_name_to_the_next(
    steady: Scene, look_between: bool
) -> None:
    """A file is followed through several such names, also without a scan in between."""
    steady.log("app.ndjson", 1)
    steady.look()
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.log("app.ndjson", 2)
    if look_between:
        steady.look()
    steady.rename("app.ndjson.1", "app.ndjson.2")
    steady.log("app.ndjson.2", 10)
    if look_between:  # otherwise no scan has seen the second file
        steady.rename("app.ndjson", "app.ndjson.1")
    assert steady.look() == {
        "app.ndjson.2": [1, 10],
        "app.ndjson.1" if look_between else "app.ndjson": [2],
    }


def test_a_file_that_one_look_has_missed_is_followed_too(steady: Scene, tmp_path: Path) -> None:
    """A file that was renamed during a scan is followed by the next one."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    (steady.logs / "app.ndjson").rename(tmp_path / "nowhere")
    steady.look()
    (tmp_path / "nowhere").rename(steady.logs / "app.ndjson.1")
    steady.log("app.ndjson.1", 3)
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app.ndjson.1": [1, 2, 3], "app.ndjson": [4]}


def test_a_file_seen_empty_is_followed_too(steady: Scene) -> None:
    """A file that was empty at one scan, then filled and renamed, is followed."""
    steady.log("app.ndjson")
    steady.look()
    steady.log("app.ndjson", 1, 2)
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.log("app.ndjson", 3)
    steady.look()
    assert steady.numbers() == [1, 2, 3]


@pytest.mark.parametrize("look_between", [True, False])
def test_a_file_that_is_not_read_may_be_packed(steady: Scene, look_between: bool) -> None:
    """A packed file takes over the entries and last lines of the file it was made from."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.log("app.ndjson", 4)
    if look_between:
        steady.look()
    steady.log("app.ndjson.1", 3)
    pack(steady, "app.ndjson.1")
    (steady.logs / "app.ndjson.1").unlink()
    steady.look()
    assert steady.numbers() == [1, 2, 3, 4]


def test_a_file_that_is_not_read_keeps_its_entries_when_it_is_deleted(steady: Scene) -> None:
    """A followed file keeps its entries when it is deleted."""
    steady.log("app.ndjson", 1)
    steady.look()
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.look()
    (steady.logs / "app.ndjson.1").unlink()
    steady.log("app.ndjson", 2)
    steady.look()
    assert steady.numbers() == [1, 2]


@pytest.mark.parametrize("keep", [1, 2])
def test_the_last_of_a_chain_of_such_names_is_a_deleted_file(steady: Scene, keep: int) -> None:
    """The last file of such a chain keeps its entries when another takes its name."""
    for generation in range(4):
        for number in range(keep - 1, -1, -1):
            name = f"app.ndjson.{number}" if number else "app.ndjson"
            if (steady.logs / name).exists():
                steady.rename(name, f"app.ndjson.{number + 1}")
        steady.log("app.ndjson", generation)
        steady.look()
    assert steady.numbers() == [0, 1, 2, 3]


def test_a_file_that_was_never_seen_under_a_name_that_is_read_is_not_read(steady: Scene) -> None:
    """A file that never had a name that is read is not read, however alike its name."""
    steady.log("app.ndjson", 1)
    steady.log("app.ndjson.kept", 2)
    steady.look()
    (steady.logs / "app.ndjson").unlink()
    assert steady.look() == {"app.ndjson": [1]}


@pytest.mark.parametrize("name", ["app.ndjson.1", "app.ndjson-20260218", "app.ndjson.2026-02-18"])
def test_a_rotated_file_that_was_never_seen_before_is_read(steady: Scene, name: str) -> None:
    """Generations that come and go between two scans are read."""
    steady.log(name, 1)
    steady.log("app.ndjson", 2)
    assert steady.look() == {name: [1], "app.ndjson": [2]}


def test_a_pipe_beside_a_deleted_file_is_not_opened(steady: Scene) -> None:
    """The indexer does not open a pipe, which would wait for a writer forever."""
    os.mkfifo(steady.logs / "app.pipe")
    steady.log("app.ndjson", 1)
    steady.look()
    (steady.logs / "app.ndjson").unlink()
    assert steady.look() == {"app.ndjson": [1]}


# --- copy and truncate --------------------------------------------------------------------


def copy_and_truncate(scene: Scene, path: str, copy: str, *between: int) -> None:
    """Copy and truncate like logrotate; `between` is written just before the copy."""
    scene.log(path, *between)
    shutil.copyfile(scene.logs / path, scene.logs / copy)
    os.truncate(scene.logs / path, 0)


COPIES = ["app-1.ndjson", "copy.ndjson", "app.ndjson.1"]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_takes_the_entries_over(steady: Scene, copy: str) -> None:
    """With copytruncate the copy takes over the entries; none are duplicated or missing."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    copy_and_truncate(steady, "app.ndjson", copy, 4)
    steady.log("app.ndjson", 5)
    assert steady.look() == {copy: [1, 2, 3, 4], "app.ndjson": [5]}


@pytest.mark.parametrize("copy", COPIES)
def test_a_truncated_file_may_grow_past_its_old_size(steady: Scene, copy: str) -> None:
    """A truncation is noticed although the file has grown past its old size."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    copy_and_truncate(steady, "app.ndjson", copy)
    steady.log("app.ndjson", *range(10, 20))
    assert steady.look() == {copy: [1, 2, 3], "app.ndjson": list(range(10, 20))}


@pytest.mark.parametrize("copy", COPIES)
def test_a_look_between_truncation_and_the_next_line_changes_nothing(
    steady: Scene, copy: str
) -> None:
    """A scan while the truncated file is empty changes nothing."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    copy_and_truncate(steady, "app.ndjson", copy, 4)
    steady.look()
    steady.log("app.ndjson", 5)
    assert steady.look() == {copy: [1, 2, 3, 4], "app.ndjson": [5]}


@pytest.mark.parametrize("copy", COPIES)
def test_a_look_between_copy_and_truncation_changes_nothing(steady: Scene, copy: str) -> None:
    """A scan while file and copy have the same content changes nothing."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    shutil.copyfile(steady.logs / "app.ndjson", steady.logs / copy)
    steady.look()
    os.truncate(steady.logs / "app.ndjson", 0)
    steady.log("app.ndjson", 5)
    assert steady.look() == {copy: [1, 2, 3], "app.ndjson": [5]}


def test_copies_are_rotated_in_turn(steady: Scene) -> None:
    """Each generation is renamed before the next copy, and keeps its entries."""
    for generation in range(4):
        if (steady.logs / "app-1.ndjson").exists():
            steady.rename("app-1.ndjson", f"app-{generation}.ndjson")
        steady.log("app.ndjson", generation * 10, generation * 10 + 1)
        steady.look()
        copy_and_truncate(steady, "app.ndjson", "app-1.ndjson", generation * 10 + 2)
    steady.look()
    assert steady.numbers() == [n for n in range(33) if n % 10 < 3]


def test_half_a_line_stays_in_the_copy(steady: Scene) -> None:
    """A line cut by copytruncate is a parse error; what follows is found."""
    steady.log("app.ndjson", 1)
    steady.append("app.ndjson", b'{"n":')
    steady.look()
    copy_and_truncate(steady, "app.ndjson", "app-1.ndjson")
    steady.append("app.ndjson", b"2}\n")
    steady.log("app.ndjson", 3)
    assert steady.look() == {"app-1.ndjson": [1], "app.ndjson": [3]}


def test_without_a_copy_the_entries_are_replaced(steady: Scene) -> None:
    """After a truncation without a copy the index has what the file has."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    os.truncate(steady.logs / "app.ndjson", 0)
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app.ndjson": [4]}


def test_a_file_truncated_to_nothing_has_no_entries(steady: Scene) -> None:
    """A file that was truncated to nothing has no entries, even before new lines come."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    os.truncate(steady.logs / "app.ndjson", 0)
    assert steady.look() == {}


def test_a_file_cut_in_its_middle_is_read_anew(steady: Scene) -> None:
    """A file that was cut in the middle is read again from its start."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    os.truncate(steady.logs / "app.ndjson", len(lines(1, size=steady.size)))
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app.ndjson": [1, 4]}


# --- a copy that is half indexed ----------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Place]:
    """A place where every batch holds one record."""
    yield from place_in(tmp_path, batch_bytes=1)


@pytest.mark.parametrize("size", [0, LONG])
@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize("fate", ["deleted", "truncated", "replaced"])
def test_the_origin_of_a_copy_may_go_while_the_copy_is_being_read(
    slow: Place, size: int, steps: int, fate: str
) -> None:
    """A move to another file system gives each entry once, wherever reading was."""
    origin = slow.write("app.ndjson", lines(*range(6), size=size))
    slow.index()
    slow.write("app-1.ndjson", origin.read_bytes())
    slow.indexer.scan()
    for _ in range(steps):
        slow.indexer.step()
    if fate == "truncated":
        os.truncate(origin, 0)
    else:
        origin.unlink()
    if fate != "deleted":
        slow.append("app.ndjson", lines(9, size=size))
    slow.index()
    assert slow.numbers() == list(range(6)) + [9] * (fate != "deleted")


@pytest.mark.parametrize("size", [0, LONG])
@pytest.mark.parametrize("steps", range(8))
def test_a_rotation_may_happen_between_look_and_read(slow: Place, size: int, steps: int) -> None:
    """A rotation between scan and read neither loses nor duplicates entries."""
    slow.write("app.ndjson", lines(1, 2, 3, size=size))
    slow.index()
    slow.write("app-1.ndjson", lines(4, 5, size=size))
    slow.indexer.scan()
    slow.rename("app-1.ndjson", "app-2.ndjson")
    slow.rename("app.ndjson", "app-1.ndjson")
    for _ in range(steps):
        slow.indexer.step()
    slow.index()
    assert slow.by_path() == {"app-1.ndjson": [1, 2, 3], "app-2.ndjson": [4, 5]}


# --- replacement and rewriting ------------------------------------------------------------


def replace(scene: Scene, path: str, content: bytes) -> None:
    """Replace a file with a new one, as an editor does."""
    scene.write("next.tmp", content)
    scene.rename("next.tmp", path)


def test_a_file_replaced_by_another_is_a_deleted_one(steady: Scene) -> None:
    """A replaced file keeps its entries until retention; the new file is read whole."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    replace(steady, "app.ndjson", lines(4, 5, size=steady.size))
    assert steady.look() == {"app.ndjson": [1, 2, 3, 4, 5]}
    steady.log("app.ndjson", 6)
    assert steady.look() == {"app.ndjson": [1, 2, 3, 4, 5, 6]}


def test_a_file_replaced_by_an_edited_copy_is_a_rewritten_one(steady: Scene) -> None:
    """An edited copy with the same beginning replaces the entries of the previous file."""
    steady.log("app.ndjson", 1, 2, 3, 4, 5)
    steady.look()
    edited = lines(1, 2, 3, 6, size=steady.size)
    if not steady.size:  # a short file is recognised by all of its read content
        edited = lines(1, 2, 3, 4, 5, 6)
    replace(steady, "app.ndjson", edited)
    assert steady.look() == {"app.ndjson": [1, 2, 3, 6] if steady.size else [1, 2, 3, 4, 5, 6]}


@pytest.mark.parametrize("more", [(), (4, 5)])
def test_the_same_content_in_a_new_file_is_read_on(steady: Scene, more: tuple[int, ...]) -> None:
    """If a new file has the same content and more, only the added lines are read."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    replace(steady, "app.ndjson", lines(1, 2, 3, *more, size=steady.size))
    assert steady.index().lines_scanned == len(more)
    assert steady.look() == {"app.ndjson": [1, 2, 3, *more]}


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_file_rewritten_in_place_has_what_it_holds_now(steady: Scene, count: int) -> None:
    """A file rewritten in place has its new content, be it shorter, equal or longer."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    file = steady.logs / "app.ndjson"
    before = file.stat()
    file.write_bytes(lines(*range(4, 4 + count), size=steady.size))
    # Two writes of one size within a tick of the file system's clock cannot be distinguished.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert steady.look() == {"app.ndjson": list(range(4, 4 + count))}


def test_a_touched_file_is_not_read_again(steady: Scene) -> None:
    """A file with a new time and the same content is not read again."""
    steady.log("app.ndjson", 1, 2, 3)
    steady.look()
    os.utime(steady.logs / "app.ndjson", (1, 1))
    assert steady.index().lines_scanned == 0


# --- deletion and return ------------------------------------------------------------------


def test_a_deleted_file_keeps_its_entries(steady: Scene) -> None:
    """A deleted file keeps its entries until retention."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    (steady.logs / "app.ndjson").unlink()
    assert steady.look() == {"app.ndjson": [1, 2]}


def test_all_files_may_vanish_for_a_while(steady: Scene, tmp_path: Path) -> None:
    """If the file system is unmounted for a while, no entry is lost or duplicated."""
    for name in ("a", "b"):
        steady.log(f"{name}.ndjson", 1, 2)
    found = steady.look()
    steady.logs.rename(tmp_path / "away")
    assert steady.look() == found
    (tmp_path / "away").rename(steady.logs)
    assert steady.index().lines_scanned == 0
    assert steady.look() == found


@pytest.mark.parametrize("more", [(), (3, 4)])
def test_a_file_that_returns_is_read_on(steady: Scene, more: tuple[int, ...]) -> None:
    """A file that returns is continued: no entry is duplicated, and new lines are found."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    (steady.logs / "app.ndjson").unlink()
    steady.look()
    steady.log("app.ndjson", 1, 2, *more)
    assert steady.look() == {"app.ndjson": [1, 2, *more]}


def test_another_file_under_the_name_of_a_deleted_one_is_another_file(steady: Scene) -> None:
    """A new file under a deleted file's name is read whole; the old entries stay."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    (steady.logs / "app.ndjson").unlink()
    steady.look()
    steady.log("app.ndjson", 3)
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app.ndjson": [1, 2, 3, 4]}


def test_a_long_file_that_returns_slowly_is_not_doubled(tmp_path: Path) -> None:
    """A file that is read while it is still being copied back is not duplicated."""
    with Scene(tmp_path) as scene:
        content = lines(*range(10), size=LONG)
        scene.write("app.ndjson", content)
        scene.look()
        (scene.logs / "app.ndjson").unlink()
        scene.look()
        for size in (len(content) // 3, len(content) * 2 // 3, len(content)):
            scene.write("app.ndjson", content[:size])
            scene.index()
        assert scene.look() == {"app.ndjson": list(range(10))}


# --- packing ------------------------------------------------------------------------------


def pack(scene: Scene, path: str) -> None:
    """Pack a file in the same directory, as gzip does before it removes the original."""
    scene.write(f"{path}.gz", gzip.compress((scene.logs / path).read_bytes()))


@pytest.mark.parametrize("look_between", [True, False])
def test_a_packed_file_takes_the_entries_over(steady: Scene, look_between: bool) -> None:
    """A packed file takes over the entries; lines that were unread are found in it."""
    steady.log("app-1.ndjson", 1, 2)
    steady.look()
    steady.log("app-1.ndjson", 3)
    pack(steady, "app-1.ndjson")
    if look_between:
        steady.look()
    (steady.logs / "app-1.ndjson").unlink()
    assert steady.look() == {"app-1.ndjson.gz": [1, 2, 3]}


def test_a_packed_file_beside_its_origin_is_not_read(steady: Scene) -> None:
    """A packed file is not read while its original exists."""
    steady.log("app.ndjson", 1, 2)
    pack(steady, "app.ndjson")
    assert steady.look() == {"app.ndjson": [1, 2]}


def test_a_file_may_be_rotated_and_packed_between_two_looks(steady: Scene) -> None:
    """A file may be rotated and packed between two scans, also if a new one follows."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    steady.log("app.ndjson", 3)
    steady.rename("app.ndjson", "app-1.ndjson")
    pack(steady, "app-1.ndjson")
    (steady.logs / "app-1.ndjson").unlink()
    steady.log("app.ndjson", 4)
    assert steady.look() == {"app-1.ndjson.gz": [1, 2, 3], "app.ndjson": [4]}


def test_packed_files_are_rotated_too(steady: Scene) -> None:
    """Entries of packed files follow their names."""
    steady.log("app.1.ndjson", 1, 2)
    pack(steady, "app.1.ndjson")
    (steady.logs / "app.1.ndjson").unlink()
    steady.look()
    steady.rename("app.1.ndjson.gz", "app.2.ndjson.gz")
    assert steady.look() == {"app.2.ndjson.gz": [1, 2]}


def test_a_file_packed_in_a_way_that_is_not_read_keeps_its_entries(steady: Scene) -> None:
    """A file packed in a format that is not read keeps its entries, like a deleted file."""
    steady.log("app.ndjson", 1, 2)
    steady.look()
    steady.rename("app.ndjson", "app.ndjson.1")
    steady.log("app.ndjson", 3)
    (steady.logs / "app.ndjson.1").unlink()
    steady.write("app.ndjson.1.xz", b"\xfd7zXZ\x00 whatever")
    steady.look()
    assert steady.numbers() == [1, 2, 3]
