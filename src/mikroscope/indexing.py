"""One pass over the log files in the foreground, with a progress bar where somebody watches."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from mikroscope.errors import MikroScopeError, StoreError
from mikroscope.indexer import Indexer
from mikroscope.logfiles import LogTree
from mikroscope.rebuild import Builder
from mikroscope.service import open_tree
from mikroscope.settings import Settings
from mikroscope.stores.sqlite import SqliteStore, begin_rebuild
from mikroscope.tally import Tally


def index_once(settings: Settings, show_progress: bool) -> Tally:
    """Index what is new, also beside a running server. Raises MikroScopeError."""
    tree = _tree(settings)
    store = SqliteStore(settings.db_path)
    try:
        indexer = Indexer(store, tree)
        with closing(indexer):
            _watch(indexer.run(final=True), indexer, show_progress)
        return indexer.tally
    finally:
        store.close()


def index_anew(settings: Settings, show_progress: bool) -> Tally:
    """Make the index anew, also beside a running server. Raises MikroScopeError."""
    tree = _tree(settings)
    _name_sources(settings, tree)
    with (
        begin_rebuild(settings.db_path) as rebuild,
        closing(Builder(rebuild, tree, final=True)) as builder,
    ):
        _watch(builder.fill(), builder.indexer, show_progress)
        return builder.swap().tally


def _name_sources(settings: Settings, tree: LogTree) -> None:
    """Tell the old index, if there is one, where its files are now: it knows what was pruned."""
    if not settings.db_path.exists():
        return
    with (
        suppress(StoreError),
        closing(SqliteStore(settings.db_path)) as store,
        closing(Indexer(store, tree)) as indexer,
    ):
        indexer.scan()


def _tree(settings: Settings) -> LogTree:
    tree = open_tree(settings)
    if not tree.root.is_dir():
        raise MikroScopeError(f"there is no directory {settings.logs_path}: name the logs' --logs")
    return tree


def _watch(steps: Iterator[None], indexer: Indexer, show_progress: bool) -> None:
    """Take all steps, with a progress bar if somebody watches."""
    with _progress(steps, indexer, show_progress) as watched:
        for _ in watched:
            pass


@contextmanager
def _progress(steps: Iterator[None], indexer: Indexer, show: bool) -> Iterator[Iterator[None]]:
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
