"""One pass over the log files in the foreground."""

from collections.abc import Callable, Iterator
from contextlib import closing

from mikroscope.indexing.indexer import Indexer
from mikroscope.indexing.rebuild import IndexBuilder
from mikroscope.indexing.stats import IndexStats
from mikroscope.logfiles.tree import LogTree
from mikroscope.stores.base import Rebuild, Store

Watch = Callable[[Iterator[None], Indexer], None]
"""Takes all steps of an indexer, and may show how far it is."""


def take_all(steps: Iterator[None], _indexer: Indexer) -> None:
    """Take all steps."""
    for _ in steps:
        pass


def index_once(store: Store, tree: LogTree, watch: Watch = take_all) -> IndexStats:
    """Index what is new, also beside a running server. Raises MikroScopeError."""
    with closing(Indexer(store, tree)) as indexer:
        watch(indexer.run(final=True), indexer)
        return indexer.total()


def scan_sources(store: Store, tree: LogTree) -> None:
    """Bring the index up to date on where its files are now; nothing is read of them."""
    with closing(Indexer(store, tree)) as indexer:
        indexer.scan()


def rebuild_once(rebuild: Rebuild, tree: LogTree, watch: Watch = take_all) -> IndexStats:
    """Fill a new index and swap it in, also beside a running server. Raises MikroScopeError."""
    with closing(IndexBuilder(rebuild, tree)) as builder:
        watch(builder.fill(), builder.indexer)
        return builder.swap().stats
