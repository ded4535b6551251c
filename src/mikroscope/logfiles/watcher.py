"""Reports within milliseconds which files of the tree have changed, from file-system events."""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from tempfile import NamedTemporaryFile

from mikroscope.disk import PROBE_PREFIX
from mikroscope.logfiles.links import Directory
from mikroscope.logfiles.tree import LogTree

logger = logging.getLogger(__name__)

_STEP_MS = 20  # between two looks for events, also while there are none
_FLAT_STEP_MS = 100  # likewise beside linked files: a second thread should cost little
_DEBOUNCE_MS = 100  # while changes keep coming, they are reported at least this often
_RESTART_S = 1.0
_POLL_MS = 250  # how soon a watch is known to have begun while nothing changes
_UNKNOWN = {""}  # a change that only a scan of the tree can find


class Watcher:
    """Watches a tree in its own threads; the periodic scan finds whatever events are missed.

    One thread watches the root and the directories outside that links lead to, another one the
    files in the directories of linked files. Which ones these are follows the tree's walks.

    `on_change` is called from these threads for every event, with the paths to read: an empty set
    if the event concerns none. `on_lost` is called each time watching fails; it is restarted a
    second later. After a start the watcher creates a file itself: if its event arrives, file-system
    events work here, which they do not on some network file systems.
    """

    def __init__(
        self,
        tree: LogTree,
        on_change: Callable[[set[str]], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._tree = tree
        self._on_change = on_change
        self._has_probed = False
        self._parts = [
            _Part(self._whole, self._begun, self._changed, on_lost, recursive=True),
            _Part(self._flat, self._look_again, self._changed, on_lost, recursive=False),
        ]
        tree.on_walked = self._walked

    def start(self) -> None:
        """Start watching."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """Stop watching; return when the threads have ended."""
        for part in self._parts:
            part.stop_soon()
        for part in self._parts:
            part.join()

    def _whole(self) -> list[Directory]:
        return [Directory(str(self._tree.root), 0, 0), *_present(self._tree.watched().whole)]

    def _flat(self) -> list[Directory]:
        return _present(self._tree.watched().files_only)

    def _walked(self) -> None:
        for part in self._parts:
            part.restart()

    def _changed(self, changed: set[str]) -> None:
        paths = {self._tree.relative(path) for path in changed}
        self._on_change({path for path in paths if path and self._concerns(path)})

    def _begun(self) -> None:
        if self._has_probed:
            self._look_again()
            return
        self._has_probed = True
        self._probe()

    def _look_again(self) -> None:
        """Have the tree scanned: something may have changed before this watch began."""
        self._on_change(_UNKNOWN)

    def _concerns(self, path: str) -> bool:
        return not path.startswith(PROBE_PREFIX) and self._tree.concerns(path)

    def _probe(self) -> None:
        """Create and delete a file, to see whether its event arrives."""
        with suppress(OSError), NamedTemporaryFile(dir=self._tree.root, prefix=PROBE_PREFIX):
            pass


class _Part:
    """One thread that watches some directories, and begins again when these are others."""

    def __init__(
        self,
        directories: Callable[[], list[Directory]],
        on_begin: Callable[[], None],
        on_change: Callable[[set[str]], None],
        on_lost: Callable[[], None],
        *,
        recursive: bool,
    ) -> None:
        self._directories = directories
        self._on_begin = on_begin
        self._on_change = on_change
        self._on_lost = on_lost
        self._recursive = recursive
        self._watched: list[Directory] = []
        self._stopping = threading.Event()
        self._wake = threading.Event()  # to stop, or to begin again
        self._thread = threading.Thread(target=self._run, name="mikroscope-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def restart(self) -> None:
        """Watch other directories, if they are others now."""
        if self._directories() != self._watched:
            self._wake.set()

    def stop_soon(self) -> None:
        self._stopping.set()
        self._wake.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        last_error = ""
        while not self._stopping.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # such as a file name that is not UTF-8
                if last_error != str(error):  # it recurs with every restart
                    logger.warning("watching files failed, falling back to scans: %s", error)
                last_error = str(error)
                self._on_lost()
                self._stopping.wait(_RESTART_S)

    def _watch(self) -> None:
        from watchfiles import Change, watch  # only a server needs it

        self._wake.clear()
        if self._stopping.is_set():
            return
        self._watched = self._directories()
        if not self._watched:
            self._wake.wait()
            return
        has_begun = False
        for changes in watch(
            *(one.path for one in self._watched),
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS if self._recursive else _FLAT_STEP_MS,
            stop_event=self._wake,
            rust_timeout=_POLL_MS,
            raise_interrupt=False,
            yield_on_timeout=True,
            recursive=self._recursive,
        ):
            if not has_begun:  # changes or a timeout: the watch is established
                has_begun = True
                self._on_begin()
            if changes:
                self._on_change({path for _, path in changes})
            if any((Change.deleted, one.path) in changes for one in self._watched):
                return  # to watch what has taken its path, even if that has its old inode


def _present(directories: Iterable[Directory]) -> list[Directory]:
    return sorted(one for one in directories if os.path.isdir(one.path))
