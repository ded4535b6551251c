"""Each store has an address, and only the store that is opened is imported."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mikroscope.errors import StoreError
from mikroscope.query.model import Query
from mikroscope.stores import administer, begin_rebuild, open_store
from mikroscope.stores.administration import Inspectable, Snapshots
from mikroscope.stores.sqlite import SqliteStore
from tests.helpers.stores import run_python


@pytest.mark.parametrize("use", [open_store, begin_rebuild, administer])
def test_an_address_that_no_store_has(use: Callable[[str], object]) -> None:
    """An unknown address is refused with its name, the expected ones and the option to change."""
    with pytest.raises(StoreError) as caught:
        use("clickhouse://host/logs")
    assert str(caught.value) == (
        "cannot open clickhouse://host/logs: no store has the scheme 'clickhouse', expected the "
        "path of an index file, such as data/mikroscope.db: set --db"
    )


@pytest.mark.parametrize(
    "name", ["index.db", r"C:\\logs\\index.db", "odd:name", "a:/b.db", "? #.db"]
)
def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Every address without "://" is a path, as a string or a Path."""
    monkeypatch.chdir(tmp_path)
    open_store(name, "write").close()
    assert Path(name).is_file()
    with closing(open_store(Path(name))) as store:
        assert store.search(Query()).entries == []


def test_a_server_owns_its_index(tmp_path: Path) -> None:
    """A second server on an index is refused; single batches and readers are not."""
    path = tmp_path / "index.db"
    with closing(open_store(path, "server")):
        with pytest.raises(StoreError, match="another MikroScope server"):
            open_store(path, "server")
        for mode in ("write", "read"):
            open_store(path, mode).close()
    open_store(path, "server").close()


def test_reading_needs_an_index(tmp_path: Path) -> None:
    """Opening an index for reading does not create it and does not allow writing."""
    with (
        closing(open_store(tmp_path / "none.db")) as store,
        pytest.raises(StoreError, match="No index at"),
    ):
        store.search(Query())
    assert not list(tmp_path.iterdir())
    open_store(tmp_path / "index.db", "write").close()
    with (
        closing(open_store(tmp_path / "index.db")) as store,
        pytest.raises(StoreError, match="for reading only"),
    ):
        store.sources()


def test_a_rebuild_needs_no_index(tmp_path: Path) -> None:
    """A rebuild creates an index if there is none."""
    path = tmp_path / "new" / "index.db"
    with closing(begin_rebuild(path)) as rebuild:
        rebuild.swap(lambda: None)
    with closing(open_store(path)) as store:
        assert store.search(Query()).entries == []


def test_tools_of_an_index_file(tmp_path: Path) -> None:
    """The tools for backup and inspection work on an index file and never create one."""
    tools = administer(tmp_path / "index.db")
    assert isinstance(tools, Snapshots)
    assert isinstance(tools, Inspectable)
    assert tools.snapshot_size_bytes() == 0
    assert tools.owner() is None
    assert tools.examine() is None
    assert not list(tmp_path.iterdir())


def test_a_snapshot_is_not_larger_than_promised(tmp_path: Path) -> None:
    """A snapshot is no larger than announced and holds the same entries."""
    path, target = tmp_path / "index.db", tmp_path / "copy.db"
    with closing(SqliteStore(path)):
        tools = administer(path)
        assert isinstance(tools, Snapshots)
        size = tools.snapshot_size_bytes()
        assert tools.snapshot_to(target) == ([], 0)
    assert 0 < target.stat().st_size <= size
    assert tools.verify(target) == 0


def test_light_import() -> None:
    """Importing the protocols, or `open_store`, loads no database engine."""
    code = """
import sys
import mikroscope.stores.base, mikroscope.stores.administration
from mikroscope.stores import administer, begin_rebuild, open_store
print(sorted({"apsw", "zstandard", "mikroscope.stores.sqlite"} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"
