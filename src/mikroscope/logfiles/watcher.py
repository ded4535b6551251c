"""Tells within milliseconds which files below the root have changed, if the system says so."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from tempfile import NamedTemporaryFile

from mikroscope.disk import PROBE_PREFIX
from mikroscope.logfiles.tree import LogTree

logger = logging.getLogger(__name__)

_STEP_MS = 20
_DEBOUNCE_MS = 100  # while changes keep coming, they are told at least this often
_RESTART_S = 1.0
_POLL_MS = 1_000  # how soon a stop is noticed while nothing changes


class Watcher:
    """Watches a tree in a thread of its own; the periodic scan makes up for what it may miss.

    `notice` is told of every change, also of one that concerns no file that is read, and `lost`
    that for a while nothing is told. A change of its own shows at the start whether the system
    tells of changes here at all.
    """

    def __init__(
        self,
        tree: LogTree,
        notice: Callable[[set[str]], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._tree = tree
        self._notice = notice
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mikroscope-watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns when the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # among others: a name that is not UTF-8
                if told != str(error):
                    logger.warning("changes are found at the ingest interval only: %s", error)
                told = str(error)
                self._lost()
                self._stop.wait(_RESTART_S)

    def _watch(self) -> None:
        from watchfiles import watch  # only a server needs it

        is_told = False
        for changes in watch(
            self._tree.root,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            rust_timeout=_POLL_MS,
            raise_interrupt=False,
            yield_on_timeout=True,
        ):
            if not changes:
                if not is_told:
                    is_told = True
                    self._make_a_change()
                continue
            paths = {self._tree.relative(path) for _, path in changes}
            self._notice({path for path in paths if path and self._concerns(path)})

    def _concerns(self, path: str) -> bool:
        return not path.startswith(PROBE_PREFIX) and self._tree.concerns(path)

    def _make_a_change(self) -> None:
        with suppress(OSError), NamedTemporaryFile(dir=self._tree.root, prefix=PROBE_PREFIX):
            pass
