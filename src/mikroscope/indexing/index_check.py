"""Whether the index answers, so that an idle server notices when it does not."""

import threading
import time

from mikroscope.errors import MikroScopeError
from mikroscope.query.model import PageRequest, Query
from mikroscope.stores.base import Store

_CHECK_S = 1.0


class IndexCheck:
    """Asks a store for its newest entry, at most once a second. Any thread may call it."""

    def __init__(self, store: Store) -> None:
        self.problem: str | None = None
        """Why the last question was not answered; None if it was."""
        self._store = store
        self._next_at = 0.0
        self._lock = threading.Lock()

    @property
    def is_due(self) -> bool:
        """Whether `run` would ask."""
        return time.monotonic() >= self._next_at

    def run(self) -> bool:
        """Ask, if that is due; return whether the last question was not answered."""
        with self._lock:
            now = time.monotonic()
            if now >= self._next_at:
                self._next_at = now + _CHECK_S
                self.problem = self._ask()
            return self.problem is not None

    def _ask(self) -> str | None:
        try:
            self._store.search(Query(), PageRequest(1))
        except MikroScopeError as error:
            return str(error)
        return None
