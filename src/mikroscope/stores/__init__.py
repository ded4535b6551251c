"""Opens stores by their address: the one module that knows which stores there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mikroscope.errors import StoreError
from mikroscope.logfiles.sources import Source
from mikroscope.stores.base import Rebuild, Store

Mode = Literal["server", "write", "read"]

# A store is imported when it is opened: its engine takes long to load.


def open_store(
    address: str | Path, mode: Mode = "read", *, query_timeout_s: float | None = None
) -> Store:
    """Open the index at an address, which is the path of its file.

    - "server": this process owns the index until the store is closed, and a second owner is
      refused. An index that is damaged, or in an unknown format, is renamed and a new one made;
      one in the previous format answers until a rebuild has replaced it.
    - "write": for single batches, also while a server runs. The index is made if there is none.
    - "read": nothing can be written; queries raise StoreError if there is no index.

    A query that runs longer than `query_timeout_s` (None: the store's default) is stopped.
    Raises StoreError, also for an address that no store has.
    """
    from mikroscope.stores.sqlite.store import QUERY_TIMEOUT_S, SqliteStore

    return SqliteStore(
        _path(address),
        write=mode != "read",
        alone=mode == "server",
        query_timeout_s=QUERY_TIMEOUT_S if query_timeout_s is None else query_timeout_s,
    )


def begin_rebuild(address: str | Path, sources: Sequence[Source] | None = None) -> Rebuild:
    """Begin a new index that replaces the one at an address, which may be missing or damaged.

    May be called while a server runs. `sources` are those of the old index, if they were just read
    from its store. Raises StoreError if a rebuild is running already, or if
    something other than an index is there.
    """
    from mikroscope.stores.sqlite.store import begin_rebuild as begin_sqlite_rebuild

    return begin_sqlite_rebuild(_path(address), sources)


def administer(address: str | Path) -> object:
    """The store's own tools for the index at an address; the index is not opened for that.

    Ask with `isinstance` what it can do: `Snapshots`, `Inspectable` (see `administration`).
    Raises StoreError for an address that no store has.
    """
    from mikroscope.stores.sqlite.admin.tools import SqliteTools

    return SqliteTools(_path(address))


def _path(address: str | Path) -> Path:
    """The path that an address is."""
    scheme, separator, _ = str(address).partition("://")
    if separator:
        raise StoreError(
            f"cannot open {address}: no store has the scheme {scheme!r}, expected the path of an "
            "index file, such as data/mikroscope.db: set --db"
        )
    return Path(address)
