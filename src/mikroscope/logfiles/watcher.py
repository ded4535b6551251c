"""Reports within milliseconds which files below the root have changed, from file-system events."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from tempfile import NamedTemporaryFile

from mikroscope.disk import PROBE_PREFIX
from mikroscope.logfiles.tree import LogTree

logger = logging.getLogger(__name__)

_STEP_MS = 20
_DEBOUNCE_MS = 100  # while changes keep coming, they are reported at least this often
_RESTART_S = 1.0
_POLL_MS = 1_000  # how soon `stop` takes effect while nothing changes


class Watcher:
    """Watches a tree in its own thread; the periodic scan finds whatever events are missed.

    `on_change` is called from that thread for every event, with the paths to read: an empty set if
    the event concerns none. `on_lost` is called each time watching fails; it is restarted a second
    later. After a start the watcher creates a file itself: if its event arrives, file-system events
    work here, which they do not on some network file systems.
    """

    def __init__(
        self,
        tree: LogTree,
        on_change: Callable[[set[str]], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._tree = tree
        self._on_change = on_change
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mikroscope-watcher", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; return when the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        last_error = ""
        while not self._stop.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # such as a file name that is not UTF-8
                if last_error != str(error):  # it recurs with every restart
                    logger.warning("watching files failed, falling back to scans: %s", error)
                last_error = str(error)
                self._on_lost()
                self._stop.wait(_RESTART_S)

    def _watch(self) -> None:
        from watchfiles import watch  # only a server needs it

        has_probed = False
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
            if not changes:  # a timeout, so the watch is established
                if not has_probed:
                    has_probed = True
                    self._probe()
                continue
            paths = {self._tree.relative(path) for _, path in changes}
            self._on_change({path for path in paths if path and self._concerns(path)})

    def _concerns(self, path: str) -> bool:
        return not path.startswith(PROBE_PREFIX) and self._tree.concerns(path)

    def _probe(self) -> None:
        """Create and delete a file, to see whether its event arrives."""
        with suppress(OSError), NamedTemporaryFile(dir=self._tree.root, prefix=PROBE_PREFIX):
            pass
