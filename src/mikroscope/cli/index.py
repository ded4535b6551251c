"""The command `mikroscope index`: one pass over the log files, in the foreground."""

import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mikroscope.cli.options import setting_options, settings_of, version_option, warn_of_zone
from mikroscope.cli.output import print_json
from mikroscope.disk import require_no_directory, require_no_file
from mikroscope.errors import MikroScopeError, StoreError
from mikroscope.records.printable import printable
from mikroscope.records.zones import set_default_zone
from mikroscope.settings.options import Settings

if TYPE_CHECKING:
    from mikroscope.indexing.indexer import Indexer
    from mikroscope.indexing.stats import IndexStats
    from mikroscope.logfiles.tree import LogTree

_INDEX_OPTIONS = (
    *("logs_path", "db_path", "config_path", "log_file_suffixes", "default_timezone"),
)

_OUTDATED = "{} has the format of an earlier version: it is rebuilt from the log files"


@click.command(short_help="Index new lines once, or rebuild the index.")
@setting_options(_INDEX_OPTIONS)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Rebuild the index from the log files next to the old one, then swap it in.",
)
@version_option
def index(rebuild: bool, **given: Any) -> None:
    """Index new lines of the log files once, and print a report.

    A server may be running on the same index, even during a rebuild. Without a logs directory
    there is nothing to index: the report has zeros.
    """
    from mikroscope.indexing.rebuild import index_report
    from mikroscope.logfiles.skipped import skipped_files
    from mikroscope.sidecar import log_skipped, open_tree

    settings = settings_of(given)
    require_no_file(settings.logs_path, "--logs")
    require_no_directory(settings.db_path, "--db")
    set_default_zone(settings.default_timezone)
    started = datetime.now(UTC)
    stats = (_rebuild if rebuild else _index)(settings, open_tree(settings))
    root = settings.logs_path.resolve()
    if root.is_dir():
        log_skipped(skipped_files(root, settings.log_file_suffixes, settings.own_files))
    print_json({"report": index_report(stats, started, datetime.now(UTC))})


def _index(settings: Settings, tree: "LogTree") -> "IndexStats":
    from mikroscope.indexing.once import index_once
    from mikroscope.indexing.stats import IndexStats
    from mikroscope.stores import open_store

    if not tree.root.is_dir():
        click.echo(printable(f"mikroscope: {_missing(settings)}; nothing is indexed"), err=True)
        return IndexStats()
    with closing(open_store(settings.db_path, "write")) as store:
        warn_of_zone(settings)
        if not store.status().is_outdated:
            return index_once(store, tree, _watch)
    click.echo(printable(f"mikroscope: {_OUTDATED.format(settings.db_path)}"), err=True)
    return _rebuild(settings, tree)


def _rebuild(settings: Settings, tree: "LogTree") -> "IndexStats":
    from mikroscope.indexing.once import rebuild_once, scan_sources
    from mikroscope.stores import begin_rebuild, open_store

    if not tree.root.is_dir():
        raise MikroScopeError(f"{_missing(settings)}; a rebuild would leave an empty index")
    # The old index records per source what retention has deleted. A scan first updates where its
    # files are now, so that the rebuild finds those records.
    sources = None
    if settings.db_path.exists():
        with suppress(StoreError), closing(open_store(settings.db_path, "write")) as store:
            scan_sources(store, tree)
            sources = store.sources()
    if "default_timezone" in settings.given:  # else the new index has the zone of the old one
        set_default_zone(settings.default_timezone)
    with closing(begin_rebuild(settings.db_path, sources)) as rebuild:
        return rebuild_once(rebuild, tree, _watch)


def _missing(settings: Settings) -> str:
    place = settings.logs_path.absolute()
    return f"No logs directory at {place}. Run this where the logs are, or pass --logs"


def _watch(steps: Iterator[None], indexer: "Indexer") -> None:
    """Run all steps, with a progress bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        for _ in steps:
            pass
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("indexing", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("indexing", total=None)
        total = 0
        for _ in steps:  # the total grows if files grow meanwhile
            left = indexer.pending_bytes()
            total = max(total, left)
            progress.update(task, total=total, completed=total - left)
