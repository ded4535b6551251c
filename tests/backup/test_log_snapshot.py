"""Log files that are renamed, truncated or deleted while they are copied."""

import gzip
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mikroscope.backup.log_snapshot import LogCopy
from mikroscope.errors import MikroScopeError
from mikroscope.logfiles.links import Known
from mikroscope.logfiles.tree import Listing, LogTree
from tests.helpers.machine import FILE, content, raw_lines
from tests.helpers.stores import SUFFIXES, lines


class MovingTree(LogTree):
    """A tree that changes between two scans."""

    def __init__(self, root: Path, *events: Any) -> None:
        super().__init__(root, SUFFIXES)
        self._events = list(events)

    def walk(self, known: Mapping[str, Known] = MappingProxyType({})) -> Listing:
        """List the present files, then make the next change."""
        listing = super().walk(known)
        if self._events:
            self._events.pop(0)()
        return listing


def copied_numbers(tree: LogTree, target: Path) -> list[int]:
    """Return the numbers of all lines of a copy."""
    LogCopy(tree, target, {}).run()
    return sorted(json.loads(one)["n"] for one in raw_lines(target))


def test_renamed_while_it_is_copied(tmp_path: Path) -> None:
    """Content that moves to another name is in the copy once."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))

    def rotate() -> None:
        (logs / FILE).rename(logs / "app-1.ndjson")
        (logs / FILE).write_bytes(lines(3))

    for number, events in enumerate(([rotate], [lambda: None, rotate])):
        (logs / "app-1.ndjson").unlink(missing_ok=True)
        (logs / FILE).write_bytes(lines(1, 2))
        tree = MovingTree(logs, *events)
        assert copied_numbers(tree, tmp_path / f"copy{number}") == [1, 2, 3]


def test_truncated_while_it_is_copied(tmp_path: Path) -> None:
    """Content that copy-truncate moves is in the copy once, even if the file has regrown."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))

    def copy_truncate() -> None:
        shutil.copy(logs / FILE, logs / "app-1.ndjson")
        (logs / FILE).write_bytes(lines(3, 4, 5))

    tree = MovingTree(logs, lambda: None, copy_truncate)
    assert copied_numbers(tree, tmp_path / "copy") == [1, 2, 3, 4, 5]


def test_truncated_while_its_copy_was_unfinished(tmp_path: Path) -> None:
    """A file that copy-truncate was still writing in the first scan is copied again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))
    (logs / "app-1.ndjson").write_bytes(lines(1))

    def finish() -> None:
        with (logs / "app-1.ndjson").open("ab") as copy:
            copy.write(lines(2))
        (logs / FILE).write_bytes(lines(3))

    tree = MovingTree(logs, lambda: None, finish)
    assert copied_numbers(tree, tmp_path / "copy") == [1, 2, 3]


def test_packed_while_it_is_copied(tmp_path: Path) -> None:
    """A file that gzip was still writing is copied again when it is complete."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(*range(2000), size=50))
    packed = gzip.compress((logs / FILE).read_bytes())
    (logs / f"{FILE}.gz").write_bytes(packed[: len(packed) // 2])

    def finish() -> None:
        with (logs / f"{FILE}.gz").open("ab") as file:
            file.write(packed[len(packed) // 2 :])
        (logs / FILE).unlink()

    LogCopy(MovingTree(logs, finish), tmp_path / "copy", {}).run()
    assert content(tmp_path / "copy") == {f"{FILE}.gz": packed}


def test_renamed_to_a_name_that_is_not_read(tmp_path: Path) -> None:
    """A rotated file is copied under a name that is not read; a second link is not."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1, 2))
    (logs / "other.ndjson").write_bytes(lines(4))
    (logs / "other.link").hardlink_to(logs / "other.ndjson")

    def rotate() -> None:
        (logs / FILE).rename(logs / "app.old")
        (logs / FILE).write_bytes(lines(3))

    LogCopy(MovingTree(logs, lambda: None, rotate), tmp_path / "copy", {}).run()
    assert content(tmp_path / "copy") == {
        "app.old": lines(1, 2),
        "app.ndjson": lines(3),
        "other.ndjson": lines(4),
    }


def test_deleted_while_it_is_copied(tmp_path: Path) -> None:
    """A file that retention deletes meanwhile is not in the copy."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / FILE).write_bytes(lines(1))
    (logs / "old.ndjson").write_bytes(lines(0))
    tree = MovingTree(logs, lambda: (logs / "old.ndjson").unlink())
    assert copied_numbers(tree, tmp_path / "copy") == [1]


def test_never_still(tmp_path: Path) -> None:
    """If files are renamed without end, there is an error and no half copy."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "0.ndjson").write_bytes(lines(1))

    def rename(number: int) -> Any:
        return lambda: (logs / f"{number}.ndjson").rename(logs / f"{number + 1}.ndjson")

    tree = MovingTree(logs, *map(rename, range(50)))
    with pytest.raises(MikroScopeError, match="renamed faster than they can be copied"):
        LogCopy(tree, tmp_path / "copy", {}).run()


def test_room_for_small_files(tmp_path: Path) -> None:
    """Each small file takes one block of the disk."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(3):
        (logs / f"{number}.ndjson").write_bytes(lines(number))
    assert LogCopy(LogTree(logs, SUFFIXES), tmp_path / "copy", {}).bytes_to_copy() == 3 * 4096
