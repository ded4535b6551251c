"""One pass over the log files in the foreground, with a progress bar where somebody watches."""

from collections.abc import Iterator
from contextlib import contextmanager

from mikroscope.errors import MikroScopeError
from mikroscope.indexer import Indexer, Tally
from mikroscope.service import open_tree
from mikroscope.settings import Settings
from mikroscope.stores.sqlite import SqliteStore


def index_once(settings: Settings, show_progress: bool) -> Tally:
    """Index what is new, also beside a running server. Raises MikroScopeError."""
    tree = open_tree(settings)
    if not tree.root.is_dir():
        raise MikroScopeError(f"there is no directory {settings.logs_path}: name the logs' --logs")
    store = SqliteStore(settings.db_path)
    try:
        indexer = Indexer(store, tree)
        with _progress(indexer, show_progress) as steps:
            for _ in steps:
                pass
        return indexer.tally
    finally:
        store.close()


@contextmanager
def _progress(indexer: Indexer, show: bool) -> Iterator[Iterator[None]]:
    steps = indexer.run(final=True)
    if not show:
        yield steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("indexing", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("indexing", total=None)

        def watched() -> Iterator[None]:
            total = 0
            for _ in steps:
                left = indexer.pending_bytes()
                total = max(total, left)
                progress.update(task, total=total, completed=total - left)
                yield

        yield watched()
