"""Files are read under every name that rotation and compression give them."""

import gzip
import itertools
import os
import time
from pathlib import Path

import pytest
import zstandard

from mikroscope.logfiles.names import has_suffix, origin
from mikroscope.settings.options import Settings
from tests.helpers import forms
from tests.helpers.stores import CountingTree, Place, lines

SUFFIXES = tuple(Settings().log_file_suffixes)
# What is added behind the suffix, by whom it is.
ADDED = {
    "logrotate": [".1", ".10", ".1234", "-20260218", "-2026021810", "-20260218-1771410000"],
    "logrotate with dateformat": ["-2026-02-18", ".2026-02-18", "_20260218", "-1771410000"],
    "logrotate with seconds": ["-20260218-102000", "-20260218102000", "-2026-02-18T10:20:00+0100"],
    "a date with a number": ["-20260218-1", ".2026-02-18.3", "-20260218.2", ".1.2026-02-18"],
    "Python": [".2026-02-18", ".2026-02-18_10", ".2026-02-18_10-20-00"],
    "kubelet": [".20260218-102000"],
    "rotatelogs": [".1771410000", ".2026.02.18"],
    "log4j": [".2026-02-18-10", ".18-Feb-2026", ".2026-02", ".2026-W08"],
    "lumberjack": ["-2026-02-18T10-20-00.000", ".20260218T102000Z"],
    "by hand": [".old", "-old", ".1.old", ".OLD", ".old2"],
}
# Whole names that keep their suffix at the end.
BEFORE = [
    *("app-2026-02-18.log", "app-2026-02-18T10-20-00.000.log", "app.2026-02-18.1.log"),
    *("app20260218_001.log", "app-20260218.log", "app.1.log", "app-2026-02-18.log.1"),
    *("c0ffee-json.log", "c0ffee-json.log.1", "0.log", "2026-02-18.ndjson", "APP.LOG", "App.Log.1"),
]
NEVER = [
    *("app.log.lck", "app.log.swp", "app.log.tmp", "app.log.1.tmp", "app.log.1.gz.tmp", "app.1"),
    *("app.log.xz", "app.log.1.bz2", "app.log.1.zip", "app.log.pos", "app.logs", "app.log.x1"),
    *("app.log~", ".app.log.swp", "app.log.1.", "app.log.", "app.json", "app.log.1.gz.gz", "log.1"),
    *(
        "app.log.T",
        "app.log.bak",
        "app.log.backup",
        "app.log.12ab",
        "app.log.monday",
        "app.log.-",
        "app.log.1x",
    ),
]


@pytest.mark.parametrize("added", list(itertools.chain(*ADDED.values())))
def test_what_rotation_adds_is_ignored(added: str) -> None:
    """A name that ended in a suffix before rotation and packing is one to read."""
    for suffix, packing in itertools.product(
        (".ndjson", ".jsonl", ".log"), ("", ".gz", ".zst", ".GZ")
    ):
        assert has_suffix(f"d/app{suffix}{added}{packing}", SUFFIXES)
        assert origin(f"d/app{suffix}{added}{packing}") == f"d/app{suffix}"


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", BEFORE)
def test_a_date_before_the_suffix(name: str, packing: str) -> None:
    """What stands before the suffix does not matter."""
    assert has_suffix(f"{name}{packing}", SUFFIXES)


@pytest.mark.parametrize("name", NEVER)
def test_other_names_are_not_read(name: str) -> None:
    """Locks, editors' files, unfinished ones and other ways of packing are left out."""
    assert not has_suffix(name, SUFFIXES)


def test_suffixes_of_ones_own() -> None:
    """A suffix may be any, also with its packing, which then has to be there."""
    assert has_suffix("app.json-20260218.zst", (".json",))
    assert has_suffix("app.txt.1.gz", (".txt.gz",))
    assert not has_suffix("app.txt.1", (".txt.gz",))


@pytest.mark.parametrize("part", ["1", ".1", "-1", "T1", ".old", "1.-"])
def test_long_names_take_no_time(part: str) -> None:
    """A name of 255 bytes, the longest, is looked at in time that grows with its length only."""

    def seconds(length: int) -> float:
        name = f"app.log{part * (length // len(part))}x"
        began = time.process_time()
        for _ in range(200):
            assert not has_suffix(name, SUFFIXES)
        return time.process_time() - began

    # Twice the length takes about twice the time; backtracking would take thousands of times that.
    assert min(seconds(247) for _ in range(3)) < 100 * min(seconds(60) for _ in range(3))


# --- a new index ----------------------------------------------------------------------------


def packed(packing: str, content: bytes) -> bytes:
    """Return content as a file with this ending has it."""
    if packing == ".gz":
        return gzip.compress(content)
    return zstandard.compress(content) if packing else content


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl", ".log"])
def test_a_new_index_has_what_the_old_one_had(tmp_path: Path, suffix: str, packing: str) -> None:
    """Files that were renamed and packed while they were indexed are found by a new index."""
    names = list(itertools.chain(*ADDED.values()))[:: 6 if forms.chosen == "check" else 1]
    with Place(tmp_path / "old") as place:
        for number, added in enumerate(dict.fromkeys(names)):
            log, moved = f"{number}/app{suffix}", f"{number}/app{suffix}{added}"
            place.write(log, lines(number))
            place.index()
            place.rename(log, moved)
            if packing:
                place.write(f"{moved}{packing}", packed(packing, lines(number)))
                (place.logs / moved).unlink()
        place.index()
        want = place.by_path()
        assert place.numbers() == list(range(len(want)))
        os.rename(place.logs, tmp_path / "logs")
    with Place(tmp_path) as new:
        new.index()
        assert new.by_path() == want


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_log_file_is_read_if_its_first_line_is_json(tmp_path: Path, packing: str) -> None:
    """What a rotated `.log` file is shows after it was unpacked."""
    tree = CountingTree(tmp_path)
    for name, content in {"a": lines(1), "b": b"text\n", "c": b"\0" * 3_000 + lines(2)}.items():
        (tmp_path / f"{name}.log.1{packing}").write_bytes(packed(packing, content))
    listing = tree.walk()
    assert list(listing.files) == [f"a.log.1{packing}", f"c.log.1{packing}"]
    assert list(listing.others) == [f"b.log.1{packing}"]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("size", [0, 2_000])
def test_two_rotations_while_the_server_is_down(tmp_path: Path, size: int, packing: str) -> None:
    """The file that was written and rotated meanwhile is read, and none is read twice."""
    with Place(tmp_path) as place:
        place.write("app.log", lines(1, 2, size=size))
        place.index()
        place.append("app.log", lines(3, size=size))
        whole = (place.logs / "app.log").read_bytes()
        (place.logs / "app.log").unlink()
        place.write(f"app.log.2{packing}", packed(packing, whole))
        place.write(f"app.log.1{packing}", packed(packing, lines(4, 5, size=size)))
        place.write("app.log", lines(6, size=size))
        place.restart()
        place.index()
        assert place.by_path() == {
            "app.log": [6],
            f"app.log.1{packing}": [4, 5],
            f"app.log.2{packing}": [1, 2, 3],
        }


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("size", [0, 2_000])
def test_rename_packing_and_rename(tmp_path: Path, size: int, packing: str) -> None:
    """However a file goes on its way, its lines are read once, and none is missing."""
    content = lines(1, 2, 3, size=size)
    names = ["app.log", "app.log.1", f"app.log.1{packing}", f"app.log.2{packing}"]
    every = list(itertools.product([True, False], repeat=len(names)))
    for looks in every[:: 5 if forms.chosen == "check" else 1]:
        directory = tmp_path / "".join(map(str, map(int, looks)))
        with Place(directory) as place:
            place.write("app.log", lines(1, size=size))
            place.index()
            place.append("app.log", lines(2, 3, size=size))
            for name, other, look in zip(names, [*names[1:], ""], looks, strict=True):
                if look:
                    place.restart()
                    place.index()
                if other.endswith(packing) and not name.endswith(packing):
                    # Both are there while the packed one grows.
                    whole = packed(packing, content)
                    for part in (whole[: len(whole) // 2], whole):
                        place.write(other, part)
                        if look:
                            place.index()
                    (place.logs / name).unlink()
                elif other:
                    place.rename(name, other)
                    place.write("app.log", lines(4, size=size))
            place.index()
            assert place.by_path() == {"app.log": [4], names[-1]: [1, 2, 3]}, looks
